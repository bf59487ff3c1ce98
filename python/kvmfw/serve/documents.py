"""What the service takes and gives."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

__all__ = ["Batch", "Candidates", "CandidatesOf", "FleetDocument", "HostClass", "Problem", "Shape", "Word"]

Word = Literal["accept", "refuse"]
Shape = Literal["classes", "names"]


class FleetDocument(msgspec.Struct, frozen=True):
    """The fleet as it is now."""

    generation: int
    loads: int
    vmm: str
    vms: int
    hosts: int
    vm_classes: int
    host_classes: int
    problem: str | None


class HostClass(msgspec.Struct, frozen=True):
    """Hosts that no saved register can tell apart."""

    number: int
    hosts: list[str]


class Candidates(msgspec.Struct, frozen=True, omit_defaults=True):
    """The hosts that take a VM: numbers of host classes, or names."""

    vm: str
    load: int
    classes: list[int] | None = None
    hosts: list[str] | None = None


class CandidatesOf(msgspec.Struct, frozen=True):
    """The hosts that take each of some VMs."""

    load: int
    vms: list[Candidates]


class Batch(msgspec.Struct, frozen=True):
    """A question about many VMs."""

    vms: Annotated[list[str], msgspec.Meta(min_length=1, max_length=1000)]
    unknown: Word
    change: Word
    shape: Shape = "classes"


class Problem(msgspec.Struct, frozen=True):
    """Why there is no answer."""

    status_code: int
    detail: str
