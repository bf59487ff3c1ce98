"""Unknown outcomes by what is missing: what to ask or to record next."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from kvmfw import _native
from kvmfw.analysis.frame import Frame
from kvmfw.analysis.units import Census, Samples
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


def missing_inputs(frame: Frame, census: Census, samples: Samples) -> list[Missing]:
    """Group unknown outcomes by what is missing, most decisive pairs first."""
    groups: dict[tuple[int, str], list[int]] = defaultdict(list)
    for row in np.flatnonzero(census.outcome == Outcome.UNKNOWN).tolist():
        unit = int(census.unit[row])
        finding = samples.finding(unit, int(census.host_class[row]), Outcome.UNKNOWN)
        groups[unit, finding.needs or finding.sentence].append(row)
    if not groups:
        return []
    asked = [(unit, census.host_class[rows].tolist()) for (unit, _), rows in groups.items()]
    vms = _native.unknown_vms(frame.fleet._native, frame.takers, frame.groups, asked, frame.tell)
    found = [
        Missing(
            unit,
            needs,
            int(census.pairs[rows].sum()),
            int(census.decisive[rows].sum()),
            count,
            int(frame.host_weight[census.host_class[rows]].sum()),
        )
        for ((unit, needs), rows), count in zip(groups.items(), vms, strict=True)
    ]
    return sorted(found, key=lambda one: (-one.decisive, -one.pairs, one.unit, one.needs))
