"""Drain checks: whether every VM of a host, or of a group of hosts, can go elsewhere at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from kvmfw import _native
from kvmfw.analysis.frame import Frame, Ints
from kvmfw.analysis.keys import counted

__all__ = ["Drain", "drain_groups", "drain_hosts"]


class Drain(NamedTuple):
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
class _Emptied:
    """Sets of hosts that are emptied: which VMs run there, and what is left elsewhere.

    Each row stands for VMs of one class in one set; rows are in the order of their sets.
    """

    set_of: Ints
    vm_class: Ints
    vms: Ints
    # Hosts elsewhere that take a VM of the row, and free places of these.
    takers: Ints
    places: Ints | None


def _free(frame: Frame, capacity: Sequence[int]) -> Ints:
    """Give the free places of each host."""
    known = np.flatnonzero(frame.homes >= 0)
    weight = None if frame.survey is None else frame.survey.vms[known]
    used = np.bincount(frame.homes[known], weight, minlength=len(frame.host_class)).astype(np.int64)
    return np.asarray(np.maximum(np.asarray(capacity, dtype=np.int64) - used, 0))


def _slots(frame: Frame, free: Ints, hosts: Ints) -> Ints:
    """Add up the free places of these hosts by class."""
    slots = np.bincount(frame.host_class[hosts], free[hosts], minlength=len(frame.host_weight))
    return slots.astype(np.int64)


def _living(frame: Frame, set_of: Ints) -> tuple[Ints, Ints, Ints]:
    """Give sets, VM classes and VMs: `set_of` says in which set the VMs of each kept row run, -1 in none."""
    known = set_of >= 0
    width = frame.fleet.class_shape[0]
    weight = None if frame.weight is None else frame.weight[known]
    keys, counts = counted(set_of[known] * width + frame.vm_class[frame.vm_rows][known], weight)
    return keys // width, keys % width, counts


def _sums(takers: _native.Takers, numbers: Ints) -> Ints:
    return takers.sums(numbers.astype(np.uint64)).astype(np.int64)


def _checked(
    frame: Frame, emptied: _Emptied, names: Sequence[str], hosts: Ints, slots: Callable[[int], Ints]
) -> list[Drain]:
    """Check every set; `slots` gives the free places elsewhere by host class."""
    sets = len(names)
    residents, stranded, unplaced = (np.zeros(sets, dtype=np.int64) for _ in range(3))
    np.add.at(residents, emptied.set_of, emptied.vms)
    lost = emptied.takers == 0
    np.add.at(stranded, emptied.set_of[lost], emptied.vms[lost])
    if emptied.places is not None:
        # Even if all others came first, each VM finds a free place: nothing is to be worked out.
        wanted = residents - stranded
        tight = np.zeros(sets, dtype=np.bool_)
        tight[emptied.set_of[~lost & (emptied.places < wanted[emptied.set_of])]] = True
        for number in np.flatnonzero(tight).tolist():
            start, end = np.searchsorted(emptied.set_of, [number, number + 1])
            rows = np.arange(start, end)[~lost[start:end]]
            vm_class, vms = emptied.vm_class[rows].astype(np.uint32), emptied.vms[rows].astype(np.uint64)
            unplaced[number] = frame.takers.unplaced(vm_class, vms, slots(number).astype(np.uint64))
    return [
        Drain(*row)
        for row in zip(
            names, hosts.tolist(), residents.tolist(), stranded.tolist(), unplaced.tolist(), strict=True
        )
    ]


def drain_hosts(frame: Frame, *, capacity: Sequence[int] | None = None) -> list[Drain]:
    """Check every host with VMs on it, alone; those that cannot be emptied first.

    Parameters
    ----------
    frame : Frame
        The fleet.
    capacity : sequence of int, optional
        How many VMs each host can hold, by row; without it hosts hold any number.
    """
    home_rows, vm_class, vms = _living(frame, frame.homes[frame.vm_rows])
    is_first = np.diff(home_rows, prepend=-1) > 0
    living, set_of = home_rows[is_first], np.cumsum(is_first) - 1
    home_class = frame.host_class[home_rows]
    at_home = frame.takers.has(vm_class.astype(np.uint32), home_class)
    takers = _sums(frame.takers, frame.host_weight)[vm_class] - at_home
    free, every, places = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), None
    if capacity is not None:
        free = _free(frame, capacity)
        every = _slots(frame, free, frame.host_rows)
        places = _sums(frame.takers, every)[vm_class] - at_home * free[home_rows]

    def slots(number: int) -> Ints:
        left = every.copy()
        left[frame.host_class[living[number]]] -= free[living[number]]
        return left

    emptied = _Emptied(set_of, vm_class, vms, takers, places)
    names = frame.fleet.host_names.take(living)
    found = _checked(frame, emptied, names, np.ones(len(living), dtype=np.int64), slots)
    return sorted(found, key=lambda one: (-one.stranded, -one.unplaced, -one.residents, one.name))


def drain_groups(
    frame: Frame, column: Sequence[str], *, capacity: Sequence[int] | None = None
) -> list[Drain]:
    """Check every group of hosts that share a value of `column`, all of a group at once."""
    values, of = frame.by_value(column)
    set_of, vm_class, vms = _living(frame, frame.home_value(of))
    groups = of[frame.host_rows]
    hosts = np.bincount(groups, minlength=len(values))

    def elsewhere(numbers: Callable[[Ints], Ints]) -> tuple[Ints, Callable[[int], Ints]]:
        """Give for each row the sum of numbers of hosts elsewhere that take it, and these numbers by class."""
        every = numbers(frame.host_rows)

        def left(group: int) -> Ints:
            return np.asarray(every - numbers(frame.host_rows[groups == group]))

        lists = np.array([left(group) for group in range(len(values))], dtype=np.uint64)
        sums = frame.takers.sums_of(vm_class.astype(np.uint32), set_of.astype(np.uint32), lists.ravel())
        return sums.astype(np.int64), left

    def count(rows: Ints) -> Ints:
        return np.bincount(frame.host_class[rows], minlength=len(frame.host_weight))

    takers, slots = elsewhere(count)
    places = None
    if capacity is not None:
        free = _free(frame, capacity)
        places, slots = elsewhere(lambda rows: _slots(frame, free, rows))
    found = _checked(frame, _Emptied(set_of, vm_class, vms, takers, places), values, hosts, slots)
    return sorted(found, key=lambda one: (-one.stranded, -one.unplaced, one.name))
