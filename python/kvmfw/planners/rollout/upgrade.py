"""One step on a field: hosts of a group are drained, upgraded and back in service, some at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from kvmfw.planners.rollout.field import Field

__all__ = ["Choose", "removable", "upgrade", "upgrades"]

Ints = npt.NDArray[np.int64]
Choose = Callable[[Field, tuple[Ints, Ints], int], tuple[int, int, int] | None]
"""Chooses VMs to start anew: of kinds and parts that help, and for how many that have no place; gives kind, part and how many."""


def removable(field: Field, group: int) -> tuple[Ints, Ints]:
    """Give kinds and parts of VMs of which one that is started anew makes room for one that has no place in a drained group."""
    ground = field.ground
    reached = field.closure(group)
    strangers = np.flatnonzero((field.counts[:, group] > 0) & ~ground.takes[:, group])
    for kind in strangers.tolist():
        for part in np.flatnonzero(ground.takes[kind] & (field.in_service > 0)).tolist():
            reached |= field.closure(part)
    reachable = np.flatnonzero(reached)
    rows, columns = np.nonzero(field.counts[: len(ground.takes) - len(ground.anew), reachable])
    return rows, reachable[columns]


def upgrade(field: Field, group: int, count: int, at_once: int, choose: Choose | None = None) -> Field | None:
    """Give the state after hosts of a group were upgraded, some at once; None when it cannot be done.

    Whether all of them can be is a matter of the first and of the last drain: room changes evenly in between, and a flow that
    there is at both ends is there between them.

    Parameters
    ----------
    field : Field
        The state before.
    group, count, at_once : int
        The hosts, and how many of them are out of service at a time.
    choose : callable, optional
        Chooses who is started anew where VMs have no place; without it nobody is.
    """
    state, few, back = field.copy(), min(at_once, count), field.ground.groups + group
    for drained, returned in ((few, 0), (count - few, count - few)):
        state.drain(group, drained)
        state.in_service[back] += returned
        anew = _settled(state, group, choose)
        if anew is None:
            return None
        if anew:
            state.change(int(state.ground.becomes[group]), back, anew)
    state.in_service[back] += few
    return None if state.settle([back]) else state


def _settled(state: Field, group: int, choose: Choose | None) -> int | None:
    anew = 0
    while lost := state.settle([group]):
        chosen = None if choose is None else choose(state, removable(state, group), lost)
        if chosen is None:
            return None
        kind, part, count = chosen
        state.change(kind, part, -count)
        state.restarted[kind] += count
        anew += count
    return anew


def upgrades(field: Field, group: int, most: int) -> Iterator[Field]:
    """Give every state that the upgrade of one host leads to, with no more VMs started anew than this step needs."""
    state = field.copy()
    state.drain(group, 1)
    yield from _chosen(state, group, 0, most, set())


def _chosen(state: Field, group: int, anew: int, most: int, seen: set[bytes]) -> Iterator[Field]:
    key = state.restarted.tobytes()
    if key in seen:
        return
    seen.add(key)
    if not state.settle([group]):
        back = state.ground.groups + group
        state.in_service[back] += 1
        state.change(int(state.ground.becomes[group]), back, anew)
        if not state.settle([back]):
            yield state
    elif anew < most:
        kinds, parts = removable(state, group)
        for kind, part in dict(zip(kinds.tolist(), parts.tolist(), strict=True)).items():
            after = state.copy()
            after.change(kind, part, -1)
            after.restarted[kind] += 1
            yield from _chosen(after, group, anew + 1, most, seen)
