"""Rollouts: an order in which every VM has a place at every step, and none that costs less."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from functools import cache
from heapq import heappop, heappush
from itertools import combinations, count, product
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import example, given, settings
from hypothesis import strategies as st

import kvmfw
from kvmfw.cli import main
from kvmfw.planners.rollout import Ask, Rollout, plan_rollout
from kvmfw.testing import tiny_host, tiny_set

UNKNOWN = kvmfw.Outcome.UNKNOWN
Signature = tuple[tuple[str, int | None], ...]
Rows = frozenset[int]
Anew = frozenset[tuple[int, Signature]]


class Case:
    """A random fleet, in which hosts become what takes more, less or other VMs."""

    def __init__(self, seed: int, hosts: int, vms: int) -> None:
        rng = random.Random(seed)
        levels = [(rng.randrange(3), rng.randrange(3)) for _ in range(hosts)]
        self.hosts = [host(*level, name=f"h{at}") for at, level in enumerate(levels)]
        upgraded = [host(rng.randrange(3), rng.randrange(3), name=f"new{at}") for at in range(2)]
        self.becomes = {row: rng.choice(upgraded) for row in range(hosts) if rng.random() < 0.85}
        self.becomes = self.becomes or {0: upgraded[0]}
        self.homes = [rng.randrange(hosts) for _ in range(vms)]
        self.vms = []
        for at, home in enumerate(self.homes):
            # Most VMs are on a host that takes them.
            most = levels[home] if rng.random() < 0.9 else (2, 2)
            saved = tiny_set(workaround_1=rng.randint(0, most[0]), workaround_3=rng.randint(0, most[1]))
            self.vms.append(
                kvmfw.RegisterSet.from_mapping(saved.to_mapping(), name=f"vm{at}", host=f"h{home}")
            )
        full = [self.homes.count(row) for row in range(hosts)]
        self.capacity = [count + rng.randrange(3) for count in full] if rng.random() < 0.7 else None
        self.keep_cost = rng.choice([1, 1, 2, 3])

    def plan(self, at_once: int = 1) -> Rollout:
        ask = Ask(
            self.becomes,
            self.capacity,
            keep_cost=self.keep_cost,
            at_once=at_once,
            unknown="refuse",
            change="accept",
        )
        return plan_rollout(kvmfw.Fleet(self.vms, self.hosts), ask)


def host(workaround_1: int, workaround_3: int, name: str) -> kvmfw.Host:
    return tiny_host(workaround_1=workaround_1, workaround_3=workaround_3, name=name)


def cheapest(case: Case) -> int:
    """Try every order of single hosts, every VM started anew on every host, every host kept back: what costs least.

    Who is stopped for a drain starts after it, and may be stopped again for another one.
    """
    hosts, vms = range(len(case.hosts)), range(len(case.vms))
    before = [[kvmfw.validate(vm, one).outcome < UNKNOWN for one in case.hosts] for vm in case.vms]
    after = [
        [kvmfw.validate(vm, case.becomes.get(row, case.hosts[row])).outcome < UNKNOWN for row in hosts]
        for vm in case.vms
    ]
    limit = case.capacity or [len(case.vms)] * len(case.hosts)
    old = [signature(one) for one in case.hosts]
    new = [signature(case.becomes.get(row, case.hosts[row])) for row in hosts]

    def guests(upgraded: Rows, out: int | None) -> set[int]:
        """Those who are where they would not be taken: they stay, and are not started anew, until their host is drained."""
        return {
            vm
            for vm in vms
            if not before[vm][case.homes[vm]] and case.homes[vm] not in upgraded and case.homes[vm] != out
        }

    @cache
    def placed(upgraded: Rows, out: int | None, anew: Anew, stopped: Rows) -> bool:
        """Look for a matching of VMs and places."""
        owner: dict[tuple[int, int], int] = {}
        started = dict(anew)

        def may(vm: int, row: int) -> bool:
            if row == out:
                return False
            if vm in started:
                return started[vm] == (new if row in upgraded else old)[row]
            return (after if row in upgraded else before)[vm][row]

        def find(vm: int, seen: set[tuple[int, int]]) -> bool:
            for row in hosts:
                if not may(vm, row):
                    continue
                for slot in range(limit[row] - pinned_at[row]):
                    if (row, slot) not in seen:
                        seen.add((row, slot))
                        if (row, slot) not in owner or find(owner[row, slot], seen):
                            owner[row, slot] = vm
                            return True
            return False

        pinned = [vm for vm in vms if vm not in started and vm in guests(upgraded, out)]
        pinned_at = [sum(case.homes[vm] == row for vm in pinned) for row in hosts]
        asked = [vm for vm in vms if vm not in pinned and vm not in stopped]
        return all(find(vm, set()) for vm in asked)

    def steps(upgraded: Rows, anew: Anew, row: int, most: int) -> Iterator[tuple[int, Rows, Anew]]:
        may_stop = {vm for vm, _ in anew} | (set(vms) - guests(upgraded, row))
        done = upgraded | {row}
        kinds = {(new if one in done else old)[one] for one in hosts}
        for stopped in choices(may_stop, most):
            running = frozenset((vm, kind) for vm, kind in anew if vm not in stopped)
            if placed(upgraded, row, running, stopped):
                for starts in product(kinds, repeat=len(stopped)):
                    started = running | set(zip(sorted(stopped), starts, strict=True))
                    if placed(done, None, started, frozenset()):
                        yield len(stopped), done, started

    best = case.keep_cost * len(case.becomes)
    number = count()
    states: list[tuple[int, int, int, Rows, Anew]] = [(0, 0, next(number), frozenset(), frozenset())]
    seen = set()
    while states:
        cost, _, _, upgraded, anew = heappop(states)
        if cost >= best or (upgraded, anew) in seen:
            continue
        seen.add((upgraded, anew))
        best = min(best, cost + case.keep_cost * (len(case.becomes) - len(upgraded)))
        for row in set(case.becomes) - upgraded:
            for stops, done, started in steps(upgraded, anew, row, best - 1 - cost):
                heappush(states, (cost + stops, -len(done), next(number), done, started))
    return best


def choices(vms: set[int], most: int) -> Iterator[Rows]:
    for size in range(min(most, len(vms)) + 1):
        yield from map(frozenset, combinations(sorted(vms), size))


@cache
def signature(one: kvmfw.Host) -> Signature:
    registers = list(tiny_set().to_mapping())
    return tuple(
        (effect, reads) for register in registers for effect, _, reads in one.ask("vm", register, range(4))
    )


# Whoever starts anew on another host than the one that is drained costs less there: VM 1 on h0, while h2 is drained.
@example(25718)
@given(st.integers(0, 1 << 20))
@settings(max_examples=30)
def test_the_order_is_as_good_as_an_exhaustive_search_finds(seed: int) -> None:
    rng = random.Random(seed)
    hosts = rng.choice([2, 3, 3, 4, 4, 5, 6, 9, 12])
    case = Case(seed, hosts=hosts, vms=rng.randrange(1, 7 if hosts < 5 else 5) if hosts < 7 else 3)
    plan = case.plan()
    assert plan.is_best
    assert plan.cost == cheapest(case)
    assert plan.upgraded + len(plan.kept) == len(case.becomes)


@given(st.integers(0, 1 << 20), st.integers(1, 3))
@settings(max_examples=10)
def test_the_fast_way_is_sound_and_never_better_than_the_best(seed: int, at_once: int) -> None:
    case = Case(seed, hosts=7, vms=14)
    best, fast = case.plan(), case.plan(at_once=max(at_once, 2))
    assert fast.bound is not None
    assert best.bound is not None
    assert fast.bound <= fast.cost
    assert not best.is_best or best.cost <= fast.cost
    for plan in (best, fast):
        assert sorted([*plan.kept, *(row for step in plan.steps for row in step.hosts)]) == sorted(
            case.becomes
        )
    assert all(len(wave.hosts) <= max(at_once, 2) for step in fast.steps for wave in step.waves)


def test_a_search_in_vain_ends() -> None:
    """Where a drain needs many VMs started anew, all choices of these were looked at, however many there are."""
    kinds = [tiny_set(workaround_1=one, workaround_3=other) for one in range(3) for other in range(2)]
    vms = [
        kvmfw.RegisterSet.from_mapping(kinds[at % 6].to_mapping(), name=f"vm{at}", host=f"h{at // 20}")
        for at in range(40)
    ]
    ask = Ask(
        dict.fromkeys(range(2), host(2, 2, "new")), [20, 20], keep_cost=10, unknown="refuse", change="accept"
    )
    plan = plan_rollout(kvmfw.Fleet(vms, [host(2, 1, f"h{at}") for at in range(2)]), ask)
    assert plan.cost == 20
    assert not plan.is_best


# --- the command ----------------------------------------------------------------------------------

EXAMPLES = Path(__file__).parents[2] / "examples"
V1 = "6.18.15+deb13-arm64__neoverse-v1__default"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def test_a_rollout_of_the_examples_is_told_in_every_form(tmp_path: Path) -> None:
    result = run("rollout", EXAMPLES, "--to", V1, "--format", "json", "--html", tmp_path / "picture.html")
    assert result.exit_code == 2, result.output
    document = json.loads(result.stdout)
    assert document["kept"]
    assert document["best"]
    assert document["cost"] == document["bound"] == len(document["kept"]) + len(document["restarts"])
    assert sum(len(step["hosts"]) for step in document["steps"]) == document["upgraded"] > 0
    assert run("rollout", EXAMPLES, "--to", V1, "--format", "json", "--fail-on", "none").exit_code == 0
    picture = (tmp_path / "picture.html").read_text()
    assert "<svg" in picture
    assert "<script" not in picture
    table = run("rollout", EXAMPLES, "--to", V1)
    assert table.exit_code == 2
    assert "Not judged: how many VMs hosts hold" in table.stdout
    assert f"{document['upgraded']} hosts in {len(document['steps'])} steps" in table.stdout


def test_a_rollout_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    """After each step the fleet is written as it is by then; the plan made from it is the rest of the first one."""
    fleet = tmp_path / "fleet"
    shutil.copytree(EXAMPLES, fleet)
    first = json.loads(run("rollout", fleet, "--to", V1, "--format", "json").stdout)
    left = first
    for _ in first["steps"]:
        (step, *_) = left["steps"]
        where = {
            move["vm"]: move["to"] for wave in step["waves"] for move in [*wave["before"], *wave["after"]]
        }
        vms = [json.loads(line) for line in (fleet / "vms.jsonl").read_text().splitlines()]
        rows = [json.dumps(vm | {"host": where.get(vm["id"], vm["host"])}) for vm in vms]
        (fleet / "vms.jsonl").write_text("\n".join(rows) + "\n")
        hosts = [line.split(",") for line in (fleet / "hosts.csv").read_text().splitlines()]
        (fleet / "hosts.csv").write_text(
            "".join(f"{host},{V1 if host in step['hosts'] else capture}\n" for host, capture in hosts)
        )
        left = json.loads(run("rollout", fleet, "--to", V1, "--format", "json").stdout)
        assert left["cost"] == first["cost"]
    assert left["steps"] == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--to", "nobody"), "no host has the capture `nobody`"),
        (("--to", V1, "--to", V1), "--to says twice"),
        (("--to", f"{V1}=nowhere.json"), "nowhere.json"),
        (("--to", V1, "--keep-cost", "0"), "0 is not in the range"),
    ],
)
def test_what_cannot_be_rolled_out_is_told(arguments: tuple[str, ...], sentence: str) -> None:
    result = run("rollout", EXAMPLES, *arguments)
    assert result.exit_code == 1
    assert sentence in result.stderr
