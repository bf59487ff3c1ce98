"""What each unit says about each pair of classes: the rows behind blockers, cures and unknowns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kvmfw.analysis.frame import Frame, Ints
from kvmfw.errors import InternalError
from kvmfw.fleet import Fleet
from kvmfw.verdict import Finding, Outcome

__all__ = ["VCPU_UNIT", "Samples", "UnitOutcomes", "in_the_way", "unit_of", "unit_outcomes"]

VCPU_UNIT = 0


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


def _numbers(fleet: Fleet) -> _Numbers:
    return {(kind, register): number for number, (kind, register, _) in enumerate(fleet._native.units())}


def _number(fleet: Fleet, numbers: _Numbers, finding: Finding) -> int:
    number = numbers.get((finding.unit, finding.register if finding.unit == "register" else None))
    if number is None and fleet.scheme != "kvm":
        # Other schemes compare state that every KVM keeps, of which a fleet makes no unit: the list speaks for it.
        number = numbers.get(("list", None))
    if number is None:
        raise InternalError(f"the fleet has no unit for the finding `{finding.sentence}` of {finding.rule}")
    return number


def unit_of(fleet: Fleet, finding: Finding) -> int:
    """Give the number of the unit that a finding belongs to."""
    return _number(fleet, _numbers(fleet), finding)


def unit_outcomes(frame: Frame) -> UnitOutcomes:
    """Find, for every pair of classes, all units that say UNKNOWN or REFUSE, or CHANGE where it is not taken.

    UNKNOWN is told also where it counts as taken: that nothing is known must not look like nothing was found.
    """
    living = np.unique(frame.group_vm_class).astype(np.uint32)
    vm_class, host_class, unit, outcome = frame.fleet._native.unit_outcomes(living, frame.change, False)
    return _kept(
        UnitOutcomes(vm_class.astype(np.int64), host_class.astype(np.int64), unit.astype(np.int64), outcome),
        frame.host_weight[host_class] > 0,
    )


def in_the_way(frame: Frame, outcomes: UnitOutcomes) -> UnitOutcomes:
    """Keep the units that stand in the way: whose outcome does not count as taken."""
    return _kept(outcomes, outcomes.outcome != Outcome.UNKNOWN) if frame.unknown else outcomes


def _kept(outcomes: UnitOutcomes, rows: npt.NDArray[np.bool_]) -> UnitOutcomes:
    return UnitOutcomes(
        outcomes.vm_class[rows], outcomes.host_class[rows], outcomes.unit[rows], outcomes.outcome[rows]
    )


class Samples:
    """Findings that speak for many pairs: for a unit, a host class and an outcome, that of their first VM.

    Parameters
    ----------
    frame : Frame
        The fleet.
    outcomes : UnitOutcomes
        What units say.

    Raises
    ------
    InternalError
        When a unit says something of a pair that no finding of it explains.
    """

    def __init__(self, frame: Frame, outcomes: UnitOutcomes) -> None:
        self._findings: dict[tuple[int, int, Outcome], Finding] = {}
        numbers, names = _numbers(frame.fleet), frame.fleet.units
        vm_rows, host_rows = frame.first_rows()
        wanted = np.stack([outcomes.unit, outcomes.host_class, outcomes.outcome], axis=1)
        keys, first = np.unique(wanted, axis=0, return_index=True)
        pair, said = -1, dict[tuple[int, Outcome], Finding]()
        # Pair by pair: each is explained once, for all units of which it is the first.
        starts = outcomes.vm_class[first] << 32 | outcomes.host_class[first]
        for at in np.argsort(starts, kind="stable").tolist():
            if starts[at] != pair:
                pair = int(starts[at])
                verdict = frame.fleet.explain_units(
                    int(vm_rows[pair >> 32]), int(host_rows[pair & 0xFFFFFFFF])
                )
                said = {}
                for finding in verdict.findings:
                    said.setdefault((_number(frame.fleet, numbers, finding), finding.outcome), finding)
            unit, host_class, outcome = keys[at].tolist()
            found = said.get((unit, Outcome(outcome)))
            if found is None:
                raise InternalError(f"nothing explains what {names[unit]} says on host class {host_class}")
            self._findings[unit, host_class, Outcome(outcome)] = found

    def finding(self, unit: int, host_class: int, outcome: Outcome) -> Finding:
        """Give a finding of this unit and outcome on this host class.

        Raises
        ------
        InternalError
            When there is none: the unit does not say so.
        """
        found = self._findings.get((unit, host_class, outcome))
        if found is None:
            raise InternalError(
                f"there is no sample of unit {unit} with {outcome} on host class {host_class}"
            )
        return found
