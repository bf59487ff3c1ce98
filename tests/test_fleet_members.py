"""Who is in a fleet: identities that stay, by row, name and handle, one by one and in batches."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import kvmfw
from kvmfw.errors import ArgumentError, CopyError, MissingError
from kvmfw.testing import tiny_host, tiny_set
from tests.support.fleets import small

NOBODY: list[Any] = [-1, 9999, 1 << 70, "nobody", "", 0.7, None, True, [0], b"a"]


def test_a_vm_is_named_by_row_name_or_handle() -> None:
    fleet = small()
    handle = fleet.vm("b")
    for vm in (1, np.int32(1), "b", handle):
        assert fleet.vm(vm) == handle  # type: ignore[arg-type]
        assert fleet.vm_row(vm) == 1  # type: ignore[arg-type]
        assert list(fleet.candidates(vm, unknown="refuse", change="accept")) == [0]  # type: ignore[arg-type]
        assert list(fleet.class_row(vm)[fleet.host_classes]) == [0, 3]  # type: ignore[arg-type]
        for host in (1, "new", fleet.host("new")):
            assert fleet.explain(vm, host).outcome is kvmfw.Outcome.REFUSE  # type: ignore[arg-type]
            assert fleet.explain_units(vm, host).outcome is kvmfw.Outcome.REFUSE  # type: ignore[arg-type]
    fleet.remove_vms(["a"])
    assert fleet.vm_row(handle) == 0
    fleet.remove_vms([handle])
    fleet.add_vms([tiny_set(name="b")])
    assert fleet.vm("b") != handle
    with pytest.raises(MissingError, match="the VM with handle 1 has left"):
        fleet.candidates(handle, unknown="refuse", change="accept")


@pytest.mark.parametrize("nobody", NOBODY, ids=repr)
def test_who_is_not_there_is_told_in_one_way(nobody: Any) -> None:
    fleet = small()
    before = fleet.generation
    snapshot = fleet.snapshot()
    asks: list[Callable[[], Any]] = [
        lambda: fleet.remove_vms([0, nobody]),
        lambda: fleet.update_vms({0: tiny_set(), nobody: tiny_set()} if nobody != [0] else {-1: tiny_set()}),
        lambda: fleet.update_hosts(
            {0: tiny_host(), nobody: tiny_host()} if nobody != [0] else {-1: tiny_host()}
        ),
        lambda: fleet.remove_hosts([nobody]),
        lambda: fleet.move(nobody, 0),
    ]
    if nobody is not None:
        asks.append(lambda: fleet.move(0, nobody))
    for one in (fleet, snapshot):
        asks += [
            lambda one=one: one.candidates(nobody, unknown="refuse", change="accept"),  # type: ignore[misc]
            lambda one=one: one.class_row(nobody),  # type: ignore[misc]
            lambda one=one: one.explain(nobody, 0),  # type: ignore[misc]
            lambda one=one: one.explain(0, nobody),  # type: ignore[misc]
            lambda one=one: one.explain_units(0, nobody),  # type: ignore[misc]
            lambda one=one: one.vm(nobody),  # type: ignore[misc]
            lambda one=one: one.vm_row(nobody),  # type: ignore[misc]
            lambda one=one: one.host(nobody),  # type: ignore[misc]
            lambda one=one: one.host_row(nobody),  # type: ignore[misc]
            lambda one=one: one.home(nobody),  # type: ignore[misc]
        ]
    for ask in asks:
        with pytest.raises(MissingError) as raised:
            ask()
        assert isinstance(raised.value, kvmfw.RowError | ArgumentError)
        assert str(raised.value)
    assert (fleet.generation, fleet.shape) == (before, (3, 2))


@pytest.mark.parametrize("number", [3, 99, 9999, -1, 1 << 40, 0.7, "a"])
def test_a_class_that_there_is_not_takes_and_refuses_nobody(number: Any) -> None:
    fleet = small()
    for _ in range(2):
        with pytest.raises(MissingError):
            fleet.class_candidates(number, unknown="refuse", change="accept")
        # Once the table is filled, a look-up beside it would find the neighbour's cell.
        fleet.class_table()
        fleet.validate_pairs([0] * 9, [0] * 9)
    assert fleet.class_candidates(0, unknown="refuse", change="accept").tolist() == [True, True]


def test_names_that_several_have_mean_nobody() -> None:
    fleet = kvmfw.Fleet([tiny_set(name="x"), tiny_set(name="x"), tiny_set(name="")], [tiny_host()] * 2)
    with pytest.raises(MissingError, match="there is more than one VM with the name `x`"):
        fleet.candidates("x", unknown="refuse", change="accept")
    with pytest.raises(MissingError, match="more than one host"):
        fleet.host(fleet.host_names[0])
    fleet.remove_vms([0])
    assert fleet.vm_row("x") == 0


def test_handles_are_values() -> None:
    fleet = small()
    one, same, other = fleet.vm(0), fleet.vm("a"), fleet.vm(1)
    assert one == same != other > one
    assert {one: 1}[same] == 1
    assert pickle.loads(pickle.dumps(other)) == other
    assert fleet.vm_handles.tolist() == [one.number, other.number, 2]
    assert repr(kvmfw.VmHandle(7)) == "VmHandle(7)"
    assert one != fleet.host(0)  # type: ignore[comparison-overlap]
    with pytest.raises(MissingError):
        fleet.candidates(fleet.host(0), unknown="refuse", change="accept")  # type: ignore[arg-type]


def test_fleets_are_not_copied_and_snapshots_need_not_be() -> None:
    fleet = small()
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(CopyError, match="cannot be copied or pickled"):
            attempt(fleet)
    snapshot = fleet.snapshot()
    assert copy.copy(snapshot) is copy.deepcopy(snapshot) is snapshot.snapshot() is snapshot
    with pytest.raises(CopyError, match="cannot be pickled"):
        pickle.dumps(snapshot)


def test_names_and_matrices_are_copied_right_or_not_at_all() -> None:
    fleet = small()
    names = fleet.vm_names
    assert copy.copy(names) is copy.deepcopy(names) is names
    assert pickle.loads(pickle.dumps(names)) == ["a", "b", "c"] == names
    arcs = fleet.arcs(unknown="refuse", change="accept")
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(CopyError, match="send its arrays"):
            attempt(arcs)


def test_a_fleet_says_what_is_in_it() -> None:
    fleet = small()
    assert repr(fleet) == "<Fleet: 3 VMs in 3 classes, 2 hosts in 2 classes, kvm, generation 1>"
    assert repr(fleet.snapshot()).startswith("<Snapshot: 3 VMs")
    assert "<th>VMs</th><td>3</td><td>3</td>" in fleet._repr_html_()
    assert repr(fleet.arcs(unknown="refuse", change="accept")) == (
        "<Arcs: 5 from 3 VM classes to 2 host classes, change counts as accept, unknown as refuse, generation 1>"
    )


def test_members_of_a_batch_are_named_in_any_way() -> None:
    fleet = small()
    arcs = fleet.arcs(unknown="refuse", change="accept")

    def candidates(vms: Any) -> list[list[int]]:
        found = fleet.candidates_of(vms, unknown="refuse", change="accept", home="include")
        return [one.tolist() for one in found]

    hosts: list[Any] = ["old", "new", 1, fleet.host("new")]
    ways: list[Any] = [
        [0, 2, 1, 0],
        np.array([0, 2, 1, 0], dtype=np.uint8),
        ["a", 2, fleet.vm("b"), np.int64(0)],
        ("a", "c", "b", "a"),
        np.array(["a", "c", "b", "a"]),
        pa.array(["a", "c", "b", "a"]),
    ]
    for vms in ways:
        assert candidates(vms) == [[0, 2, 4, 5, 7], [0, 1, 0, 1, 0, 0, 1]]
        assert [one.tolist() for one in arcs.expand(vms)] == candidates(vms)
        assert fleet.validate_pairs(vms, hosts).tolist() == [1, 1, 3, 0]
    assert candidates(name for name in "acba") == candidates(ways[0])
    wrong: list[Any] = ["a", b"a", 7, None, np.zeros(2), np.zeros((1, 2), dtype=int)]
    for vms in wrong:
        with pytest.raises(ArgumentError):
            candidates(vms)
    for nobody in NOBODY:
        asks: list[Callable[[], Any]] = [
            lambda nobody=nobody: candidates([0, nobody]),  # type: ignore[misc]
            lambda nobody=nobody: arcs.expand([nobody]),  # type: ignore[misc]
            lambda nobody=nobody: fleet.validate_pairs(["a", nobody], [0, 0]),  # type: ignore[misc]
            lambda nobody=nobody: fleet.validate_pairs([0, 1], ["old", nobody]),  # type: ignore[misc]
        ]
        for ask in asks:
            with pytest.raises(MissingError):
                ask()
    with pytest.raises(MissingError) as told:
        fleet.validate_pairs([0, 0, 7, 9], [0, 1, 0, 0])
    assert told.value.row == 2
