"""Drain checks: whether every VM of a host, or of a group of hosts, can go elsewhere at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from kvmfw.analysis.extras import need
from kvmfw.analysis.frame import Frame, Ints

__all__ = ["Drain", "drain_groups", "drain_hosts"]


@dataclass(frozen=True, slots=True)
class Drain:
    """Whether hosts can be emptied.

    Attributes
    ----------
    name : str
        The host, or the value of the group's column.
    hosts : int
        How many hosts are emptied at once.
    residents : int
        VMs that run there.
    stranded : int
        VMs that no host elsewhere takes.
    unplaced : int
        VMs for which some host elsewhere would do, but not enough of them are free at once;
        0 where no capacity is given.
    """

    name: str
    hosts: int
    residents: int
    stranded: int
    unplaced: int


def _free(frame: Frame, capacity: Sequence[int] | None) -> Ints | None:
    """Give how many more VMs each host can hold; `None` where no capacity is given."""
    if capacity is None:
        return None
    homes = frame.homes[frame.homes >= 0]
    used = np.bincount(homes, minlength=len(frame.fleet.host_names))
    return np.asarray(np.maximum(np.asarray(capacity, dtype=np.int64) - used, 0))


def _check(frame: Frame, name: str, hosts: Ints, residents: Ints, free: Ints | None) -> Drain:
    """Check one set of host rows; `residents` counts their VMs by VM class."""
    classes = len(frame.host_weight)
    elsewhere = frame.host_weight - np.bincount(frame.host_class[hosts], minlength=classes)
    living = np.flatnonzero(residents)
    takes = frame.taken[living] & (elsewhere > 0)[None, :]
    count = residents[living]
    homeless = ~takes.any(axis=1)
    stranded = int(count[homeless].sum())
    unplaced = 0
    if free is not None:
        slots = np.bincount(frame.host_class[frame.host_rows], free[frame.host_rows], minlength=classes)
        slots -= np.bincount(frame.host_class[hosts], free[hosts], minlength=classes)
        unplaced = _unplaced(count[~homeless], takes[~homeless], slots.astype(np.int64))
    return Drain(name, len(hosts), int(count.sum()), stranded, unplaced)


def _unplaced(count: Ints, takes: np.typing.NDArray[np.bool_], slots: Ints) -> int:
    """Count the VMs that are left over by a greatest matching of VMs and free places."""
    wanted = int(count.sum())
    if not wanted or (takes @ slots >= wanted).all():
        # Even if all others came first, each VM finds a free place.
        return 0
    vms, hosts = takes.shape
    source, sink, nodes = vms + hosts, vms + hosts + 1, vms + hosts + 2
    graph = np.zeros((nodes, nodes), dtype=np.int32)
    graph[source, :vms] = count
    graph[:vms, vms : vms + hosts] = takes * count[:, None]
    graph[vms : vms + hosts, sink] = np.minimum(slots, wanted)
    matrix = need("scipy.sparse").csr_array(graph)
    flow = need("scipy.sparse.csgraph").maximum_flow(matrix, source, sink)
    return wanted - int(flow.flow_value)


def drain_hosts(frame: Frame, *, capacity: Sequence[int] | None = None) -> list[Drain]:
    """Check every host with VMs on it, alone; those that cannot be emptied first.

    Parameters
    ----------
    frame : Frame
        The fleet.
    capacity : sequence of int, optional
        How many VMs each host can hold, by row; without it hosts hold any number.
    """
    free = _free(frame, capacity)
    homes = frame.homes[frame.vm_rows]
    known = homes >= 0
    width = frame.outcomes.shape[0]
    keys = homes[known] * width + frame.vm_class[frame.vm_rows][known]
    pairs, counts = np.unique(keys, return_counts=True)
    host_of, class_of = pairs // width, pairs % width
    names = frame.fleet.host_names
    found = []
    starts = np.flatnonzero(np.r_[True, host_of[1:] != host_of[:-1]]) if len(pairs) else pairs
    for start, end in pairwise([*starts.tolist(), len(pairs)]):
        host = int(host_of[start])
        residents = np.zeros(width, dtype=np.int64)
        residents[class_of[start:end]] = counts[start:end]
        found.append(_check(frame, names[host], np.array([host]), residents, free))
    return sorted(found, key=lambda one: (-one.stranded, -one.unplaced, -one.residents, one.name))


def drain_groups(
    frame: Frame, column: Sequence[str], *, capacity: Sequence[int] | None = None
) -> list[Drain]:
    """Check every group of hosts that share a value of `column`, all of a group at once."""
    free = _free(frame, capacity)
    values = np.array(column, dtype=object)[frame.host_rows]
    homes = frame.homes[frame.vm_rows]
    found = []
    for value in sorted(set(values.tolist())):
        hosts = frame.host_rows[values == value]
        inside = np.isin(homes, hosts)
        residents = np.bincount(frame.vm_class[frame.vm_rows][inside], minlength=frame.outcomes.shape[0])
        found.append(_check(frame, str(value), hosts, residents, free))
    return sorted(found, key=lambda one: (-one.stranded, -one.unplaced, one.name))
