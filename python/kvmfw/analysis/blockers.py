"""Blockers and cures: which units strand VMs, alone or together, and what frees them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from kvmfw.analysis.frame import Frame, Ints
from kvmfw.analysis.units import VCPU_UNIT, UnitOutcomes

__all__ = ["Blocker", "Cure", "Step", "blockers", "cure_plan", "cures"]

CURES = 1000


@dataclass(frozen=True, slots=True)
class Blocker:
    """A unit that stands in the way.

    Attributes
    ----------
    unit : int
        Its number (see `Fleet.units`).
    pairs : int
        Pairs of a VM and another host on which it stands in the way.
    sole_pairs : int
        Pairs on which nothing else does.
    freed : int
        Stranded VMs that some other host would take if only this unit were cured: there, it is their
        sole blocker.
    shared : int
        Stranded VMs for which it belongs to a smallest cure that has more units.
    """

    unit: int
    pairs: int
    sole_pairs: int
    freed: int
    shared: int


@dataclass(frozen=True, slots=True)
class Cure:
    """Units that together stand between stranded VMs and a host, no smaller part of which frees the same VMs.

    Attributes
    ----------
    units : tuple of int
        Numbers of the units.
    freed : int
        Stranded VMs that some other host takes once all of them are cured.
    """

    units: tuple[int, ...]
    freed: int


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a plan: units cured, and stranded VMs freed by all steps so far.

    Attributes
    ----------
    units : tuple of int
        Units that this step adds.
    freed : int
        Stranded VMs that are free after it.
    """

    units: tuple[int, ...]
    freed: int


@dataclass(frozen=True, slots=True)
class _Ways:
    """For each stranded group: the smallest sets of units that stand between it and some host."""

    weight: Ints
    sets: list[list[frozenset[int]]]


def _pairs(outcomes: UnitOutcomes) -> tuple[Ints, Ints, Ints]:
    """Give where each pair of classes begins in the rows, and its classes."""
    key = outcomes.vm_class << 32 | outcomes.host_class
    starts = np.flatnonzero(np.r_[True, key[1:] != key[:-1]]) if len(key) else np.zeros(0, dtype=np.int64)
    return starts, outcomes.vm_class[starts], outcomes.host_class[starts]


def _minimal(sets: Iterable[frozenset[int]]) -> list[frozenset[int]]:
    kept: list[frozenset[int]] = []
    for one in sorted(set(sets), key=lambda units: (len(units), sorted(units))):
        if not any(known <= one for known in kept):
            kept.append(one)
    return kept


def _ways(frame: Frame, outcomes: UnitOutcomes) -> _Ways:
    starts, vm_class, host_class = _pairs(outcomes)
    by_class: dict[int, dict[int, frozenset[int]]] = {}
    stranded = np.flatnonzero(frame.group_targets == 0)
    wanted = set(frame.group_vm_class[stranded].tolist())
    known: dict[bytes, frozenset[int]] = {}
    bounds = pairwise([*starts.tolist(), len(outcomes.unit)])
    for (start, end), vm, host in zip(bounds, vm_class.tolist(), host_class.tolist(), strict=True):
        # Where the vCPU as a whole stands in the way, nothing is known of the registers: no cure frees.
        if vm in wanted and outcomes.unit[start] != VCPU_UNIT:
            part = outcomes.unit[start:end]
            units = known.setdefault(part.tobytes(), frozenset(part.tolist()))
            by_class.setdefault(vm, {})[host] = units
    sets = []
    for group in stranded.tolist():
        hosts = by_class.get(int(frame.group_vm_class[group]), {})
        sets.append(_minimal(units for host, units in hosts.items() if frame.group_hosts[group, host]))
    return _Ways(frame.group_weight[stranded], sets)


def blockers(frame: Frame, outcomes: UnitOutcomes) -> list[Blocker]:
    """Rank the units in the way: by VMs freed, then by VMs shared, then by pairs."""
    count = len(frame.fleet.units)
    weight = np.zeros(frame.outcomes.shape, dtype=np.int64)
    np.add.at(weight, frame.group_vm_class, frame.group_hosts * frame.group_weight[:, None])
    row_weight = weight[outcomes.vm_class, outcomes.host_class]
    pairs = np.bincount(outcomes.unit, row_weight, minlength=count).astype(np.int64)
    starts, _, _ = _pairs(outcomes)
    lengths = np.diff(np.r_[starts, len(outcomes.unit)])
    alone = starts[lengths == 1]
    sole = np.bincount(outcomes.unit[alone], row_weight[alone], minlength=count).astype(np.int64)
    freed, shared = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    ways = _ways(frame, outcomes)
    for vms, sets in zip(ways.weight.tolist(), ways.sets, strict=True):
        smallest = [units for units in sets if len(units) == len(sets[0])]
        for unit in frozenset().union(*smallest):
            (freed if len(smallest[0]) == 1 else shared)[unit] += vms
    found = [
        Blocker(unit, int(pairs[unit]), int(sole[unit]), int(freed[unit]), int(shared[unit]))
        for unit in np.flatnonzero(pairs).tolist()
    ]
    return sorted(found, key=lambda one: (-one.freed, -one.shared, -one.pairs, -one.sole_pairs, one.unit))


def _bits(sets: list[frozenset[int]], units: int) -> npt.NDArray[np.bool_]:
    bits = np.zeros((len(sets), units), dtype=np.bool_)
    for row, one in enumerate(sets):
        bits[row, list(one)] = True
    return bits


def _coverage(frame: Frame, ways: _Ways, limit: int) -> tuple[list[frozenset[int]], npt.NDArray[np.bool_]]:
    """Give candidate cures, and which stranded groups each frees: those with a way inside of it."""
    direct: dict[frozenset[int], int] = {}
    for vms, sets in zip(ways.weight.tolist(), ways.sets, strict=True):
        for one in sets:
            direct[one] = direct.get(one, 0) + vms
    candidates = sorted(direct, key=lambda one: (-direct[one], len(one), sorted(one)))[:limit]
    every = sorted(direct, key=lambda one: (len(one), sorted(one)))
    number = {one: row for row, one in enumerate(every)}
    units = len(frame.fleet.units)
    # Sums of units are exact in 32-bit floats: a set has far fewer than 2^24 units.
    lacking = (~_bits(candidates, units)).astype(np.float32) @ _bits(every, units).astype(np.float32).T
    inside = lacking == 0
    frees = np.zeros((len(candidates), len(ways.sets)), dtype=np.bool_)
    for group, sets in enumerate(ways.sets):
        if sets:
            frees[:, group] = inside[:, [number[one] for one in sets]].any(axis=1)
    return candidates, frees


def cures(frame: Frame, outcomes: UnitOutcomes, *, limit: int = CURES) -> list[Cure]:
    """Find the sets of units that free stranded VMs when cured together, most VMs first.

    A set is left out when a part of it frees as many. At most `limit` sets are looked at: those that
    most VMs need.
    """
    ways = _ways(frame, outcomes)
    candidates, frees = _coverage(frame, ways, limit)
    if not candidates:
        return []
    freed = frees @ ways.weight
    found: list[Cure] = []
    kept: list[tuple[frozenset[int], int]] = []
    for row in sorted(
        range(len(candidates)), key=lambda row: (len(candidates[row]), sorted(candidates[row]))
    ):
        units, vms = candidates[row], int(freed[row])
        if not any(part < units and count >= vms for part, count in kept):
            kept.append((units, vms))
            found.append(Cure(tuple(sorted(units)), vms))
    return sorted(found, key=lambda cure: (-cure.freed, len(cure.units), cure.units))


def cure_plan(frame: Frame, outcomes: UnitOutcomes, *, steps: int = 10, limit: int = CURES) -> list[Step]:
    """Choose cures one after another: each time the one that frees most VMs for each unit that it adds."""
    ways = _ways(frame, outcomes)
    candidates, _ = _coverage(frame, ways, limit)
    chosen: frozenset[int] = frozenset()
    plan: list[Step] = []
    free = np.zeros(len(ways.sets), dtype=np.bool_)
    for _ in range(steps):
        best: tuple[tuple[float, int, list[int]], frozenset[int]] | None = None
        for candidate in candidates:
            added = candidate - chosen
            if not added:
                continue
            gained = _freed(ways, chosen | added) & ~free
            vms = int(ways.weight[gained].sum())
            if vms:
                rank = (-vms / len(added), len(added), sorted(added))
                if best is None or rank < best[0]:
                    best = rank, added
        if best is None:
            break
        chosen |= best[1]
        free |= _freed(ways, chosen)
        plan.append(Step(tuple(sorted(best[1])), int(ways.weight[free].sum())))
    return plan


def _freed(ways: _Ways, units: frozenset[int]) -> npt.NDArray[np.bool_]:
    return np.array([any(one <= units for one in sets) for sets in ways.sets], dtype=np.bool_)
