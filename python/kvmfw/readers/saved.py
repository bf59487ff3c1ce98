"""Saved vCPUs: what every reader of VMs gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kvmfw import numerals
from kvmfw.errors import ArgumentError, FormatError
from kvmfw.ids import size_of
from kvmfw.readers.vcpu import ENABLED, FEATURES, config_of_words, derived_vcpu
from kvmfw.sets import RegisterSet

__all__ = ["SavedVcpu", "hexadecimal", "register_set", "set_of_words"]

ID_BITS = 64
LARGEST_REGISTER = 256


@dataclass(frozen=True, slots=True)
class SavedVcpu:
    """One vCPU of a VM.

    Attributes
    ----------
    vm : str
        The VM's name.
    vcpu : int
        The number of the vCPU, from 0.
    registers : RegisterSet
        What was saved of it. Its name is the VM's, followed by ``/vcpuN`` where the VM has several.
    """

    vm: str
    vcpu: int
    registers: RegisterSet


def hexadecimal(text: Any, place: str) -> int:
    """Read a number that is written as ``0x`` and hexadecimal digits."""
    found = numerals.hexadecimal(text) if isinstance(text, str) else None
    if found is None:
        raise FormatError(f"`{str(text)[:64]}` is not a number: expected 0x and hexadecimal digits", place)
    return found


def register_set(
    registers: Mapping[int, int],
    name: str,
    *,
    place: str = "",
    features: list[str] | None = None,
    enabled: list[str] | None = None,
    vgic: bool | None = None,
) -> RegisterSet:
    """Make a set; without `features` or `vgic`, what the registers say about the vCPU decides."""
    for register in registers:
        if register >> ID_BITS or size_of(register) > LARGEST_REGISTER or not register >> 60:
            raise FormatError(f"{register:#x} is not the id of a register that KVM can have", place)
    told, has_vgic, offered = derived_vcpu(registers)
    if features is None:
        features, enabled = told, offered
    if vgic is None:
        vgic = has_vgic
    try:
        return RegisterSet.from_mapping(
            registers, name=name, features=features, vgic=vgic, enabled=enabled or ()
        )
    except ArgumentError as error:
        raise FormatError(error.problem, place) from error


def set_of_words(
    registers: Mapping[int, int], words: str, name: str, host: str | None = None, vmm: str | None = None
) -> RegisterSet:
    """Make a set of a vCPU that words with commas between describe."""
    features, vgic, enabled = config_of_words(words)
    return RegisterSet.from_mapping(
        registers,
        features=[word for bit, word in enumerate(FEATURES) if features >> bit & 1],
        vgic=vgic,
        enabled=[word for bit, word in enumerate(ENABLED) if enabled >> bit & 1],
        name=name,
        host=host,
        vmm=vmm,
    )
