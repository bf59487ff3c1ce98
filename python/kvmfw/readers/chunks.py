"""Columns in chunks, and the dictionaries of these."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from kvmfw.readers.texts import without_dictionary

__all__ = ["compacted", "holds_dictionaries", "one_chunk"]


def holds_dictionaries(fields: Iterable[pa.Field]) -> bool:
    """Tell whether a column, or a part of one, is a dictionary with codes.

    >>> holds_dictionaries(pa.schema([("vm", pa.list_(pa.dictionary(pa.int8(), pa.string())))]))
    True
    """
    return any(
        pa.types.is_dictionary(one.type)
        or holds_dictionaries(one.type.field(at) for at in range(one.type.num_fields))
        for one in fields
    )


def one_chunk(column: pa.ChunkedArray) -> pa.Array:
    """Give a column as one array."""
    if column.num_chunks == 1:
        return column.chunk(0)
    try:
        whole = column.combine_chunks()
    except pa.ArrowInvalid:
        if not pa.types.is_dictionary(column.type):
            raise
        # Dictionaries whose words are together too many for the codes of one, or that hold nulls.
        whole = without_dictionary(column).combine_chunks()
    return pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole


def compacted(table: pa.Table) -> pa.Table:
    """Give the rows of a slice dictionaries of their own: otherwise those of whole batches pile up in what is carried.

    >>> names = pa.array(["a", "b"]).dictionary_encode()
    >>> len(compacted(pa.table({"vm": names}).slice(1)).column("vm").chunk(0).dictionary)
    1
    """
    for at, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            own = without_dictionary(table.column(at)).dictionary_encode()
            table = table.set_column(at, field.name, own)
    return table
