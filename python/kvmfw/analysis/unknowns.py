"""Unknown outcomes by what is missing: what to ask or to record next."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from kvmfw.analysis.frame import Frame
from kvmfw.analysis.units import Samples, UnitOutcomes
from kvmfw.verdict import Outcome

__all__ = ["Missing", "missing_inputs"]


@dataclass(frozen=True, slots=True)
class Missing:
    """One kind of input that is missing.

    Attributes
    ----------
    unit : int
        The unit that it is missing for.
    needs : str
        What would tell.
    pairs : int
        Pairs of a VM and another host on which the unit is unknown.
    decisive : int
        Of these, pairs that would not be refused anyway.
    vms, hosts : int
        How many VMs and hosts these pairs have.
    """

    unit: int
    needs: str
    pairs: int
    decisive: int
    vms: int
    hosts: int


def missing_inputs(frame: Frame, outcomes: UnitOutcomes, samples: Samples) -> list[Missing]:
    """Group unknown outcomes by what is missing, most decisive pairs first."""
    rows = np.flatnonzero(outcomes.outcome == Outcome.UNKNOWN)
    weight = np.zeros(frame.outcomes.shape, dtype=np.int64)
    np.add.at(weight, frame.group_vm_class, frame.group_hosts * frame.group_weight[:, None])
    vm_weight = np.bincount(frame.group_vm_class, frame.group_weight, minlength=frame.outcomes.shape[0])
    groups: dict[tuple[int, str], list[int]] = defaultdict(list)
    needs_of: dict[tuple[int, int], str] = {}
    for row, unit, host in zip(
        rows.tolist(), outcomes.unit[rows].tolist(), outcomes.host_class[rows].tolist(), strict=True
    ):
        needs = needs_of.get((unit, host))
        if needs is None:
            finding = samples.finding(unit, host, Outcome.UNKNOWN)
            needs = finding.needs or finding.sentence
            needs_of[unit, host] = needs
        groups[unit, needs].append(row)
    found = []
    for (unit, needs), members in groups.items():
        vm_class, host_class = outcomes.vm_class[members], outcomes.host_class[members]
        pairs = weight[vm_class, host_class]
        decisive = pairs[frame.outcomes[vm_class, host_class] == Outcome.UNKNOWN]
        found.append(
            Missing(
                unit,
                needs,
                int(pairs.sum()),
                int(decisive.sum()),
                int(vm_weight[np.unique(vm_class)].sum()),
                int(frame.host_weight[np.unique(host_class)].sum()),
            )
        )
    return sorted(found, key=lambda one: (-one.decisive, -one.pairs, one.unit, one.needs))
