"""Emptying a host: what a fleet tells is what placing its VMs one by one finds, and what its audit says."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmfw import Fleet, Outcome
from kvmfw.analysis.drain import drain_hosts
from kvmfw.analysis.frame import make_frame
from kvmfw.errors import ArgumentError, MissingError
from kvmfw.testing import tiny_host, tiny_set


def most_placed(takes: npt.NDArray[np.bool_], free: list[int]) -> int:
    """Give how many VMs find a place at once, by moving others on one at a time (Kuhn)."""
    held: list[list[int]] = [[] for _ in free]

    def place(vm: int, seen: set[int]) -> bool:
        for host in np.flatnonzero(takes[vm]).tolist():
            if host in seen:
                continue
            seen.add(host)
            if len(held[host]) < free[host]:
                held[host].append(vm)
                return True
            for other in held[host]:
                if place(other, seen):
                    held[host].remove(other)
                    held[host].append(vm)
                    return True
        return False

    return sum(place(vm, set()) for vm in range(len(takes)))


@given(
    vms=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=12),
    hosts=st.lists(st.integers(0, 3), min_size=1, max_size=5),
    free=st.lists(st.integers(0, 3), min_size=5, max_size=5),
    knows_free=st.booleans(),
)
def test_a_host_can_be_emptied_just_where_its_vms_find_places(
    vms: list[tuple[int, int]], hosts: list[int], free: list[int], knows_free: bool
) -> None:
    fleet = Fleet(
        [tiny_set(workaround_3=own, name=f"vm{at}") for at, (own, _) in enumerate(vms)],
        [tiny_host(workaround_3=own, name=f"h{at}") for at, own in enumerate(hosts)],
    )
    for at, (_, home) in enumerate(vms):
        if home < len(hosts):
            fleet.move(f"vm{at}", f"h{home}")
    used = [sum(home == host for _, home in vms) for host in range(len(hosts))]
    capacity = [free[host] + used[host] for host in range(len(hosts))] if knows_free else None
    drains = {one.name: one for one in drain_hosts(make_frame(fleet), capacity=capacity)} if vms else {}
    for host in range(len(hosts)):
        residents = [at for at, (_, home) in enumerate(vms) if home == host]
        vm_rows, host_rows = np.repeat(residents, len(hosts)), np.tile(np.arange(len(hosts)), len(residents))
        outcomes = fleet.validate_pairs(vm_rows.astype(np.int64), host_rows)
        takes = outcomes.reshape(len(residents), len(hosts)) <= Outcome.CHANGE
        takes[:, host] = False
        room = [0 if at == host else free[at] if knows_free else len(vms) for at in range(len(hosts))]
        told = fleet.can_empty(
            f"h{host}", unknown="refuse", change="accept", free=free[: len(hosts)] if knows_free else None
        )
        stranded = int((~takes.any(axis=1)).sum())
        assert told == (
            len(residents),
            stranded,
            len(residents) - stranded - most_placed(takes, room),
        )
        assert told.is_possible == (most_placed(takes, room) == len(residents))
        by_audit = drains.get(f"h{host}")
        assert (by_audit is None) == (not residents), "an audit lists hosts with VMs"
        if by_audit is not None:
            assert told == (by_audit.residents, by_audit.stranded, by_audit.unplaced)


def test_what_cannot_be_asked_is_said() -> None:
    fleet = Fleet([tiny_set(name="a")], [tiny_host(name="h"), tiny_host(name="i")])
    with pytest.raises(MissingError, match="there is no host with the name `nobody`"):
        fleet.can_empty("nobody", unknown="refuse", change="accept")
    with pytest.raises(ArgumentError, match="one number for each host"):
        fleet.can_empty("h", unknown="refuse", change="accept", free=[1])
    with pytest.raises(ArgumentError, match="at least 0"):
        fleet.can_empty("h", unknown="refuse", change="accept", free=[1, -1])
    with pytest.raises(ArgumentError, match="`change` is `maybe`"):
        fleet.can_empty("h", unknown="refuse", change="maybe")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        fleet.can_empty("h")  # type: ignore[call-arg]
