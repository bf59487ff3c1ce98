"""How few VMs must be started anew and hosts kept back, whatever the order: a bound from the end of a rollout alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from kvmfw.analysis.extras import MissingExtraError, need
from kvmfw.planners.rollout.ground import Ground

__all__ = ["least_cost"]

_SECONDS = 20.0


def least_cost(ground: Ground, keep_cost: int) -> int | None:
    """Give what no order can go below; None where no solver is installed (extra ``planners``).

    In the end every VM has a place on hosts that were upgraded or kept back, or was started anew. How many hosts of each group
    are kept back and VMs of each kind started anew is an integer program, whose bound holds for every order that ends anyhow.
    """
    try:
        optimize, sparse = need("scipy.optimize", "planners"), need("scipy.sparse", "planners")
    except MissingExtraError:
        return None
    groups, kinds = ground.groups, ground.classes
    sizes = np.array([len(rows) for rows in ground.hosts], dtype=np.int64)
    total = ground.counts[:kinds].sum(axis=1) + (ground.guests[:kinds] * sizes).sum(axis=1)
    # Guests may be anywhere that takes them, and at home: as a bound this may be too good, never too bad.
    takes = ground.takes[:kinds].copy()
    takes[:, :groups] |= ground.guests[:kinds] > 0
    kind, part = np.nonzero(takes & (total > 0)[:, None])
    placed = len(kind)
    # Variables: VMs by kind and part, then hosts kept of each group, then VMs started anew of each kind.
    variables = placed + groups + kinds
    cost = np.concatenate([np.zeros(placed), np.where(ground.becomes >= 0, keep_cost, 0), np.ones(kinds)])
    rows, columns, values = [kind], [np.arange(placed)], [np.ones(placed)]
    rows.append(np.arange(kinds))
    columns.append(placed + groups + np.arange(kinds))
    values.append(np.ones(kinds))
    everyone = _constraint(optimize, sparse, (rows, columns, values), (kinds, variables), (total, total))
    # A part holds what its hosts hold: those kept, or the others. Where they hold any number, nobody is on a part without hosts.
    capacity = np.minimum(ground.capacity, int(total.sum()) + 1)
    of = part % groups
    sign = np.where(np.arange(2 * groups) < groups, -1, 1) * np.concatenate([capacity, capacity])
    limit = np.concatenate([np.zeros(groups), capacity * sizes])
    held = _constraint(
        optimize,
        sparse,
        (
            [part, np.arange(2 * groups)],
            [np.arange(placed), placed + np.arange(2 * groups) % groups],
            [np.ones(placed), sign],
        ),
        (2 * groups, variables),
        (-np.inf, limit),
    )
    # Who is of a kind stands on a part only where it has hosts: stronger than the sum for parts that hold any number.
    link = _constraint(
        optimize,
        sparse,
        (
            [np.arange(placed), np.arange(placed)],
            [np.arange(placed), placed + of],
            [np.ones(placed), np.where(part < groups, -1, 1) * total[kind]],
        ),
        (placed, variables),
        (-np.inf, np.where(part < groups, 0, total[kind] * sizes[of])),
    )
    upper = np.concatenate([np.full(placed, np.inf), sizes, np.where((ground.becomes >= 0).any(), total, 0)])
    lower = np.concatenate([np.zeros(placed), np.where(ground.becomes >= 0, 0, sizes), np.zeros(kinds)])
    found = optimize.milp(
        cost,
        constraints=[everyone, held, link],
        bounds=optimize.Bounds(lower, upper),
        integrality=np.concatenate([np.zeros(placed), np.ones(groups), np.zeros(kinds)]),
        options={"time_limit": _SECONDS},
    )
    if found.mip_dual_bound is None:
        return 0
    return int(np.ceil(found.mip_dual_bound - 1e-6))


def _constraint(
    optimize: Any, sparse: Any, entries: tuple[Any, Any, Any], shape: tuple[int, int], limits: tuple[Any, Any]
) -> Any:
    rows, columns, values = (np.concatenate(one) for one in entries)
    return optimize.LinearConstraint(sparse.csc_matrix((values, (rows, columns)), shape=shape), *limits)
