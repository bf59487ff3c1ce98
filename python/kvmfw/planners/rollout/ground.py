"""What does not change while a fleet is rolled out: groups of like hosts, kinds of VMs, and who takes whom."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

__all__ = ["ENDLESS", "Ground", "ground_of"]

Ints = npt.NDArray[np.int64]
ENDLESS = 1 << 40
"""The capacity of a host of which it is not known."""


@dataclass(frozen=True)
class Ground:
    """A fleet by groups and kinds.

    A *group* has hosts that nothing tells apart: class before and after, capacity, guests. It has two *parts*: part ``g`` are its
    hosts as they are, part ``groups + g`` those that were upgraded. A *kind* is a VM class; the last kinds are VMs that were
    started anew, one for each class that hosts have or become.

    Attributes
    ----------
    takes : array of bool, shape (kinds, parts)
        Which parts take VMs of which kind.
    accepts : array of bool, shape (kinds, parts)
        Where they notice nothing.
    hosts : tuple of array of int64
        The rows of the hosts of each group.
    capacity : array of int64, shape (groups,)
        How many VMs each host of a group holds.
    becomes : array of int64, shape (groups,)
        The kind of VMs that start anew on an upgraded host of the group; -1: the group stays as it is.
    guests : array of int64, shape (kinds, groups)
        VMs on each host of a group that it would not take, if they came. They stay until it is drained.
    counts : array of int64, shape (kinds, groups)
        All other VMs that run on the hosts of each group.
    classes : int
        How many kinds are VM classes; those that follow were started anew.
    """

    takes: npt.NDArray[np.bool_]
    accepts: npt.NDArray[np.bool_]
    hosts: tuple[Ints, ...]
    capacity: Ints
    becomes: Ints
    guests: Ints
    counts: Ints
    classes: int

    @property
    def groups(self) -> int:
        """How many groups there are."""
        return len(self.hosts)

    @cached_property
    def room(self) -> Ints:
        """How many VMs a host of each part holds, beside its guests."""
        return np.concatenate([np.maximum(self.capacity - self.guests.sum(axis=0), 0), self.capacity])

    @cached_property
    def stays(self) -> npt.NDArray[np.bool_]:
        """Which parts nobody drains any more."""
        return np.concatenate([self.becomes < 0, np.ones(self.groups, dtype=np.bool_)])

    @cached_property
    def lastly(self) -> Ints:
        """How well VMs of each kind are placed in the end: how many parts that nobody drains take it, or of now if none does."""
        ends = self.takes[:, self.stays].sum(axis=1)
        return np.asarray(np.where(ends > 0, ends + 2 * self.groups, self.takes.sum(axis=1)))

    @property
    def starts(self) -> int:
        """How many kinds were started anew."""
        return len(self.takes) - self.classes

    @property
    def to_upgrade(self) -> int:
        """How many hosts are to be upgraded."""
        return sum(len(rows) for rows, kind in zip(self.hosts, self.becomes, strict=True) if kind >= 0)


def ground_of(
    outcomes: npt.NDArray[np.uint8],
    taken: npt.NDArray[np.bool_],
    *,
    vm_kind: Ints,
    homes: Ints,
    host_class: Ints,
    new_class: Ints,
    capacity: Ints,
) -> Ground:
    """Sort hosts into groups and VMs into kinds.

    Parameters
    ----------
    outcomes : array of uint8, shape (VM classes, host classes)
        The class table; kinds are its rows.
    taken : array of bool, shape (4,)
        What counts as taken.
    vm_kind, homes : array of int64, shape (VMs,)
        The class of each VM, and the host it runs on; -1: nobody knows.
    host_class, new_class, capacity : array of int64, shape (hosts,)
        The class of each host, the class that it becomes (-1: none), and how many VMs it holds.
    """
    takes_class = taken[outcomes]
    here = np.flatnonzero(homes >= 0)
    is_guest = ~takes_class[vm_kind[here], host_class[homes[here]]]
    guests_of: dict[int, Counter[int]] = {}
    for vm in here[is_guest].tolist():
        guests_of.setdefault(int(homes[vm]), Counter())[int(vm_kind[vm])] += 1
    keys: dict[tuple[object, ...], list[int]] = {}
    for row, key in enumerate(zip(host_class.tolist(), new_class.tolist(), capacity.tolist(), strict=True)):
        guests = tuple(sorted(guests_of.get(row, Counter()).items()))
        keys.setdefault((*key, guests), []).append(row)
    groups = [np.array(rows, dtype=np.int64) for rows in keys.values()]
    old = np.array([host_class[rows[0]] for rows in groups], dtype=np.int64)
    new = np.array([new_class[rows[0]] for rows in groups], dtype=np.int64)
    part_class = np.concatenate([old, np.where(new >= 0, new, old)])
    anew = sorted(set(part_class.tolist()))
    fresh = np.array([part_class == number for number in anew], dtype=np.bool_).reshape(
        len(anew), len(part_class)
    )
    takes = np.concatenate([takes_class[:, part_class], fresh])
    accepts = np.concatenate([(outcomes == 0)[:, part_class], fresh])
    group_of = np.empty(len(host_class), dtype=np.int64)
    for number, rows in enumerate(groups):
        group_of[rows] = number
    counts = np.zeros((len(takes), len(groups)), dtype=np.int64)
    stays = here[~is_guest]
    np.add.at(counts, (vm_kind[stays], group_of[homes[stays]]), 1)
    guests_per_host = np.zeros((len(takes), len(groups)), dtype=np.int64)
    for number, rows in enumerate(groups):
        for kind, count in guests_of.get(int(rows[0]), Counter()).items():
            guests_per_host[kind, number] = count
    kinds = len(outcomes)
    becomes = np.array([kinds + anew.index(one) if one >= 0 else -1 for one in new.tolist()], dtype=np.int64)
    limits = np.array([capacity[rows[0]] for rows in groups], dtype=np.int64)
    return Ground(takes, accepts, tuple(groups), limits, becomes, guests_per_host, counts, kinds)
