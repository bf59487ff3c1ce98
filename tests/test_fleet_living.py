"""Fleets live: snapshots, moves, and readers that never wait."""

from __future__ import annotations

import itertools
import os
import resource
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import kvmfw
from kvmfw.errors import ArgumentError, MissingError
from kvmfw.testing import tiny_host, tiny_set
from tests.support.children import ends_well
from tests.support.fleets import check, direct, fleet_of, nested_table, random_fleet, small

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


def test_classes_that_hosts_had_are_told_when_numbers_are_given_anew() -> None:
    fleet = kvmfw.Fleet(
        [tiny_set()], [tiny_host(workaround_3=level, name=f"h{level}") for level in range(90)]
    )
    first, seen = fleet.generation, set(fleet.host_classes.tolist())
    fleet.remove_hosts(range(1, 90))
    for level in range(250):
        fleet.update_hosts({0: tiny_host(workaround_3=level % 50)})
    told, used = fleet.changes_since(first).host_classes, set(fleet.host_classes.tolist())
    assert fleet.class_shape[1] < 90, "what nobody has any more was let go of"
    assert all(told[number] == (number in used) for number in seen)


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


# --- homes ----------------------------------------------------------------------------------------


def test_a_host_that_shares_its_name_is_nobodys_home() -> None:
    """Homes are told by name: the VM would be on the first host of that name, whichever was meant."""
    host = tiny_host(name="rack")
    fleet = kvmfw.Fleet([tiny_set(name="a")], [host, tiny_host(name="own"), host])
    for which in (0, 2, fleet.host(2)):
        with pytest.raises(kvmfw.MissingError, match="more than one host with the name `rack`"):
            fleet.move("a", which)
    fleet.add_hosts([host.renamed("")])
    with pytest.raises(kvmfw.MissingError, match="a host without a name is nobody's home"):
        fleet.move("a", 3)
    assert fleet.vm_homes.tolist() == [-1]
    fleet.move("a", 1)
    assert fleet.vm_homes.tolist() == [1]


def test_homes_are_set_and_moved() -> None:
    fleet = small()
    assert fleet.vm_homes.tolist() == [0, 0, -1]
    with pytest.raises(ValueError, match="read-only"):
        fleet.vm_homes[0] = 1  # who moves a VM says so
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


def test_short_questions_and_changes_wait_for_no_thread() -> None:
    """A thread for each call takes a hundred microseconds; whoever waits for one gives up its core at least once."""
    known, other = tiny_host(workaround_3=1), tiny_host(workaround_3=0)
    fleet = kvmfw.Fleet([tiny_set(workaround_3=1)], [known, other, known])
    names = map(str, itertools.count())
    fleet.update_hosts({0: other})
    generation = fleet.generation
    calls: dict[str, Callable[[], object]] = {
        "update_hosts": lambda: fleet.update_hosts({0: known}),
        "explain": lambda: fleet.explain(0, 1),
        "changes_since": lambda: fleet.changes_since(generation),
        "add_vms": lambda: fleet.add_vms([tiny_set(workaround_3=1, name=next(names)) for _ in range(20)]),
    }
    waited = {}
    for name, call in calls.items():
        call()
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
        for _ in range(200):
            call()
        waited[name] = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - before
    assert max(waited.values()) < 100, waited
