"""PMU registers: never refused where they are listed, but not all read back as written."""

from __future__ import annotations

from .facts import EBUSY, EINVAL, HAS_EL2, PMU_V3_STRICT, Answer, Facts
from .fields import ID, SYSREG, field
from .state import State

PMCR, PMSWINC, PMMIR = SYSREG | 0xDCE0, SYSREG | 0xDCE4, SYSREG | 0xC4F6
COUNTERS = range(SYSREG | 0xDF40, SYSREG | 0xDF5F)  # PMEVCNTR0..30_EL0
CYCLES = 1 << 31
# two names of one register: writing the first sets bits, writing the second clears them
PAIRS = {
    SYSREG | 0xC4F1: SYSREG | 0xC4F2,  # PMINTENSET, PMINTENCLR
    SYSREG | 0xDCE1: SYSREG | 0xDCE2,  # PMCNTENSET, PMCNTENCLR
    SYSREG | 0xDCF3: SYSREG | 0xDCE3,  # PMOVSSET, PMOVSCLR
}
OTHER_NAME = PAIRS | {second: first for first, second in PAIRS.items()}


def handles(register: int) -> bool:
    return register in (PMCR, PMSWINC, PMMIR) or register in OTHER_NAME or register in COUNTERS


def write(facts: Facts, state: State, register: int, value: int) -> Answer:
    if register == PMCR:
        return pmcr(facts, state, value)
    if register == PMMIR:
        return pmmir(facts, state, value)
    if register in OTHER_NAME:
        return set_or_clear(facts, state, register, value)
    # raw up to 5.10; in 6.1 PMSWINC reads as zero and counters show what the VM's PMU version has
    shown = facts.between((5, 10, 999), (6, 1, 0)) if facts.version[:2] != (6, 1) else True
    if shown is False or facts.version[:2] <= (5, 10):
        return state.store(register, value)
    narrow = 0 if register == PMSWINC else value & 0xFFFFFFFF
    if shown is None:
        return state.store(register, value) if narrow == value else state.lose(register)
    if register == PMSWINC:
        return state.store(register, 0)
    dfr0 = state.current(ID["ID_AA64DFR0"])
    if narrow == value or dfr0 is None:
        return state.store(register, value) if narrow == value else state.lose(register)
    # 64-bit event counters came with PMUv3p5
    return state.store(register, value if field("ID_AA64DFR0", "PMUVer").of(dfr0) >= 6 else narrow)


def counters(state: State) -> int | None:
    """PMCR_EL0.N as it is now."""
    now = state.current(PMCR)
    return None if now is None else now >> 11 & 0x1F


def pmcr(facts: Facts, state: State, value: int) -> Answer:
    # semantics 4: never refused; from 6.7 N is taken only if it can be, and only bits 7:0 are kept
    if not facts.at_least(6, 7):
        return state.store(PMCR, value)
    count = counters(state)
    if count is None:
        return state.lose(PMCR)
    wanted = value >> 11 & 0x1F
    fixed = state.has_run or facts.has(HAS_EL2) or facts.has(PMU_V3_STRICT)
    if not fixed and wanted <= facts.fresh(PMCR) >> 11 & 0x1F:
        count = wanted
    long_cycles = 1 << 6 if facts.aarch32_el0 is False else 0  # LC is RES1 without AArch32
    return state.store(PMCR, value & 0xFF | long_cycles | count << 11)


def set_or_clear(facts: Facts, state: State, register: int, value: int) -> Answer:
    """6.7+: only bits of counters that exist; up to 6.12 a write sets or clears, later it replaces.

    Old behaviour seen in 6.12.117, the new one in 6.16.3.  Before 6.7: stored as it is.
    """
    names = (register, OTHER_NAME[register])
    if not facts.at_least(6, 7):
        return both(state, names, value)
    count, now = counters(state), state.current(register)
    if count is None or facts.has(HAS_EL2):
        return lost(state, names)
    bits = value & there(count)
    replaces = facts.between((6, 12, 117), (6, 16, 3))
    if replaces:
        return both(state, names, bits)
    if now is None:
        return lost(state, names)
    combined = now | bits if register in PAIRS else now & ~bits
    if replaces is None and combined != bits:
        return lost(state, names)
    return both(state, names, combined)


def there(count: int) -> int:
    """The bits of the counters that there are."""
    return CYCLES | (1 << count) - 1


def read(facts: Facts, state: State, register: int) -> int | None:
    """From 6.7 reads are masked too: by the counters that there are when it is read, not when it was written."""
    now = state.current(register)
    if now is None or not facts.at_least(6, 7) or facts.has(HAS_EL2):
        return now
    count = counters(state)
    return None if count is None else now & there(count)


def both(state: State, names: tuple[int, int], value: int) -> Answer:
    for name in names:
        if name in state.values:
            answer = state.store(name, value)
    return answer


def lost(state: State, names: tuple[int, int]) -> Answer:
    for name in names:
        answer = state.lose(name)
    return answer


def pmmir(facts: Facts, state: State, value: int) -> Answer:
    # semantics 4, 7.3: SLOTS is zero or what the host has; after run a change is EBUSY, whatever it is
    if value & ~0xFF:
        return EINVAL
    if state.has_run:
        return state.store(PMMIR, value) if value == state.current(PMMIR) else EBUSY
    return state.store(PMMIR, value) if value in (0, facts.fresh(PMMIR)) else EINVAL
