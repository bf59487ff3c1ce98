"""ID registers: ID_*_EL1, ID_AA64*_EL1, CTR_EL0, and the implementation ids MIDR, REVIDR, AIDR."""

from __future__ import annotations

from . import wrappers
from .facts import (
    CAP_WRITABLE_IMP_ID_REGS,
    EBUSY,
    EINVAL,
    PMU_V3,
    Answer,
    Facts,
    accept,
    unknown,
)
from .fields import FIELDS, ID, SYSREG, Field, field
from .state import State

FEATURE_IDS = range(SYSREG | 0xC008, SYSREG | 0xC040)
MIDR, REVIDR, AIDR = (SYSREG | low for low in (0xC000, 0xC006, 0xC807))
CTR = ID["CTR"]

# semantics 3.8: hidden or unallocated in the AArch32 half, so never write-ignored
_AARCH32_RESERVED = {SYSREG | low for low in (0xC00B, 0xC01B, 0xC01D, 0xC01F)}
AARCH32 = {
    register for register in range(SYSREG | 0xC008, SYSREG | 0xC020) if register not in _AARCH32_RESERVED
}

# semantics 3.2: the writable set of 6.5 and 6.6, before the masks ioctl existed
_MASKS_6_5 = {
    ID["ID_AA64PFR0"]: 0xFF << 56,
    ID["ID_AA64DFR0"]: 0xF << 8,
    ID["ID_DFR0"]: 0xF << 24,
}


def handles(register: int) -> bool:
    return register in FEATURE_IDS or register in (MIDR, REVIDR, AIDR, CTR)


def write(facts: Facts, state: State, register: int, value: int) -> Answer:
    if register in (MIDR, REVIDR, AIDR):
        return implementation_id(facts, state, register, value)
    if register in AARCH32 and facts.at_least(6, 1) and facts.aarch32_el0 is False:
        # semantics 3.8: no AArch32 at EL0: every write is dropped, before and after a run.  They read as zero, but
        # for what KVM itself puts there (a PMU's version, the GIC).
        return accept(state.current(register))
    masks = writable_masks(facts)
    if masks is None and facts.at_least(6, 7):
        if value == facts.fresh(register) == state.current(register):
            return accept(value)  # the limit itself passes every check
        return unknown("the writable masks of this kernel")
    if masks is None:
        return before_field_checks(facts, state, register, value)
    if register == CTR and CTR not in masks:
        # semantics 3.9: an invariant up to 6.11
        return state.store(register, value) if value == state.current(register) else EINVAL
    return wrappers.write(facts, state, masks, register, value, check=set_id_register)


def writable_masks(facts: Facts) -> dict[int, int] | None:
    if facts.masks is not None:
        return facts.masks
    return _MASKS_6_5 if facts.version[:2] in ((6, 5), (6, 6)) else None


def set_id_register(facts: Facts, state: State, masks: dict[int, int], register: int, value: int) -> Answer:
    """semantics 3.3 and 3.5: after the first run only the current value; before it, the field check."""
    if state.has_run:
        current = state.current(register)
        if current is None:
            return unknown("an earlier answer on the same register")
        return accept(value) if value == current else EBUSY
    verdict = fields_allow(facts, masks.get(register, 0), register, value)
    if verdict is None:
        return unknown("the sign of PMUVer and PerfMon in this point release")
    return state.store(register, value) if verdict else EINVAL


def fields_allow(facts: Facts, mask: int, register: int, value: int) -> bool | None:
    """semantics 3.3.  The limit is the value that a fresh vCPU of this configuration shows."""
    limit = facts.fresh(register)
    checked, doubt = 0, False
    for f in FIELDS.get(register, ()):
        if f.mask & mask != f.mask:
            continue  # not, or not wholly, writable
        checked |= f.mask
        allowed = field_allows(facts, f, f.of(value), f.of(limit))
        if allowed is False:
            return False
        doubt = doubt or allowed is None
    if (value ^ limit) & ~checked:
        return False  # outside of writable fields only the limit's bits are allowed
    return None if doubt else True


def field_allows(facts: Facts, f: Field, value: int, limit: int) -> bool | None:
    if value == limit:
        return True
    match f.kind:
        case "E":
            return value == f.safe
        case "H":
            return value >= limit
        case "HZ":
            return value == 0 or (limit != 0 and value >= limit)
    if not f.sign_varies:
        return lower_safe(f, value, limit, f.signed)
    signed = pmu_version_signed(facts)
    if signed is not None:
        return lower_safe(f, value, limit, signed)
    either = {lower_safe(f, value, limit, sign) for sign in (True, False)}
    return either.pop() if len(either) == 1 else None


def lower_safe(f: Field, value: int, limit: int, signed: bool) -> bool:
    if signed:
        top = 1 << (f.width - 1)
        value, limit = (value ^ top) - top, (limit ^ top) - top
    return value <= limit


def pmu_version_signed(facts: Facts) -> bool | None:
    """Are PMUVer and PerfMon compared as signed, so that 8..15 pass under any limit?

    semantics 3.3 and 12.12: signed in 6.12 up to 6.12.90 and 6.16..6.19 as far as seen, unsigned from 6.12.94 and from
    7.0.13 on (docs/kernels.md: read from the images of these kernels); the releases between are not known.
    """
    series, point = facts.version[:2], facts.version[2]
    if series == (6, 12):
        unsigned = facts.between((6, 12, 90), (6, 12, 94))
        return None if unsigned is None else not unsigned
    if series >= (7, 0):
        return None if series == (7, 0) and (point is None or point < 13) else False
    last_seen_signed = {(6, 18): 15, (6, 19): 14}.get(series)
    if last_seen_signed is not None:
        return True if point is not None and point <= last_seen_signed else None
    return True if series > (6, 12) else None


def before_field_checks(facts: Facts, state: State, register: int, value: int) -> Answer:
    """semantics 3.2, up to 6.4: equality, with few exceptions; no check whether the VM has run."""
    current = state.current(register)
    if current is None:
        return unknown("an earlier answer on the same register")
    if register == ID["ID_AA64PFR0"] and facts.at_least(5, 10):
        # 5.10: CSV2, 5.11: CSV3 too.  A fresh value of 1 says that the host is unaffected, the only
        # case in which 1 may be written; and 5.10 keeps CSV3 as it is.
        names = ("CSV2", "CSV3") if facts.at_least(5, 11) else ("CSV2",)
        for f in (field("ID_AA64PFR0", name) for name in names):
            if f.of(value) > min(f.of(facts.fresh(register)), 1):
                return EINVAL
            current = f.put(current, f.of(value))
        return state.store(register, value) if value == current else EINVAL
    if facts.at_least(6, 2) and register in (ID["ID_AA64DFR0"], ID["ID_DFR0"]):
        return pmu_version_6_2(facts, state, register, value)
    return accept(value) if value == current else EINVAL


def pmu_version_6_2(facts: Facts, state: State, register: int, value: int) -> Answer:
    """semantics 3.2, 6.2 .. 6.4: PMUVer and PerfMon may be lowered or IMPDEF; both show one number."""
    f = field("ID_AA64DFR0", "PMUVer") if register == ID["ID_AA64DFR0"] else field("ID_DFR0", "PerfMon")
    new, limit = f.of(value), f.of(facts.fresh(register))
    if (value ^ facts.fresh(register)) & ~f.mask or (new != 0xF and new > limit and facts.has(PMU_V3)):
        return EINVAL
    if f.name == "PerfMon" and new in (1, 2):
        return EINVAL
    if (new not in (0, 0xF)) != facts.has(PMU_V3):
        return EINVAL
    # one number in the kernel: what this register says the other shows
    other, g = (
        (ID["ID_DFR0"], field("ID_DFR0", "PerfMon"))
        if f.name == "PMUVer"
        else (
            ID["ID_AA64DFR0"],
            field("ID_AA64DFR0", "PMUVer"),
        )
    )
    shown = {1: 3}.get(new, new) if f.name == "PMUVer" else {3: 1}.get(new, new)
    if other in state.values and not (other == ID["ID_DFR0"] and facts.aarch32_el0 is False):
        state.values[other] = g.put(state.values[other], shown)
    return state.store(register, value)


def implementation_id(facts: Facts, state: State, register: int, value: int) -> Answer:
    # semantics 3.9: the value that the VM shows is always taken back
    if value == state.current(register):
        return accept(value)
    if facts.masks is None or register not in facts.masks or CAP_WRITABLE_IMP_ID_REGS not in facts.caps:
        # up to 6.14 nothing else; 6.15 and later (the masks list it) need the capability
        return EINVAL
    if state.has_run:
        return EBUSY
    return state.store(register, value) if value & ~facts.masks[register] == 0 else EINVAL
