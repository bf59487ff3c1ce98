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
    strangers = np.flatnonzero((field.counts[:, group] > 0) & ~ground.takes[:, group])
    reached = field.closure(group) | field.closure_for(strangers.tolist())
    reachable = np.flatnonzero(reached)
    rows, columns = np.nonzero(field.counts[:, reachable])
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
    start = int(field.ground.becomes[group])
    for drained, returned in ((few, 0), (count - few, count - few)):
        state.drain(group, drained)
        state.in_service[back] += returned
        anew = _settled(state, group, choose)
        if anew is None:
            return None
        if anew:
            state.change(start, back, anew)
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
        state.restarted[kind, int(state.ground.becomes[group]) - state.ground.classes] += count
        anew += count
    return anew


def upgrades(field: Field, group: int, most: int) -> Iterator[Field | None]:
    """Give every state that the upgrade of one host leads to, with nobody started anew whose place the step does not need.

    A VM is stopped before the drain and starts after it, on any host that is in service by then. None stands for each state that
    was looked at in vain: more VMs have to start anew.
    """
    state = field.copy()
    state.drain(group, 1)
    yield from _chosen(state, group, field.restarted, most, set())


def _chosen(state: Field, group: int, before: Ints, most: int, seen: set[bytes]) -> Iterator[Field | None]:
    key = state.restarted.tobytes()
    if key in seen:
        return
    seen.add(key)
    stopped = state.restarted - before
    if state.settle([group]):
        helpful = removable(state, group)
    else:
        after = state.copy()
        after.in_service[state.ground.groups + group] += 1
        homeless = _started(after, stopped.sum(axis=0))
        if not homeless:
            yield after
            return
        helpful = _in_the_way(state, after, homeless)
    yield None
    if stopped.sum() >= most:
        return
    in_service = state.in_service > 0
    in_service[state.ground.groups + group] = True
    starts = np.flatnonzero((state.ground.takes[state.ground.classes :] & in_service).any(axis=1)).tolist()
    kinds, parts = helpful
    for kind, part in dict(zip(kinds.tolist(), parts.tolist(), strict=True)).items():
        for start in starts:
            after = state.copy()
            after.change(kind, part, -1)
            after.restarted[kind, start] += 1
            yield from _chosen(after, group, before, most, seen)


def _started(state: Field, starting: Ints) -> list[int]:
    """Find places for VMs that start anew; give the kinds of those that find none."""
    classes = state.ground.classes
    return [
        classes + start
        for start in np.flatnonzero(starting).tolist()
        if state.push(classes + start, int(starting[start]))
    ]


def _in_the_way(running: Field, after: Field, homeless: list[int]) -> tuple[Ints, Ints]:
    """Give kinds, and parts, of VMs still running of which one that is stopped as well makes room for one that finds no place."""
    reached = after.closure_for(homeless)
    kinds = np.flatnonzero((after.counts[:, reached] > 0).any(axis=1) & (running.counts > 0).any(axis=1))
    return kinds, np.asarray(running.counts[kinds].argmax(axis=1))
