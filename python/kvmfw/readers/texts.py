"""Columns of text, in the form of which Arrow takes rows."""

from __future__ import annotations

from typing import TypeVar

import pyarrow as pa

__all__ = ["without_dictionary", "without_views"]

Column = TypeVar("Column", pa.Array, pa.ChunkedArray)


def without_dictionary(column: Column) -> Column:
    """Give the entries themselves where a column holds codes of them."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def without_views(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Give text as Arrow can take rows of: not as the views that Polars hands out, nor as the bytes of older writers.

    Hive, Impala and old Spark write text to Parquet as bytes that nothing marks as text; bytes that are none stay bytes.
    """
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        try:
            return column.cast(pa.large_string())
        except pa.ArrowInvalid:
            return column
    if pa.types.is_string_view(column.type):
        return column.cast(pa.large_string())
    if not (pa.types.is_dictionary(column.type) and pa.types.is_string_view(column.type.value_type)):
        return column
    words = (part.dictionary.cast(pa.large_string()) for part in column.chunks)
    parts = [
        pa.DictionaryArray.from_arrays(part.indices, told)
        for part, told in zip(column.chunks, words, strict=True)
    ]
    return pa.chunked_array(parts, pa.dictionary(column.type.index_type, pa.large_string()))
