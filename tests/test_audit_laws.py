"""Tables of an audit that the core counts by class, beside plain loops over VMs, hosts and captures."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import kvmfw
from kvmfw.analysis import (
    Frame,
    best_upgrades,
    cures,
    examine,
    make_frame,
    open_fleet,
    passages,
    take_census,
    unit_outcomes,
)
from kvmfw.analysis.security import Protection, Security, compare_security
from kvmfw.analysis.units import Samples
from kvmfw.verdict import Outcome
from tests.support.slow_audit import RandomFleet, SlowAudit, random_fleet
from tests.support.units import unit_of

EXAMPLES = Path(__file__).parents[1] / "examples"
SEEDS = range(20)
TREATS = [(True, False), (False, False), (True, True), (False, True)]


def taken_by(frame: Frame) -> list[list[bool]]:
    return [[bool(cell) for cell in row] for row in frame.taken[frame.vm_class][:, frame.host_class]]


# --- upgrades -------------------------------------------------------------------------------------


def slow_upgrades(
    frame: Frame,
    capture: Sequence[str],
    cpu: Sequence[str],
    kernel: Sequence[int],
    protection: dict[str, Protection],
    *,
    weaker: bool,
) -> list[tuple[str, str, int, int, int]]:
    """Try every pair of captures, each time on the whole fleet."""
    takes = taken_by(frame)
    first = {name: capture.index(name) for name in capture}
    state = list(range(len(capture)))
    like = {name: name for name in first}
    homes = frame.homes.tolist()

    def stranded(hosts: Sequence[int]) -> set[int]:
        """The VMs that no other host takes, where each host is as the host of that row."""
        return {
            vm
            for vm, home in enumerate(homes)
            if not any(takes[vm][row] for host, row in enumerate(hosts) if host != home)
        }

    plan = []
    for _ in range(5):
        before = stranded(state)
        tried = []
        for old, new in product(sorted(first), repeat=2):
            source, target = first[old], first[new]
            if cpu[source] != cpu[target] or kernel[first[like[old]]] > kernel[target]:
                continue
            if frame.host_class[state[source]] == frame.host_class[target]:
                continue
            compared = compare_security(protection[like[old]], protection[new]).security
            if compared is Security.WEAKER and not weaker:
                continue
            changed = [target if name == old else row for name, row in zip(capture, state, strict=True)]
            after = stranded(changed)
            tried.append((len(after), len(after - before), old, new, len(before - after), changed))
        if not tried or min(tried)[0] >= len(before):
            break
        left, lost, old, new, freed, state = min(tried)
        like[old] = new
        plan.append((old, new, freed, lost, left))
    return plan


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("weaker", [False, True])
def test_a_plan_of_upgrades_equals_trying_all_on_the_whole_fleet(seed: int, weaker: bool) -> None:
    made = random_fleet(seed)
    chance = random.Random(seed)
    capture = [host._native.name for host in made.hosts]
    names = sorted(set(capture))
    cpu_of = {name: chance.choice(["a", "a", "b"]) for name in names}
    kernel_of = {name: chance.choice([5, 6]) for name in names}
    options = ["quiet", "quiet", "mitigations=off"]
    protection = {name: Protection(chance.choice(options), {}) for name in names}
    cpu, kernel = [cpu_of[name] for name in capture], [kernel_of[name] for name in capture]
    change, unknown = TREATS[seed % 4]
    frame = make_frame(kvmfw.Fleet(made.vms, made.hosts), change=change, unknown=unknown)
    columns = {"capture": capture, "cpu": cpu, "kernel": [f"{number}.1" for number in kernel]}
    plan = best_upgrades(frame, columns, protection=protection, weaker=weaker)
    found = [(one.capture, one.becomes, one.freed, one.newly_stranded, one.stranded) for one in plan]
    assert found == slow_upgrades(frame, capture, cpu, kernel, protection, weaker=weaker)


def test_some_random_fleets_have_plans_of_several_upgrades() -> None:
    """The law above would hold of nothing if no fleet could be bettered."""
    steps: Counter[int] = Counter()
    for seed in SEEDS:
        made = random_fleet(seed)
        count = len(made.hosts)
        columns = {"capture": [host._native.name for host in made.hosts]}
        columns |= {"cpu": ["a"] * count, "kernel": ["6.1"] * count}
        steps[len(best_upgrades(make_frame(kvmfw.Fleet(made.vms, made.hosts)), columns))] += 1
    assert steps[1] >= 2
    assert sum(count for number, count in steps.items() if number > 1) >= 1


# --- cures ----------------------------------------------------------------------------------------


def ways_of(made: RandomFleet, fleet: kvmfw.Fleet) -> list[set[frozenset[int]]]:
    """For each stranded VM the sets of units in the way, one for each other host where the vCPU is not one."""
    slow = SlowAudit(made, [])
    names = {name: number for number, name in enumerate(fleet.units)}
    found = []
    for vm in slow.stranded():
        blocked = [
            slow.blocking(vm, host, lambda finding: fleet.units[unit_of(fleet, finding)])
            for host in slow.others[vm]
        ]
        found.append({frozenset(names[name] for name in one) for one in blocked if "vCPU" not in one})
    return found


def smallest_first(units: frozenset[int]) -> tuple[int, list[int]]:
    return len(units), sorted(units)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("limit", [1000, 2])
def test_cures_and_plan_equal_plain_loops(seed: int, limit: int) -> None:
    made = random_fleet(seed)
    fleet = kvmfw.Fleet(made.vms, made.hosts)
    every = ways_of(made, fleet)
    least = [{way for way in ways if not any(other < way for other in ways)} for ways in every]
    needed = Counter(way for ways in least for way in ways)
    candidates = sorted(needed, key=lambda way: (-needed[way], *smallest_first(way)))[:limit]

    def freed(units: frozenset[int]) -> int:
        return sum(any(way <= units for way in ways) for ways in every)

    wanted: list[tuple[frozenset[int], int]] = []
    for units in sorted(candidates, key=smallest_first):
        if not any(part < units and count >= freed(units) for part, count in wanted):
            wanted.append((units, freed(units)))
    wanted.sort(key=lambda one: (-one[1], *smallest_first(one[0])))
    found = cures(make_frame(fleet), limit=limit)
    assert [(frozenset(one.units), one.freed) for one in found.found] == wanted
    assert found.left_out == len(needed) - len(candidates)
    assert found.cut == 0
    chosen: frozenset[int] = frozenset()
    for step in found.plan:
        gains = [
            (-(freed(chosen | one) - freed(chosen)) / len(one - chosen), *smallest_first(one - chosen))
            for one in candidates
            if one - chosen and freed(chosen | one) > freed(chosen)
        ]
        assert list(step.units) == min(gains)[2]
        chosen |= frozenset(step.units)
        assert step.freed == freed(chosen)
    assert len(found.plan) == 10 or all(freed(chosen | one) == freed(chosen) for one in candidates)


# --- units ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("change", "unknown"), TREATS)
def test_a_census_counts_what_units_say_of_pairs(seed: int, change: bool, unknown: bool) -> None:
    made = random_fleet(seed)
    columns = {"zone": made.zone}
    where = {"zone": made.zone[0]} if seed % 3 == 0 else None
    frame = make_frame(
        kvmfw.Fleet(made.vms, made.hosts), columns=columns, where=where, change=change, unknown=unknown
    )
    census = take_census(frame)
    rows = unit_outcomes(frame)
    said: dict[tuple[int, int, int], list[int]] = {}
    by_pair: dict[tuple[int, int], set[int]] = {}
    pairs, sole = Counter[int](), Counter[int]()
    told = list(
        zip(
            *(column.tolist() for column in (rows.vm_class, rows.host_class, rows.unit, rows.outcome)),
            strict=True,
        )
    )
    taken = {Outcome.ACCEPT, *([Outcome.CHANGE] if change else []), *([Outcome.UNKNOWN] if unknown else [])}
    for vm_class, host_class, unit, outcome in told:
        if Outcome(outcome) not in taken:
            by_pair.setdefault((vm_class, host_class), set()).add(unit)
    groups = list(
        zip(
            frame.group_vm_class.tolist(),
            frame.group_home_class.tolist(),
            frame.group_weight.tolist(),
            strict=True,
        )
    )
    for vm_class, host_class, unit, outcome in told:
        vms = sum(weight for own, _, weight in groups if own == vm_class)
        count = sum(
            weight * (int(frame.host_weight[host_class]) - (home == host_class))
            for own, home, weight in groups
            if own == vm_class
        )
        row = said.setdefault((unit, host_class, outcome), [vm_class, 0, 0, 0])
        row[1] += vms
        row[2] += count
        if outcome == Outcome.UNKNOWN and frame.outcomes[vm_class, host_class] == Outcome.UNKNOWN:
            row[3] += count
        if Outcome(outcome) not in taken:
            pairs[unit] += count
            sole[unit] += count if len(by_pair[vm_class, host_class]) == 1 else 0
    found = (census.unit, census.host_class, census.outcome)
    numbers = (census.vm_class, census.vms, census.pairs, census.decisive)
    keys = list(zip(*(column.tolist() for column in found), strict=True))
    assert keys == sorted(said)
    assert [list(row) for row in zip(*(column.tolist() for column in numbers), strict=True)] == [
        said[key] for key in keys
    ]
    for counts, column in ((pairs, census.unit_pairs), (sole, census.unit_sole)):
        assert [counts[unit] for unit in range(len(column))] == column.tolist()


@pytest.mark.parametrize("vmm", ["kvm", "firecracker"])
def test_a_sample_is_what_the_first_vm_is_told_on_each_host_class(vmm: str) -> None:
    """Host classes that judge a unit alike share their sample: it must be the one that each would have."""
    frame = make_frame(open_fleet(EXAMPLES, vmm=vmm).fleet)
    census = take_census(frame)
    samples = Samples(frame, census)
    vm_rows, host_rows = frame.first_rows()
    shared = 0
    for unit, host_class, outcome, vm_class in zip(
        *(column.tolist() for column in (census.unit, census.host_class, census.outcome, census.vm_class)),
        strict=True,
    ):
        verdict = frame.fleet.explain_units(int(vm_rows[vm_class]), int(host_rows[host_class]))
        own = next(
            one for one in verdict.findings if (unit_of(frame.fleet, one), one.outcome) == (unit, outcome)
        )
        assert samples.finding(unit, host_class, Outcome(outcome)) == own
        shared += 1
    assert shared > 100


# --- places ---------------------------------------------------------------------------------------


def most_placed(takes: Sequence[Sequence[bool]], vms: Sequence[int], places: Sequence[int]) -> int:
    """Place VMs one by one, each by moving others on where there is a way (augmenting paths)."""
    slots = [host for host, count in enumerate(places) for _ in range(count)]
    of_slot: dict[int, int] = {}

    def place(vm: int, seen: set[int]) -> bool:
        for slot, host in enumerate(slots):
            if slot not in seen and takes[vm][host]:
                seen.add(slot)
                if slot not in of_slot or place(of_slot[slot], seen):
                    of_slot[slot] = vm
                    return True
        return False

    return sum(place(vm, set()) for vm, count in enumerate(vms) for _ in range(count))


@pytest.mark.parametrize("seed", SEEDS)
def test_as_many_vms_find_a_place_as_can(seed: int) -> None:
    chance = random.Random(seed)
    frame = make_frame(_fleet(seed), change=True, unknown=True)
    vm_classes, host_classes = frame.outcomes.shape
    living = np.flatnonzero(frame.class_vms).astype(np.uint32)
    takes = frame.taken.tolist()
    for _ in range(20):
        vms = [chance.choice([0, 1, 3]) for _ in range(vm_classes)]
        places = [chance.choice([0, 0, 1, 4]) for _ in range(host_classes)]
        left = frame.takers.unplaced(
            np.arange(vm_classes, dtype=np.uint32),
            np.array(vms, dtype=np.uint64),
            np.array(places, dtype=np.uint64),
        )
        assert left == sum(vms) - most_placed(takes, vms, places)
    with pytest.raises(kvmfw.ArgumentError, match="do not fit together"):
        frame.takers.unplaced(living, np.zeros(0, dtype=np.uint64), np.zeros(host_classes, dtype=np.uint64))


def test_groups_that_do_not_fit_the_classes_are_refused() -> None:
    frame = make_frame(_fleet(3))
    vm_class, home, vms = frame.groups
    for groups, words in (
        ((vm_class[::-1].copy(), home, vms), "in the order"),
        ((vm_class + np.uint32(99), home, vms), "a class that there is not"),
        ((vm_class, home + 99, vms), "a class that there is not"),
        ((vm_class, home[1:], vms), "differ in length"),
    ):
        with pytest.raises(kvmfw.ArgumentError, match=words):
            frame.takers.circles(groups)
        with pytest.raises(kvmfw.ArgumentError, match=words):
            frame.takers.passages(groups, 5)


# --- what is left out is told ---------------------------------------------------------------------


def test_moves_that_are_not_listed_are_counted() -> None:
    most = max(SEEDS, key=lambda seed: len(passages(make_frame(_fleet(seed)))[0]))
    frame = make_frame(_fleet(most))
    every, count = passages(frame)
    assert count == len(every) >= 2
    assert every == sorted(every, key=lambda one: (-one.vms, -one.residents, one.source, one.target))
    assert passages(frame, most=1) == (every[:1], count)


def _fleet(seed: int) -> kvmfw.Fleet:
    made = random_fleet(seed)
    return kvmfw.Fleet(made.vms, made.hosts)


def test_what_was_not_looked_at_is_among_what_was_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    from kvmfw.analysis import report  # noqa: PLC0415

    seed = next(seed for seed in SEEDS if len(cures(make_frame(_fleet(seed))).found) > 2)
    monkeypatch.setattr(report, "cures", lambda frame: cures(frame, limit=1))
    monkeypatch.setattr(report, "passages", lambda frame: passages(frame, most=0))
    rows = {row["word"]: row for row in examine(make_frame(_fleet(seed))).tables["not_judged"]}
    assert rows["cures"]["count"] > 0


@pytest.mark.parametrize("seed", SEEDS)
def test_an_audit_is_of_the_fleet_as_it_was_when_its_frame_was_made(seed: int) -> None:
    made = random_fleet(seed)
    fleet = kvmfw.Fleet(made.vms, made.hosts)
    frame, other = make_frame(fleet), make_frame(_fleet(seed))
    fleet.update_hosts(dict.fromkeys(range(len(made.hosts)), made.hosts[0]))
    fleet.remove_vms(list(range(len(made.vms) // 2)))
    assert examine(frame).to_dict() == examine(other).to_dict()


class _StopError(Exception):
    pass


def test_who_is_told_how_far_an_audit_is_can_stop_it() -> None:
    def stop(permille: int) -> None:
        raise _StopError(permille)

    with pytest.raises(_StopError):
        examine(make_frame(_fleet(3), tell=stop))
