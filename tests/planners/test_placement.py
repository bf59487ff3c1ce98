"""Placements: what the table, the room and the groups allow, and as many as can be."""

from __future__ import annotations

import random
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kvmfw
from kvmfw.planners.formulation import Groups, formulated
from kvmfw.planners.placement import evacuate, place
from kvmfw.planners.solvers import SOLVERS
from kvmfw.testing import tiny_host, tiny_set

UNKNOWN = kvmfw.Outcome.UNKNOWN
EMPTY = np.zeros((0, 2), dtype=np.int64)


def random_parts(seed: int, vms: int, hosts: int) -> tuple[list[kvmfw.RegisterSet], list[kvmfw.Host]]:
    rng = random.Random(seed)
    sets = [
        kvmfw.RegisterSet.from_mapping(
            tiny_set(workaround_1=rng.randrange(3), workaround_3=rng.randrange(3)).to_mapping(),
            name=f"vm{at}",
            host=f"h{rng.randrange(hosts)}",
        )
        for at in range(vms)
    ]
    levels = [(rng.randrange(3), rng.randrange(3)) for _ in range(hosts)]
    made = [tiny_host(workaround_1=a, workaround_3=b, name=f"h{at}") for at, (a, b) in enumerate(levels)]
    return sets, made


def takes(sets: list[kvmfw.RegisterSet], hosts: list[kvmfw.Host]) -> list[list[bool]]:
    """Ask the direct judge, pair by pair."""
    return [[kvmfw.validate(vm, host).outcome < UNKNOWN for host in hosts] for vm in sets]


def matched(takers: list[list[bool]], places: list[int]) -> int:
    """Give the largest matching of VMs and places, by augmenting paths."""
    slots = [host for host, count in enumerate(places) for _ in range(count)]
    owner: dict[int, int] = {}

    def find(vm: int, seen: set[int]) -> bool:
        for slot, host in enumerate(slots):
            if takers[vm][host] and slot not in seen:
                seen.add(slot)
                if slot not in owner or find(owner[slot], seen):
                    owner[slot] = vm
                    return True
        return False

    return sum(find(vm, set()) for vm in range(len(takers)))


@pytest.mark.parametrize("solver", SOLVERS)
@given(seed=st.integers(0, 1 << 20))
@settings(max_examples=15)
def test_vms_of_one_size_are_placed_as_the_largest_matching_does(solver: Any, seed: int) -> None:
    rng = random.Random(seed)
    sets, hosts = random_parts(seed, vms=rng.randrange(1, 30), hosts=rng.randrange(1, 8))
    room = [rng.randrange(6) for _ in hosts]
    fleet = kvmfw.Fleet(sets, hosts)
    found = place(
        fleet, sizes=[1] * len(sets), room=room, unknown="refuse", change="accept", solver=solver, gap=0
    )
    takers = takes(sets, hosts)
    assert found.placed == matched(takers, room) <= found.bound
    assert found.takeable == sum(map(any, takers))
    for vm, host in zip(found.vms, found.hosts, strict=True):
        assert host < 0 or takers[vm][host]
    assert (np.bincount(found.hosts[found.hosts >= 0], minlength=len(hosts)) <= room).all()


@given(seed=st.integers(0, 1 << 20))
@settings(max_examples=25)
def test_sizes_and_groups_hold_and_no_plan_beats_the_bound(seed: int) -> None:
    rng = random.Random(seed)
    sets, hosts = random_parts(seed, vms=7, hosts=3)
    sizes = [[rng.randrange(4), rng.randrange(4)] for _ in sets]
    room = [[rng.randrange(8), rng.randrange(8)] for _ in hosts]
    groups = [rng.choice([-1, -1, 0, 1]) for _ in sets]
    held = [(rng.randrange(3), rng.randrange(2)) for _ in range(rng.randrange(3))]
    takers = takes(sets, hosts)

    def fits(plan: tuple[int, ...]) -> bool:
        placed = [(vm, host) for vm, host in enumerate(plan) if host >= 0]
        if not all(takers[vm][host] for vm, host in placed):
            return False
        apart = [(host, groups[vm]) for vm, host in placed if groups[vm] >= 0]
        if len({*apart, *held}) < len(apart) + len(set(held)):
            return False
        return all(
            sum(sizes[vm][resource] for vm, at in placed if at == host) <= room[host][resource]
            for host, resource in product(range(3), range(2))
        )

    best = max(
        sum(host >= 0 for host in plan) for plan in product(range(-1, 3), repeat=len(sets)) if fits(plan)
    )
    for solver in SOLVERS:
        found = place(
            kvmfw.Fleet(sets, hosts),
            sizes=sizes,
            room=room,
            groups=groups,
            held=held,
            unknown="refuse",
            change="accept",
            solver=solver,  # type: ignore[arg-type]
            gap=0,
        )
        assert fits(tuple(found.hosts.tolist()))
        assert found.placed <= best <= found.bound


def test_what_changes_nothing_comes_first() -> None:
    hosts = [tiny_host(workaround_3=2, name="raises"), tiny_host(workaround_3=1, name="same")]
    fleet = kvmfw.Fleet([tiny_set(workaround_3=1)], hosts)
    for solver in SOLVERS:
        found = place(fleet, sizes=[1], room=[1, 1], unknown="refuse", change="accept", solver=solver, gap=0)  # type: ignore[arg-type]
        assert found.hosts.tolist() == [1]


def test_an_evacuated_host_is_empty_and_nobody_else_moves() -> None:
    sets, hosts = random_parts(5, vms=40, hosts=6)
    fleet = kvmfw.Fleet(sets, hosts)
    groups = np.array([at % 5 if at % 3 else -1 for at in range(40)])
    found = evacuate(
        fleet,
        ["h1", "h4"],
        sizes=[1] * 40,
        capacity=[12] * 6,
        groups=groups,
        unknown="refuse",
        change="accept",
    )
    assert found.vms.tolist() == [at for at, vm in enumerate(sets) if vm.host in ("h1", "h4")]
    assert not {1, 4} & set(found.hosts.tolist())
    assert found.placed > 0
    residents = np.bincount([int((vm.host or "h0")[1:]) for vm in sets], minlength=6)
    arrivals = np.bincount(found.hosts[found.hosts >= 0], minlength=6)
    assert (arrivals <= np.maximum(12 - residents, 0)).all()
    for vm, host in zip(found.vms, found.hosts, strict=True):
        if host >= 0 and groups[vm] >= 0:
            there = [at for at, one in enumerate(sets) if one.host == f"h{host}" and at not in found.vms]
            there += [at for at, to in zip(found.vms, found.hosts, strict=True) if to == host and at != vm]
            assert groups[vm] not in groups[there]


def test_classes_that_fare_alike_everywhere_are_one_kind() -> None:
    """No fleet needs more variables than it has kinds of answers."""
    hosts = [tiny_host(workaround_3=2, name="a"), tiny_host(workaround_1=0, name="b")]
    levels = [(1, 0), (1, 1), (1, 2), (0, 0)]
    sets = [tiny_set(workaround_1=a, workaround_3=b, name=f"{a}{b}") for a, b in levels]
    now = kvmfw.Fleet(sets, hosts).snapshot()
    arcs, groups = now.arcs(unknown="refuse", change="accept"), Groups(np.full(4, -1), EMPTY, np.arange(2))
    classes = np.searchsorted(arcs.vm_classes, now.vm_classes)
    ones = np.ones((4, 1), dtype=np.int64)
    made = formulated(arcs, classes, ones, ones[:2], groups)
    outcomes = [tuple(now.validate_pairs([vm, vm], [0, 1]).tolist()) for vm in range(4)]
    assert len(set(outcomes)) == len(made.size_of) < len(arcs.vm_classes)
    assert all(
        (made.kind_of[a] == made.kind_of[b]) == (outcomes[a] == outcomes[b])
        for a, b in product(range(4), repeat=2)
    )


def test_a_hundred_per_cent_full_class_uses_fragments_elsewhere() -> None:
    """Together the hosts of a class have room that no single one has: the VM goes elsewhere."""
    hosts = [tiny_host(workaround_3=1, name=name) for name in "ab"] + [tiny_host(workaround_3=2, name="c")]
    fleet = kvmfw.Fleet([tiny_set(workaround_3=1, name="big")], hosts)
    found = place(fleet, sizes=[3], room=[2, 2, 3], unknown="refuse", change="accept")
    assert found.hosts.tolist() == [2]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"sizes": [1]}, "`sizes` has shape"),
        ({"room": [[1, 1]]}, "`room` has shape"),
        ({"sizes": [1, -1]}, "`sizes` has a number below 0"),
        ({"sizes": [1.5, 1]}, "expected integers"),
        ({"groups": [1]}, "`groups` has shape"),
        ({"solver": "gurobi"}, "`solver` is `gurobi`"),
    ],
)
def test_arguments_that_do_not_fit_are_told(wrong: dict[str, Any], sentence: str) -> None:
    fleet = kvmfw.Fleet([tiny_set(name="a"), tiny_set(name="b")], [tiny_host()])
    right: dict[str, Any] = {"sizes": [1, 1], "room": [2], "unknown": "refuse", "change": "accept"}
    with pytest.raises(kvmfw.ArgumentError, match=sentence):
        place(fleet, **(right | wrong))
