"""A table in batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

__all__ = ["Batches"]


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
