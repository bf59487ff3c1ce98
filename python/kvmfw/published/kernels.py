"""Documents about kernel images."""

from __future__ import annotations

from typing import TypedDict

__all__ = ["KernelDocument", "PredictionDocument"]


class ProblemDocument(TypedDict):
    """A table that was not understood."""

    table: str
    problem: str


class FieldRowDocument(TypedDict):
    """A field of an ID register, as the kernel compares it."""

    shift: int
    width: int
    signed: bool
    visible: bool
    strict: bool
    safe: str
    value: int


class FieldsDocument(TypedDict):
    """The fields of an ID register."""

    register: str
    name: str
    rows: list[FieldRowDocument]


class DescriptorDocument(TypedDict):
    """What KVM has for a system register: functions by their symbols."""

    register: str
    name: str
    access: str | None
    reset: str | None
    get: str | None
    set: str | None
    visibility: str | None
    stored: bool
    value: str


class NamedRegister(TypedDict):
    """A register."""

    register: str
    name: str


class DifferenceDocument(TypedDict):
    """A row that is not alike in the image and in the rules."""

    register: str
    name: str
    place: str
    image: str
    rules: str


class FitDocument(TypedDict):
    """How the tables compare with those of a known release."""

    release: str
    rows: int
    differences: list[DifferenceDocument]


class KernelDocument(TypedDict):
    """`kernel`."""

    release: str
    build: str
    symbols: int
    structures: str
    problems: list[ProblemDocument]
    fields: list[FieldsDocument]
    registers: list[DescriptorDocument]
    firmware: list[NamedRegister]
    fits: list[FitDocument]


class PresenceDocument(TypedDict):
    """A register, and what says so of it."""

    register: str
    name: str
    why: str


class UnknownBits(TypedDict):
    """A register that is listed, and the bits of its fresh value that are not known."""

    register: str
    name: str
    bits: str


class PredictedVcpu(TypedDict):
    """What a vCPU of the host would list."""

    name: str
    stay: int
    appear: list[PresenceDocument]
    vanish: list[PresenceDocument]
    unknown: list[PresenceDocument]
    unknown_bits: list[UnknownBits]


class PredictionDocument(TypedDict):
    """`predict`."""

    host: str
    running: str
    kernel: str
    told_by: str
    vcpus: list[PredictedVcpu]
    not_made: list[str]
    unknown_vcpus: list[str]
    not_predicted: list[str]
