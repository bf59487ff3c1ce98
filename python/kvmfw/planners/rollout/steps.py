"""A rollout that was planned: steps, moves, and what could not be done without loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from kvmfw.snapshot import Snapshot

__all__ = ["Move", "Rollout", "Step", "Wave"]


class Move(NamedTuple):
    """A VM goes from a host to another; rows. No target: it is stopped; no source: it starts anew."""

    vm: int
    source: int | None
    target: int | None


@dataclass(frozen=True)
class Wave:
    """Hosts that are out of service together.

    Attributes
    ----------
    hosts : tuple of int
        Their rows.
    before, after : tuple of Move
        What moves, in order, before they are rebooted and after it. Each move finds a free place.
    """

    hosts: tuple[int, ...]
    before: tuple[Move, ...]
    after: tuple[Move, ...]


@dataclass(frozen=True)
class Step:
    """Like hosts that are drained and upgraded, wave after wave."""

    waves: tuple[Wave, ...]

    @property
    def hosts(self) -> tuple[int, ...]:
        """The rows of all hosts, in order."""
        return tuple(host for wave in self.waves for host in wave.hosts)

    @property
    def moves(self) -> int:
        """How many VMs move."""
        return sum(
            move.source is not None and move.target is not None
            for wave in self.waves
            for move in (*wave.before, *wave.after)
        )

    @property
    def restarts(self) -> tuple[Move, ...]:
        """The VMs that are stopped and start anew: where each starts."""
        return tuple(move for wave in self.waves for move in wave.after if move.source is None)


@dataclass(frozen=True)
class Rollout:
    """An order of drains and reboots.

    Attributes
    ----------
    snapshot : Snapshot
        Whose rows these are.
    steps : tuple of Step
        What to do, in order.
    kept : tuple of int
        Hosts that stay as they are.
    keep_cost : int
        For how many VMs started anew a host is kept back rather than upgraded.
    bound : int or None
        No order costs less than so many VMs started anew and hosts kept back, of those that leave VMs where their host would not
        take them until it is drained; None: not known.
    homeless : int
        VMs that are not planned for: nobody knows where they run.
    """

    snapshot: Snapshot
    steps: tuple[Step, ...]
    kept: tuple[int, ...]
    keep_cost: int
    bound: int | None
    homeless: int

    @property
    def restarts(self) -> tuple[Move, ...]:
        """All VMs that are started anew."""
        return tuple(one for step in self.steps for one in step.restarts)

    @property
    def moves(self) -> int:
        """How many moves there are in all."""
        return sum(step.moves for step in self.steps)

    @property
    def upgraded(self) -> int:
        """How many hosts are upgraded."""
        return sum(len(step.hosts) for step in self.steps)

    @property
    def cost(self) -> int:
        """VMs started anew, and `keep_cost` for each host kept back."""
        return len(self.restarts) + self.keep_cost * len(self.kept)

    @property
    def is_best(self) -> bool:
        """Whether no order costs less, in the sense of `bound`."""
        return self.bound is not None and self.cost <= self.bound
