"""Streams of small batches: how many are cut at once."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from kvmfw import _native
from kvmfw.readers.cutter import runs_of_stream
from tests.support.batches import gathered_up_to, stream


def test_small_batches_are_cut_together() -> None:
    """Each of 10,000 rows by itself took ten times as long as all together."""
    table = pa.table({"vm": np.arange(5000) // 5, "register": np.arange(5000), "value": np.arange(5000)})
    native = _native.Fleet("kvm", "kvm", 1)
    parts = list(runs_of_stream(stream(table, 7), native))
    assert [len(part) for part in parts] == [999, 1]
    with gathered_up_to(60 * 24):
        sizes = {len(part) for part in runs_of_stream(stream(table, 7), native)}
    assert max(sizes) == 11, "of 60 rows that are gathered 56 are, and the last VM may go on"


def test_batches_of_another_schema_are_cut_by_themselves() -> None:
    """Narrow numbers first, wide ones then: a VM goes on from the ones to the others."""
    table = pa.table({"vm": ["a", "a", "a", "b"], "register": [1, 2, 3, 4], "value": [1, 2, 3, 1 << 40]})
    narrow = pa.schema([("vm", pa.string()), ("register", pa.int64()), ("value", pa.int32())])
    batches = table.slice(0, 2).cast(narrow).to_batches() + table.slice(2).to_batches()
    parts = list(runs_of_stream(batches, _native.Fleet("kvm", "kvm", 1)))
    assert [part.names.to_pylist() for part in parts] == [["a"], ["b"]]
    assert [part.value.tolist() for part in parts] == [[1, 2, 3], [1 << 40]]
