"""From groups and kinds to hosts and VMs: which VM moves where, wave by wave."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from kvmfw.errors import InternalError
from kvmfw.planners.rollout.field import Field, Hop
from kvmfw.planners.rollout.steps import Move, Step, Wave

__all__ = ["Walk"]

Ints = npt.NDArray[np.int64]


class Walk:
    """Where every VM is, while a plan is carried out.

    Parameters
    ----------
    start : Field
        The state at first.
    vm_kind, homes : array of int64, shape (VMs,)
        The kind of each VM, and where it runs; -1: nobody knows.
    """

    def __init__(self, start: Field, vm_kind: Ints, homes: Ints) -> None:
        self.field, ground = start.copy(), start.ground
        self.ground = ground
        self.kind: list[int] = vm_kind.tolist()
        self.host: list[int] = homes.tolist()
        self.part_of: Ints = np.empty(sum(map(len, ground.hosts)), dtype=np.int64)
        self.limit = np.empty_like(self.part_of)
        for group, rows in enumerate(ground.hosts):
            self.part_of[rows], self.limit[rows] = group, ground.capacity[group]
        self.pools = [deque(rows.tolist()) for rows in ground.hosts] + [deque[int]() for _ in ground.hosts]
        self.is_pooled = [True] * len(self.part_of)
        self.residents: list[set[int]] = [set() for _ in self.part_of]
        # VMs by part and kind; those that went away since are passed over.
        self.there: dict[tuple[int, int], list[int]] = {}
        self.moves: list[Move] = []
        self._waiting: dict[int, list[int]] = {}
        for vm in np.flatnonzero(homes >= 0).tolist():
            row = self.host[vm]
            self.residents[row].add(vm)
            part = int(self.part_of[row])
            if ground.takes[self.kind[vm], part]:
                self.there.setdefault((part, self.kind[vm]), []).append(vm)

    def step(self, group: int, count: int, at_once: int, planned: Ints) -> Step:
        """Upgrade hosts of a group, those with fewest VMs first. `planned` has the VMs to start anew, by kind, and is used up."""
        rows = [row for row in self.ground.hosts[group].tolist() if self.part_of[row] == group]
        rows.sort(key=lambda row: len(self.residents[row]))
        starts = range(0, count, at_once)
        return Step(tuple(self._wave(group, rows[at : min(at + at_once, count)], planned) for at in starts))

    def _wave(self, group: int, rows: list[int], planned: Ints) -> Wave:
        field, ground = self.field, self.ground
        field.in_service[group] -= len(rows)
        self.part_of[rows] = -1
        self._waiting = {}
        for row in rows:
            for vm in sorted(self.residents[row]):
                self._waiting.setdefault(self.kind[vm], []).append(vm)
        for kind, vms in self._waiting.items():
            if ground.takes[kind, group]:
                field.change(kind, group, -len(vms))
        self.moves = []
        stopped = self._placed(planned)
        before, self.moves = tuple(self.moves), []
        back, kind = ground.groups + group, int(ground.becomes[group])
        self.part_of[rows] = back
        field.in_service[back] += len(rows)
        for row in rows:
            # It may stand in the pool of its old part still, and is passed over there.
            self.is_pooled[row] = True
            self.pools[back].append(row)
        for vm in stopped:
            self.kind[vm] = kind
        self._waiting = {kind: stopped}
        if field.push(kind, len(stopped), self._told):
            raise InternalError("VMs that are started anew find no place")
        return Wave(tuple(rows), before, tuple(self.moves))

    def _placed(self, planned: Ints) -> list[int]:
        """Find places for all that wait; give those that are stopped for want of one."""
        stopped: list[int] = []
        while True:
            lost = {}
            for kind, vms in self._waiting.items():
                if vms and (left := self.field.push(kind, len(vms), self._told)):
                    lost[kind] = left
            if not lost:
                return stopped
            kind = min(lost, key=lambda one: (planned[one] <= 0, one))
            if planned[kind] > 0 or not (chosen := self._chosen(lost, planned)):
                count = min(lost[kind], max(int(planned[kind]), 1))
                for _ in range(count):
                    self._stop(self._waiting[kind].pop(), stopped)
            else:
                kind, part = chosen
                count = 1
                self.field.change(kind, part, -1)
                self._stop(self._pick(kind, part), stopped)
            planned[kind] -= count
            self.field.restarted[kind] += count

    def _chosen(self, lost: Iterable[int], planned: Ints) -> tuple[int, int] | None:
        """Choose a VM that is to be started anew, and makes room for one of those that have no place."""
        reached = np.zeros(len(self.field.in_service), dtype=np.bool_)
        for kind in lost:
            for part in np.flatnonzero(self.ground.takes[kind] & (self.field.in_service > 0)).tolist():
                reached |= self.field.closure(part)
        kinds, parts = np.nonzero((self.field.counts > 0) & reached[None, :] & (planned > 0)[:, None])
        return (int(kinds[0]), int(parts[0])) if len(kinds) else None

    def _stop(self, vm: int, stopped: list[int]) -> None:
        self.moves.append(Move(vm, self.host[vm], None))
        self._leave(vm)
        stopped.append(vm)

    def _told(self, hop: Hop) -> None:
        is_anew = hop.source < 0 and hop.kind in self.ground.anew
        for _ in range(hop.vms):
            vm = self._waiting[hop.kind].pop() if hop.source < 0 else self._pick(hop.kind, hop.source)
            source = None if is_anew else self.host[vm]
            if not is_anew:
                self._leave(vm)
            self.moves.append(Move(vm, source, self._arrive(vm, hop.target)))

    def _pick(self, kind: int, part: int) -> int:
        listed = self.there[(part, kind)]
        while True:
            vm = listed.pop()
            if self.kind[vm] == kind and self.part_of[self.host[vm]] == part:
                return vm

    def _leave(self, vm: int) -> None:
        row = self.host[vm]
        self.residents[row].discard(vm)
        if self.part_of[row] >= 0:
            self._pool(row)

    def _pool(self, row: int) -> None:
        if not self.is_pooled[row]:
            self.is_pooled[row] = True
            self.pools[self.part_of[row]].append(row)

    def _arrive(self, vm: int, part: int) -> int:
        """Give a VM the next host of a part that has a free place."""
        pool = self.pools[part]
        while True:
            row: int = pool[0]
            if self.part_of[row] == part and len(self.residents[row]) < self.limit[row]:
                break
            pool.popleft()
            if self.part_of[row] == part:
                self.is_pooled[row] = False
        pool.rotate(-1)
        self.host[vm] = row
        self.residents[row].add(vm)
        self.there.setdefault((part, self.kind[vm]), []).append(vm)
        return row
