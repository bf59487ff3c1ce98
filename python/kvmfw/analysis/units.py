"""What each unit says about each pair of classes: the rows behind blockers, cures and unknowns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kvmfw.analysis.frame import Frame, Ints
from kvmfw.fleet import Fleet
from kvmfw.verdict import Finding, Outcome

__all__ = ["LIST_UNIT", "VCPU_UNIT", "Samples", "UnitOutcomes", "unit_of", "unit_outcomes"]

VCPU_UNIT = 0
LIST_UNIT = 1
WHOLE_RULES = ("KVMFW-VCPU", "KVMFW-VMM")
LIST_RULES = ("KVMFW-LIST-EXTRA", "KVMFW-QEMU-COUNT", "KVMFW-QEMU-DROP", "KVMFW-QEMU-LIST")


@dataclass(frozen=True, slots=True)
class UnitOutcomes:
    """Units that stand in the way, one row for each pair of classes and unit, ordered by all three.

    Attributes
    ----------
    vm_class, host_class, unit : array of int64
        The pair of classes, and the unit's number (see `Fleet.units`).
    outcome : array of uint8
        What the unit says: never one that counts as taken.
    """

    vm_class: Ints
    host_class: Ints
    unit: Ints
    outcome: npt.NDArray[np.uint8]


def unit_of(fleet: Fleet, finding: Finding) -> int:
    """Give the number of the unit that a finding belongs to."""
    if finding.rule in WHOLE_RULES:
        return VCPU_UNIT
    if finding.rule in LIST_RULES or finding.register is None:
        return LIST_UNIT
    return _register_units(fleet).get(finding.register, LIST_UNIT)


def _register_units(fleet: Fleet) -> dict[int, int]:
    units = fleet._native.units()
    return {register: number for number, (_, register) in enumerate(units) if register is not None}


def unit_outcomes(frame: Frame) -> UnitOutcomes:
    """Find, for every pair of classes of which the host does not take the VM, all units in the way."""
    living = np.unique(frame.group_vm_class).astype(np.uint32)
    vm_class, host_class, unit, outcome = frame.fleet._native.unit_outcomes(
        living, frame.change, frame.unknown
    )
    kept = frame.host_weight[host_class] > 0
    return UnitOutcomes(
        vm_class[kept].astype(np.int64),
        host_class[kept].astype(np.int64),
        unit[kept].astype(np.int64),
        outcome[kept],
    )


class Samples:
    """Findings that speak for many pairs: for a unit and a host class, one finding of a pair of theirs.

    Parameters
    ----------
    frame : Frame
        The fleet.
    outcomes : UnitOutcomes
        Units in the way.
    """

    def __init__(self, frame: Frame, outcomes: UnitOutcomes) -> None:
        self._findings: dict[tuple[int, int, Outcome], Finding] = {}
        vm_rows, host_rows = frame.first_rows()
        wanted = np.stack([outcomes.unit, outcomes.host_class, outcomes.outcome], axis=1)
        keys, first = np.unique(wanted, axis=0, return_index=True)
        for (unit, host_class, outcome), row in zip(keys.tolist(), first.tolist(), strict=True):
            if (unit, host_class, Outcome(outcome)) in self._findings:
                continue
            verdict = frame.fleet.explain(
                int(vm_rows[outcomes.vm_class[row]]), int(host_rows[outcomes.host_class[row]])
            )
            for finding in verdict.findings:
                key = unit_of(frame.fleet, finding), host_class, finding.outcome
                self._findings.setdefault(key, finding)

    def finding(self, unit: int, host_class: int, outcome: Outcome) -> Finding | None:
        """Give a finding of this unit and outcome on this host class; `None` where there is none."""
        return self._findings.get((unit, host_class, outcome))
