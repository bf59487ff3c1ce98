"""Documents about fleets as they could be: `diff`, `whatif`, `baseline`."""

from __future__ import annotations

from typing import TypedDict

from kvmfw.published.parts import FindingDocument, NotJudgedDocument, SecurityDocument, UnitPairs, Word

__all__ = [
    "BaselineDocument",
    "BaselineRegister",
    "CaptureDiffDocument",
    "CaptureSecurity",
    "Direction",
    "FleetDiffDocument",
    "NoReturnDocument",
    "RegisterDirection",
    "RemainsDocument",
    "Transition",
    "UpgradeDocument",
    "Upgrades",
    "VmOn",
]


class CaptureSecurity(SecurityDocument):
    """The same, of the hosts of a capture."""

    capture: str


class Direction(TypedDict):
    """How fresh VMs of one vCPU configuration fare, there and back."""

    vcpu: str
    forward: Word | None
    back: Word | None


class RegisterDirection(TypedDict):
    """How one register fares, there and back."""

    register: str
    forward: Word
    back: Word
    vcpus: int
    forward_finding: FindingDocument | None
    back_finding: FindingDocument | None


class CaptureDiffDocument(SecurityDocument):
    """`diff` of two captures."""

    not_judged: list[NotJudgedDocument]
    strands: bool
    vcpus: list[Direction]
    registers: list[RegisterDirection]


class VmOn(TypedDict):
    """A VM and where it runs."""

    vm: str
    host: str | None


class Transition(TypedDict):
    """Pairs by outcome before and after."""

    before: Word
    after: Word
    pairs: int


class NoReturnDocument(TypedDict):
    """Hosts whose VMs could not come back."""

    hosts: list[str]
    features: list[str]
    enabled: list[str]
    finding: FindingDocument


class FleetDiffDocument(TypedDict):
    """`diff` of two fleets, `whatif`."""

    security: list[CaptureSecurity]
    not_judged: list[NotJudgedDocument]
    vms: int
    hosts: int
    changed_hosts: list[str]
    newly_stranded: list[VmOn]
    freed: list[VmOn]
    transitions: list[Transition]
    blockers: list[UnitPairs]
    back: list[NoReturnDocument]


class UpgradeDocument(TypedDict):
    """A proposed upgrade."""

    capture: str
    becomes: str
    hosts: int
    freed: int
    newly_stranded: int
    stranded: int
    security: str
    reasons: list[str]


class Upgrades(TypedDict):
    """`whatif --best`."""

    not_judged: list[NotJudgedDocument]
    stranded: int
    upgrades: list[UpgradeDocument]


class BaselineRegister(TypedDict):
    """A register of a baseline."""

    register: str
    name: str
    value: str | None
    greatest: str
    bound_by: list[str]
    absent_on: list[str]


class RemainsDocument(TypedDict):
    """What stands in the way nevertheless."""

    names: list[str]
    rule: str
    outcome: Word
    sources: list[str]
    targets: list[str]
    sentence: str


class BaselineDocument(TypedDict):
    """`baseline`."""

    reached: bool
    covered: list[str]
    left_out: list[str]
    registers: list[BaselineRegister]
    outcome: Word
    set: dict[str, str]
    hide: list[str]
    remains: list[RemainsDocument]
    largest: list[str]
