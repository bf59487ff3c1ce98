"""Pairs of a VM and a host with the CPU of its own: the moves that people try at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from kvmfw.analysis.frame import Frame
from kvmfw.verdict import Outcome

__all__ = ["same_cpu_totals"]

# So many VM classes are looked at at once.
_CHUNK = 4096


def same_cpu_totals(frame: Frame, cpus: Sequence[str]) -> Mapping[str, int]:
    """Count pairs of a VM and a host that is not its own but has the CPU that its own has, by outcome.

    VMs whose home is not known are left out.

    Parameters
    ----------
    frame : Frame
        The fleet.
    cpus : sequence of str
        The CPU of each host, by row.
    """
    names, cpu_of_row = np.unique(np.array(cpus, dtype=str), return_inverse=True)
    pairs = np.zeros(len(Outcome), dtype=np.int64)
    for number in range(len(names)):
        rows = frame.host_rows[cpu_of_row[frame.host_rows] == number]
        hosts = np.bincount(frame.host_class[rows], minlength=len(frame.host_weight))
        living = frame.vm_rows[
            (frame.homes[frame.vm_rows] >= 0)
            & (cpu_of_row[np.maximum(frame.homes[frame.vm_rows], 0)] == number)
        ]
        classes, vms = np.unique(frame.vm_class[living], return_counts=True)
        kept = np.flatnonzero(hosts)
        for start in range(0, len(classes), _CHUNK):
            cells = frame.outcome_rows(classes[start : start + _CHUNK])[:, kept]
            weight = vms[start : start + _CHUNK, None] * hosts[kept]
            pairs += np.bincount(cells.ravel(), weight.ravel(), minlength=len(Outcome)).astype(np.int64)
    known = frame.group_home_outcome >= 0
    at_home = np.bincount(
        frame.group_home_outcome[known], frame.group_weight[known], minlength=len(Outcome)
    ).astype(np.int64)
    return {outcome.name: int((pairs - at_home)[outcome]) for outcome in Outcome}
