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


@dataclass(frozen=True, slots=True)
class _Room:
    """Hosts and free places of the whole fleet; hosts that are emptied do not count."""

    frame: Frame
    free: Ints | None
    by_class: Ints | None

    @classmethod
    def of(cls, frame: Frame, capacity: Sequence[int] | None) -> _Room:
        if capacity is None:
            return cls(frame, None, None)
        homes = frame.homes[frame.homes >= 0]
        used = np.bincount(homes, minlength=len(frame.fleet.host_names))
        free = np.maximum(np.asarray(capacity, dtype=np.int64) - used, 0)
        kept = frame.host_rows
        slots = np.bincount(frame.host_class[kept], free[kept], minlength=len(frame.host_weight))
        return cls(frame, free, slots.astype(np.int64))

    def check(self, name: str, hosts: Ints, classes: Ints, count: Ints) -> Drain:
        """Check one set of host rows, on which `count` VMs of these VM classes run."""
        elsewhere = self.frame.host_weight.copy()
        np.subtract.at(elsewhere, self.frame.host_class[hosts], 1)
        takes = self.frame.taken[classes] & (elsewhere > 0)[None, :]
        homeless = ~takes.any(axis=1)
        unplaced = 0
        if self.free is not None and self.by_class is not None:
            slots = self.by_class.copy()
            np.subtract.at(slots, self.frame.host_class[hosts], self.free[hosts])
            unplaced = _unplaced(count[~homeless], takes[~homeless], slots)
        return Drain(name, len(hosts), int(count.sum()), int(count[homeless].sum()), unplaced)


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
    room = _Room.of(frame, capacity)
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
        hosts = host_of[start : start + 1]
        found.append(room.check(names[int(hosts[0])], hosts, class_of[start:end], counts[start:end]))
    return sorted(found, key=lambda one: (-one.stranded, -one.unplaced, -one.residents, one.name))


def drain_groups(
    frame: Frame, column: Sequence[str], *, capacity: Sequence[int] | None = None
) -> list[Drain]:
    """Check every group of hosts that share a value of `column`, all of a group at once."""
    room = _Room.of(frame, capacity)
    values, of = frame.by_value(column)
    classes = frame.vm_class[frame.vm_rows]
    group = frame.home_value(of)
    found = []
    for number, value in enumerate(values):
        hosts = frame.host_rows[of[frame.host_rows] == number]
        residents = np.bincount(classes[group == number], minlength=frame.outcomes.shape[0])
        living = np.flatnonzero(residents)
        found.append(room.check(value, hosts, living, residents[living]))
    return sorted(found, key=lambda one: (-one.stranded, -one.unplaced, one.name))
