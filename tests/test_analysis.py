"""Every number of an audit equals the one that plain loops give, on fleets made by chance."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import kvmfw
from kvmfw.analysis import (
    Report,
    best_upgrades,
    blockers,
    cures,
    examine,
    make_frame,
    open_fleet,
    policy_refusals,
    take_census,
    unit_outcomes,
)
from kvmfw.analysis.compare import diff_fleets
from kvmfw.analysis.same_cpu import same_cpu_totals
from kvmfw.analysis.schemes import compare_schemes
from kvmfw.verdict import Outcome
from tests.support.slow_audit import RandomFleet, SlowAudit, random_fleet, smallest
from tests.support.traps import without_kinds
from tests.support.units import unit_of

EXAMPLES = Path(__file__).parents[1] / "examples"
SEEDS = range(20)


def report_of(made: RandomFleet) -> tuple[kvmfw.Fleet, Report]:
    fleet = kvmfw.Fleet(made.vms, made.hosts)
    columns = {"capacity": [str(count) for count in made.capacity], "zone": made.zone}
    return fleet, examine(make_frame(fleet, columns=columns), columns=columns, few=3, group_by="zone")


def named(fleet: kvmfw.Fleet) -> Callable[[kvmfw.Finding], str]:
    names = fleet.units
    return lambda finding: names[unit_of(fleet, finding)]


@pytest.mark.parametrize("seed", SEEDS)
def test_every_number_equals_plain_loops(seed: int) -> None:
    made = random_fleet(seed)
    fleet, report = report_of(made)
    slow = SlowAudit(made, fleet.host_classes.tolist())
    tables = report.tables
    assert {row["outcome"]: row["pairs"] for row in tables["totals"]} == slow.totals()
    targets = slow.targets()
    assert [row["vm"] for row in tables["stranded"]] == [f"vm{v}" for v in slow.stranded()]
    few = {f"vm{v}": count for v, count in enumerate(targets) if 0 < count < 3}
    assert {row["vm"]: row["targets"] for row in tables["few_targets"]} == few
    traps = {(tuple(sorted(row["names"])), row["entrants"], row["residents"]) for row in tables["traps"]}
    assert traps == slow.traps()
    unit = named(fleet)
    every, sole = slow.pairs(unit)
    assert {row["unit"]: row["pairs"] for row in tables["blockers"]} == every
    assert {row["unit"]: row["sole_pairs"] for row in tables["blockers"] if row["sole_pairs"]} == sole
    # The fleet's own audit counts without what the report is made of.
    blockers = fleet.audit(unknown="refuse", change="accept").blockers.to_pylist()
    assert {row["unit"]: (row["pairs"], row["sole_pairs"]) for row in blockers} == {
        unit: (pairs, sole.get(unit, 0)) for unit, pairs in every.items()
    }
    for row in tables["blockers"]:
        assert row["freed"] == slow.freed_by(frozenset([row["unit"]]), unit), row
    for row in tables["cures"]:
        assert row["freed"] == slow.freed_by(frozenset(row["units"]), unit), row
    for row in tables["drain"]:
        host = fleet.host_names.index(row["name"])
        assert (row["stranded"], row["unplaced"]) == slow.drain({host}), row
    for row in tables["drain_groups"]:
        hosts = {h for h, zone in enumerate(made.zone) if zone == row["name"]}
        assert (row["stranded"], row["unplaced"]) == slow.drain(hosts), row
    passages = {(row["from"], row["to"], row["vms"], row["residents"]) for row in tables["passages"]}
    assert passages == slow.passages()
    assert {row["unit"]: row["shared"] for row in tables["blockers"] if row["shared"]} == slow.shared(unit)
    for column, wanted in zip(("pairs", "decisive"), slow.unknown(unit), strict=True):
        counts: Counter[str] = Counter()
        for row in tables["unknowns"]:
            counts[row["unit"]] += row[column]
        assert +counts == wanted
    for row in tables["groups"]:
        assert (row["vms"], row["stranded"], row["confined"]) == slow.group(row["group"])
    for row in tables["host_classes"]:
        hosts = {h for h, kind in enumerate(slow.same) if kind == row["class"]}
        takes = sum(slow.takes(v, min(hosts)) for v in range(len(made.vms)))
        residents = sum(home in hosts for home in slow.home)
        assert (row["hosts"], row["takes"], row["residents"]) == (len(hosts), takes, residents)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_best_upgrade_leaves_fewest_stranded(seed: int) -> None:
    made = random_fleet(seed)
    columns = {
        "capture": [host._native.name for host in made.hosts],
        "kernel": [host.kernel for host in made.hosts],
        "cpu": ["same"] * len(made.hosts),
    }
    fleet = kvmfw.Fleet(made.vms, made.hosts)
    today = len(SlowAudit(made, []).stranded())
    plan = best_upgrades(make_frame(fleet), columns, steps=1)
    left = {}
    for old in set(columns["capture"]):
        for new in set(columns["capture"]) - {old}:
            becomes = made.hosts[columns["capture"].index(new)]
            hosts = [
                becomes.renamed(host.name) if name == old else host
                for host, name in zip(made.hosts, columns["capture"], strict=True)
            ]
            changed = replace(made, hosts=hosts)
            left[old, new] = len(SlowAudit(changed, []).stranded())
    best = min(left.values(), default=today)
    if not plan:
        assert best >= today
    else:
        assert left[plan[0].capture, plan[0].becomes] == plan[0].stranded == best < today
        assert today - plan[0].freed + plan[0].newly_stranded == best


@pytest.mark.parametrize("seed", SEEDS)
def test_the_best_cure_of_each_size_is_among_the_cures(seed: int) -> None:
    made = random_fleet(seed)
    fleet, report = report_of(made)
    slow, unit = SlowAudit(made, fleet.host_classes.tolist()), named(fleet)
    units = [row["unit"] for row in report.tables["blockers"] if row["unit"] != "vCPU"]
    ranked = sorted(report.tables["cures"], key=lambda row: (len(row["units"]), -row["freed"]))
    for size in (1, 2):
        best = max((row["freed"] for row in ranked if len(row["units"]) <= size), default=0)
        single = max((row["freed"] for row in ranked if len(row["units"]) == 1), default=0)
        wanted = smallest(slow, units, unit, size)
        # Two single cures may free more together than any set that some VM needs as a whole.
        assert best <= wanted <= max(best, 2 * single), (size, best, wanted)
    freed = [row["freed"] for row in report.tables["plan"]]
    assert freed == sorted(set(freed))
    chosen = frozenset(name for row in report.tables["plan"] for name in row["cured"])
    assert (freed or [0])[-1] == slow.freed_by(chosen, unit)


def without(vms: list[kvmfw.RegisterSet], registers: set[int]) -> list[kvmfw.RegisterSet]:
    return [
        kvmfw.RegisterSet.from_mapping(
            {register: value for register, value in vm.to_mapping().items() if register not in registers},
            features=vm.features,
            vgic=vm.vgic,
            enabled=vm.enabled,
            name=vm.name,
            host=vm.host,
        )
        for vm in vms
    ]


def assert_freed(vms: list[kvmfw.RegisterSet], hosts: list[kvmfw.Host]) -> int:
    """Remove each blocker from all VMs, judge again, and compare the VMs freed."""
    fleet = kvmfw.Fleet(vms, hosts)
    frame = make_frame(fleet)
    before = frame.group_targets[frame.group_of] == 0
    ids = {number: register for number, (_, register, _) in enumerate(fleet.snapshot()._native.units())}
    judged = set(ids.values())
    checked = 0
    for row in blockers(take_census(frame), cures(frame)):
        register = ids[row.unit]
        if row.unit == 0:
            continue
        unjudged = {one for vm in vms for one in vm.to_mapping() if one not in judged}
        removed = unjudged if register is None else {register}
        cured = make_frame(kvmfw.Fleet(without(vms, removed), hosts))
        freed = before & (cured.group_targets[cured.group_of] > 0)
        assert int(freed.sum()) == row.freed, fleet.units[row.unit]
        checked += 1
    return checked


@pytest.mark.parametrize("seed", SEEDS)
def test_removing_a_blocker_frees_as_many_as_foretold(seed: int) -> None:
    made = random_fleet(seed)
    assert_freed(made.vms, made.hosts)


def test_removing_a_blocker_of_real_hosts_frees_as_many_as_foretold() -> None:
    opened = open_fleet(EXAMPLES)
    assert assert_freed(list(opened.vms), list(opened.hosts)) > 10


def test_numbers_agree_with_the_fleets_own_audit() -> None:
    made = random_fleet(3)
    fleet, report = report_of(made)
    audit = fleet.audit(unknown="refuse", change="accept")
    assert {row["outcome"]: row["pairs"] for row in report.tables["totals"]} == audit.to_dict()["totals"]
    assert report.tables["stranded"] == audit.stranded.to_pylist()
    assert without_kinds(report.tables["traps"]) == audit.traps.to_pylist()


def test_filters_keep_hosts_and_their_vms() -> None:
    made = random_fleet(next(seed for seed in SEEDS if set(random_fleet(seed).zone) == {"a", "b"}))
    fleet = kvmfw.Fleet(made.vms, made.hosts)
    frame = make_frame(fleet, columns={"zone": made.zone}, where={"zone": "a"})
    hosts = [h for h, zone in enumerate(made.zone) if zone == "a"]
    slow = SlowAudit(made, fleet.host_classes.tolist())
    kept = [v for v, home in enumerate(slow.home) if home in hosts]
    assert frame.vm_rows.tolist() == kept
    wanted = [sum(slow.takes(v, h) for h in hosts if h != slow.home[v]) for v in kept]
    assert frame.group_targets[frame.group_of].tolist() == wanted
    with pytest.raises(kvmfw.ArgumentError, match="no host has zone = c"):
        make_frame(fleet, columns={"zone": made.zone}, where={"zone": "c"})
    with pytest.raises(kvmfw.ArgumentError, match="no column `rack`; it has zone"):
        make_frame(fleet, columns={"zone": made.zone}, where={"rack": "1"})
    with pytest.raises(kvmfw.ArgumentError, match="expected"):
        make_frame(fleet, homes=np.zeros(99, dtype=np.int64))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kept", [None, "0"])
def test_pairs_with_the_same_cpu_equal_plain_loops(seed: int, kept: str | None) -> None:
    made = random_fleet(seed)
    cpus = [f"cpu {at // 2}" for at in range(len(made.hosts))]
    homes = np.random.default_rng(seed).integers(-1, len(made.hosts), len(made.vms))
    zone = [str(at // 2 % 2) for at in range(len(made.hosts))]
    where = {} if kept is None else {"zone": kept}
    fleet = kvmfw.Fleet(made.vms, made.hosts)
    frame = make_frame(fleet, homes=homes, columns={"zone": zone}, where=where)
    wanted: Counter[str] = Counter()
    for v in frame.vm_rows.tolist():
        home = int(frame.homes[v])
        for h in frame.host_rows.tolist():
            if home >= 0 and h != home and cpus[h] == cpus[home]:
                wanted[kvmfw.validate(made.vms[v], made.hosts[h]).outcome.name] += 1
    assert {name: count for name, count in same_cpu_totals(frame, cpus).items() if count} == dict(wanted)
    assert wanted


@pytest.mark.parametrize("seed", range(5))
def test_schemes_equal_plain_loops(seed: int) -> None:
    made = random_fleet(seed)
    slow = SlowAudit(made, [])
    for score in compare_schemes(made.vms, made.hosts):
        accepted = wrongly_accepted = wrongly_refused = 0
        for v, hosts in slow.others.items():
            for h in hosts:
                said = kvmfw.validate(made.vms[v], made.hosts[h], scheme=score.scheme).outcome
                truth = slow.verdict[v, h].outcome
                accepted += said < Outcome.UNKNOWN
                wrongly_accepted += said < Outcome.UNKNOWN and truth is Outcome.REFUSE
                wrongly_refused += said is Outcome.REFUSE and truth < Outcome.UNKNOWN
        found = (score.accepted, score.wrongly_accepted, score.wrongly_refused)
        assert found == (accepted, wrongly_accepted, wrongly_refused), score.scheme
        assert score.pairs == sum(map(len, slow.others.values()))
        assert {(one.unit, one.wrongly_accepted, one.wrongly_refused) for one in score.registers} == (
            by_register(made, slow, score.scheme)
        )
        assert (score.decided, score.decided_alone) == by_own_registers(
            made, slow, score.scheme, score.judges
        )


def said_by_unit(made: RandomFleet, v: int, h: int, scheme: str) -> dict[str, Outcome]:
    fleet = kvmfw.Fleet([made.vms[v]], [made.hosts[h]], scheme=scheme)
    said: dict[str, Outcome] = {}
    for finding in fleet.explain_units(0, 0).findings:
        name = fleet.units[unit_of(fleet, finding)]
        said[name] = max(said.get(name, Outcome.ACCEPT), finding.outcome)
    return said


def by_register(made: RandomFleet, slow: SlowAudit, scheme: str) -> set[tuple[str, int, int]]:
    """Count pair by pair, and unit by unit, where a scheme differs from KVM."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for v, hosts in slow.others.items():
        for h in hosts:
            said, truth = (said_by_unit(made, v, h, one) for one in (scheme, "kvm"))
            for at, refuses, takes in ((0, truth, said), (1, said, truth)):
                for name, outcome in refuses.items():
                    taken = takes.get(name, Outcome.ACCEPT) < Outcome.UNKNOWN
                    counts[name][at] += outcome is Outcome.REFUSE and taken
    return {(name, wrongly, lost) for name, (wrongly, lost) in counts.items() if wrongly or lost}


def by_own_registers(made: RandomFleet, slow: SlowAudit, scheme: str, own: Sequence[str]) -> tuple[int, int]:
    """Count pairs on which a register that the scheme judges is refused, and those on which nothing else is."""
    counts = [0, 0]
    for v, hosts in slow.others.items():
        for h in hosts:
            both = [said_by_unit(made, v, h, one) for one in (scheme, "kvm")]
            refused = {name for said in both for name, one in said.items() if one is Outcome.REFUSE}
            counts[0] += not refused.isdisjoint(own)
            counts[1] += bool(refused) and refused <= set(own)
    return counts[0], counts[1]


@pytest.mark.parametrize("seed", range(5))
def test_fleet_diff_equals_plain_loops(seed: int) -> None:
    made = random_fleet(seed)
    moved = [
        other.renamed(host.name)
        for host, other in zip(made.hosts, made.hosts[1:] + made.hosts[:1], strict=True)
    ]
    result = diff_fleets(kvmfw.Fleet(made.vms, made.hosts), kvmfw.Fleet(made.vms, moved))
    old = SlowAudit(made, [])
    new = SlowAudit(replace(made, hosts=moved), [])
    lost = set(new.stranded()) - set(old.stranded())
    won = set(old.stranded()) - set(new.stranded())
    assert [vm for vm, _ in result.newly_stranded] == [f"vm{v}" for v in sorted(lost)]
    assert [vm for vm, _ in result.freed] == [f"vm{v}" for v in sorted(won)]
    transitions: dict[tuple[Outcome, Outcome], int] = {}
    for v, hosts in old.others.items():
        for h in hosts:
            key = old.verdict[v, h].outcome, new.verdict[v, h].outcome
            transitions[key] = transitions.get(key, 0) + 1
    assert result.transitions == transitions
    refused = sum(
        old.takes(v, h) and new.verdict[v, h].outcome >= Outcome.UNKNOWN for v in lost for h in old.others[v]
    )
    assert sum(pairs for _, pairs in result.blockers) == refused


def test_policy_refusals_equal_plain_loops() -> None:
    opened = open_fleet(EXAMPLES, vmm="firecracker")
    plain = kvmfw.Fleet(opened.vms, opened.hosts)
    pairs = policy_refusals(make_frame(opened.fleet), plain)
    vms, hosts = opened.fleet.shape
    homes = opened.fleet.vm_homes
    grid = [(v, h) for v in range(vms) for h in range(hosts) if homes[v] != h]
    rows = np.array(grid)
    vm_rows, host_rows = np.ascontiguousarray(rows[:, 0]), np.ascontiguousarray(rows[:, 1])
    strict = opened.fleet.validate_pairs(vm_rows, host_rows)
    loose = plain.validate_pairs(vm_rows, host_rows)
    assert sum(pairs.values()) == int(((strict == 3) & (loose < 2)).sum()) > 0


@pytest.mark.parametrize("vmm", ["kvm", "firecracker", "crosvm", "cloud-hypervisor"])
def test_units_in_the_way_are_those_that_explain_names(vmm: str) -> None:
    fleet = open_fleet(EXAMPLES, vmm=vmm).fleet
    frame = make_frame(fleet)
    found = unit_outcomes(frame)
    columns = (found.vm_class, found.host_class, found.unit, found.outcome)
    told = set(zip(*(column.tolist() for column in columns), strict=True))
    wanted: dict[tuple[int, int, int], int] = {}
    vm_rows, host_rows = frame.first_rows()
    for vm_class, vm in enumerate(vm_rows.tolist()):
        for host_class, host in enumerate(host_rows.tolist()):
            for finding in fleet.explain(vm, host).findings:
                if finding.outcome >= Outcome.UNKNOWN:
                    key = vm_class, host_class, unit_of(fleet, finding)
                    wanted[key] = max(wanted.get(key, 0), int(finding.outcome))
    assert told == {(*key, outcome) for key, outcome in wanted.items()}
