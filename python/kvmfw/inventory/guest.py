"""What a guest may have written itself: of an inventory nobody knows it, so a derived set has what asks most of a host.

Of the registers that KVM looks at, a guest writes those of its PMU and its timers; all others are what KVM and the VMM made of
them. (PSTATE and general registers are a guest's too, but a host without the mode of a guest refuses its ID registers already.)
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from kvmfw import _native
from kvmfw.registers import named, register_name, registers

__all__ = ["as_written_most", "is_known_of"]

_CYCLES = 1 << 31
_ENABLED_MASKED_EXPIRED = 0b111
_LONG_COUNTERS = 6
"""The first PMU version with event counters of 64 bits, in ID_AA64DFR0_EL1.PMUVer."""
_NO_PMU = 0xF


@cache
def _of_kind(*kinds: str) -> frozenset[int]:
    return frozenset(one.id for one in registers() if one.kind in kinds)


def is_known_of(register: int) -> bool:
    """Tell whether KVM looks at a register and no guest writes it, so that its value has to be known."""
    guests = _of_kind("PmuControl", "PmuBits", "PmuIncrement", "TimerControl")
    return register not in guests and not _is_event_counter(register) and _native.looked_at([register])[0]


def _is_event_counter(register: int) -> bool:
    return register_name(register).startswith("PMEVCNTR")


def as_written_most(values: Mapping[int, int], *, pmu: bool) -> dict[int, int]:
    """Give registers with everything that a guest can have set in them.

    Parameters
    ----------
    values : mapping of int to int
        The registers as KVM made them.
    pmu : bool
        Whether the vCPU has a PMU that the guest can write to.

    Examples
    --------
    >>> control = named("CNTV_CTL_EL0")
    >>> as_written_most({control: 0}, pmu=False)[control]
    7
    """
    found = dict(values)
    most = dict.fromkeys(_of_kind("TimerControl"), _ENABLED_MASKED_EXPIRED)
    if pmu:
        counters = values.get(named("PMCR_EL0"), 0) >> 11 & 0x1F
        most |= dict.fromkeys(_of_kind("PmuBits"), _CYCLES | ((1 << counters) - 1))
        version = values.get(named("ID_AA64DFR0_EL1"), 0) >> 8 & 0xF
        longest = 64 if _LONG_COUNTERS <= version < _NO_PMU else 32
        most |= dict.fromkeys(filter(_is_event_counter, values), (1 << longest) - 1)
    for register in most.keys() & values.keys():
        found[register] |= most[register]
    return found
