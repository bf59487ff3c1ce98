"""Fleets live: identities that stay, snapshots, moves, and readers that never wait."""

from __future__ import annotations

import copy
import os
import pickle
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import kvmfw
from kvmfw.errors import ArgumentError, CopyError, MissingError
from kvmfw.testing import tiny_host, tiny_set
from tests.support.children import ends_well
from tests.support.fleets import check, direct, fleet_of, nested_table, random_fleet

NOBODY: list[Any] = [-1, 9999, 1 << 70, "nobody", "", 0.7, None, True, [0], b"a"]


def small() -> kvmfw.Fleet:
    """Three VMs on two hosts: `a` and `b` on `old`, which takes all; `new` takes `a` and `c`."""
    vms = [
        kvmfw.RegisterSet.from_mapping(tiny_set(workaround_3=level).to_mapping(), name=name, host=home)
        for name, level, home in (("a", 1, "old"), ("b", 2, "old"), ("c", 0, None))
    ]
    return kvmfw.Fleet(vms, [tiny_host(workaround_3=2, name="old"), tiny_host(workaround_3=1, name="new")])


# --- identities -----------------------------------------------------------------------------------


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


# --- snapshots ------------------------------------------------------------------------------------


def test_a_snapshot_stays() -> None:
    sets, hosts, host_of = random_fleet(5)
    fleet = fleet_of(sets[:30], hosts, host_of)
    before = fleet.snapshot()
    outcomes, _ = direct(sets[:30], hosts, host_of)
    names = [vm.name for vm in sets[:30]]
    fleet.add_vms(sets[30:])
    fleet.remove_vms(range(20))
    fleet.update_hosts(dict.fromkeys(range(4), hosts[0]))
    fleet.remove_hosts([5])
    fleet.add_hosts([hosts[1].renamed("late")])
    check(before, outcomes)
    assert list(before.vm_names) == names
    assert before.generation == 1
    now_of = [0 if row < 4 else kind for row, kind in enumerate(host_of) if row != 5] + [1]
    check(fleet, direct(sets[20:], hosts, now_of)[0])
    assert fleet.host_names[-1] == "late"


def test_what_changed_is_told_by_class() -> None:
    fleet = small()
    first = fleet.generation
    (of_a, of_b, of_c), rows = fleet.vm_classes.tolist(), [fleet.class_row(vm) for vm in range(3)]
    assert fleet.changes_since(first) == (first, {}, {})
    fleet.add_vms([tiny_set(workaround_3=2, name="again b")])
    assert fleet.changes_since(first) == (first + 1, {}, {})
    fleet.remove_vms(["c"])
    assert fleet.changes_since(first) == (first + 2, {of_c: False}, {})
    with pytest.raises(MissingError):
        fleet.class_candidates(of_c, unknown="refuse", change="accept")
    fleet.add_vms([tiny_set(workaround_1=1, name="d")])
    told = fleet.changes_since(first)
    assert told.vm_classes == {of_c: True}, "the number of a class that nobody is of is given to the next"
    assert fleet.vm_classes.tolist() == [of_a, of_b, of_b, of_c]
    assert all((fleet.class_row(vm) == rows[at]).all() for at, vm in enumerate("ab"))
    assert fleet.used_classes == (3, 2)


def test_candidates_of_many_are_those_of_each() -> None:
    sets, hosts, _host_of = random_fleet(4)
    homes = [
        kvmfw.RegisterSet.from_mapping(
            one.to_mapping(), features=one.features, name=one.name, host=hosts[at % len(hosts)].name
        )
        for at, one in enumerate(sets)
    ]
    fleet = fleet_of(homes, hosts, range(len(hosts)))
    rows = [3, 0, 3, 17]
    for home in ("include", "exclude"):
        starts, found = fleet.candidates_of(rows, unknown="accept", change="refuse", home=home)
        assert starts[0] == 0
        assert starts[-1] == len(found) > 0
        for at, row in enumerate(rows):
            one = fleet.candidates(row, unknown="accept", change="refuse", home=home)
            np.testing.assert_array_equal(found[int(starts[at]) : int(starts[at + 1])], one)
            assert home == "include" or row % len(hosts) not in one
    with pytest.raises(MissingError, match="VM row 99"):
        fleet.candidates_of([0, 99], unknown="accept", change="accept", home="include")


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


# --- homes ----------------------------------------------------------------------------------------


def test_homes_are_set_and_moved() -> None:
    fleet = small()
    assert fleet.vm_homes.tolist() == [0, 0, -1]
    fleet.move("a", "new")
    fleet.move("c", fleet.host("old"))
    fleet.move(1, None)
    assert (fleet.vm_homes.tolist(), fleet.home("a"), fleet.home("b")) == ([1, -1, 0], "new", None)
    assert list(fleet.candidates("a", unknown="refuse", change="accept")) == [0, 1]
    assert list(fleet.candidates("a", unknown="refuse", change="accept", home="exclude")) == [0]
    assert list(fleet.candidates("b", unknown="refuse", change="accept", home="exclude")) == [0]
    fleet.remove_hosts(["new"])
    assert (fleet.vm_homes.tolist(), fleet.unmatched_homes) == ([-1, -1, 0], {"new": 1})
    fleet.add_hosts([tiny_host(name="new")])
    assert fleet.vm_homes.tolist() == [1, -1, 0]
    with pytest.raises(ArgumentError, match="`home` is `own`"):
        fleet.candidates("a", unknown="refuse", change="accept", home="own")  # type: ignore[arg-type]


def test_a_vm_keeps_its_handle_and_home_with_other_registers() -> None:
    fleet = small()
    handle = fleet.vm("a")
    fleet.update_vms({"a": tiny_set(workaround_3=2)})
    assert (fleet.vm("a"), fleet.home("a"), fleet.vm_names[0]) == (handle, "old", "a")
    assert list(fleet.candidates("a", unknown="refuse", change="accept")) == [0]
    with pytest.raises(ArgumentError, match=r"expected a kvmfw\.RegisterSet"):
        fleet.update_vms({"a": 7})  # type: ignore[dict-item]


# --- readers beside writers -----------------------------------------------------------------------


def beside(write: Callable[[], None], *reads: Callable[[], Any], least: int = 0) -> list[int]:
    """Write, until each thread has read so often, while threads read; give how often each read came back meanwhile."""
    counts = [0] * len(reads)
    is_over, errors = threading.Event(), []

    def read(at: int) -> None:
        try:
            while not is_over.is_set():
                reads[at]()
                counts[at] += 1
        except BaseException as error:
            errors.append(error)

    readers = [threading.Thread(target=read, args=(at,)) for at in range(len(reads))]
    for reader in readers:
        reader.start()
    time.sleep(0.05)
    before, end = list(counts), time.monotonic() + 60
    while True:
        write()
        during = [count - start for count, start in zip(counts, before, strict=True)]
        if min(during) >= least or errors or time.monotonic() > end:
            break
    is_over.set()
    for reader in readers:
        reader.join()
    assert not errors, errors[0]
    return during


def test_nobody_waits_for_a_writer() -> None:
    """Each of these held the GIL while it waited for a writer, and all threads with it."""
    sets, hosts, host_of = random_fleet(2)
    fleet = fleet_of([one for one in sets if max(one.to_mapping().values()) < 1 << 64], hosts, host_of)
    rng = np.random.default_rng(0)
    many = nested_table([sets[at] for at in range(3)] * 10_000)
    many = many.set_column(0, "vm", pa.array([f"new{at}" for at in rng.permutation(len(many))]))
    reads: list[Callable[[], Any]] = [
        lambda: fleet.generation,
        lambda: fleet.shape,
        lambda: fleet.class_shape,
        lambda: fleet.units,
        lambda: fleet.class_row(0),
        lambda: fleet.vm_names[0],
        lambda: fleet.candidates("vm1", unknown="refuse", change="accept"),
    ]
    (during,) = beside(lambda: fleet.add_vms(many), lambda: [read() for read in reads])
    assert during >= 3
    assert fleet.shape[0] >= 30_000


def test_names_homes_and_answers_are_of_one_generation() -> None:
    levels = {"low": 0, "high": 2}
    fleet = kvmfw.Fleet(
        [
            kvmfw.RegisterSet.from_mapping(
                tiny_set(workaround_3=level).to_mapping(), name=f"{word}{number}", host=word
            )
            for number in range(40)
            for word, level in levels.items()
        ],
        [tiny_host(workaround_3=2, name="high"), tiny_host(workaround_3=0, name="low")],
    )
    wanted = {"low": [0, 1], "high": [0]}

    def read() -> None:
        now = fleet.snapshot()
        names, homes = list(now.vm_names), now.vm_homes
        starts, found = now.candidates_of(
            range(len(names)), unknown="refuse", change="accept", home="include"
        )
        for row, name in enumerate(names):
            word = name.rstrip("0123456789")
            assert homes[row] == ["high", "low"].index(word)
            assert found[int(starts[row]) : int(starts[row + 1])].tolist() == wanted[word]

    def by_name() -> None:
        for name in list(fleet.vm_names):
            try:
                found = fleet.candidates(name, unknown="refuse", change="accept")
            except MissingError:
                continue
            assert found.tolist() == wanted[name.rstrip("0123456789")]

    def together() -> None:
        assert len(fleet.counts()) in range(81)
        assert len(fleet.validate_matrix(unknown="refuse", change="accept")) in range(81)
        assert len(list(fleet.vm_names)) in range(81)

    def write() -> None:
        for turn in range(150):
            name = f"{'low' if turn % 2 else 'high'}{turn // 2 % 40}"
            at = fleet.vm_row(name)
            level = levels[name.rstrip("0123456789")]
            fleet.remove_vms([at])
            fleet.add_vms(
                [
                    kvmfw.RegisterSet.from_mapping(
                        tiny_set(workaround_3=level).to_mapping(), name=name, host=name.rstrip("0123456789")
                    )
                ]
            )

    during = beside(write, read, by_name, together, least=5)
    assert min(during) >= 5, during


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_goes_on_where_another_thread_was_changing() -> None:
    fleet = small()
    change = fleet._native.change()
    try:
        child = os.fork()
        if child == 0:
            try:
                fleet.add_vms([tiny_set(name="of the child")])
                right = (
                    fleet.shape == (4, 2)
                    and fleet.candidates("of the child", unknown="refuse", change="accept").size == 2
                )
            finally:
                os._exit(0 if right else 1)
        ends_well(child, "a thread that it does not have")
    finally:
        change.abandon()
    fleet.remove_vms(["a"])
    assert fleet.shape == (2, 2)
