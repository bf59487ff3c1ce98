"""PMU registers: never refused where they are listed, but not all read back as written."""

from __future__ import annotations

from .facts import EBUSY, EINVAL, HAS_EL2, PMU_V3_STRICT, Answer, Facts, unknown
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
    # stored at first; later PMSWINC reads as zero and counters show what the VM's PMU version has
    shown = facts.at_least(5, 15) if register == PMSWINC else reads_low_half(facts)
    if shown is False:
        return state.store(register, value)
    narrow = 0 if register == PMSWINC else value & 0xFFFFFFFF
    if narrow == value:
        return state.store(register, value)
    if shown is None:
        return unknown("whether this point release reads 32 bits of a counter")
    if register == PMSWINC:
        return state.store(register, 0)
    dfr0 = state.current(ID["ID_AA64DFR0"])
    if dfr0 is None:
        return unknown("the PMU version of the VM")
    # 64-bit event counters came with PMUv3p5
    return state.store(register, value if field("ID_AA64DFR0", "PMUVer").of(dfr0) >= 6 else narrow)


def reads_low_half(facts: Facts) -> bool | None:
    """semantics 4: from 6.3 on, and from 6.1.23 on in its series; where in 6.2 is not known."""
    if facts.version[:2] == (6, 1):
        return facts.has_fix((6, 1, 23))
    return None if facts.version[:2] == (6, 2) else facts.at_least(6, 3)


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


def replaces(facts: Facts) -> bool | None:
    """semantics 4: do both names replace?  From 6.15 on, 6.13.12 and 6.14.3; not in 6.12.118."""
    series = facts.version[:2]
    if series == (6, 12):
        return None if facts.has_fix((6, 12, 119)) in (None, True) else False
    fixes = {(6, 13): (6, 13, 12), (6, 14): (6, 14, 3)}
    return facts.has_fix(fixes[series]) if series in fixes else facts.at_least(6, 15)


def set_or_clear(facts: Facts, state: State, register: int, value: int) -> Answer:
    """6.7+: only bits of counters that exist; at first a write sets or clears, later it replaces.

    Before 6.7: stored as it is.
    """
    names = (register, OTHER_NAME[register])
    if not facts.at_least(6, 7):
        return both(state, names, value)
    count, now, replaced = counters(state), state.current(register), replaces(facts)
    # a nested VM's own hypervisor may keep counters for itself
    counts = range(32) if count is None or facts.has(HAS_EL2) else (count,)
    left = set()
    for bits in (value & there(one) for one in counts):
        if replaced is not False:
            left.add(bits)
        if replaced is not True and now is None:
            return untold(state, names, value, None)
        if replaced is not True:
            left.add((now or 0) | bits if register in PAIRS else (now or 0) & ~bits)
    return both(state, names, left.pop()) if len(left) == 1 else untold(state, names, value, left)


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


def untold(state: State, names: tuple[int, int], value: int, left: set[int] | None) -> Answer:
    """One of these values stays, or nobody knows which."""
    if left is not None and value not in left:
        for name in names:
            answer = state.lose(name, altered=True)
        return answer
    state.doubtful.update(names)
    return unknown("what this write leaves")


def pmmir(facts: Facts, state: State, value: int) -> Answer:
    # semantics 4, 7.3: SLOTS is zero or what the host has; after run a change is EBUSY, whatever it is
    if value & ~0xFF:
        return EINVAL
    if state.has_run:
        return state.store(PMMIR, value) if value == state.current(PMMIR) else EBUSY
    return state.store(PMMIR, value) if value in (0, facts.fresh(PMMIR)) else EINVAL
