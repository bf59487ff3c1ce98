"""A good order, for any number of groups: whole groups at once where that works, and a bound that says how good it is."""

from __future__ import annotations

import numpy as np

from kvmfw.planners.rollout.exact import Order
from kvmfw.planners.rollout.field import Field
from kvmfw.planners.rollout.upgrade import Choose, Ints, upgrade

__all__ = ["greedy_order", "whoever_must"]


def greedy_order(start: Field, keep_cost: int, at_once: int) -> Order:
    """Upgrade groups one after another, those first whose VMs have most places elsewhere."""
    ground = start.ground
    field = start
    order: Order = []
    waiting = [group for group in range(ground.groups) if ground.becomes[group] >= 0]
    while waiting:
        waiting = _by_loss(field, sorted(waiting))
        for group in waiting:
            after = upgrade(field, group, int(field.in_service[group]), at_once)
            if after is not None:
                break
        else:
            chosen = _part_of_a_group(field, waiting, at_once) or _with_restarts(
                field, waiting, keep_cost, at_once
            )
            if chosen is None:
                return order
            group, after = chosen
        order.append((group, int(field.in_service[group] - after.in_service[group]), after))
        field = after
        waiting = [group for group in waiting if field.in_service[group]]
    return order


def _by_loss(field: Field, waiting: list[int]) -> list[int]:
    """Sort groups by what VMs lose that find their hosts only as they are now: all, where they have no other ones."""
    ground = field.ground
    share = field.counts.sum(axis=1) / np.maximum(ground.takes @ field.in_service, 1)
    parts = np.array(waiting)
    loses = ground.takes[:, parts] & ~ground.takes[:, ground.groups + parts]
    loss = (share @ loses) * field.in_service[parts]
    return [waiting[at] for at in np.argsort(loss, kind="stable").tolist()]


def _part_of_a_group(field: Field, waiting: list[int], at_once: int) -> tuple[int, Field] | None:
    """Upgrade as many hosts of one group as can be."""
    for group in waiting:
        most, found = 0, None
        low, high = 1, int(field.in_service[group]) - 1
        while low <= high:
            middle = (low + high) // 2
            after = upgrade(field, group, middle, at_once)
            if after is None:
                high = middle - 1
            else:
                most, found, low = middle, after, middle + 1
        if most and found is not None:
            return group, found
    return None


def _with_restarts(
    field: Field, waiting: list[int], keep_cost: int, at_once: int
) -> tuple[int, Field] | None:
    """Upgrade hosts that take the fewest VMs to start anew for each of them, where that costs no more than to keep them back."""
    best: tuple[float, int, Field] | None = None
    for group in waiting:
        left = int(field.in_service[group])
        for count in sorted({left, min(at_once, left)}):
            after = upgrade(field, group, count, at_once, limited(whoever_must, keep_cost * count))
            if after is not None:
                each = int(after.restarted.sum() - field.restarted.sum()) / count
                if best is None or each < best[0]:
                    best = each, group, after
    return None if best is None else (best[1], best[2])


def whoever_must(state: Field, able: tuple[Ints, Ints], lost: int) -> tuple[int, int, int] | None:
    """Choose VMs that no upgraded host takes, or else those that few take: they have to be started anew sooner or later."""
    kinds, parts = able
    once = kinds < state.ground.classes
    kinds, parts = kinds[once], parts[once]
    if not len(kinds):
        return None
    at = int(np.lexsort((parts, kinds, state.ground.lastly[kinds]))[0])
    kind, part = int(kinds[at]), int(parts[at])
    return kind, part, min(-(-lost // 4), int(state.counts[kind, part]))


def limited(choose: Choose, most: int) -> Choose:
    """Choose so many VMs at most."""
    left = most

    def chosen(state: Field, able: tuple[Ints, Ints], lost: int) -> tuple[int, int, int] | None:
        nonlocal left
        found = choose(state, able, lost) if lost <= left else None
        left -= found[2] if found is not None else 0
        return found

    return chosen
