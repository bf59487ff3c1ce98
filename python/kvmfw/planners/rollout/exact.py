"""The best order, for few groups: every state of the fleet is looked at, cheapest first."""

from __future__ import annotations

import heapq
from itertools import count
from math import prod

import numpy as np

from kvmfw.planners.rollout.field import Field
from kvmfw.planners.rollout.ground import Ground
from kvmfw.planners.rollout.upgrade import upgrades

__all__ = ["Order", "best_order", "is_small"]

Order = list[tuple[int, int, Field]]
"""Group, hosts that are upgraded, and the state after it; of each step."""

GROUPS = 12
STATES = 20_000


def is_small(ground: Ground) -> bool:
    """Tell whether the best order can be looked for."""
    sizes = [len(rows) + 1 for rows, kind in zip(ground.hosts, ground.becomes, strict=True) if kind >= 0]
    return len(sizes) <= GROUPS and prod(sizes) <= STATES


def best_order(start: Field, keep_cost: int) -> tuple[Order, bool]:
    """Find the order for which VMs started anew, and `keep_cost` times the hosts that are kept back, are fewest.

    Guests stay until their host is drained, and at each step nobody is started anew whose place the step does not need. Of
    orders that cost the same the one that upgrades most hosts. Gives the order, and whether it was proved to be the best:
    where there are too many states, it is the best of those that were looked at.
    """
    ground = start.ground
    upgradable = np.flatnonzero(ground.becomes >= 0).tolist()
    total = ground.to_upgrade
    number = count()
    heap: list[tuple[int, int, int, Field, Order]] = [(0, 0, next(number), start, [])]
    best: tuple[int, int, Order] = (keep_cost * total, 0, [])
    seen: set[bytes] = set()
    while heap:
        anew, negative, _, field, order = heapq.heappop(heap)
        if anew > best[0] or (best[1] == -total and anew >= best[0]):
            break
        key = _key(field)
        if key in seen:
            continue
        seen.add(key)
        if len(seen) > STATES:
            return best[2], False
        best = min(best, (anew + keep_cost * (total + negative), negative, order), key=lambda one: one[:2])
        for group in upgradable:
            if field.in_service[group]:
                for after in upgrades(field, group, best[0] - anew):
                    cost = int(after.restarted.sum())
                    entry = (cost, negative - 1, next(number), after, [*order, (group, 1, after)])
                    if _key(after) not in seen:
                        heapq.heappush(heap, entry)
    return best[2], True


def _key(field: Field) -> bytes:
    ground = field.ground
    anew = field.counts[ground.anew].sum(axis=1)
    return b"".join(one.tobytes() for one in (field.in_service, field.restarted, anew))
