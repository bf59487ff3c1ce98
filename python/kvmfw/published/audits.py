"""The document of `audit`: a type for the rows of each table (docs/glossary.md has the words)."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from kvmfw.published.changes import UpgradeDocument
from kvmfw.published.parts import NotJudgedDocument, UnitPairs, Word

__all__ = ["Audit"]


class Totals(TypedDict):
    """Pairs by outcome."""

    outcome: Word
    pairs: int
    share: float


class Targets(TypedDict):
    """A VM, and how many other hosts take it."""

    vm: str
    host: str | None
    vm_class: int
    targets: int


class Trap(TypedDict):
    """Hosts that can be entered and not left."""

    classes: list[int]
    names: list[str]
    kinds: list[str]
    hosts: int
    entrants: int
    residents: int


Passage = TypedDict(
    "Passage",
    {"from": int, "from_hosts": str, "to": int, "to_hosts": str, "vms": int, "residents": int},
)
"""Host classes of which VMs go to others and not back."""


class Blocker(TypedDict):
    """A unit that stands in the way."""

    unit: str
    rules: list[str]
    freed: int
    shared: int
    pairs: int
    sole_pairs: int
    fields: list[str]


class Step(TypedDict):
    """A step of the plan of cures."""

    step: int
    cured: list[str]
    freed: int
    do: list[str]


class Cure(TypedDict):
    """Units that free VMs together."""

    units: list[str]
    freed: int
    fields: list[str]


class Drain(TypedDict):
    """Whether a host, or a group of them, can be emptied."""

    name: str
    hosts: int
    residents: int
    stranded: int
    unplaced: int
    drains: bool


class Group(TypedDict):
    """Hosts and VMs of one group."""

    group: str
    hosts: int
    vms: int
    stranded: int
    confined: int


class Gate(TypedDict):
    """How a gate that fleets have today fares."""

    gate: str
    who: str
    compares: str
    pairs: int
    allowed: int
    wrongly_allowed: int
    wrongly_forbidden: int
    undecided: int
    vms: int


class RelaxedGate(TypedDict):
    """Moves between hosts of two captures that a gate forbids and KVM takes."""

    gate: str
    source: str
    target: str
    vms: int
    pairs: int


class MissingInput(TypedDict):
    """What would make an unknown known."""

    unit: str
    needs: str
    decisive: int
    pairs: int
    vms: int
    hosts: int


HostClass = TypedDict(
    "HostClass",
    {
        "class": int,
        "hosts": int,
        "first": str,
        "residents": int,
        "takes": int,
        "capture": NotRequired[list[str]],
        "kernel": NotRequired[list[str]],
        "cpu": NotRequired[list[str]],
        "label": str,
    },
)
"""Hosts that no saved register can tell apart."""


class Waived(TypedDict):
    """An issue that a waiver names."""

    rule: str
    subject: str
    reason: str
    expires: str


class Audit(TypedDict):
    """Facts and tables; a table that could not be made is null, one that was not asked for is left out.

    There are as many host classes as `host_classes` has rows.
    """

    vmm: str
    scheme: str
    vms: int
    hosts: int
    vm_classes: int
    homeless: int
    unknown_counts_as_taken: bool
    change_counts_as_taken: bool
    few: int
    where: dict[str, str]
    group_by: NotRequired[str]
    not_judged: list[NotJudgedDocument]
    totals: list[Totals]
    same_cpu: NotRequired[list[Totals]]
    stranded: list[Targets] | None
    few_targets: list[Targets] | None
    traps: list[Trap] | None
    passages: list[Passage] | None
    blockers: list[Blocker]
    plan: list[Step] | None
    cures: list[Cure] | None
    upgrades: NotRequired[list[UpgradeDocument] | None]
    drain: list[Drain] | None
    groups: NotRequired[list[Group] | None]
    drain_groups: NotRequired[list[Drain] | None]
    policy: NotRequired[list[UnitPairs]]
    gates: NotRequired[list[Gate] | None]
    relaxed: NotRequired[list[RelaxedGate] | None]
    unknowns: list[MissingInput]
    host_classes: list[HostClass]
    waived: list[Waived]
