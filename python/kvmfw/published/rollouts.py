"""The document of `rollout`."""

from __future__ import annotations

from typing import TypedDict

__all__ = ["MoveDocument", "NotPlanned", "RolloutDocument", "StepDocument", "WaveDocument"]

MoveDocument = TypedDict("MoveDocument", {"vm": str, "from": str | None, "to": str | None})
"""A VM moves; without `to` it is stopped, without `from` it starts anew."""


class WaveDocument(TypedDict):
    """Hosts that are out of service together, and what moves before they are rebooted and after it, in order."""

    hosts: list[str]
    before: list[MoveDocument]
    after: list[MoveDocument]


class StepDocument(TypedDict):
    """Like hosts that are upgraded, wave after wave."""

    step: int
    of: str
    becomes: str
    hosts: list[str]
    moves: int
    restarts: list[str]
    waves: list[WaveDocument]


class NotPlanned(TypedDict):
    """What a plan leaves open: VMs of which nobody knows where they run, and whether it is unknown how many VMs hosts hold."""

    homeless: int
    capacity: bool


class RolloutDocument(TypedDict):
    """In which order hosts are drained and upgraded; what it costs, and what no order can go below."""

    not_judged: NotPlanned
    upgraded: int
    moves: int
    restarts: list[str]
    kept: list[str]
    cost: int
    bound: int | None
    best: bool
    steps: list[StepDocument]
