"""Kernels after the last known one (semantics 3.2): what of a value no known kernel looks at."""

from __future__ import annotations

from . import pmu
from .fields import SYSREG

TIMERS = (SYSREG | 0xDF11, SYSREG | 0xDF19)  # CNTP_CTL_EL0, CNTV_CTL_EL0
ISTATUS = 1 << 2


def alike(register: int, one: int, other: int) -> bool:
    """Do two values differ in nothing but what is state on every known kernel?"""
    if one == other:
        return True
    if register in TIMERS:
        return not (one | other) & ~0xFFFF_FFFF and not (one | other) & ISTATUS
    if register in pmu.COUNTERS:
        return (one >> 32 != 0) == (other >> 32 != 0)
    if register == pmu.PMSWINC:
        return (one != 0) == (other != 0)
    return False
