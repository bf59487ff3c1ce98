"""What fleets are given and asked that they cannot use: one typed sentence."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

import kvmfw
from kvmfw.errors import ArgumentError, MissingError, RowError
from kvmfw.testing import capture_document, tiny_host, tiny_set
from tests.support.fleets import CCSIDR, FIRMWARE, PC


@pytest.mark.parametrize("size", [1, 10_000, 200_000])
@pytest.mark.parametrize("dtype", [np.int64, np.uint32])
def test_pairs_out_of_range_are_named(size: int, dtype: type) -> None:
    fleet = kvmfw.Fleet([tiny_set()] * 5, [tiny_host()] * 3)
    good: npt.NDArray[Any] = np.zeros(size, dtype=dtype)
    for place, vm, host in ((size // 2, 5, 0), (size - 1, 0, 3)):
        vms, hosts = good.copy(), good.copy()
        vms[place], hosts[place] = vm, host
        vms[-1] = max(vms[-1], vm)
        with pytest.raises(RowError, match=rf"VM row {vm}, host row {host}") as raised:
            fleet.validate_pairs(vms, hosts)
        assert raised.value.row == place
    if dtype is np.int64:
        with pytest.raises(RowError, match="VM row -1"):
            fleet.validate_pairs(np.array([-1]), np.array([0]))


INTEGERS = (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_rows_may_be_integers_of_any_two_kinds(dtype: type) -> None:
    fleet = kvmfw.Fleet(
        [tiny_set(workaround_3=level) for level in (0, 2)], [tiny_host(workaround_3=one) for one in (2, 1)]
    )
    rows = [0, 0, 1, 1], [0, 1, 0, 1]
    wanted = fleet.validate_pairs(*rows)
    assert len(set(wanted.tolist())) > 1
    for other in INTEGERS:
        vms: npt.NDArray[Any] = np.array(rows[0], dtype=dtype)
        hosts: npt.NDArray[Any] = np.array(rows[1], dtype=other)
        np.testing.assert_array_equal(fleet.validate_pairs(vms, hosts), wanted)
        if np.dtype(dtype).kind == "u":
            vms[2] = np.iinfo(dtype).max
            with pytest.raises(RowError, match="out of range"):
                fleet.validate_pairs(vms, hosts)


@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.int64, np.uint64])
def test_rows_may_start_anywhere_in_memory(dtype: type) -> None:
    """Buffers of Arrow that come over Flight start where the message does."""
    fleet = kvmfw.Fleet([tiny_set()] * 3, [tiny_host()] * 3)
    width = np.dtype(dtype).itemsize
    memory = np.zeros(3 * width + 1, dtype=np.uint8)
    rows: npt.NDArray[Any] = np.frombuffer(memory[1:], dtype=dtype)
    assert not rows.flags.aligned
    np.testing.assert_array_equal(fleet.validate_pairs(rows, rows), [0, 0, 0])


def test_wrong_arguments_are_typed() -> None:
    fleet = kvmfw.Fleet([tiny_set()] * 5, [tiny_host()] * 3)
    two = np.zeros(2, dtype=np.int64)
    with pytest.raises(ArgumentError, match="dtype"):
        fleet.validate_pairs(two.astype(float), two)
    with pytest.raises(ArgumentError, match="dtype"):
        fleet.validate_pairs(two, two.astype(bool))
    with pytest.raises(ArgumentError, match="contiguous"):
        fleet.validate_pairs(np.zeros(4, dtype=np.int64)[::2], two)
    with pytest.raises(ArgumentError, match="lengths differ"):
        fleet.validate_pairs(two, np.zeros(3, dtype=np.int64))
    outs: list[Any] = [np.zeros(2), np.zeros((2, 1), dtype=np.uint8), np.zeros(3, dtype=np.uint8)]
    for out in outs:
        with pytest.raises(ArgumentError):
            fleet.validate_pairs(two, two, out=out)
    with pytest.raises(ArgumentError, match="out"):
        fleet.validate_matrix(unknown="refuse", change="accept", out=np.zeros((5, 2), dtype=np.uint8))
    with pytest.raises(ArgumentError, match="out"):
        fleet.counts(out=np.zeros((5, 4)))  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="step"):
        fleet.validate_matrix(unknown="refuse", change="accept", vms=slice(0, 5, 2))
    with pytest.raises(ArgumentError, match="unknown"):
        fleet.candidates(0, unknown="maybe", change="accept")  # type: ignore[arg-type]
    for ask in (lambda: fleet.class_row(5), lambda: fleet.class_row(-1), lambda: fleet.remove_vms([5])):
        with pytest.raises(RowError, match="out of range"):
            ask()
    with pytest.raises(RowError, match="out of range"):
        fleet.candidates(5, unknown="refuse", change="accept")
    with pytest.raises(RowError, match="out of range"):
        fleet.update_hosts({3: tiny_host()})
    with pytest.raises(ArgumentError, match=r"expected a kvmfw\.Host"):
        fleet.update_hosts({0: "host"})  # type: ignore[dict-item]


@pytest.mark.parametrize("nested", [False, True])
def test_rows_that_cannot_be_used_are_named_and_unknown(nested: bool) -> None:
    good = {FIRMWARE[1]: 1, CCSIDR: 2, PC: 5}
    vms = [dict(good), {**good, CCSIDR: 1 << 32}, dict(good)]
    table = pa.table(
        {
            "vm": ["a", "b", "c"],
            "register": pa.array([list(vm) for vm in vms], pa.list_(pa.uint64())),
            "value": pa.array([list(vm.values()) for vm in vms], pa.list_(pa.uint64())),
        }
    )
    if not nested:
        rows = [(name, *item) for name, vm in zip("abc", vms, strict=True) for item in vm.items()]
        rows.append(("c", FIRMWARE[1], 0))
        vm, register, value = zip(*rows, strict=True)
        table = pa.table(
            {"vm": vm, "register": pa.array(register, pa.uint64()), "value": pa.array(value, pa.uint64())}
        )
    host = kvmfw.Host.from_json(json.dumps(capture_document(good)))
    with pytest.raises(RowError, match="wider than register") as raised:
        kvmfw.Fleet(table, [host])
    # In nested form a row of the table is a VM.
    assert raised.value.row == (1 if nested else 4)
    fleet = kvmfw.Fleet(table, [host], on_error="collect")
    assert [row for row, _ in fleet.rejected] == ([1] if nested else [4, 9])
    assert list(fleet.validate_pairs([0, 1, 2], [0, 0, 0])) == [0, 2, 0 if nested else 2]
    with pytest.raises(RowError):
        fleet.add_vms(table)
    assert fleet.shape == (3, 1)


def test_streams_must_keep_vms_together() -> None:
    table = pa.table(
        {
            "vm": ["a", "b", "a"],
            "register": pa.array([FIRMWARE[1]] * 3, pa.uint64()),
            "value": pa.array([1, 1, 1], pa.uint64()),
        }
    )
    stream = pa.RecordBatchReader.from_batches(table.schema, table.to_batches())
    with pytest.raises(RowError, match="`a` occurs twice; its rows must be together"):
        kvmfw.Fleet(stream, [tiny_host()])


def test_an_empty_side_is_no_error() -> None:
    for vms, hosts in (([], [tiny_host()]), ([tiny_set()], []), ([], [])):
        fleet = kvmfw.Fleet(vms, hosts)
        assert fleet.shape == (len(vms), len(hosts))
        assert fleet.validate_matrix(unknown="refuse", change="accept").shape == (
            len(vms),
            (len(hosts) + 7) // 8,
        )
        assert fleet.counts("host").shape == (len(hosts), 4)
        if vms:
            assert fleet.candidates(0, unknown="refuse", change="accept").size == 0
        fleet.add_vms([tiny_set(name="new")])
        assert fleet.shape[0] == len(vms) + 1
        assert fleet.counts("vm").sum() == fleet.shape[0] * fleet.shape[1]


@pytest.mark.parametrize("name", ["\ud800", "vm\udfff"])
def test_half_of_a_surrogate_pair_is_nobodys_name(name: str) -> None:
    fleet = kvmfw.Fleet([tiny_set(name="vm\ufffd")], [tiny_host()])
    asked = (fleet.class_row, fleet.vm_row, fleet.host_row, fleet.home, lambda who: fleet.remove_vms([who]))
    for ask in (*asked, lambda who: fleet.move("vm\ufffd", who), lambda who: fleet.remove_hosts([who])):
        with pytest.raises(MissingError, match=r"'.*\\ud[89cf][08f][0f]' is no (VM|host)"):
            ask(name)
    assert fleet.shape == (1, 1)


def test_what_is_no_host_is_named_by_its_row() -> None:
    with pytest.raises(ArgumentError, match=r"host 1 is a int; expected a kvmfw\.Host"):
        kvmfw.Fleet([tiny_set()], [tiny_host(), 3])


def test_a_vm_of_which_a_vcpu_has_no_number_is_named_by_its_first_row() -> None:
    table = pa.table(
        {
            "vm": ["a", "a", "b", "b", "b", "c"],
            "register": pa.array([PC] * 6, pa.uint64()),
            "value": pa.array([1] * 6, pa.uint64()),
            "index": [0, 1, 0, 1, -1, 0],
        }
    )
    fleet = kvmfw.Fleet(table, [tiny_host()], on_error="collect")
    assert fleet.rejected == [(2, "the number of the vCPU is not between 0 and 65535")]
    unknown = fleet.counts()[:, 2]
    assert dict(zip(fleet.vm_names, unknown.tolist(), strict=True)) == {"a": 0, "b": 1, "c": 0}
