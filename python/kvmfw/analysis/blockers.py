"""Blockers and cures: which units strand VMs, alone or together, and what frees them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kvmfw import _native
from kvmfw.analysis.frame import Frame, Ints, native_groups
from kvmfw.analysis.units import Census

__all__ = ["CURES", "Blocker", "Cure", "Cures", "Step", "blockers", "cures"]

CURES = 1000
STEPS = 10


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
class Cures:
    """What frees stranded VMs.

    Attributes
    ----------
    found : list of Cure
        Sets of units, most VMs first.
    plan : list of Step
        Cures one after another: each time the one that frees most VMs for each unit that it adds.
    freed, shared : array of int64, shape (units,)
        Stranded VMs that the cure of this unit alone frees, and those for which it belongs to a smallest cure with
        others.
    left_out : int
        Sets that some VMs need and that were not looked at, since more VMs need others.
    cut : int
        Stranded VMs that have so many ways to be freed that those with most units were not looked at.
    """

    found: list[Cure]
    plan: list[Step]
    freed: Ints
    shared: Ints
    left_out: int
    cut: int


def cures(frame: Frame, *, limit: int = CURES, steps: int = STEPS) -> Cures:
    """Find the sets of units that free stranded VMs when cured together.

    A set is left out when a part of it frees as many. At most `limit` sets are looked at: those that
    most VMs need.
    """
    stranded = frame.group_targets == 0
    columns = (frame.group_vm_class, frame.group_home_class, frame.group_weight)
    freed, shared, found, plan, left_out, cut = _native.cures(
        frame.fleet._native,
        frame.takers,
        native_groups(*(column[stranded] for column in columns)),
        frame.change,
        frame.unknown,
        (limit, steps),
        frame.tell,
    )
    return Cures(
        [Cure(tuple(units), vms) for units, vms in found],
        [Step(tuple(units), vms) for units, vms in plan],
        np.array(freed, dtype=np.int64),
        np.array(shared, dtype=np.int64),
        left_out,
        cut,
    )


def blockers(census: Census, found: Cures) -> list[Blocker]:
    """Rank the units in the way: by VMs freed, then by VMs shared, then by pairs."""
    columns = (census.unit_pairs, census.unit_sole, found.freed, found.shared)
    rows = [
        Blocker(unit, *(int(column[unit]) for column in columns))
        for unit in np.flatnonzero(census.unit_pairs).tolist()
    ]
    return sorted(rows, key=lambda one: (-one.freed, -one.shared, -one.pairs, -one.sole_pairs, one.unit))
