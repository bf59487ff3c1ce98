"""Which registers a host would list under another kernel: by that kernel's tables, and by what the host lists now.

KVM_GET_REG_LIST (arch/arm64/kvm/guest.c and sys_regs.c, 5.10 to 7.3 read) has core and SVE registers, firmware registers,
system registers, timers and cache sizes. What depends on the hardware alone is as it is now; what a field of the hardware shows
that the running kernel may hide is unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kvmfw import ids
from kvmfw.kernels.kernel import Kernel
from kvmfw.registers import named

__all__ = ["Made", "Presence", "presences"]

_CACHES = tuple(ids.make_id(ids.DEMUX, number, 4) for number in range(14))
# The timers' own list; the physical timer's came with 6.4.
_VIRTUAL = tuple(map(named, ("CNTV_CTL_EL0", "TIMER_CNT", "TIMER_CVAL")))
_PHYSICAL = tuple(map(named, ("CNTP_CTL_EL0", "CNTP_CVAL_EL0", "CNTPCT_EL0")))
_FIRST_FIRMWARE = tuple(ids.make_id(ids.FIRMWARE, number) for number in range(3))

# Shown whatever the host and the VM are: these functions only say which registers read as zero (sys_regs.c, 5.10 to 7.3).
_ALWAYS = (None, "id_visibility", "aa32_id_visibility", "raz_visibility")
# Functions that look at how the vCPU is made, with all the words that they need (the same file).
_BY_FEATURES = {
    "pmu_visibility": ("pmu_v3",),
    "sve_visibility": ("sve",),
    "sme_visibility": ("sme",),  # no vCPU of a known kernel is made with it
    "ptrauth_visibility": ("ptrauth_address", "ptrauth_generic"),
    "mte_visibility": ("mte",),
    "el2_visibility": ("has_el2",),
}
# Functions that show nothing to a VM that is not nested; el2 in their names says the same of the others.
_NESTED_ONLY = (
    "fgt_visibility",
    "fgt2_visibility",
    "cnthv_visibility",
    "nvhcr_el2_visibility",
    "vncr_el2_visibility",
)
# Functions that look at one field of the VM, which they want not to be 0.
_BY_FIELD = {
    "s1pie_visibility": ("ID_AA64MMFR3_EL1", 8),
    "s1poe_visibility": ("ID_AA64MMFR3_EL1", 16),
    "tcr2_visibility": ("ID_AA64MMFR3_EL1", 0),
    "sctlr2_visibility": ("ID_AA64MMFR3_EL1", 4),
    "fp8_visibility": ("ID_AA64PFR2_EL1", 32),
}

Field = Callable[[int, int], "int | None"]
"""What a fresh vCPU shows in the 4-bit field of a register at a lowest bit under the other kernel; None: not known."""


@dataclass(frozen=True, slots=True)
class Made:
    """A vCPU as a capture has it: the words by which it was made, and what it lists."""

    words: frozenset[str]
    listed: frozenset[int]


@dataclass(frozen=True, slots=True)
class Presence:
    """Whether a register is listed.

    Attributes
    ----------
    register : int
        The register.
    listed : bool or None
        Whether it would be; None where that does not follow.
    why : str
        What says so, or what is missing.
    """

    register: int
    listed: bool | None
    why: str


def presences(made: Made, kernel: Kernel, field: Field) -> Iterator[Presence]:
    """Tell of each register that this host lists or `kernel` knows whether the host would list it under `kernel`.

    Parameters
    ----------
    made : Made
        The vCPU, with what it lists under the kernel that runs.
    kernel : Kernel
        The other kernel. It runs in the same mode and with the same options.
    field : callable
        What the vCPU shows in a field of an ID register under it.
    """
    known = {*(kernel.descriptors or ()), *(kernel.invariants or ()), *(kernel.firmware or _FIRST_FIRMWARE)}
    for register in sorted(made.listed | known | {*_CACHES, *_VIRTUAL, *_PHYSICAL}):
        listed, why = _presence(register, made, kernel, field)
        yield Presence(register, listed, why)


def _presence(register: int, made: Made, kernel: Kernel, field: Field) -> tuple[bool | None, str]:
    now = register in made.listed
    match ids.group_of(register):
        case _ if not ids.is_arm64(register):
            return None, "this is no register of arm64"
        case ids.CORE | ids.SVE:
            return now, "the vCPU is made alike"
        case ids.DEMUX:
            return _cache(register, made, kernel)
        case ids.FIRMWARE | ids.FIRMWARE_BITMAP:
            return _firmware(register, kernel)
        case ids.SYSTEM:
            return _system(register, made, kernel, field)
    return None, "a group of registers that is not known"


def _cache(register: int, made: Made, kernel: Kernel) -> tuple[bool | None, str]:
    if kernel.descriptors is None:
        return None, kernel.problems["sys_reg_descs"]
    clidr = kernel.descriptors.get(named("CLIDR_EL1"))
    # Commit 7af0c2534f4c (6.3) made CLIDR_EL1 writable and listed a size for every cache that there could be.
    if clidr is not None and clidr.set == "set_clidr":
        return register in _CACHES, "this kernel lists all 14"
    if not {*_CACHES} <= made.listed:
        return register in made.listed, "this kernel lists caches that exist, and so does the running one"
    return None, "this kernel lists caches that exist, the running one lists all"


def _firmware(register: int, kernel: Kernel) -> tuple[bool | None, str]:
    if kernel.firmware is not None:
        return register in kernel.firmware, "the kernel's list of firmware registers"
    if register in _FIRST_FIRMWARE:
        return True, "all kernels from 5.3 on list it"
    return None, kernel.problems["firmware registers"]


def _system(register: int, made: Made, kernel: Kernel, field: Field) -> tuple[bool | None, str]:
    if kernel.descriptors is None or kernel.invariants is None:
        return None, kernel.problems.get("sys_reg_descs") or kernel.problems["invariant_sys_regs"]
    if register in kernel.invariants:
        return True, "the kernel's list of invariant registers"
    one = kernel.descriptors.get(register)
    if one is None or not (one.stored or one.get):
        if register in _VIRTUAL:
            return True, "every kernel lists the virtual timer"
        if register in _PHYSICAL:
            if kernel.numbers[:2] >= (6, 4):
                return True, "since 6.4 the physical timer is listed"
            return None, "before 6.4 the physical timer is listed where a vendor ported that back"
        return False, "the kernel keeps no value of it"
    if one.visibility in _ALWAYS:
        return True, "the kernel shows it to every VM"
    if one.visibility == "hidden_visibility":
        return False, "the kernel hides it"
    if (words := _BY_FEATURES.get(one.visibility or "")) is not None:
        return made.words.issuperset(words), f"{one.visibility} looks at how the vCPU is made"
    is_nested = "_el2_" in (one.visibility or "") or one.visibility in _NESTED_ONLY
    if is_nested and "has_el2" not in made.words:
        return False, f"{one.visibility} shows it to nested VMs only"
    if one.visibility in _BY_FIELD and "has_el2" not in made.words:
        name, shift = _BY_FIELD[one.visibility]
        shown = field(named(name), shift)
        if shown is not None:
            return shown > 0, f"{one.visibility} looks at a field that is {shown}"
    return None, f"{one.visibility} looks at a field that the running kernel may hide"
