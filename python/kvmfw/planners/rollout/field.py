"""Where VMs are, by kind and part, and how to make room: augmenting paths, each a chain of moves that can be made one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kvmfw.planners.rollout.ground import Ground

__all__ = ["Field", "Hop"]

Ints = npt.NDArray[np.int64]


class Hop(NamedTuple):
    """So many VMs of a kind go from a part to another; from -1: they were nowhere."""

    kind: int
    source: int
    target: int
    vms: int


class Field:
    """A state of a rollout. VMs may move between hosts that take them, one after another; nobody is without a place.

    As moves ask only whether the target takes the VM, whether all VMs have a place depends on the hosts in service, and not on
    the way to it. It is a flow, so that augmenting paths find a place whenever there is one. A path is walked from its end:
    each of its moves finds a free place.

    Attributes
    ----------
    in_service : array of int64, shape (parts,)
        How many hosts of each part take VMs.
    counts : array of int64, shape (kinds, parts)
        How many VMs of each kind are there, without guests.
    restarted : array of int64, shape (kinds, starts)
        How many VMs of each kind were started anew, as what.
    """

    def __init__(self, ground: Ground, like: Field | None = None) -> None:
        self.ground = ground
        self.in_service: Ints
        self.counts: Ints
        self.restarted: Ints
        self._used: Ints
        if like is not None:
            self.in_service, self.counts = like.in_service.copy(), like.counts.copy()
            self.restarted, self._used = like.restarted.copy(), like._used.copy()
            return
        sizes = np.array([len(rows) for rows in ground.hosts], dtype=np.int64)
        self.in_service = np.concatenate([sizes, np.zeros_like(sizes)])
        self.counts = np.concatenate([ground.counts, np.zeros_like(ground.counts)], axis=1)
        self.restarted = np.zeros((len(ground.takes), ground.starts), dtype=np.int64)
        self._used = self.counts.sum(axis=0)

    def copy(self) -> Field:
        """Give the same state once more."""
        return Field(self.ground, self)

    def free(self) -> Ints:
        """Give the free places of each part; negative where there are more VMs than places."""
        return np.asarray(self.in_service * self.ground.room - self._used)

    def drain(self, group: int, count: int) -> None:
        """Take hosts of a group out of service; their guests are among those that need a place now."""
        self.in_service[group] -= count
        self.change(slice(None), group, self.ground.guests[:, group] * count)

    def change(self, kind: int | slice, part: int, count: int | Ints) -> None:
        """Let VMs of a kind, or of all kinds, come to a part, or leave it."""
        self.counts[kind, part] += count
        self._used[part] += np.sum(count)

    def settle(self, parts: list[int], told: Callable[[Hop], None] | None = None) -> int:
        """Let VMs go from parts that have more than they hold, or some that they do not take; give how many found no place."""
        lost = 0
        for part in parts:
            strangers = np.flatnonzero((self.counts[:, part] > 0) & ~self.ground.takes[:, part])
            for kind in strangers.tolist():
                count = int(self.counts[kind, part])
                self.change(kind, part, -count)
                left = self.push(kind, count, told)
                # Those without a place stand where they were.
                self.change(kind, part, left)
                lost += left
            over = int(-self.free()[part]) - int(self.counts[strangers, part].sum())
            while over > 0:
                leaving: npt.NDArray[np.bool_] = np.greater(self.counts[:, part], 0)
                leaving[strangers] = False
                first: npt.NDArray[np.bool_] = np.asarray(self.ground.takes[leaving].any(axis=0))
                first[part] = False
                path = self._path(first)
                if path is None:
                    lost += over
                    break
                over -= self._walk([part, *path], over, told)
        return lost

    def push(self, kind: int, count: int, told: Callable[[Hop], None] | None = None) -> int:
        """Find places for VMs that have none; give how many found none."""
        while count > 0:
            path = self._path(self.ground.takes[kind], self.ground.accepts[kind])
            if path is None:
                break
            moved = self._walk(path, count, told)
            if told is not None:
                told(Hop(kind, -1, path[0], moved))
            self.change(kind, path[0], moved)
            count -= moved
        return count

    def closure(self, part: int) -> npt.NDArray[np.bool_]:
        """Tell from which parts a VM that is taken away makes room in this one."""
        seen = np.zeros(len(self.in_service), dtype=np.bool_)
        seen[part] = True
        frontier = [part]
        while frontier:
            movable = (self.counts[:, frontier] > 0) & self.ground.takes[:, frontier]
            reached = self.ground.takes[movable.any(axis=1)].any(axis=0)
            fresh = reached & ~seen & (self.in_service > 0)
            seen |= fresh
            frontier = np.flatnonzero(fresh).tolist()
        return seen

    def closure_for(self, kinds: Iterable[int]) -> npt.NDArray[np.bool_]:
        """Tell from which parts a VM that is taken away makes room for one of these kinds, wherever that is taken."""
        seen = np.zeros(len(self.in_service), dtype=np.bool_)
        for kind in kinds:
            for part in np.flatnonzero(self.ground.takes[kind] & (self.in_service > 0)).tolist():
                seen |= self.closure(part)
        return seen

    def _path(
        self, first: npt.NDArray[np.bool_], liked: npt.NDArray[np.bool_] | None = None
    ) -> list[int] | None:
        """Give the shortest way from parts that can be reached at once to one with a free place."""
        before = np.full(len(self.in_service), -2, dtype=np.int64)
        usable = self.in_service > 0
        free = self.free()
        frontier = np.flatnonzero(first & usable)
        before[frontier] = -1
        while len(frontier):
            ends = frontier[free[frontier] > 0]
            if len(ends):
                # Whoever is on a host that nobody drains any more stays there.
                order = [free[ends], self.ground.stays[ends]]
                end = int(
                    ends[np.lexsort(order if liked is None else [free[ends], liked[ends], order[1]])[-1]]
                )
                way = [end]
                while before[way[0]] >= 0:
                    way.insert(0, int(before[way[0]]))
                return way
            found = []
            for part in frontier.tolist():
                movable = (self.counts[:, part] > 0) & self.ground.takes[:, part]
                reached = self.ground.takes[movable].any(axis=0)
                fresh = np.flatnonzero(reached & usable & (before == -2))
                before[fresh] = part
                found.append(fresh)
            frontier = np.concatenate(found) if found else np.zeros(0, dtype=np.int64)
        return None

    def _walk(self, way: list[int], count: int, told: Callable[[Hop], None] | None) -> int:
        """Move VMs along a way, from its end; give how many came from its start."""
        hops = []
        takes = self.ground.takes
        for source, target in pairwise(way):
            movable = np.where(takes[:, target] & takes[:, source], self.counts[:, source], 0)
            kind = int(movable.argmax())
            hops.append((kind, source, target))
            count = min(count, int(movable[kind]))
        count = min(count, int(self.free()[way[-1]]))
        for kind, source, target in reversed(hops):
            self.change(kind, source, -count)
            self.change(kind, target, count)
            if told is not None:
                told(Hop(kind, source, target, count))
        return count
