"""A table in batches, and how many of them are cut at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from kvmfw.readers.chunks import holds_dictionaries

__all__ = ["Batches", "gathered"]

_MOST_GATHERED = 1 << 24
"""So many bytes of small batches become one; larger ones stay as they are."""
_BYTES_OF_A_BATCH = 1 << 12
"""What a batch takes beside its rows."""


@dataclass(frozen=True, slots=True)
class Batches:
    """Batches of one table, read or made as they are asked for, once.

    pyarrow's own reader calls such a source from C++: of a daemon thread that ends the process with an abort when the main thread
    is over (run, pyarrow 26 on Python 3.11).

    Attributes
    ----------
    schema : pyarrow.Schema
        What all of them have.
    made : iterator of pyarrow.RecordBatch
        They themselves.
    """

    schema: pa.Schema
    made: Iterator[pa.RecordBatch]

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return self.made


def gathered(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Join batches that are small: to cut one costs a millisecond, however short it is.

    Dictionaries are left apart: those of several batches may not fit into the codes of one. What there is comes before an error
    of the source.
    """
    some: list[pa.RecordBatch] = []
    size, most = 0, 0
    try:
        for batch in batches:
            goes_on = bool(some) and batch.schema.equals(some[0].schema)
            if goes_on and not batch.num_rows:
                continue
            own = batch.nbytes + _BYTES_OF_A_BATCH
            if some and not (goes_on and size + own <= most):
                yield pa.Table.from_batches(some)
                some, size = [], 0
            if not some:
                most = 0 if holds_dictionaries(batch.schema) else _MOST_GATHERED
            some.append(batch)
            size += own
    except Exception:
        if some:
            yield pa.Table.from_batches(some)
        raise
    if some:
        yield pa.Table.from_batches(some)
