"""Core registers (general, FP/SIMD), SVE registers and the demultiplexed cache registers."""

from __future__ import annotations

from .facts import (
    EINVAL,
    EL1_32BIT,
    ENOENT,
    EPERM,
    HAS_EL2,
    SVE,
    Answer,
    Facts,
    accept,
    unknown,
)
from .fields import ID, field
from .state import State

SIZE_SHIFT = 52
CORE = 0x6000000000100000
DEMUX = 0x6020000000110000
SVE_VLS = 0x606000000015FFFF
Z_FIRST, Z_LAST = 0x6080000000150000, 0x60800000001503FF
P_FIRST, FFR_LAST = 0x6050000000150400, 0x605000000015061F
SLICE = 0x1F

# struct kvm_regs in 32-bit words: x0..x30, sp, pc, pstate, sp_el1, elr_el1, spsr[5], then the V registers
WORDS, GENERAL_WORDS, V_FIRST, V_END, FPSR, FPCR = 216, 82, 84, 212, 212, 213
PC, PSTATE = 64, 66


def size(register: int) -> int:
    return 1 << (register >> SIZE_SHIFT & 0xF)


def write_core(facts: Facts, state: State, register: int, value: int) -> Answer:
    # semantics 4, core registers
    offset = register & 0xF000FFFF
    if offset >= WORDS or offset + size(register) // 4 >= WORDS:
        return ENOENT
    if offset < GENERAL_WORDS:
        width = 8
    elif V_FIRST <= offset < V_END:
        width = 16
    elif offset in (FPSR, FPCR):
        width = 4
    else:
        return EINVAL
    if offset % (width // 4) or size(register) != width:
        return EINVAL
    if facts.has(SVE) and V_FIRST <= offset < V_END:
        return EINVAL
    if offset == PSTATE:
        allowed = mode_allowed(facts, value & 0x1F)
        if allowed is None:
            return unknown("whether this host takes AArch32 User or System mode")
        if not allowed:
            return EINVAL
    state.store(register, value)
    narrow_to_aarch32(facts, state)
    return accept(state.current(register))


def mode_allowed(facts: Facts, mode: int) -> bool | None:
    aarch32_el1 = facts.has(EL1_32BIT)
    match mode:
        case 0x10:  # AArch32 User
            return facts.aarch32_el0
        case 0x11 | 0x12 | 0x13 | 0x17 | 0x1B:  # FIQ, IRQ, Supervisor, Abort, Undefined
            return aarch32_el1
        case 0x1F:  # System
            return False if not aarch32_el1 else True if looks_at_the_mode_alone(facts) else None
        case 0x0 | 0x4 | 0x5:  # EL0t, EL1t, EL1h
            return not aarch32_el1
        case 0x8 | 0x9:  # EL2t, EL2h
            return facts.has(HAS_EL2) and not aarch32_el1
    return False


def looks_at_the_mode_alone(facts: Facts) -> bool:
    """Of System mode, and of the registers that a mode narrows (semantics 4): 6.10, and two series with its fixes."""
    fix = {(5, 10): (5, 10, 223), (6, 1): (6, 1, 94)}.get(facts.version[:2])
    return facts.at_least(6, 10) or (fix is not None and facts.has_fix(fix) is True)


# The registers of 64 bits in which a mode's r0..r14 are: 5.10 narrowed these and the pc
_BANKED: dict[int, tuple[int, ...]] = {
    0x11: (*range(8), *range(24, 31)),  # FIQ
    0x12: (*range(13), 17, 16),  # IRQ
    0x13: (*range(13), 19, 18),  # Supervisor
    0x17: (*range(13), 21, 20),  # Abort
    0x1B: (*range(13), 23, 22),  # Undefined
}


def narrow_to_aarch32(facts: Facts, state: State) -> None:
    """A vCPU in an AArch32 mode keeps the low half of its general registers and of the pc only."""
    base = CORE | 0x3 << SIZE_SHIFT
    mode = state.values.get(base | PSTATE, 0) & 0x1F
    if not mode & 0x10:
        return
    user = mode in (0x10, 0x1F)
    narrowed: tuple[int, ...] = tuple(range(15 if user else 31))
    if not user and not facts.at_least(5, 11):
        narrowed = _BANKED[mode]
    for offset in (*(2 * number for number in narrowed), PC):
        if base | offset in state.values:
            state.values[base | offset] &= 0xFFFFFFFF
            if not facts.at_least(5, 10):
                state.doubtful.add(base | offset)
    if not looks_at_the_mode_alone(facts):
        # All of PSTATE may be what the kernel compares with a mode, and then it narrows all registers.
        for number in {*range(31)} - {*narrowed}:
            if state.values.get(base | 2 * number, 0) >> 32:
                state.doubtful.add(base | 2 * number)


def write_sve(facts: Facts, state: State, register: int, value: int) -> Answer:
    # semantics 4, SVE
    if register == SVE_VLS:
        return vector_lengths(facts, state, value)
    if not (Z_FIRST <= register <= Z_LAST or P_FIRST <= register <= FFR_LAST):
        return EINVAL
    if not facts.has(SVE) or register & SLICE:
        return ENOENT
    if not state.sve_finalized:
        return EPERM
    lengths = state.current(SVE_VLS)
    if lengths is None:
        return unknown("the vector lengths of this VM")
    # only as many bytes as the longest vector has are kept: 16 per quadword in Z, 2 in P and FFR
    kept = lengths.bit_length() * (16 if register <= Z_LAST and size(register) == 256 else 2)
    return state.store(register, value & ((1 << 8 * kept) - 1))


def vector_lengths(facts: Facts, state: State, value: int) -> Answer:
    if not facts.has(SVE):
        return ENOENT
    if state.sve_finalized:
        return EPERM
    available = facts.fresh(SVE_VLS)
    longest = value.bit_length()
    if longest == 0 or longest > available.bit_length():
        return EINVAL
    if value != available & ((1 << longest) - 1):
        return EINVAL
    return state.store(SVE_VLS, value)


def caches_are_virtual(facts: Facts) -> bool:
    """6.3+: all fourteen CCSIDR are listed and can be written, and CLIDR_EL1 with them (semantics 3.9)."""
    return DEMUX + 13 in facts.registers


def write_demux(facts: Facts, state: State, register: int, value: int) -> Answer:
    if size(register) != 4 or register & 0xFF00 or register & ~(DEMUX | 0xFFFF):
        return ENOENT
    if register not in facts.registers:
        return ENOENT  # up to 6.2 the caches that exist, from 6.3 all of 0..13: both are what is listed
    if not caches_are_virtual(facts):
        return accept(value) if value == state.current(register) else EINVAL
    # semantics 3.9: a line not smaller than the host's.  Its reserved bits are above the 32 that fit.
    name = "IminLine" if register & 1 else "DminLine"
    smallest = field("CTR", name).of(facts.fresh(ID["CTR"])) + 2
    if value >> 32 or (value & 7) + 4 < smallest:
        return EINVAL
    return state.store(register, value)
