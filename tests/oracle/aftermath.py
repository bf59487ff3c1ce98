"""What the first KVM_RUN makes of a VM whose registers were all written (semantics 5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from . import pmu
from .facts import HAS_EL2, PMU_V3, Facts
from .fields import ID, SYSREG, Field, field
from .other_registers import GATES, MASKED, masked_vmpidr
from .state import State

PFR0, PFR1_32, PFR2 = ID["ID_AA64PFR0"], ID["ID_PFR1"], ID["ID_AA64PFR2"]
MMFR1, MMFR3, ISAR2 = ID["ID_AA64MMFR1"], ID["ID_AA64MMFR3"], ID["ID_AA64ISAR2"]
GIC, GIC_32, GCIE = field("ID_AA64PFR0", "GIC"), field("ID_PFR1", "GIC"), field("ID_AA64PFR2", "GCIE")
TCRX, ATS1A = (MMFR3, field("ID_AA64MMFR3", "TCRX")), (ISAR2, field("ID_AA64ISAR2", "ATS1A"))
HPDS = (MMFR1, field("ID_AA64MMFR1", "HPDS"))
S1PIE, S1POE = field("ID_AA64MMFR3", "S1PIE"), field("ID_AA64MMFR3", "S1POE")

CNTVOFF_EL2 = SYSREG | 0xE703
COUNTERS = (SYSREG | 0xDF01, SYSREG | 0xDF1A)  # CNTPCT_EL0, TIMER_CNT
PMCCNTR = SYSREG | 0xDCE8
NO_COUNTS = (0, 0x1DE7EC7EDBADC0DE, 0xDBADC0DE)  # semantics 5.5: nothing, and what no guest has written


@dataclass(frozen=True)
class Fate:
    """What a register reads after the first run: another value, nothing (gone), or it is not known."""

    now: int | None = None
    gone: bool = False
    unknown: bool = False


UNKNOWN, GONE = Fate(unknown=True), Fate(gone=True)


def first_run(facts: Facts, state: State, vgic: bool, *, late: bool, v2: bool = False) -> dict[int, Fate]:
    """What becomes of the registers of a fresh VM, by their values before its first run."""
    return {
        **dict(gic(facts, state, vgic, late=late, v2=v2)),
        **dict(dependent(facts, state)),
        **dict(masked(facts, state)),
        **dict(counters(facts, state)),
        **dict(pmu_counts(facts, state)),
        **dict(long_events(facts, state)),
    }


def gic(facts: Facts, state: State, vgic: bool, *, late: bool, v2: bool) -> Iterator[tuple[int, Fate]]:
    # semantics 5.1
    says_none = not vgic and PFR0 in state.values and GIC.of(state.values[PFR0]) == 0
    for register, f in ((PFR0, GIC), (PFR1_32, GIC_32), (PFR2, GCIE)):
        value = state.values.get(register)
        if value is None or f.of(facts.fresh(register)) == 0 or (f is GIC_32 and says_none):
            continue
        if vgic and f is GCIE:
            continue
        now = f.put(value, 1 if vgic else 0)
        does = sets_gic(facts, late=late) if vgic else clears_gic(facts)
        if v2 and does:
            does = None if vgic else clears_gic_of_v2(facts)
        if now != value and does is not False:
            yield register, UNKNOWN if does is None else Fate(now)


def clears_gic(facts: Facts) -> bool | None:
    if facts.version[:2] > (7, 3):
        return None
    if facts.masks is not None:
        writable = bool(facts.masks.get(PFR0, 0) & GIC.mask)
        return True if writable else None if facts.at_least(6, 12) else False
    return facts.at_least(6, 12)


def clears_gic_of_v2(facts: Facts) -> bool | None:
    """With a GICv2: as without a vGIC in 6.12, and again by 7.2.12; of what lies between nobody looked."""
    major, minor, point = facts.version
    known = ((6, 12, 1), (6, 12, 118)), ((7, 2, 12), (7, 3, 1 << 32))
    return True if any(first <= (major, minor, point or 0) <= last for first, last in known) else None


def sets_gic(facts: Facts, *, late: bool) -> bool | None:
    if not GIC.of(facts.fresh(PFR0)):
        return False
    if late:  # semantics 3.4: a vGIC that is made after the registers
        return facts.between((6, 17, 8), (6, 18, 15))
    return facts.between((7, 0, 13), (7, 1, 8))


def dependent(facts: Facts, state: State) -> Iterator[tuple[int, Fate]]:
    # semantics 5.2
    value = state.values.get(MMFR3)
    if value is None:
        return
    does = facts.between((7, 2, 12), (7, 3, 4))
    now = value
    taken: list[Field] = []
    for f, needed in ((S1PIE, (TCRX, ATS1A)), (S1POE, (TCRX, ATS1A, HPDS))):
        lacking = [
            holder for holder, g in needed if holder in state.values and not g.of(state.values[holder])
        ]
        if f.of(value) and lacking:
            now, taken = f.put(now, 0), [*taken, f]
    if not taken or does is False:
        return
    yield MMFR3, UNKNOWN if does is None else Fate(now)
    for register, (_, gate, _) in GATES.items():
        if gate in taken and register in state.values:
            yield register, UNKNOWN if does is None else GONE


def masked(facts: Facts, state: State) -> Iterator[tuple[int, Fate]]:
    # semantics 5.3: which bits are reserved follows from the kernel and the VM's ID registers
    if not facts.has(HAS_EL2):
        return
    for register in MASKED & state.values.keys():
        value = state.values[register]
        if value == facts.fresh(register):
            continue
        now = masked_vmpidr(register, value)
        if now is None:
            yield register, UNKNOWN
        elif now != value:
            yield register, Fate(now)


def counters(facts: Facts, state: State) -> Iterator[tuple[int, Fate]]:
    # semantics 5.4: the offset is written after the counter, and moves it
    if state.values.get(CNTVOFF_EL2, 0) != facts.fresh(CNTVOFF_EL2):
        for register in COUNTERS:
            yield register, Fate()


def pmu_counts(facts: Facts, state: State) -> Iterator[tuple[int, Fate]]:
    # semantics 5.5: PMCR_EL0 is written again, and its P and C reset what they name
    control = state.values.get(pmu.PMCR)
    if not facts.has(PMU_V3) or control is None or writes_pmcr_again(facts) is False:
        return
    named = [PMCCNTR] if control & 1 << 2 else []
    if control & 1 << 1:
        named += pmu.COUNTERS[: control >> 11 & 0x1F]
    for register in named:
        if state.values.get(register, 0) not in NO_COUNTS:
            yield register, UNKNOWN if writes_pmcr_again(facts) is None else Fate(0)


def long_events(facts: Facts, state: State) -> Iterator[tuple[int, Fate]]:
    # semantics 5.5: LP does not exist before PMUv3p5
    control = state.values.get(pmu.PMCR, 0)
    version = field("ID_AA64DFR0", "PMUVer").of(state.values.get(ID["ID_AA64DFR0"], 0))
    does = writes_pmcr_again(facts)
    if does and not facts.at_least(6, 3):
        does = None if facts.at_least(6, 2) else False
    if facts.has(PMU_V3) and control & 1 << 7 and version not in range(6, 15) and does is not False:
        yield pmu.PMCR, UNKNOWN if does is None else Fate(control & ~(1 << 7))


def writes_pmcr_again(facts: Facts) -> bool | None:
    line = facts.version[:2]
    if line > (7, 3) or (5, 11) <= line <= (5, 13) or line in ((6, 13), (6, 14)):
        return None
    if line == (6, 12):
        return True if facts.has_fix((6, 12, 119)) is False else None
    return (5, 14) <= line <= (6, 11)


def kept_by_vendors(facts: Facts, state: State, vgic: bool, *, late: bool) -> set[int]:
    """What a vendor's kernel under a number of before the change leaves to VMs like its own."""

    # semantics 5, vendors' kernels
    def own(register: int, f: Field) -> bool:
        return register not in state.values or f.of(state.values[register]) == f.of(facts.fresh(register))

    kept: set[int] = set()
    sets = facts.between((6, 17, 8), (6, 18, 15)) if late else facts.between((7, 0, 13), (7, 1, 8))
    if sets is False and vgic and facts.vgic:
        kept |= {register for register, f in ((PFR0, GIC), (PFR1_32, GIC_32)) if own(register, f)}
    looked_at = ((MMFR3, S1PIE), (MMFR3, S1POE), TCRX, ATS1A, HPDS)
    if facts.between((7, 2, 12), (7, 3, 4)) is False and all(own(*one) for one in looked_at):
        kept |= {MMFR3} | {register for register, (_, gate, _) in GATES.items() if gate in (S1PIE, S1POE)}
    return kept


def joined(said: list[dict[int, Fate]]) -> dict[int, Fate]:
    """What all say; where they differ it is not known."""
    registers = {register for fates in said for register in fates}
    return {
        register: said[0][register]
        if all(fates.get(register) == said[0].get(register) for fates in said)
        else UNKNOWN
        for register in registers
    }
