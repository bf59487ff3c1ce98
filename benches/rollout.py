"""A rollout of 10,000 hosts with 200,000 VMs: planned, carried out on the table, and told with its time and its bound.

    python -m benches.rollout                          # 10,000 hosts, 200,000 VMs, 80 % full
    python -m benches.rollout --hosts 2000 --vms 40000

Every host gets another kernel, which takes more than the one before, but for one field: what a sixth of the VMs have there
is taken by each twentieth kind of host alone. Those have no room for all of them: who is left over is started anew, or its
host is kept back.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import numpy.typing as npt

import kvmfw
from benches.fleets import Shape, Synthetic, capture
from kvmfw.planners.rollout import Ask, Rollout, plan_rollout
from kvmfw.questions import counted_as_taken, taken_as

FULL = 0.8
KINDS = (500, 60)
KEEPING = 20
FIELD = np.uint64(0xF000)
LESS = np.uint64(0x6000)


def homes(fleet: kvmfw.Fleet, capacity: int) -> npt.NDArray[np.int64]:
    """Give each VM a host that takes it and has a free place; -1 where there is none."""
    rng = np.random.default_rng(4)
    taken = counted_as_taken(*taken_as("accept", "refuse"))[fleet.class_table()]
    by_class = [np.flatnonzero(fleet.host_classes == one) for one in range(taken.shape[1])]
    free = np.full(fleet.shape[1], capacity)
    found = np.full(fleet.shape[0], -1, dtype=np.int64)
    # Those first that few hosts take.
    for kind in np.argsort(taken.sum(axis=1), kind="stable").tolist():
        vms = np.flatnonzero(fleet.vm_classes == kind)
        hosts = np.concatenate(
            [np.empty(0, dtype=np.int64), *(by_class[at] for at in np.flatnonzero(taken[kind]))]
        )
        places = np.repeat(hosts, np.minimum(free[hosts], len(vms)))
        chosen = rng.permutation(places)[: len(vms)]
        found[vms[: len(chosen)]] = chosen
        np.subtract.at(free, chosen, 1)
    return found


def upgrades(made: Synthetic) -> list[kvmfw.Host]:
    """Give the host that each kind becomes: with more in every digit, and most with less in one."""
    best = made.host_values.max(axis=0)
    hosts = []
    for number, own in enumerate(made.host_values):
        after = own | best
        if number % KEEPING:
            after[-1] = after[-1] & ~FIELD | LESS
        hosts.append(kvmfw.Host.from_json(json.dumps(capture(after, len(made.host_values) + number))))
    return hosts


def planned(vms: int, hosts: int) -> tuple[Rollout, float, float]:
    """Plan it; give the plan, and the seconds of CPU and by the clock."""
    made = Synthetic.make(Shape("rollout", vms, hosts, *KINDS))
    fleet, after = kvmfw.Fleet(made.long_table(), made.named_hosts), upgrades(made)
    capacity = round(vms / hosts / FULL)
    for vm, host in enumerate(homes(fleet, capacity).tolist()):
        if host >= 0:
            fleet.move(vm, host)
    becomes = {row: after[kind] for row, kind in enumerate(made.host_class.tolist())}
    ask = Ask(becomes, [capacity] * hosts, at_once=10, unknown="refuse", change="accept")
    start, by_clock = time.process_time(), time.perf_counter()
    plan = plan_rollout(fleet, ask)
    return plan, time.process_time() - start, time.perf_counter() - by_clock


def main() -> None:
    """Plan and tell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hosts", type=int, default=10_000)
    parser.add_argument("--vms", type=int, default=200_000)
    asked = parser.parse_args()
    plan, cpu, clock = planned(asked.vms, asked.hosts)
    told = f"{asked.hosts:,} hosts, {asked.vms:,} VMs, {plan.homeless:,} without a home: {clock:.1f} s, {cpu:.1f} s of CPU"
    print(f"{told}; {len(plan.steps)} steps, {plan.moves:,} moves, {plan.upgraded:,} hosts upgraded")
    print(
        f"{len(plan.restarts):,} VMs started anew, {len(plan.kept):,} hosts kept back; no order costs less than {plan.bound}"
    )


if __name__ == "__main__":
    main()
