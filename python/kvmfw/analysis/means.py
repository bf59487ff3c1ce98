"""What VMMs can do about the registers that a VM starts with: the only place that knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kvmfw.registers import fields_of
from kvmfw.telling.knobs import KNOBS_OF_QEMU, PSCI

__all__ = ["MEANS", "Means", "any_means"]

FIRMWARE, BITMAP, SYSTEM = 0x14, 0x16, 0x13


def _group(register: int) -> int:
    return register >> 16 & 0xFFF


@dataclass(frozen=True, slots=True)
class Means:
    """What a VMM can do about the registers that a VM starts with.

    Attributes
    ----------
    vmm : str
        The restore policy that judges.
    starts_with : callable
        (register, value on a fresh vCPU, value wanted) -> the value that the VM then starts with.
    hides : bool
        Whether it can hide registers, so that they are neither saved nor restored.
    """

    vmm: str
    starts_with: Callable[[int, int, int], int]
    hides: bool


def _any(register: int, fresh: int, wanted: int) -> int:
    del register, fresh
    return wanted


def _template(register: int, fresh: int, wanted: int) -> int:
    """Firecracker: reg_modifiers of CPU templates, for registers of up to 16 bytes."""
    settable = _group(register) in (SYSTEM, FIRMWARE, BITMAP) and register >> 52 & 0xF <= 4
    return wanted if settable else fresh


def _properties(register: int, fresh: int, wanted: int) -> int:
    """QEMU: SYSREG_* properties for named fields of ID registers, and kvm-psci-version."""
    if register == PSCI:
        return wanted
    value = fresh
    for one in fields_of(register) if _group(register) == SYSTEM else ():
        mask = ((1 << one.width) - 1) << one.shift
        value = value & ~mask | wanted & mask
    return value


MEANS = {
    "qemu": Means(KNOBS_OF_QEMU, _properties, hides=True),
    "firecracker": Means("firecracker", _template, hides=False),
}
"""What each VMM can do that settings are printed for, and the policy by which they are judged."""


def any_means(vmm: str) -> Means:
    """Give the means of a VMM that can set every register and hide every register."""
    return Means(vmm, _any, hides=True)
