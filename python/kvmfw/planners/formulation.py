"""Placement as an integer program over classes: one formulation, whoever solves it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from kvmfw.arcs import Arcs

__all__ = ["Formulation", "Groups", "formulated"]

Ints = npt.NDArray[np.int64]
# What a VM placed is worth by outcome: one more VM is worth more than any number of better outcomes among a few hundred.
_WORTH = np.array([1000, 999, 998], dtype=np.int64)
LEAST_WORTH = int(_WORTH[-1])


@dataclass(frozen=True)
class Groups:
    """VMs of which no two of a group may be on one host.

    Attributes
    ----------
    of : array of int64, shape (VMs,)
        The group of each VM to place; -1: none.
    held : array of int64, shape (n, 2)
        Rows of hosts where one of a group is already, and these groups.
    host_place : array of int64, shape (hosts,)
        The class of each host, as a place among those of the arcs.
    """

    of: Ints
    held: Ints
    host_place: Ints

    def limits(self, group: int, hosts: Ints) -> Ints:
        """Give how many of a group each host class can hold; `hosts` has the hosts of each."""
        rows = np.unique(self.held[self.held[:, 1] == group, 0])
        return np.asarray(hosts - np.bincount(self.host_place[rows], minlength=len(hosts)))


@dataclass(frozen=True)
class Formulation:
    """Maximise ``worth @ x`` under ``rows @ x <= limits`` and ``0 <= x <= most``; x counts VMs of a kind on a host class.

    VMs are of one kind that have the outcome on every host class and the size in common, and the group, where this is so large
    that it can fill a host class. There is no variable for a VM, nor for a host.

    Attributes
    ----------
    kind_of : array of int64, shape (VMs,)
        The kind of each VM.
    size_of : array of int64, shape (kinds, resources)
        What a VM of each kind takes.
    arcs : Arcs
        Whose classes these are.
    kind, target : array of int64, shape (variables,)
        The kind of each variable, and its place among the host classes of `arcs`.
    worth, most : array of int64, shape (variables,)
        What each counts for, and how many there are at most.
    row, column, value : array of int64
        The matrix, entry by entry.
    limits : array of int64, shape (rows,)
        The right-hand sides.
    takeable : int
        How many VMs some host class takes at all.
    """

    kind_of: Ints
    size_of: Ints
    arcs: Arcs
    kind: Ints
    target: Ints
    worth: Ints
    most: Ints
    row: Ints
    column: Ints
    value: Ints
    limits: Ints
    takeable: int


def formulated(arcs: Arcs, classes: Ints, sizes: Ints, room: Ints, groups: Groups) -> Formulation:
    """Formulate a placement.

    Parameters
    ----------
    arcs : Arcs
        Which classes may go where.
    classes : array of int64, shape (VMs,)
        The class of each VM, as a place in ``arcs.vm_classes``.
    sizes : array of int64, shape (VMs, resources)
        What each VM takes.
    room : array of int64, shape (host classes, resources)
        What the hosts of each class have free, together.
    groups : Groups
        Which VMs may not be together.
    """
    every = arcs.hosts.astype(np.int64)
    numbers, members = np.unique(groups.of[groups.of >= 0], return_counts=True)
    within = [groups.limits(number, every) for number in numbers.tolist()]
    is_large = [
        count > limit.min(initial=count) for count, limit in zip(members.tolist(), within, strict=True)
    ]
    large = numbers[np.array(is_large, dtype=np.bool_)]
    own = np.where(np.isin(groups.of, large), groups.of, -1)
    keys, kind_of, counts = np.unique(
        np.column_stack([_alike(arcs)[classes], own, sizes]), axis=0, return_inverse=True, return_counts=True
    )
    starts, ends = arcs.starts[keys[:, 0]], arcs.starts[keys[:, 0] + 1]
    per_kind = ends - starts
    kind = np.repeat(np.arange(len(keys)), per_kind)
    place = np.arange(len(kind)) - np.repeat(np.cumsum(per_kind) - per_kind, per_kind) + starts[kind]
    target = arcs.targets[place].astype(np.int64)
    size_of, variables = keys[:, 2:], np.arange(len(kind))
    resources, hosts = sizes.shape[1], len(arcs.host_classes)
    # Rows: VMs of each kind; then each resource of each host class; then each large group on each host class.
    rows, columns, values = [kind], [variables], [np.ones(len(kind), dtype=np.int64)]
    limits = [counts.astype(np.int64)]
    for resource in range(resources):
        rows.append(sum(map(len, limits)) + target)
        columns.append(variables)
        values.append(size_of[kind, resource])
        limits.append(room[:, resource])
    grouped = np.flatnonzero(keys[kind, 1] >= 0)
    rows.append(
        sum(map(len, limits)) + np.searchsorted(large, keys[kind[grouped], 1]) * hosts + target[grouped]
    )
    columns.append(grouped)
    values.append(np.ones(len(grouped), dtype=np.int64))
    limits += [limit for limit, is_bound in zip(within, is_large, strict=True) if is_bound]
    return Formulation(
        kind_of=kind_of.reshape(-1).astype(np.int64),
        size_of=size_of,
        arcs=arcs,
        kind=kind,
        target=target,
        worth=_WORTH[arcs.outcomes[place]],
        most=counts[kind].astype(np.int64),
        row=np.concatenate(rows),
        column=np.concatenate(columns),
        value=np.concatenate(values),
        limits=np.concatenate(limits),
        takeable=int(counts[per_kind > 0].sum()),
    )


def _alike(arcs: Arcs) -> Ints:
    """Give for each VM class the first one that may go where it may, with the same outcomes."""
    first: dict[tuple[bytes, bytes], int] = {}
    starts = arcs.starts.tolist()
    return np.array(
        [
            first.setdefault((arcs.targets[start:end].tobytes(), arcs.outcomes[start:end].tobytes()), place)
            for place, (start, end) in enumerate(pairwise(starts))
        ],
        dtype=np.int64,
    )
