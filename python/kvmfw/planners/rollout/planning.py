"""From a fleet and what its hosts shall become to a rollout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass

import numpy as np
import numpy.typing as npt

from kvmfw.errors import ArgumentError, InternalError
from kvmfw.fleet import Fleet
from kvmfw.planners.rollout.bound import least_cost
from kvmfw.planners.rollout.exact import Order, best_order, is_small
from kvmfw.planners.rollout.field import Field
from kvmfw.planners.rollout.greedy import greedy_order
from kvmfw.planners.rollout.ground import ENDLESS, ground_of
from kvmfw.planners.rollout.steps import Move, Rollout, Step
from kvmfw.planners.rollout.walk import Walk
from kvmfw.questions import Treat, counted_as_taken, taken_as
from kvmfw.sets import Host

__all__ = ["Ask", "plan_rollout"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Ask:
    """What is wanted of a rollout.

    Attributes
    ----------
    becomes : mapping of int to Host
        Row of a host -> its capture after the upgrade.
    capacity : sequence of int, optional
        How many VMs each host holds, by row; without it hosts hold any number.
    at_once : int
        How many hosts may be out of service at a time.
    keep_cost : int
        For how many VMs started anew a host is kept back rather than upgraded.
    unknown, change : {"accept", "refuse"}
        What these outcomes count as; both must be chosen.
    """

    becomes: Mapping[int, Host]
    capacity: Sequence[int] | None = None
    at_once: int = 1
    keep_cost: int = 1
    _: KW_ONLY
    unknown: Treat
    change: Treat


def plan_rollout(fleet: Fleet, ask: Ask) -> Rollout:
    """Plan in which order hosts are drained and upgraded, so that at every step every VM has a place.

    VMs keep what they have saved, wherever they run; one that is started anew saves what its host has by then. A VM that
    its own host would not take stays there until that is drained. `fleet` gets the captures that hosts become as hosts of
    its own; nobody runs there.

    Raises
    ------
    ArgumentError
        When capacities are not one for each host, or a number is below 1.
    """
    hosts = fleet.shape[1]
    if ask.at_once < 1 or ask.keep_cost < 1:
        raise ArgumentError("`at_once` and `keep_cost` are at least 1")
    kinds = list({id(one): one for one in ask.becomes.values()}.values())
    fleet.add_hosts([one.renamed(f"{one.name} (to come)") for one in kinds])
    now = fleet.snapshot()
    row_of_kind = {id(one): hosts + at for at, one in enumerate(kinds)}
    classes = now.host_classes.astype(np.int64)
    target = np.full(hosts, -1, dtype=np.int64)
    for row, one in ask.becomes.items():
        target[row] = row_of_kind[id(one)]
    new_class = np.where(target >= 0, classes[np.maximum(target, 0)], -1)
    capacity = np.full(hosts, ENDLESS, dtype=np.int64)
    if ask.capacity is not None:
        capacity = np.minimum(np.asarray(ask.capacity, dtype=np.int64), ENDLESS)
    if capacity.shape != (hosts,):
        raise ArgumentError(f"`capacity` has {len(capacity)} numbers; expected {hosts}")
    vm_kind, homes = now.vm_classes.astype(np.int64), now.vm_homes
    # Who has more guests than places holds them as long as they stay.
    capacity = np.maximum(capacity, np.bincount(homes[homes >= 0], minlength=hosts))
    taken = counted_as_taken(*taken_as(ask.change, ask.unknown))
    ground = ground_of(
        now.class_table(),
        taken,
        vm_kind=vm_kind,
        homes=homes,
        host_class=classes[:hosts],
        new_class=new_class,
        capacity=capacity,
    )
    start = Field(ground)
    order = greedy_order(start, ask.keep_cost, ask.at_once)
    below, better, is_proved = _cost(start, order, ask.keep_cost), None, False
    least = least_cost(ground, ask.keep_cost) if below else 0
    if ask.at_once == 1 and is_small(ground):
        better, is_proved = best_order(start, ask.keep_cost, below=below, least=least or 0)
    walk = Walk(start, vm_kind, homes)
    steps = _walked(walk, better or order, ask.at_once, exactly=better is not None)
    done = {row for step in steps for row in step.hosts}
    kept = tuple(row for row in ask.becomes if row not in done)
    plan = Rollout(now, tuple(steps), tuple(sorted(kept)), ask.keep_cost, None, int((homes < 0).sum()))
    bound = plan.cost if is_proved or plan.cost == 0 else least
    plan = Rollout(now, plan.steps, plan.kept, ask.keep_cost, bound, plan.homeless)
    _check(plan, taken, target, capacity)
    return plan


def _cost(start: Field, order: Order, keep_cost: int) -> int:
    upgraded = sum(count for _, count, _ in order)
    restarts = int(order[-1][2].restarted.sum()) if order else 0
    return restarts + keep_cost * (start.ground.to_upgrade - upgraded)


def _walked(walk: Walk, order: Order, at_once: int, *, exactly: bool) -> list[Step]:
    before, steps = walk.field.restarted.copy(), []
    for group, count, after in _joined(order):
        steps.append(walk.step(group, count, at_once, after.restarted - before, exactly=exactly))
        before = after.restarted
    return steps


def _joined(order: Order) -> Order:
    """Join steps of one group that follow each other and start nobody anew."""
    joined: Order = []
    for group, count, after in order:
        if joined and joined[-1][0] == group and (joined[-1][2].restarted == after.restarted).all():
            joined[-1] = group, joined[-1][1] + count, after
        else:
            joined.append((group, count, after))
    return joined


def _check(plan: Rollout, taken: npt.NDArray[np.bool_], target: Ints, capacity: Ints) -> None:
    """Carry the plan out on the table: each move is taken and finds room, and what is rebooted is empty."""
    now = plan.snapshot
    classes = now.host_classes
    home: list[int | None] = [row if row >= 0 else None for row in now.vm_homes.tolist()]
    used = np.bincount(now.vm_homes[now.vm_homes >= 0], minlength=len(capacity)).tolist()
    judge = list(range(len(capacity)))
    out: set[int] = set()
    anew: dict[int, int] = {}
    pairs: list[tuple[int, int]] = []

    def carry_out(moves: tuple[Move, ...]) -> bool:
        for vm, source, end in moves:
            if home[vm] != source:
                return False
            home[vm] = end
            if source is not None:
                used[source] -= 1
            if end is None:
                anew[vm] = -1
                continue
            used[end] += 1
            if used[end] > capacity[end] or end in out:
                return False
            place = judge[end]
            if vm not in anew:
                pairs.append((vm, place))
            elif anew[vm] < 0:
                anew[vm] = int(classes[place])
            if vm in anew and anew[vm] != int(classes[place]):
                return False
        return True

    for wave in (wave for step in plan.steps for wave in step.waves):
        out.update(wave.hosts)
        fine = carry_out(wave.before) and not any(used[host] for host in wave.hosts)
        out.difference_update(wave.hosts)
        for host in wave.hosts:
            judge[host] = int(target[host])
        if not fine or not carry_out(wave.after):
            raise InternalError("a rollout is not what the table allows")
    vms, places = np.ascontiguousarray(np.array(pairs, dtype=np.int64).reshape(-1, 2).T)
    if not taken[now.validate_pairs(vms, places)].all():
        raise InternalError("a rollout moves a VM to a host that does not take it")
    if any(home[vm] is None for vm in anew):
        raise InternalError("a rollout stops a VM and does not start it")
