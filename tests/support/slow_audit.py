"""An audit by plain loops over VMs and hosts: nothing is interned, nothing is counted by class."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import kvmfw
from kvmfw.testing import capture_document
from kvmfw.verdict import Outcome

PSCI, WA1, WA3 = 0x6030000000140000, 0x6030000000140001, 0x6030000000140003
BITMAPS = [0x6030000000160000 + n for n in range(3)]
PLAIN = [0x6030000000138000 + n for n in (0x02, 0x04, 0x12)]


@dataclass(frozen=True)
class RandomFleet:
    """VMs and hosts made by chance."""

    vms: list[kvmfw.RegisterSet]
    hosts: list[kvmfw.Host]
    capacity: list[int]
    zone: list[str]
    captures: list[dict[str, Any]]


def random_fleet(seed: int) -> RandomFleet:
    """Make a fleet of firmware registers, and lists that differ in a few registers nobody looks at."""
    chance = random.Random(seed)
    kinds, captures = [], []
    for number in range(chance.randint(2, 6)):
        registers = {PSCI: chance.choice([0x10000, 0x10001, 0x10003]), WA1: chance.randint(0, 2)}
        registers[WA3] = chance.randint(0, 2)
        registers |= {bitmap: 1 for bitmap in BITMAPS if chance.random() < 0.7}
        registers |= {plain: 0 for plain in PLAIN if chance.random() < 0.6}
        document = capture_document(registers, name=f"kind{number}")
        captures.append(document)
        kinds.append((registers, kvmfw.Host.from_json(json.dumps(document))))
    hosts, of = [], []
    for number in range(chance.randint(2, 9)):
        registers, kind = chance.choice(kinds)
        hosts.append(kind.renamed(f"h{number}"))
        of.append(registers)
    vms = []
    for number in range(chance.randint(1, 30)):
        home = chance.randrange(len(hosts))
        registers = dict(of[home])
        if chance.random() < 0.3:
            registers[WA3] = chance.randint(0, registers[WA3])
        if chance.random() < 0.2:
            registers.pop(chance.choice(list(registers)))
        features = ("psci_0_2",) if chance.random() < 0.9 else ("psci_0_2", "sve")
        name = hosts[home].name if chance.random() < 0.9 else None
        vms.append(
            kvmfw.RegisterSet.from_mapping(registers, features=features, name=f"vm{number}", host=name)
        )
    capacity = [chance.randint(0, 8) for _ in hosts]
    return RandomFleet(vms, hosts, capacity, [chance.choice("ab") for _ in hosts], captures)


class SlowAudit:
    """Every number of a report, the obvious way."""

    def __init__(self, fleet: RandomFleet, same: list[int]) -> None:
        self.fleet = fleet
        self.same = same
        names = {host.name: row for row, host in enumerate(fleet.hosts)}
        self.home = [names[vm.host] if vm.host is not None else None for vm in fleet.vms]
        self.verdict = {
            (v, h): kvmfw.validate(vm, host)
            for v, vm in enumerate(fleet.vms)
            for h, host in enumerate(fleet.hosts)
        }
        self.others = {
            v: [h for h in range(len(fleet.hosts)) if h != self.home[v]] for v in range(len(fleet.vms))
        }

    def takes(self, v: int, h: int) -> bool:
        return self.verdict[v, h].outcome < Outcome.UNKNOWN

    def totals(self) -> dict[str, int]:
        counts = Counter(self.verdict[v, h].outcome.name for v, hosts in self.others.items() for h in hosts)
        return {outcome.name: counts[outcome.name] for outcome in Outcome}

    def targets(self) -> list[int]:
        return [sum(self.takes(v, h) for h in hosts) for v, hosts in self.others.items()]

    def stranded(self) -> list[int]:
        return [v for v, count in enumerate(self.targets()) if count == 0]

    def blocking(self, v: int, h: int, unit: Callable[[kvmfw.Finding], str]) -> frozenset[str]:
        findings = self.verdict[v, h].findings
        return frozenset(unit(finding) for finding in findings if finding.outcome >= Outcome.UNKNOWN)

    def pairs(self, unit: Callable[[kvmfw.Finding], str]) -> tuple[Counter[str], Counter[str]]:
        every: Counter[str] = Counter()
        sole: Counter[str] = Counter()
        for v, hosts in self.others.items():
            for h in hosts:
                names = self.blocking(v, h, unit)
                every.update(names)
                if len(names) == 1:
                    sole.update(names)
        return every, sole

    def freed_by(self, units: frozenset[str], unit: Callable[[kvmfw.Finding], str]) -> int:
        return sum(
            any(
                self.blocking(v, h, unit) <= units and "vCPU" not in self.blocking(v, h, unit)
                for h in self.others[v]
            )
            for v in self.stranded()
        )

    def reach(self) -> dict[int, set[int]]:
        """Host rows that VMs can get to from each host, when VMs of like hosts count for each of them."""
        edges: dict[int, set[int]] = {h: set() for h in range(len(self.fleet.hosts))}
        for v, home in enumerate(self.home):
            if home is not None:
                for start in edges:
                    if self.same[start] == self.same[home]:
                        edges[start] |= {h for h in edges if self.takes(v, h)}
        reach = {h: {h} for h in edges}
        for _ in edges:
            for found in reach.values():
                found.update(*(edges[step] for step in found))
        return reach

    def traps(self) -> set[tuple[tuple[str, ...], int, int]]:
        reach = self.reach()
        found = set()
        for h in reach:
            inside = {o for o in reach if (o in reach[h] and h in reach[o]) or self.same[o] == self.same[h]}
            residents = [v for v, home in enumerate(self.home) if home in inside]
            outside = [v for v, home in enumerate(self.home) if home not in inside]
            leaves = any(self.takes(v, o) for v in residents for o in reach if o not in inside)
            entrants = sum(any(self.takes(v, o) for o in inside) for v in outside)
            if residents and entrants and not leaves:
                names = tuple(sorted(self.fleet.hosts[o].name for o in inside))
                found.add((names, entrants, len(residents)))
        return found

    def passages(self) -> set[tuple[int, int, int, int]]:
        """Moves from class to class that no VM at their end can make back, with VMs that can go and that run there."""
        found = set()
        kinds = set(self.same)
        for start in kinds:
            for end in kinds - {start}:
                there = [v for v, home in enumerate(self.home) if home is not None and self.same[home] == end]
                here = [
                    v for v, home in enumerate(self.home) if home is not None and self.same[home] == start
                ]
                go = sum(self.takes(v, self.same.index(end)) for v in here)
                if go and there and not any(self.takes(v, self.same.index(start)) for v in there):
                    found.add((start, end, go, len(there)))
        return found

    def shared(self, unit: Callable[[kvmfw.Finding], str]) -> Counter[str]:
        """Count, for each unit, the stranded VMs of which it is in a smallest cure with others."""
        counts: Counter[str] = Counter()
        for v in self.stranded():
            ways = {self.blocking(v, h, unit) for h in self.others[v]}
            ways = {way for way in ways if "vCPU" not in way}
            least = min(map(len, ways), default=0)
            if least > 1:
                counts.update({name for way in ways if len(way) == least for name in way})
        return counts

    def unknown(self, unit: Callable[[kvmfw.Finding], str]) -> tuple[Counter[str], Counter[str]]:
        """Count pairs on which a unit is unknown, and of these the ones that nothing refuses."""
        every: Counter[str] = Counter()
        decisive: Counter[str] = Counter()
        for v, hosts in self.others.items():
            for h in hosts:
                verdict = self.verdict[v, h]
                worst: dict[str, Outcome] = {}
                for one in verdict.findings:
                    worst[unit(one)] = max(worst.get(unit(one), Outcome.ACCEPT), one.outcome)
                names = [name for name, outcome in worst.items() if outcome is Outcome.UNKNOWN]
                every.update(names)
                if verdict.outcome is Outcome.UNKNOWN:
                    decisive.update(names)
        return every, decisive

    def group(self, zone: str) -> tuple[int, int, int]:
        """Count the VMs of a zone: all, stranded, and those whose only targets are outside of it."""
        hosts = {h for h, name in enumerate(self.fleet.zone) if name == zone}
        own = [v for v, home in enumerate(self.home) if home in hosts]
        targets = self.targets()
        within = {v: sum(self.takes(v, h) for h in hosts if h != self.home[v]) for v in own}
        confined = sum(targets[v] > 0 and within[v] == 0 for v in own)
        return len(own), sum(targets[v] == 0 for v in own), confined

    def drain(self, hosts: set[int]) -> tuple[int, int]:
        """Count stranded VMs, and VMs left over when as many as can be are placed (augmenting paths)."""
        residents = [v for v, home in enumerate(self.home) if home in hosts]
        elsewhere = [h for h in range(len(self.fleet.hosts)) if h not in hosts]
        stranded = [v for v in residents if not any(self.takes(v, h) for h in elsewhere)]
        slots = []
        for h in elsewhere:
            used = sum(home == h for home in self.home)
            slots += [h] * max(self.fleet.capacity[h] - used, 0)
        placed: dict[int, int] = {}

        def place(v: int, seen: set[int]) -> bool:
            for slot, h in enumerate(slots):
                if slot not in seen and self.takes(v, h):
                    seen.add(slot)
                    if slot not in placed or place(placed[slot], seen):
                        placed[slot] = v
                        return True
            return False

        movable = [v for v in residents if v not in stranded]
        return len(stranded), len(movable) - sum(place(v, set()) for v in movable)


def smallest(audit: SlowAudit, units: list[str], unit: Callable[[kvmfw.Finding], str], size: int) -> int:
    """The most stranded VMs that any `size` units free together."""
    return max((audit.freed_by(frozenset(part), unit) for part in combinations(units, size)), default=0)
