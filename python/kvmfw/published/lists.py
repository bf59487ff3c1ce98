"""Documents that list: verdicts, schemes, registers, rules, VMMs, messages, audits."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from kvmfw.published.audits import Gate
from kvmfw.published.parts import FindingDocument, NotJudgedDocument, VerdictDocument
from kvmfw.rules import Rule

__all__ = [
    "MessageDocument",
    "Messages",
    "RegisterDocument",
    "Registers",
    "Rules",
    "SchemeDocument",
    "SchemeRegister",
    "Schemes",
    "TrendDocument",
    "Verdicts",
    "VmmDocument",
    "Vmms",
]


class Verdicts(TypedDict):
    """`validate`, `explain`."""

    verdicts: list[VerdictDocument]


class SchemeRegister(TypedDict):
    """Where a scheme differs from KVM."""

    register: str
    wrongly_accepted: int
    wrongly_refused: int


class SchemeDocument(TypedDict):
    """How a scheme fares."""

    scheme: str
    pairs: int
    accepted: int
    wrongly_accepted: int
    wrongly_refused: int
    undecided: int
    judges: int
    judged: list[str]
    decided: int
    decided_alone: int
    registers: list[SchemeRegister]


class RelaxedDocument(TypedDict):
    """Moves between hosts of two captures that a gate forbids and KVM takes."""

    source: str
    target: str
    vms: int
    pairs: int


class GateDocument(Gate):
    """How a gate that fleets have today fares, and where it may be relaxed."""

    relaxed: list[RelaxedDocument]


class Schemes(TypedDict):
    """`schemes`."""

    not_judged: list[NotJudgedDocument]
    schemes: list[SchemeDocument]
    gates: NotRequired[list[GateDocument]]


class RegisterDocument(TypedDict):
    """A register of the catalogue."""

    id: str
    name: str
    kind: str
    meaning: str


class Registers(TypedDict):
    """`registers`."""

    registers: list[RegisterDocument]


class Rules(TypedDict):
    """`rule`."""

    rules: list[Rule]


class SurroundingDocument(TypedDict):
    """What is not judged beside registers, unless both sides have what it is judged by."""

    word: str
    what: str
    why: str
    judged_by: str | None


class VmmDocument(TypedDict):
    """A name for `--vmm`."""

    name: str
    releases: list[str]
    measured: bool
    source: str
    not_judged: list[SurroundingDocument]


class Vmms(TypedDict):
    """`vmms`."""

    vmms: list[VmmDocument]


class MessageDocument(TypedDict):
    """A message, explained."""

    line: int
    text: str
    speaker: str
    about: str
    register: str | None
    name: str | None
    saved: str | None
    own: str | None
    errno: str | None
    counts: list[int] | None
    fields: list[str]
    rule: str | None
    takes: str | None
    listed_by: str | None
    findings: list[FindingDocument]
    cure: str


class Messages(TypedDict):
    """`why`."""

    messages: list[MessageDocument]


class RecordDocument(TypedDict):
    """An audit of a history; null: could not be made."""

    made: str
    kvmfw: str
    fleet: str | None
    sha256: str | None
    vmm: str
    scheme: str
    where: str
    vms: int
    hosts: int
    accept: int
    change: int
    unknown: int
    refuse: int
    stranded: int | None
    few_targets: int | None
    traps: int | None
    trapped: int | None
    undrainable: int | None
    homeless: int
    rejected: int


class GrownDocument(TypedDict):
    """A number of two audits."""

    name: str
    before: int
    after: int


class ChangesDocument(TypedDict):
    """What changed between two audits that asked the same."""

    since: str
    numbers: list[GrownDocument]
    stranded: list[str]
    freed: list[str]
    blockers: list[str]


class TrendDocument(TypedDict):
    """`trend`."""

    audits: list[RecordDocument]
    changes: ChangesDocument | None
