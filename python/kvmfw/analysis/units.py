"""What each unit says about pairs of classes: the rows behind blockers, cures and unknowns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kvmfw import _native
from kvmfw.analysis.frame import Frame, Ints
from kvmfw.errors import InternalError
from kvmfw.snapshot import View
from kvmfw.verdict import Finding, Outcome

__all__ = ["Census", "Samples", "UnitOutcomes", "take_census", "unit_outcomes"]


@dataclass(frozen=True, slots=True)
class Census:
    """What units say about host classes, counted over VMs: one row for each unit, host class and outcome.

    Attributes
    ----------
    unit, host_class : array of int64
        The unit's number (see `Fleet.units`) and the host class, ordered by both.
    outcome : array of uint8
        What the unit says: UNKNOWN, REFUSE, or CHANGE where that does not count as taken.
    vm_class : array of int64
        The first VM class that it says it of.
    vms, pairs, decisive : array of int64
        VMs that it says it of; pairs of such a VM and a host that is not its own; and, for UNKNOWN, those of the
        pairs that are UNKNOWN themselves.
    unit_pairs, unit_sole : array of int64, shape (units,)
        Pairs on which each unit stands in the way, and of these the ones on which nothing else does.
    """

    unit: Ints
    host_class: Ints
    outcome: npt.NDArray[np.uint8]
    vm_class: Ints
    vms: Ints
    pairs: Ints
    decisive: Ints
    unit_pairs: Ints
    unit_sole: Ints


def take_census(frame: Frame) -> Census:
    """Count what units say.

    UNKNOWN is told also where it counts as taken: that nothing is known must not look like nothing was found.
    """
    (unit, host_class, outcome, vm_class, vms, pairs, decisive), by_unit = _native.census(
        frame.fleet._native, frame.takers, frame.groups, frame.change, frame.unknown, frame.tell
    )
    numbers = (column.astype(np.int64) for column in (vm_class, vms, pairs, decisive, *by_unit))
    return Census(unit.astype(np.int64), host_class.astype(np.int64), outcome, *numbers)


@dataclass(frozen=True, slots=True)
class UnitOutcomes:
    """Units that do not simply take VMs, one row for each pair of classes and unit, ordered by all three.

    Attributes
    ----------
    vm_class, host_class, unit : array of int64
        The pair of classes, and the unit's number (see `Fleet.units`).
    outcome : array of uint8
        What the unit says: UNKNOWN, REFUSE, or CHANGE where that does not count as taken.
    """

    vm_class: Ints
    host_class: Ints
    unit: Ints
    outcome: npt.NDArray[np.uint8]


_Numbers = dict[tuple[str, int | None], int]


def _numbers(fleet: View) -> _Numbers:
    return {
        (kind, register): number
        for number, (kind, register, _) in enumerate(fleet.snapshot()._native.units())
    }


def _number(numbers: _Numbers, finding: Finding) -> int:
    number = numbers.get((finding.unit, finding.register if finding.unit == "register" else None))
    if number is None:
        raise InternalError(f"the fleet has no unit for the finding `{finding.sentence}` of {finding.rule}")
    return number


def unit_outcomes(frame: Frame, vm_classes: Ints | None = None) -> UnitOutcomes:
    """Find, for pairs of classes, all units that say UNKNOWN or REFUSE, or CHANGE where it is not taken.

    There is a row for each pair and unit: `take_census` counts them without making them.

    Parameters
    ----------
    frame : Frame
        The fleet.
    vm_classes : array of int64, optional
        The VM classes to look at; all by default.
    """
    living = np.unique(frame.group_vm_class) if vm_classes is None else np.sort(vm_classes)
    vm_class, host_class, unit, outcome = frame.fleet._native.unit_outcomes(
        living.astype(np.uint32), frame.change, False
    )
    kept = frame.host_weight[host_class] > 0
    classes = vm_class[kept].astype(np.int64), host_class[kept].astype(np.int64)
    return UnitOutcomes(*classes, unit[kept].astype(np.int64), outcome[kept])


class Samples:
    """Findings that speak for many pairs: for a unit, a host class and an outcome, that of their first VM.

    Host classes on which a unit judges alike have the same first VM and the same finding, which is looked for once.

    Parameters
    ----------
    frame : Frame
        The fleet.
    census : Census
        What units say.

    Raises
    ------
    InternalError
        When a unit says something of a pair that no finding of it explains.
    """

    def __init__(self, frame: Frame, census: Census) -> None:
        self._findings: dict[tuple[int, int, Outcome], Finding] = {}
        numbers, names = _numbers(frame.fleet), frame.fleet.units
        vm_rows, host_rows = frame.first_rows()
        self._kinds = _native.unit_kinds(frame.fleet._native).reshape(len(names), -1)
        kinds = self._kinds[census.unit, census.host_class]
        wanted = np.stack([census.unit, kinds, census.outcome], axis=1)
        keys, first = np.unique(wanted, axis=0, return_index=True)
        pair, said = -1, dict[tuple[int, Outcome], Finding]()
        # Pair by pair: each is explained once, for all units of which it is the first.
        starts = census.vm_class[first] << 32 | census.host_class[first]
        for at in np.argsort(starts, kind="stable").tolist():
            if starts[at] != pair:
                pair = int(starts[at])
                verdict = frame.fleet.explain_units(
                    int(vm_rows[pair >> 32]), int(host_rows[pair & 0xFFFFFFFF])
                )
                said = {}
                for finding in verdict.findings:
                    said.setdefault((_number(numbers, finding), finding.outcome), finding)
            unit, kind, outcome = keys[at].tolist()
            found = said.get((unit, Outcome(outcome)))
            if found is None:
                raise InternalError(
                    f"nothing explains what {names[unit]} says on host class {pair & 0xFFFFFFFF}"
                )
            self._findings[unit, kind, Outcome(outcome)] = found

    def finding(self, unit: int, host_class: int, outcome: Outcome) -> Finding:
        """Give a finding of this unit and outcome on this host class.

        Raises
        ------
        InternalError
            When there is none: the unit does not say so.
        """
        found = self._findings.get((unit, int(self._kinds[unit, host_class]), outcome))
        if found is None:
            raise InternalError(
                f"there is no sample of unit {unit} with {outcome} on host class {host_class}"
            )
        return found

    def of_unit(self, unit: int) -> list[Finding]:
        """Give the findings of a unit on all host classes."""
        return [finding for (number, _, _), finding in self._findings.items() if number == unit]
