"""From classes to VMs: each VM of a solution gets a host of its class, first fit, largest first."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kvmfw.planners.formulation import Formulation, Groups

__all__ = ["handed_out"]

Ints = npt.NDArray[np.int64]


def handed_out(made: Formulation, x: Ints, free: Ints, groups: Groups) -> Ints:
    """Give the host row of each VM; -1 where it found none.

    What does not fit on any single host of the class that it was given, however much these have free together, goes to
    whichever host takes it and has room.
    """
    return _HandOut(made, free, groups).run(x)


class _HandOut:
    def __init__(self, made: Formulation, free: Ints, groups: Groups) -> None:
        self.made, self.groups = made, groups
        self.hosts = np.full(len(made.kind_of), -1, dtype=np.int64)
        # Hosts class by class, so that those of one are together.
        self.order = np.argsort(groups.host_place, kind="stable")
        self.free = free[self.order]
        ends = np.cumsum(np.bincount(groups.host_place, minlength=len(made.arcs.host_classes))).tolist()
        self.of_class = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
        # VMs by kind, those of a group first: they have the fewest places.
        waiting = np.lexsort((groups.of < 0, made.kind_of))
        kinds = np.bincount(made.kind_of, minlength=len(made.size_of))
        self.waiting = np.split(waiting, np.cumsum(kinds)[:-1])
        self.grouped = np.bincount(made.kind_of[groups.of >= 0], minlength=len(made.size_of)).tolist()
        self.held: dict[int, set[int]] = {}
        for host, group in groups.held.tolist():
            self.held.setdefault(group, set()).add(host)

    def run(self, x: Ints) -> Ints:
        """Hand out what is solved, then what is left."""
        chosen = np.flatnonzero(x)
        scale = np.maximum(self.free.sum(axis=0), 1)
        weight = (self.made.size_of / scale).max(axis=1, initial=0)
        kinds, targets = self.made.kind, self.made.target
        for variable in chosen[np.argsort(-weight[kinds[chosen]], kind="stable")].tolist():
            self._give(int(kinds[variable]), self.of_class[targets[variable]], int(x[variable]))
        # Variables of a kind are together, and stand in the order of preference.
        starts = np.searchsorted(kinds, np.arange(len(weight) + 1))
        for kind in np.argsort(-weight, kind="stable").tolist():
            for target in targets[starts[kind] : starts[kind + 1]].tolist():
                if not len(self.waiting[kind]):
                    break
                self._give(kind, self.of_class[target], len(self.waiting[kind]))
        return self.hosts

    def _give(self, kind: int, hosts: slice, count: int) -> None:
        """Give up to `count` VMs of a kind their hosts among these."""
        waiting, size = self.waiting[kind], self.made.size_of[kind]
        if self.grouped[kind]:
            before = len(waiting)
            waiting = self._give_apart(kind, size, hosts, count)
            count -= before - len(waiting)
        first = self.grouped[kind]
        # What VMs of groups did not take is for the others.
        rest = waiting[first : first + count]
        if len(rest):
            free = self.free[hosts]
            wanted = np.maximum(size, 1)
            fits = np.where(size > 0, free // wanted, len(rest)).min(axis=1)
            upto = np.minimum(np.cumsum(fits), len(rest))
            takes = np.diff(upto, prepend=0)
            placed = int(upto[-1])
            self.hosts[rest[:placed]] = np.repeat(self.order[hosts], takes)
            free -= takes[:, None] * size
            waiting = (
                np.concatenate([waiting[:first], waiting[first + placed :]]) if first else waiting[placed:]
            )
        self.waiting[kind] = waiting

    def _give_apart(self, kind: int, size: Ints, hosts: slice, count: int) -> Ints:
        """Give VMs of groups hosts where nobody of theirs is; give the VMs of the kind that wait still."""
        waiting, left = self.waiting[kind], []
        free, names = self.free[hosts], self.order[hosts].tolist()
        first = min(count, self.grouped[kind])
        for vm in waiting[:first].tolist():
            held = self.held.setdefault(int(self.groups.of[vm]), set())
            for at in np.flatnonzero((free >= size).all(axis=1)).tolist():
                if names[at] not in held:
                    held.add(names[at])
                    self.hosts[vm] = names[at]
                    free[at] -= size
                    break
            else:
                left.append(vm)
        self.grouped[kind] -= first - len(left)
        return np.concatenate([np.array(left, dtype=np.int64), waiting[first:]])
