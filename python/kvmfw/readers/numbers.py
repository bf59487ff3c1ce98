"""Columns of numbers as engines write them: words of 64 bits with a sign or without, decimals, text, dictionaries."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from kvmfw import numerals
from kvmfw.errors import ArgumentError
from kvmfw.registers import find_register

__all__ = ["numbers"]


def numbers(column: pa.Array, name: str) -> pa.Array:
    """Give a column as uint64; text is read as numbers, or as names of registers; what is neither becomes null."""
    kind = column.type
    if pa.types.is_uint64(kind):
        return column
    if pa.types.is_integer(kind):
        # Negative numbers are signed 64-bit words of engines without unsigned ones.
        return column.cast(pa.int64()).view(pa.uint64()) if pa.types.is_int64(kind) else _unsigned(column)
    if pa.types.is_dictionary(kind):
        return numbers(column.dictionary_decode(), name)
    if pa.types.is_string_view(kind):
        column = column.cast(pa.large_string())
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        read = _register if name == "register" else _number
        encoded = column.dictionary_encode()
        parsed = pa.array([read(text) for text in encoded.dictionary.to_pylist()], pa.uint64())
        return parsed.take(encoded.indices)
    if pa.types.is_null(kind):
        return column.cast(pa.uint64())
    if pa.types.is_decimal(kind) and kind.scale == 0:
        # Engines without unsigned words, such as Spark, have these.
        least, most = (pa.scalar(limit, pa.decimal128(38)) for limit in (0, (1 << 64) - 1))
        fits = pc.and_(pc.greater_equal(column, least), pc.less_equal(column, most))
        return pc.if_else(fits, column, None).cast(pa.uint64())
    raise ArgumentError(f"column `{name}` is {kind}; expected uint64, or text such as 0x6030000000140000")


def _unsigned(column: pa.Array) -> pa.Array:
    return pc.if_else(pc.greater_equal(column, 0), column, None).cast(pa.uint64())


def _number(text: str | None) -> int | None:
    found = numerals.number((text or "").strip(" \t"))
    return found if found is not None and found < 1 << 64 else None


def _register(text: str | None) -> int | None:
    found = _number(text)
    return found if found is not None or not text else find_register(text.strip(" \t"))
