"""Register sets that no host saved: real ones with some fields of firmware, ID and PMU registers edited.

Real sets of a few kernels meet few of the values that a kernel can be asked for.  The same seed
gives the same edits.
"""

from __future__ import annotations

import random
from typing import Any

Json = dict[str, Any]

FIRMWARE_VALUES = {
    0x6030000000140000: [0x1, 0x2, 0x10000, 0x10001, 0x10002, 0x10003, 0x10004],
    0x6030000000140001: [0, 1, 2, 3, 0x10],
    0x6030000000140002: [0, 1, 2, 3, 4, 0x12, 0x13],
    0x6030000000140003: [0, 1, 2, 3, 0x10],
    0x6030000000160000: [0, 1, 2],
    0x6030000000160001: [0, 1, 2],
    0x6030000000160002: [0, 1, 2, 3, 4],
    0x6030000000160003: [0, 1, 2, 3, 4],
}
ID_FIRST, ID_LAST = 0x603000000013C008, 0x603000000013C03F
# PMU registers: numbers of counters, and the two names of each register with a bit for each counter, which a
# saved set holds with one value
PMCR, PMSWINC = 0x603000000013DCE0, 0x603000000013DCE4
PMU_COUNTERS = range(0x603000000013DF40, 0x603000000013DF5F)
PMU_PAIRS = [(0x13C4F1, 0x13C4F2), (0x13DCE1, 0x13DCE2), (0x13DCF3, 0x13DCE3)]
PMU_BITS = [0, 1, 0x80000000, 0x80000003, 0x8000003F, 0x800000FF, 0x1_0000_0001]


def edited(one: Json, seed: int) -> Json:
    """A copy in which each firmware register may have another value and each ID register another nibble."""
    chance = random.Random(f"{one['id']} {seed}")
    registers = dict(one["registers"])
    for name, text in one["registers"].items():
        register, value = int(name, 16), int(text, 16)
        if register in FIRMWARE_VALUES and chance.random() < 0.5:
            registers[name] = hex(chance.choice(FIRMWARE_VALUES[register]))
        elif ID_FIRST <= register <= ID_LAST and chance.random() < 0.4:
            registers[name] = hex(other_nibble(value, chance))
    edit_pmu(registers, chance)
    return {**one, "id": f"{one['id']}+edit{seed}", "note": "edited", "registers": registers}


def edit_pmu(registers: dict[str, str], chance: random.Random) -> None:
    """Other states of the PMU, where there is one."""
    if hex(PMCR) not in registers:
        return
    values: dict[str, int] = {}
    if chance.random() < 0.5:
        control = int(registers[hex(PMCR)], 16) & ~(31 << 11)
        values[hex(PMCR)] = control | chance.choice([0, 2, 4, 6, 8]) << 11
    if chance.random() < 0.5:
        values[hex(PMSWINC)] = chance.choice([0, 1])
    for low in PMU_PAIRS:
        if chance.random() < 0.5:
            names = [hex(0x6030000000000000 | name) for name in low]
            values |= dict.fromkeys(names, chance.choice(PMU_BITS))
    for counter in PMU_COUNTERS:
        if chance.random() < 0.2:
            values[hex(counter)] = chance.choice([0, 5, 1 << 32, 7 << 32 | 9, chance.getrandbits(64)])
    registers |= {name: hex(value) for name, value in values.items() if name in registers}


def other_nibble(value: int, chance: random.Random) -> int:
    """The value with one nibble one higher, one lower, 0, or anything."""
    filled = [shift for shift in range(0, 64, 4) if value >> shift & 15]
    shift = chance.choice(filled) if filled and chance.random() < 0.8 else chance.randrange(0, 64, 4)
    now = value >> shift & 15
    other = chance.choice([min(now + 1, 15), max(now - 1, 0), 0, chance.randrange(16)])
    return value & ~(15 << shift) | other << shift
