"""Parts of documents that more than one format has."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

from kvmfw.verdict import FieldDifference

__all__ = [
    "Envelope",
    "FindingDocument",
    "InputDocument",
    "NotJudgedDocument",
    "SecurityDocument",
    "UnitPairs",
    "VerdictDocument",
    "Word",
]

Word = Literal["ACCEPT", "CHANGE", "UNKNOWN", "REFUSE"]


class InputDocument(TypedDict):
    """An input, and its digest (`kvmfw.provenance.digest`)."""

    name: str
    sha256: str | None


class Envelope(TypedDict):
    """What every document begins with."""

    format: str
    version: int
    kvmfw: str
    made: str
    command: list[str]
    inputs: list[InputDocument]


class FindingDocument(TypedDict):
    """What one unit says; ids and values are hexadecimal."""

    register: str | None
    name: str
    unit: str
    saved: str | None
    own: str | None
    outcome: Word
    effect: str
    errno: str | None
    reads: str | None
    needs: str | None
    rule: str
    evidence: str
    fields: list[FieldDifference]
    offers: str
    sentence: str


class VerdictDocument(TypedDict):
    """The outcome of one pair."""

    vm: str
    host: str
    born: NotRequired[str]
    outcome: Word
    vmm: str
    scheme: str
    findings: list[FindingDocument]
    not_judged: list[str]


class NotJudgedDocument(TypedDict):
    """What results leave open."""

    word: str
    count: int
    of: int
    what: str
    why: str
    tables: list[str]
    sentence: str


class SecurityDocument(TypedDict):
    """How a host's protection compares."""

    security: str
    reasons: list[str]


class UnitPairs(TypedDict):
    """A unit, and how many pairs it refuses."""

    unit: str
    pairs: int
