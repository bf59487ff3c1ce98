"""Pairs of a VM and a host with the CPU of its own: the moves that people try at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from kvmfw.analysis.frame import Frame
from kvmfw.verdict import Outcome

__all__ = ["same_cpu_totals"]


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
    names, cpu_of_host = frame.by_value(cpus)
    cpu_of_vm = frame.home_value(cpu_of_host)
    pairs = np.zeros(len(Outcome), dtype=np.int64)
    for cpu in range(len(names)):
        counts = frame.counts_on(np.flatnonzero(cpu_of_host == cpu))
        has_it = cpu_of_vm == cpu
        weight = None if frame.weight is None else frame.weight[has_it]
        vms = np.bincount(frame.vm_class[frame.vm_rows[has_it]], weight, minlength=len(counts))
        pairs += (counts * vms.astype(np.int64)[:, None]).sum(axis=0)
    return frame.beside_home(pairs)
