"""Tables batch by batch, and how many bytes of small batches are cut at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import pyarrow as pa

from kvmfw.readers import batches

GATHERED = (0, 5 << 12, batches._MOST_GATHERED)
"""Each batch by itself, some together, and as it is: all that a test makes becomes one."""


def stream(table: pa.Table, size: int) -> pa.RecordBatchReader:
    """Give a table in batches of so many rows."""
    return pa.RecordBatchReader.from_batches(table.schema, iter(table.to_batches(max_chunksize=size)))


@contextmanager
def gathered_up_to(size: int) -> Iterator[None]:
    """Cut so many bytes of small batches at once."""
    with patch.object(batches, "_MOST_GATHERED", size):
        yield
