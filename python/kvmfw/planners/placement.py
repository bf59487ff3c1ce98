"""Evacuation and placement: which VM goes to which host, with sizes, room and groups, checked against the table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kvmfw.errors import ArgumentError, InternalError
from kvmfw.planners.formulation import LEAST_WORTH, Groups, formulated
from kvmfw.planners.hand_out import handed_out
from kvmfw.planners.solvers import SOLVERS, Solver, solved
from kvmfw.questions import Treat, counted_as_taken, taken_as
from kvmfw.roster import On
from kvmfw.snapshot import Snapshot, View

__all__ = ["Placement", "evacuate", "place"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Placement:
    """Where VMs go.

    Attributes
    ----------
    snapshot : Snapshot
        Whose rows these are.
    vms, hosts : array of int64
        Rows of the VMs, and of the host that each goes to; -1: none was found.
    takeable : int
        How many of the VMs some host takes at all, if there were room.
    bound : int
        More cannot be placed, by any plan.
    """

    snapshot: Snapshot
    vms: Ints
    hosts: Ints
    takeable: int
    bound: int

    @property
    def placed(self) -> int:
        """How many VMs have a host."""
        return int((self.hosts >= 0).sum())


def place(
    view: View,
    vms: npt.ArrayLike | None = None,
    *,
    sizes: npt.ArrayLike,
    room: npt.ArrayLike,
    groups: npt.ArrayLike | None = None,
    held: npt.ArrayLike | None = None,
    unknown: Treat,
    change: Treat,
    solver: Solver = "highs",
    gap: float = 2e-3,
    seconds: float = 60.0,
) -> Placement:
    """Place VMs: as many as can be, to hosts that change nothing for the guest before others.

    Classes and sizes are placed first, by an integer program; then each VM gets its host.

    Parameters
    ----------
    view : Fleet or Snapshot
        The fleet.
    vms : array_like of int, optional
        Rows of VMs; all by default.
    sizes : array_like of int, shape (VMs, resources)
        What each of them takes, of any resources.
    room : array_like of int, shape (hosts, resources)
        What each host of the fleet has free.
    groups : array_like of int, shape (VMs,), optional
        Groups of which no two VMs may be on one host; -1: none.
    held : array_like of int, shape (n, 2), optional
        Hosts where one of a group is already: row of the host, and group.
    unknown, change : {"accept", "refuse"}
        What these outcomes count as.
    solver : {"highs", "scipy", "cp-sat"}
        Who solves.
    gap, seconds : float
        When to stop: so near to the bound, or after so long.

    Raises
    ------
    ArgumentError
        When shapes do not fit.
    MissingExtraError
        When the solver is not installed.
    """
    now = view.snapshot()
    rows = np.arange(now.shape[0]) if vms is None else np.asarray(vms, dtype=np.int64)
    size = _shaped("sizes", sizes, len(rows))
    free = _shaped("room", room, now.shape[1], size.shape[1])
    group = np.full(len(rows), -1, dtype=np.int64) if groups is None else np.asarray(groups, dtype=np.int64)
    if group.shape != rows.shape:
        raise ArgumentError(f"`groups` has shape {group.shape}; expected {rows.shape}")
    if solver not in SOLVERS:
        raise ArgumentError(f"`solver` is `{solver}`; expected {', '.join(SOLVERS)}")
    arcs = now.arcs(unknown=unknown, change=change)
    classes = np.searchsorted(arcs.vm_classes, now.vm_classes[rows]).astype(np.int64)
    host_place = np.searchsorted(arcs.host_classes, now.host_classes).astype(np.int64)
    together = np.zeros((len(arcs.host_classes), size.shape[1]), dtype=np.int64)
    np.add.at(together, host_place, free)
    there = (
        np.zeros((0, 2), dtype=np.int64) if held is None else np.asarray(held, dtype=np.int64).reshape(-1, 2)
    )
    apart = Groups(group, there, host_place)
    made = formulated(arcs, classes, size, together, apart)
    solution = solved(made, solver, gap=gap, seconds=seconds)
    hosts = handed_out(made, solution.x, free, apart)
    bound = min(made.takeable, int(solution.bound / LEAST_WORTH + 1e-6))
    placement = Placement(now, rows, hosts, made.takeable, bound)
    _check(placement, size, free, apart, taken_as(change, unknown))
    return placement


def evacuate(
    view: View,
    hosts: Iterable[On],
    *,
    sizes: npt.ArrayLike,
    capacity: npt.ArrayLike,
    groups: npt.ArrayLike | None = None,
    unknown: Treat,
    change: Treat,
    solver: Solver = "highs",
    gap: float = 2e-3,
    seconds: float = 60.0,
) -> Placement:
    """Find places elsewhere for all VMs of some hosts, beside those that run there.

    Parameters
    ----------
    view : Fleet or Snapshot
        The fleet.
    hosts : iterable of int, str or HostHandle
        The hosts to empty.
    sizes : array_like of int, shape (VMs, resources)
        What each VM of the fleet takes.
    capacity : array_like of int, shape (hosts, resources)
        What each host has in all.
    groups, unknown, change, solver, gap, seconds
        As for `place`; the groups of all VMs.
    """
    now = view.snapshot()
    homes = now.vm_homes
    size = _shaped("sizes", sizes, now.shape[0])
    free = _shaped("capacity", capacity, now.shape[1], size.shape[1]).copy()
    np.subtract.at(free, homes[homes >= 0], size[homes >= 0])
    free = np.maximum(free, 0)
    emptied = [now.host_row(host) for host in hosts]
    free[emptied] = 0
    rows = np.flatnonzero(np.isin(homes, emptied))
    group = np.full(now.shape[0], -1) if groups is None else np.asarray(groups, dtype=np.int64)
    stays = (homes >= 0) & (group >= 0) & ~np.isin(homes, emptied)
    return place(
        now,
        rows,
        sizes=size[rows],
        room=free,
        groups=group[rows],
        held=np.column_stack([homes[stays], group[stays]]),
        unknown=unknown,
        change=change,
        solver=solver,
        gap=gap,
        seconds=seconds,
    )


def _shaped(name: str, numbers: npt.ArrayLike, rows: int, resources: int | None = None) -> Ints:
    """Give numbers as a table with a column for each resource."""
    table = np.asarray(numbers)
    if table.size and table.dtype.kind not in "iu":
        raise ArgumentError(f"`{name}` is of dtype {table.dtype}; expected integers")
    table = table.astype(np.int64).reshape(len(table), -1) if table.ndim == 1 else table.astype(np.int64)
    if table.ndim != 2 or len(table) != rows or resources not in (None, table.shape[1]):
        wanted = f"({rows}, {'resources' if resources is None else resources})"
        raise ArgumentError(f"`{name}` has shape {table.shape}; expected {wanted}")
    if (table < 0).any():
        raise ArgumentError(f"`{name}` has a number below 0")
    return table


def _check(placement: Placement, size: Ints, free: Ints, groups: Groups, taken: tuple[bool, bool]) -> None:
    """Look at each VM that was placed: it is taken, there is room, and nobody of its group is there."""
    at = np.flatnonzero(placement.hosts >= 0)
    hosts = placement.hosts[at]
    outcomes = placement.snapshot.validate_pairs(placement.vms[at], hosts)
    used = np.zeros_like(free)
    np.add.at(used, hosts, size[at])
    grouped = groups.of[at] >= 0
    pairs = np.column_stack([hosts[grouped], groups.of[at][grouped]])
    pairs = np.concatenate([pairs, groups.held])
    refused = not counted_as_taken(*taken)[outcomes].all()
    if (
        refused
        or (used > free).any()
        or len(np.unique(pairs, axis=0)) < len(np.unique(groups.held, axis=0)) + int(grouped.sum())
    ):
        raise InternalError("a placement is not what the table allows")
