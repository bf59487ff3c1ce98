"""Streams of small batches: how many are cut at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kvmfw import Fleet, _native
from kvmfw.errors import ArgumentError, FormatError, RowError
from kvmfw.readers.batches import gathered
from kvmfw.readers.streams import runs_of_stream
from kvmfw.testing import tiny_host
from tests.support.batches import gathered_up_to, stream
from tests.support.samples import WA1, WA3


def test_small_batches_are_cut_together() -> None:
    """Each of 10,000 rows by itself took ten times as long as all together."""
    table = pa.table({"vm": np.arange(5000) // 5, "register": np.arange(5000), "value": np.arange(5000)})
    native = _native.Fleet("kvm", "kvm", 1)
    parts = list(runs_of_stream(stream(table, 7), native))
    assert [len(part) for part in parts] == [1000]
    with gathered_up_to(8 * (4096 + 7 * 24)):
        sizes = {len(part) for part in runs_of_stream(stream(table, 7), native)}
    assert max(sizes) == 11, "eight batches have 56 rows, and the last VM may go on"


def numbered(vms: Sequence[Any], **columns: Sequence[Any]) -> pa.RecordBatch:
    """Give a row for each name, with a register of its own."""
    told = {"vm": vms, "register": range(len(vms)), "value": [1] * len(vms)} | columns
    return pa.record_batch({name: list(column) for name, column in told.items()})


@pytest.mark.parametrize(
    ("batches", "lengths"),
    [
        ([[1, 1, 2], [3, 4]], [2, 2]),
        ([[1, 1, 2], [2, 4]], [1, 1, 1]),
        ([[1], [1], [1, 2]], [1, 1]),
        ([[1, 2], [2], [2], [3]], [1, 1, 1]),
        ([[1, 2], [2], [2]], [1, 1]),
        ([[1, 2], [], [3]], [2, 1]),
    ],
)
def test_a_vm_is_cut_off_where_it_goes_on_in_the_next_batch(
    batches: list[list[int]], lengths: list[int]
) -> None:
    schema = numbered([1]).schema
    made = [numbered(vms).cast(schema) for vms in batches]
    with gathered_up_to(0):
        parts = list(runs_of_stream(made, _native.Fleet("kvm", "kvm", 1)))
    assert [len(part) for part in parts] == lengths
    rows = [vm for vms in batches for vm in vms]
    assert [name for part in parts for name in part.names.to_pylist()] == sorted(set(rows))
    assert [int(part.starts[-1]) for part in parts] == [
        sum(rows.count(vm) for vm in part.names.to_pylist()) for part in parts
    ]


def test_what_is_wrong_with_a_batch_is_told_before_what_is_wrong_with_the_next() -> None:
    def breaks() -> Iterator[pa.RecordBatch]:
        yield numbered(["a"], register=[1.5])
        raise OSError("the disk is gone")

    with pytest.raises(ArgumentError, match="register"):
        list(runs_of_stream(breaks(), _native.Fleet("kvm", "kvm", 1)))


def test_lists_of_text_by_views_are_filtered_too() -> None:
    """Where a row's registers and values differ in number, Arrow has no way to leave its entries out of views."""
    registers = pa.array([[hex(WA1)], [hex(WA1)]], pa.list_(pa.string_view()))
    table = pa.table({"vm": ["a", "b"], "register": registers, "value": [["1"], ["1", "2"]]})
    fleet = Fleet(table, [tiny_host()], on_error="collect")
    assert fleet.rejected == [(1, "`register` and `value` differ in length")]


SCHEMA = pa.schema([("vm", pa.string()), ("register", pa.uint64()), ("value", pa.uint64())])


def test_a_bad_row_is_told_before_what_is_wrong_with_the_source_after_it(tmp_path: Path) -> None:
    """The end of a file was never reached, where its bad rows are told: in streams, and where the next file is damaged."""
    bad = pa.table({"vm": ["a"], "register": [WA1], "value": [None]}).cast(SCHEMA).to_batches()[0]

    def breaks() -> Iterator[pa.RecordBatch]:
        yield bad
        raise OSError("the source is gone")

    hosts = [tiny_host()]
    stream_ = pa.RecordBatchReader.from_batches(bad.schema, breaks())
    with pytest.raises(RowError, match="value of register"):
        Fleet(stream_, hosts)
    fleet = Fleet([], hosts)
    with pytest.raises(RowError, match="value of register"):
        fleet.add_vms(pa.RecordBatchReader.from_batches(bad.schema, breaks()))
    assert fleet.shape == (0, 1)
    pq.write_table(pa.table(bad), tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(RowError, match="value of register"):
        Fleet(tmp_path, hosts)
    with pytest.raises(FormatError, match="damaged"):
        Fleet(tmp_path, hosts, on_error="collect")


def test_a_vm_without_a_name_is_one_across_batches_too() -> None:
    """Null and then nothing was one VM within a batch, and two where the second began the next."""
    names, index = pa.array([None, "", "b"]), [0, 1, 0]
    table = pa.table({"vm": names, "vcpu_index": index, "register": [1, 2, 3], "value": [1, 1, 1]})
    lengths = []
    for batches in (table.to_batches(), table.to_batches(max_chunksize=1)):
        with gathered_up_to(0):
            parts = list(runs_of_stream(batches, _native.Fleet("kvm", "kvm", 1)))
        lengths.append([len(np.unique(part.vms())) for part in parts])
    assert [sum(one) for one in lengths] == [2, 2]


def test_batches_of_another_schema_are_cut_by_themselves() -> None:
    """Narrow numbers first, wide ones then: a VM goes on from the ones to the others."""
    table = pa.table({"vm": ["a", "a", "a", "b"], "register": [1, 2, 3, 4], "value": [1, 2, 3, 1 << 40]})
    narrow = pa.schema([("vm", pa.string()), ("register", pa.int64()), ("value", pa.int32())])
    batches = table.slice(0, 2).cast(narrow).to_batches() + table.slice(2).to_batches()
    parts = list(runs_of_stream(batches, _native.Fleet("kvm", "kvm", 1)))
    assert [part.names.to_pylist() for part in parts] == [["a"], ["b"]]
    assert [part.value.tolist() for part in parts] == [[1, 2, 3], [1 << 40]]


def coded(words: Sequence[str | None], codes: list[int], kind: pa.DataType) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes, kind), pa.array(words, pa.string()))


def with_dictionaries(name: str, *, with_null: bool = False) -> list[pa.RecordBatch]:
    """Three batches of 100 VMs each with words of its own, in codes of a byte; a word may be null, and nobody's."""
    found = []
    for number in range(3):
        own = [f"{name}{number}-{at}" for at in range(100)]
        vms = coded([*own, None] if with_null else own, [at // 2 for at in range(200)], pa.int8())
        registers, values = pa.array([WA1, WA3] * 100, pa.uint64()), pa.array([1] * 200, pa.uint64())
        found.append(pa.record_batch({"vm": vms, "register": registers, "value": values}))
    return found


@pytest.mark.parametrize("with_null", [False, True])
@pytest.mark.parametrize("road", ["stream", "memory"])
def test_dictionaries_that_do_not_fit_together_are_read(road: str, with_null: bool) -> None:
    """Their words are too many for one dictionary with codes of a byte; Arrow joins none that holds a null."""
    batches = with_dictionaries("vm", with_null=with_null)
    table = pa.Table.from_batches(batches)
    source = table if road == "memory" else pa.RecordBatchReader.from_batches(table.schema, batches)
    fleet = Fleet(source, [tiny_host()])
    assert list(fleet.vm_names) == [f"vm{number}-{at}" for number in range(3) for at in range(100)]


def test_batches_without_rows_or_with_few_do_not_pile_up() -> None:
    """Each takes some kilobytes besides: 400,000 empty ones took 1.2 GB."""
    one = pa.table({"vm": [1], "register": [1], "value": [1]}).to_batches()
    empty = one[0].slice(0, 0)
    taken = list(gathered([*one, *[empty] * 5000, *one]))
    assert [part.column("vm").num_chunks for part in taken] == [2]
    most = max(part.column("vm").num_chunks for part in gathered(one * 9000))
    assert most <= 4096


def test_a_blank_where_a_batch_begins_does_not_make_numbers_words() -> None:
    """The column `vcpu` was of words, and 30,000 VMs differed from themselves."""
    registers, values = pa.array([WA1, WA3] * 2, pa.uint64()), pa.array([1, 1, 1, 1], pa.uint64())
    for first in ("", None, " "):
        vcpu = pa.array([first, "0", "0", "0"], pa.string())
        told = pa.table({"vm": list("aabb"), "vcpu": vcpu, "register": registers, "value": values})
        with gathered_up_to(0):
            fleet = Fleet(stream(told, 4), [tiny_host()], on_error="collect")
        assert (list(fleet.vm_names), fleet.rejected) == (["a", "b"], []), first


def test_words_beside_numbers_may_be_views() -> None:
    """Polars gives text as views: in the column `features` too."""
    columns = {"vm": ["a"] * 2, "vcpu": [0, 0], "features": pa.array(["none"] * 2, pa.string_view())}
    registers = {"register": pa.array([WA1, WA3], pa.uint64()), "value": pa.array([1, 1], pa.uint64())}
    fleet = Fleet(pa.table(columns | registers), [tiny_host()])
    assert list(fleet.vm_names) == ["a"]


@pytest.mark.parametrize("cells", [[[], []], [None, [1]], [[0], [0]]])
def test_lists_that_should_be_numbers_of_vcpus_are_an_error_with_a_sentence(cells: list[Any]) -> None:
    columns = {"vm": ["a"] * 2, "vcpu": pa.array(cells, pa.list_(pa.int64()))}
    registers = {"register": pa.array([WA1, WA3], pa.uint64()), "value": pa.array([1, 1], pa.uint64())}
    with pytest.raises(ArgumentError, match=r"column `vcpu` is list<.*>; expected text or integers"):
        Fleet(pa.table(columns | registers), [tiny_host()])
