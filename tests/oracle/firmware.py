"""Firmware pseudo-registers: PSCI version, SMCCC workarounds, hypercall bitmaps."""

from __future__ import annotations

from .facts import (
    EBUSY,
    EINVAL,
    ENOENT,
    PSCI_0_2,
    Answer,
    Facts,
    accept,
    unknown,
)
from .state import State

FIRMWARE = 0x6030000000140000
BITMAPS = 0x6030000000160000
PSCI_VERSION, WORKAROUND_1, WORKAROUND_2, WORKAROUND_3 = (FIRMWARE + n for n in range(4))
ID_AA64PFR1 = 0x603000000013C021
SIZE_FIELD, SIZE_U64 = 0x00F0000000000000, 0x0030000000000000

# semantics 1.7 and fw-registers.json: no mask was widened up to 7.3.4
BITMAP_MASKS = {BITMAPS: 0x1, BITMAPS + 1: 0x1, BITMAPS + 2: 0x3, BITMAPS + 3: 0x3}
# semantics 1.4: every version ever known, oldest first
PSCI_VERSIONS = (0x2, 0x10000, 0x10001, 0x10002, 0x10003)
LEVEL_BITS = 0xF


def write(facts: Facts, state: State, register: int, value: int) -> Answer:
    if register & SIZE_FIELD != SIZE_U64 or register not in facts.registers:
        # semantics 1.3: firmware registers are listed unconditionally, so what is not in the
        # list does not exist; 4.17..5.2 answered EINVAL where 5.3 and later answer ENOENT
        return ENOENT if facts.at_least(5, 3) else EINVAL
    if register == PSCI_VERSION:
        return psci_version(facts, state, value)
    if register in (WORKAROUND_1, WORKAROUND_3):
        return workaround(facts, register, value)
    if register == WORKAROUND_2:
        return workaround_2(facts, state, value)
    if register in BITMAP_MASKS:
        return bitmap(state, register, value)
    if value == facts.fresh(register) and not state.has_run:
        return accept(value)  # semantics 3.2: of what no known kernel has, only this is known
    return unknown("the rule of a firmware register first seen after 7.3")


def psci_version(facts: Facts, state: State, value: int) -> Answer:
    # semantics 1.4; VM-wide, never refused because the VM ran
    if not facts.has(PSCI_0_2):
        return state.store(PSCI_VERSION, value) if value == 0x1 else EINVAL
    newest = facts.fresh(PSCI_VERSION)  # a fresh VM shows the newest version that its kernel knows
    if newest not in PSCI_VERSIONS:
        if value in PSCI_VERSIONS:
            return state.store(PSCI_VERSION, value)
        return unknown("the PSCI versions of a kernel newer than 7.3")
    return state.store(PSCI_VERSION, value) if value in PSCI_VERSIONS and value <= newest else EINVAL


def workaround(facts: Facts, register: int, value: int) -> Answer:
    # semantics 1.5: compared with the host's level and not stored, so the level reads back
    level = facts.fresh(register)
    if level > 2:
        return unknown("the meaning of a workaround level above 2")
    return accept(level) if value & ~LEVEL_BITS == 0 and value <= level else EINVAL


def workaround_2(facts: Facts, state: State, value: int) -> Answer:
    # semantics 1.6, common to both eras: only a level and the ENABLED flag exist
    level, enabled = value & LEVEL_BITS, bool(value & 0x10)
    if value & ~0x1F or (enabled and level != 2):
        return EINVAL
    fresh = facts.fresh(WORKAROUND_2)
    if fresh not in (0, 3) or not facts.at_least(5, 10):  # levels 1, 2 and 0x12 exist in 5.3..5.9 only
        host = fresh & LEVEL_BITS
        if level > host:
            return EINVAL
        if host == 2 and level == 2:
            return state.store(WORKAROUND_2, value)
        return accept(state.current(WORKAROUND_2))
    if level > 3:
        return EINVAL
    now = workaround_2_level(facts, state)
    if level < 2:
        return accept(now)
    if now is None:
        return unknown("whether the host is vulnerable to speculative store bypass once SSBS is hidden")
    return accept(now) if now == 3 else EINVAL


def workaround_2_level(facts: Facts, state: State) -> int | None:
    """The level that GET shows now, 5.10 and later."""
    fresh = facts.fresh(WORKAROUND_2)
    # semantics 1.6: 6.12 and later look at the VM's own ID_AA64PFR1_EL1.SSBS.  Before that the
    # register cannot change, so the release need not be asked.
    if fresh == 3 or not (facts.fresh(ID_AA64PFR1) >> 4) & 0xF:
        return fresh
    pfr1 = state.current(ID_AA64PFR1)
    if pfr1 is not None and (pfr1 >> 4) & 0xF:
        return fresh
    if pfr1 is None:
        return None
    # SSBS was taken from the VM: MITIGATED now reads 3, VULNERABLE still 0
    bypass = facts.vulnerabilities.get("spec_store_bypass", "")
    if bypass.startswith("Mitigation"):
        return 3
    return 0 if bypass.startswith("Vulnerable") else None


def bitmap(state: State, register: int, value: int) -> Answer:
    # semantics 1.7: the mask first, so that a bad value after run is EINVAL, not EBUSY
    if value & ~BITMAP_MASKS[register]:
        return EINVAL
    if state.has_run and value != state.current(register):
        return EBUSY
    return state.store(register, value)
