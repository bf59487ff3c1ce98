"""System registers that are no ID registers, and the timers."""

from __future__ import annotations

from . import pmu
from .core import caches_are_virtual
from .facts import EINVAL, ENOENT, HAS_EL2, Answer, Facts, accept, unknown
from .fields import ID, SYSREG, Field, field
from .state import State

CLIDR, OSLSR = SYSREG | 0xC801, SYSREG | 0x808C
CTR = ID["CTR"]
CLIDR_RES0 = ~0x00007FFFFFFFFFFF
OSLSR_LOCKED = 0x2

# CTL, CNT, CVAL of the virtual timer (CNT and CVAL with their encodings swapped) and of the physical one
TIMERS = {SYSREG | low for low in (0xDF19, 0xDF1A, 0xDF02, 0xDF01, 0xDF11, 0xDF12)}
TIMER_VALUES = {SYSREG | low for low in (0xDF02, 0xDF12)}
TIMER_CONTROLS = {SYSREG | low for low in (0xDF11, 0xDF19)}
HYPERVISOR_TIMER_CONTROLS = {SYSREG | low for low in (0xE711, 0xE719)}  # CNTHP_CTL_EL2, CNTHV_CTL_EL2
TIMER_EXPIRED = 1 << 2

# semantics 4: hidden while the VM's own ID register has less than the last number
_MMFR0, _MMFR3, _MMFR4 = ID["ID_AA64MMFR0"], ID["ID_AA64MMFR3"], ID["ID_AA64MMFR4"]
_TCRX, _SCTLRX, _S1PIE, _S1POE = (
    field("ID_AA64MMFR3", name) for name in ("TCRX", "SCTLRX", "S1PIE", "S1POE")
)
_FGT, _NV_FRAC = field("ID_AA64MMFR0", "FGT"), field("ID_AA64MMFR4", "NV_frac")
GATES: dict[int, tuple[int, Field, int]] = {
    SYSREG | 0xC103: (_MMFR3, _TCRX, 1),  # TCR2_EL1
    SYSREG | 0xE103: (_MMFR3, _TCRX, 1),  # TCR2_EL2
    SYSREG | 0xC083: (_MMFR3, _SCTLRX, 1),  # SCTLR2_EL1
    SYSREG | 0xE083: (_MMFR3, _SCTLRX, 1),  # SCTLR2_EL2
    **{SYSREG | low: (_MMFR3, _S1PIE, 1) for low in (0xC512, 0xC513, 0xE512, 0xE513)},  # PIRE0, PIR
    **{SYSREG | low: (_MMFR3, _S1POE, 1) for low in (0xC514, 0xDD14, 0xE514)},  # POR_EL1, POR_EL0, POR_EL2
    SYSREG | 0xDA22: (ID["ID_AA64PFR2"], field("ID_AA64PFR2", "FPMR"), 1),  # FPMR
    # HFGRTR, HFGWTR, HDFGRTR, HDFGWTR, HAFGRTR
    **{SYSREG | low: (_MMFR0, _FGT, 1) for low in (0xE08C, 0xE08D, 0xE18C, 0xE18D, 0xE18E)},
    # HDFGRTR2, HDFGWTR2, HFGRTR2, HFGWTR2, HFGITR2
    **{SYSREG | low: (_MMFR0, _FGT, 2) for low in (0xE188, 0xE189, 0xE18A, 0xE18B, 0xE18F)},
    SYSREG | 0xE110: (_MMFR4, _NV_FRAC, 1),  # VNCR_EL2
    SYSREG | 0xE0A8: (_MMFR4, _NV_FRAC, 3),  # NVHCR_EL2
}
# 6.16 has no gate for the registers of FEAT_FGT, and still lists this one (semantics 4)
_FGT_REGISTERS = {register for register, gate in GATES.items() if gate[1:] == (_FGT, 1)}
_ICH_HCR_EL2 = SYSREG | 0xE658
# semantics 5.3: SCTLR_EL1, SCTLR2_EL1, then of EL2: VMPIDR, SCTLR, SCTLR2, HCR, MDCR, HFGRTR, HFGWTR, HFGITR, ZCR, HCRX,
# NVHCR, TCR2, VTTBR, VTCR, VNCR, HDFGRTR2, HDFGWTR2, HFGRTR2, HFGWTR2, HDFGRTR, HDFGWTR, HAFGRTR, HFGITR2, CNTHCTL,
# ICH_HCR
_MASKED = (0xC080, 0xC083, 0xE005, 0xE080, 0xE083, 0xE088, 0xE089, *range(0xE08C, 0xE08F), 0xE090, 0xE092)
_MASKED += (0xE0A8, 0xE103, 0xE108, 0xE10A, 0xE110, *range(0xE188, 0xE190), 0xE658, 0xE708)
MASKED = {SYSREG | low for low in _MASKED}
_VMPIDR_EL2 = SYSREG | 0xE005
# TCR2, PIR and PIRE0 were visible unconditionally before 6.13; POR came in 6.12 with its gate
ALWAYS_VISIBLE_BEFORE_6_13 = {SYSREG | low for low in (0xC103, 0xC512, 0xC513)}


def write(facts: Facts, state: State, register: int, value: int) -> Answer:
    if register not in facts.registers:
        return ENOENT  # semantics 3.1: unknown, wrong size, or hidden for this vCPU
    if register in TIMERS:
        if register in TIMER_CONTROLS:
            return timer_control(facts, state, register, value)
        # semantics 4: never refused; what CNT reads back moves with time
        return state.store(register, value) if register in TIMER_VALUES else state.moves(register)
    visible = is_visible(facts, state, register)
    if visible is None:
        return unknown("whether the VM's ID registers still show this register")
    if not visible:
        return ENOENT
    if register == CLIDR:
        return clidr(facts, state, value)
    if register == OSLSR:
        return oslsr(state, value)
    if pmu.handles(register):
        return pmu.write(facts, state, register, value)
    if facts.has(HAS_EL2) and state.has_run and register in MASKED:
        now = masked_vmpidr(register, value)  # semantics 5.3: reserved bits are lost at once
        if now is None:
            return unknown("which bits of this register are reserved in a nested VM")
        return state.store(register, now)
    if register in HYPERVISOR_TIMER_CONTROLS and facts.at_least(6, 18):
        return state.store(register, value & ~TIMER_EXPIRED)
    return state.store(register, value)  # semantics 3.1 step 4


def masked_vmpidr(register: int, value: int) -> int | None:
    """What a nested VM that has run keeps of a masked register: known of one (semantics 5.3)."""
    return value & 0x000000FF80FFFFFF | 0x80000000 if register == _VMPIDR_EL2 else None


def is_looked_at(register: int) -> bool:
    """Does a kernel look at this system register or at what is written to it?"""
    special = TIMER_CONTROLS | HYPERVISOR_TIMER_CONTROLS | MASKED | GATES.keys() | {CLIDR, OSLSR}
    return register in special or pmu.handles(register)


def is_visible(facts: Facts, state: State, register: int) -> bool | None:
    if register not in GATES:
        return True
    holder, gate, least = GATES[register]
    if gate.of(facts.fresh(holder)) < least:
        return True  # listed without the feature: this kernel has no gate here
    if register in _FGT_REGISTERS and _ICH_HCR_EL2 in facts.registers:
        return True
    current = state.current(holder)
    if current is not None and gate.of(current) >= least:
        return True
    if register in ALWAYS_VISIBLE_BEFORE_6_13 and not facts.at_least(6, 13):
        return True
    return None if current is None else False


def timer_control(facts: Facts, state: State, register: int, value: int) -> Answer:
    """CTL is never refused; ISTATUS is not stored (semantics 4).

    A fresh timer has expired at once (its CVAL is 0).  A kernel that reads ISTATUS from the clock shows that, one
    that reads what is stored (6.18 and later) does not.  Up to 6.17 32 bits are stored.
    """
    wide, upper = facts.at_least(6, 18), value >> 32 != 0
    if wide and not facts.fresh(register) & TIMER_EXPIRED:
        return state.store(register, value & ~TIMER_EXPIRED)
    if wide and upper:
        return unknown("whether a kernel from 6.18 on that shows ISTATUS stores 32 bits")
    return state.moves(register, altered=upper)


def oslsr(state: State, value: int) -> Answer:
    # semantics 3.9: only the lock bit may be changed
    return state.store(OSLSR, value) if (value ^ state.values[OSLSR]) & ~OSLSR_LOCKED == 0 else EINVAL


def clidr(facts: Facts, state: State, value: int) -> Answer:
    # semantics 3.9
    if not caches_are_virtual(facts):
        return accept(value) if value == state.current(CLIDR) else EINVAL
    loc, louis, louu = value >> 24 & 7, value >> 21 & 7, value >> 27 & 7
    idc = field("CTR", "IDC").of(facts.fresh(CTR))
    if value & CLIDR_RES0 or (not idc and (not loc or (not louis and not louu))):
        return EINVAL
    return state.store(CLIDR, value)
