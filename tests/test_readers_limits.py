"""Hostile files: what they declare is checked before it is unpacked."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kvmfw import Fleet
from kvmfw.errors import FormatError
from kvmfw.readers import source as sources
from kvmfw.readers.own import lines_of
from kvmfw.readers.source import LIMITS
from kvmfw.readers.tables import open_table
from kvmfw.testing import tiny_host


def test_huge_declared_sizes_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    # Two million equal values take a few bytes in Parquet: what is declared counts, not what the file has.
    count = 2_000_000
    columns = {"vm": pa.array(["a"] * count).dictionary_encode(), "register": np.zeros(count, np.uint64)}
    path = tmp_path / "bomb.parquet"
    pq.write_table(pa.table(columns | {"value": np.zeros(count, np.uint64)}), path, row_group_size=count)
    assert path.stat().st_size < 20_000
    with pytest.raises(FormatError, match="declares 2,000,000 values"):
        open_table(path, "parquet", replace(LIMITS, chunk_values=1_000_000))


def test_documents_that_unpack_to_too_much_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.json.gz"
    path.write_bytes(gzip.compress(b'{"a": "' + b"0" * 5_000_000))
    with pytest.raises(FormatError, match="unpacks to more than 1 MiB"):
        sources.whole(path, replace(LIMITS, document=1 << 20))


def test_lines_that_are_too_long_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    path.write_bytes(b'{"a": "' + b"0" * 100_000)
    with pytest.raises(FormatError, match=r"line 1.*longer than"):
        list(lines_of(path, replace(LIMITS, line=1 << 10)))


def test_a_set_of_which_nothing_was_saved_is_refused(tmp_path: Path) -> None:
    document = '{"format":"kvmfw-register-set","version":1,"id":"a","vcpu":{"features":[],"vgic":true},"registers":{}}'
    path = tmp_path / "vms.jsonl"
    path.write_text(f"{document}\n")
    with pytest.raises(FormatError, match="line 1: registers: nothing was saved"):
        Fleet(path, [tiny_host()])
