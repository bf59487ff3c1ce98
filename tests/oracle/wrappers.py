"""What single ID registers do before the general field check (semantics 3.6), 6.5 and later."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .facts import EINVAL, HAS_EL2, Answer, Facts, unknown
from .fields import ID, Field, field
from .state import State

Check = Callable[[Facts, State, dict[int, int], int, int], Answer]

EL0, EL1, EL2, MPAM = (field("ID_AA64PFR0", name) for name in ("EL0", "EL1", "EL2", "MPAM"))
MPAM_FRAC, MTE, MTE_FRAC = (field("ID_AA64PFR1", name) for name in ("MPAM_frac", "MTE", "MTE_frac"))
DEBUG_VER, PMU_VER, DOUBLE_LOCK = (
    field("ID_AA64DFR0", name) for name in ("DebugVer", "PMUVer", "DoubleLock")
)
COP_DBG, PERF_MON = (field("ID_DFR0", name) for name in ("CopDbg", "PerfMon"))
NV = field("ID_AA64MMFR2", "NV")
STAGE2_GRANULES = [field("ID_AA64MMFR0", name) for name in ("TGRAN16_2", "TGRAN64_2", "TGRAN4_2")]
L1IP = field("CTR", "L1Ip")
IMP_DEF = 0xF


def write(
    facts: Facts, state: State, masks: dict[int, int], register: int, value: int, *, check: Check
) -> Answer:
    def then(*values: int) -> Answer:
        """The check's answer on what the wrapper made of the value: one possible form, or several."""
        if len(values) == 1:
            return check(facts, state, masks, register, values[0])
        return agreed(
            [(state.copy(), v) for v in values], state, lambda s, v: check(facts, s, masks, register, v)
        )

    if register == ID["ID_AA64PFR0"]:
        return pfr0(facts, value, then)
    if register == ID["ID_AA64PFR1"]:
        return pfr1(facts, value, then)
    if register == ID["ID_AA64DFR0"]:
        return dfr0(facts, masks, value, then)
    if register == ID["ID_DFR0"]:
        return aarch32_dfr0(facts, masks, value, then)
    if register == ID["ID_AA64MMFR0"]:
        return mmfr0(facts, value, then)
    if register == ID["ID_AA64MMFR2"]:
        return mmfr2(facts, value, then)
    if register == ID["CTR"] and masks[register] & L1IP.mask and L1IP.of(value) < 2:
        return EINVAL  # the check came with the writable L1Ip (6.17.8 has both), so the mask tells
    return then(value)


Then = Callable[..., Answer]


def agreed(
    trials: Iterable[tuple[State, int]], state: State, check: Callable[[State, int], Answer]
) -> Answer:
    """Try each possible form on a copy of the state; one answer for all of them, or unknown."""
    results = [(check(trial, value), trial) for trial, value in trials]
    first, after = results[0]
    if any(answer != first for answer, _ in results):
        return unknown("the host's own value of a field that KVM takes back and drops (MPAM, NV, MTE_frac)")
    state.values, state.doubtful = after.values, after.doubtful
    return first


def taken_back(f: Field, facts: Facts, register: int, value: int, largest: int) -> tuple[int, ...]:
    """The value as it is, and with a field dropped that may equal what the hardware has.

    KVM hides the field but takes the hardware's own value back (and drops it).  The hardware's value
    cannot be seen; the architecture allows 1..largest.  Zero is what a VM sees.
    """
    if f.of(value) == 0 or f.of(value) > largest or f.of(facts.fresh(register)) != 0:
        return (value,)
    if register in facts.hardware:
        # a capture may tell it all the same (docs/formats.md, `unknown`)
        return (f.put(value, 0) if f.of(value) == f.of(facts.hardware[register]) else value,)
    return value, f.put(value, 0)


def pfr0(facts: Facts, value: int, then: Then) -> Answer:
    forms = taken_back(MPAM, facts, ID["ID_AA64PFR0"], value, 1)
    # absent in 6.12.117, present in 6.16.3 (12.12) and 6.17.8; EL2 under nested virtualization only
    levels = (EL0, EL1, EL2) if facts.has(HAS_EL2) else (EL0, EL1)
    if all(f.of(value) for f in levels):
        return then(*forms)
    needed = facts.between((6, 12, 117), (6, 16, 3))
    if needed:
        return EINVAL
    answer = then(*forms)
    if needed is None and answer != EINVAL:
        return unknown("whether this release refuses to hide AArch64 at EL0 and EL1")
    return answer


def pfr1(facts: Facts, value: int, then: Then) -> Answer:
    register = ID["ID_AA64PFR1"]
    forms = taken_back(MPAM_FRAC, facts, register, value, 1)
    limit = facts.fresh(register)
    if MTE.of(limit) == 2 and MTE_FRAC.of(limit) == 0xF and MTE_FRAC.of(value) == 0:
        # MTE_frac was hidden once: zero is taken and stays "not implemented".  From 6.16 on (fe21ff5d4b46), not
        # in 6.12.117, whose field table does not have MTE_frac (semantics 3.6); between them unknown.
        taken = facts.between((6, 12, 117), (6, 16, 0))
        if taken is None:
            return unknown("whether this release takes MTE_frac 0 back")
        if taken:
            forms = tuple(MTE_FRAC.put(form, 0xF) for form in forms)
    return then(*forms)


def dfr0(facts: Facts, masks: dict[int, int], value: int, then: Then) -> Answer:
    register = ID["ID_AA64DFR0"]
    if PMU_VER.of(value) == IMP_DEF:
        if facts.masks is None:
            return unknown("whether 6.5 and 6.6 already rewrite an IMPDEF PMU")
        value = PMU_VER.put(value, 0)
    if DEBUG_VER.of(value) < 6:
        return too_low(facts, value, then) if not masks.get(register, 0) & DEBUG_VER.mask else EINVAL
    if facts.has(HAS_EL2) and DOUBLE_LOCK.of(value) == 0 and DOUBLE_LOCK.of(facts.fresh(register)) == 0xF:
        hidden = facts.between((6, 17, 8), (6, 18, 15))
        if hidden is None:
            return unknown("whether this release replaces DoubleLock under nested virtualization")
        value = DOUBLE_LOCK.put(value, 0xF) if hidden else value
    return then(value)


def aarch32_dfr0(facts: Facts, masks: dict[int, int], value: int, then: Then) -> Answer:
    register = ID["ID_DFR0"]
    if PERF_MON.of(value) == IMP_DEF:
        if facts.masks is None:
            return unknown("whether 6.5 and 6.6 already rewrite an IMPDEF PMU")
        value = PERF_MON.put(value, 0)
    if PERF_MON.of(value) in (1, 2):
        return EINVAL
    if COP_DBG.of(value) < 6:
        return too_low(facts, value, then) if not masks.get(register, 0) & COP_DBG.mask else EINVAL
    return then(value)


def too_low(facts: Facts, value: int, then: Then) -> Answer:
    """A debug version below 6 where it cannot be written; from 6.7 on it can, and is refused at once."""
    answer = then(value)
    if facts.masks is None and answer != EINVAL:
        return unknown("whether 6.5 and 6.6 check the debug version first")
    return answer


def mmfr0(facts: Facts, value: int, then: Then) -> Answer:
    # nested virtualization, 6.16+: a stage-2 granule keeps the host's value; later it may also be
    # hidden (1).  Equality in 6.16.12, the wider rule in 7.0.13 and 7.3.4.
    differing = {f.of(value) for f in STAGE2_GRANULES if f.of(value) != f.of(facts.fresh(ID["ID_AA64MMFR0"]))}
    if not facts.has(HAS_EL2) or not differing:
        return then(value)
    may_hide = facts.between((6, 16, 12), (7, 0, 13))
    if differing != {1} or may_hide is False:
        return EINVAL
    answer = then(value)
    if may_hide is None and answer != EINVAL:
        return unknown("whether this release lets nested VMs hide a stage-2 granule")
    return answer


def mmfr2(facts: Facts, value: int, then: Then) -> Answer:
    # 6.15+: the VM no longer sees NV.  Seen as an ordinary field in 6.12.117.
    if facts.between((6, 12, 117), (6, 15, 0)) is False:
        return then(value)
    register = ID["ID_AA64MMFR2"]
    if facts.has(HAS_EL2) and NV.of(value) == 2:
        return then(NV.put(value, 0))  # nested virtualization needs FEAT_NV2, so the hardware has 2
    return then(*taken_back(NV, facts, register, value, 2))
