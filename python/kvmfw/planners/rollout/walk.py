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
        self.host: list[int | None] = [row if row >= 0 else None for row in homes.tolist()]
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
            row = int(homes[vm])
            self.residents[row].add(vm)
            part = int(self.part_of[row])
            if ground.takes[self.kind[vm], part]:
                self.there.setdefault((part, self.kind[vm]), []).append(vm)

    def step(self, group: int, count: int, at_once: int, planned: Ints, *, exactly: bool) -> Step:
        """Upgrade hosts of a group, those with fewest VMs first.

        `planned` has the VMs to start anew, by kind and as what, and is used up: by those whose place is needed, and `exactly`
        by the others too.
        """
        rows = [row for row in self.ground.hosts[group].tolist() if self.part_of[row] == group]
        rows.sort(key=lambda row: len(self.residents[row]))
        self._planned = planned
        waves = [rows[at : min(at + at_once, count)] for at in range(0, count, at_once)]
        return Step(tuple(self._wave(group, wave, exactly=exactly) for wave in waves))

    def _wave(self, group: int, rows: list[int], *, exactly: bool) -> Wave:
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
        start = int(ground.becomes[group])
        stopped = self._placed(start)
        if exactly:
            for kind in np.flatnonzero(self._planned.sum(axis=1)).tolist():
                for _ in range(int(self._planned[kind].sum())):
                    self._stop_in(int(field.counts[kind].argmax()), kind, start, stopped)
        before, self.moves = tuple(self.moves), []
        back = ground.groups + group
        self.part_of[rows] = back
        field.in_service[back] += len(rows)
        for row in rows:
            # It may stand in the pool of its old part still, and is passed over there.
            self.is_pooled[row] = True
            self.pools[back].append(row)
        self._waiting = stopped
        for kind, vms in stopped.items():
            for vm in vms:
                self.kind[vm] = kind
            if field.push(kind, len(vms), self._told):
                raise InternalError("VMs that are started anew find no place")
        return Wave(tuple(rows), before, tuple(self.moves))

    def _placed(self, start: int) -> dict[int, list[int]]:
        """Find places for all that wait; give those that are stopped for want of one, by the kind as which they start."""
        stopped: dict[int, list[int]] = {}
        while True:
            lost = {}
            for kind, vms in self._waiting.items():
                if vms and (left := self.field.push(kind, len(vms), self._told)):
                    lost[kind] = left
            if not lost:
                return stopped
            planned = self._planned.sum(axis=1)
            kind = min(lost, key=lambda one: (planned[one] <= 0, one))
            if planned[kind] > 0 or not (chosen := self._chosen(lost, planned)):
                for _ in range(min(lost[kind], max(int(planned[kind]), 1))):
                    self._stop(self._waiting[kind].pop(), start, stopped)
            else:
                kind, part = chosen
                self._stop_in(part, kind, start, stopped)

    def _chosen(self, lost: Iterable[int], planned: Ints) -> tuple[int, int] | None:
        """Choose a VM that is to be started anew, and makes room for one of those that have no place."""
        reached = self.field.closure_for(lost)
        kinds, parts = np.nonzero((self.field.counts > 0) & reached[None, :] & (planned > 0)[:, None])
        return (int(kinds[0]), int(parts[0])) if len(kinds) else None

    def _stop_in(self, part: int, kind: int, start: int, stopped: dict[int, list[int]]) -> None:
        self.field.change(kind, part, -1)
        self._stop(self._pick(kind, part), start, stopped)

    def _stop(self, vm: int, start: int, stopped: dict[int, list[int]]) -> None:
        """Stop a VM, which starts as it was planned, or else as what the hosts become."""
        self.moves.append(Move(vm, self._leave(vm), None))
        kind, first = self.kind[vm], self.ground.classes
        planned = np.flatnonzero(self._planned[kind])
        if len(planned):
            start = first + int(planned[0])
            self._planned[kind, start - first] -= 1
        self.field.restarted[kind, start - first] += 1
        stopped.setdefault(start, []).append(vm)

    def _told(self, hop: Hop) -> None:
        for _ in range(hop.vms):
            vm = self._waiting[hop.kind].pop() if hop.source < 0 else self._pick(hop.kind, hop.source)
            source = self._leave(vm)
            self.moves.append(Move(vm, source, self._arrive(vm, hop.target)))

    def _pick(self, kind: int, part: int) -> int:
        listed = self.there[(part, kind)]
        while True:
            vm = listed.pop()
            row = self.host[vm]
            if row is not None and self.kind[vm] == kind and self.part_of[row] == part:
                return vm

    def _leave(self, vm: int) -> int | None:
        """Take a VM from its host; give that. None: it is stopped."""
        row, self.host[vm] = self.host[vm], None
        if row is not None:
            self.residents[row].discard(vm)
            if self.part_of[row] >= 0:
                self._pool(row)
        return row

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
