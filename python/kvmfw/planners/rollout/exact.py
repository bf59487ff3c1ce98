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


def best_order(start: Field, keep_cost: int, *, below: int, least: int) -> tuple[Order | None, bool]:
    """Find the order for which VMs started anew, and `keep_cost` times the hosts that are kept back, are fewest.

    Guests stay until their host is drained. At each step nobody is started anew whose place the step does not need: who starts
    anew where a later order has it on a host that is there already, may as well start there when its place is needed.

    Parameters
    ----------
    start : Field
        The state at first.
    keep_cost : int
        For how many VMs started anew a host is kept back.
    below, least : int
        What an order is known for; what none goes below.

    Returns
    -------
    Order or None, bool
        The best of those that were looked at, None where no order costs less than `below`; and whether no other costs less:
        where there are too many states, nobody knows.
    """
    ground = start.ground
    upgradable = np.flatnonzero(ground.becomes >= 0).tolist()
    number = count()
    heap: list[tuple[int, int, int, Field, Order]] = [(0, ground.to_upgrade, next(number), start, [])]
    best: Order | None = None
    seen: set[bytes] = set()
    while heap and below > least:
        anew, left, _, field, order = heapq.heappop(heap)
        if anew >= below:
            break
        key = _key(field)
        if key in seen:
            continue
        seen.add(key)
        if anew + keep_cost * left < below:
            best, below = order, anew + keep_cost * left
        for group in upgradable:
            if field.in_service[group]:
                for after in upgrades(field, group, below - 1 - anew):
                    looked_at = next(number)
                    if looked_at > STATES:
                        return best, False
                    if after is not None and _key(after) not in seen:
                        cost = int(after.restarted.sum())
                        heapq.heappush(heap, (cost, left - 1, looked_at, after, [*order, (group, 1, after)]))
    return best, True


def _key(field: Field) -> bytes:
    """Give what tells states apart: where VMs are is a flow, and another one may be had at any time."""
    return bytes(field.in_service) + bytes(field.counts.sum(axis=1))
