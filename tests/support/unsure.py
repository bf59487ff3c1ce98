"""Hosts of which something is not known: the hosts that each of them may be, for the oracle (docs/formats.md, `unknown`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

from tests.support.golden import TargetHost, register_id

NIBBLES = range(0, 64, 4)
# Semantics 1.5: no other level of WORKAROUND_1 and 3 exists.
LEVELS = {register_id(f"SMCCC_ARCH_WORKAROUND_{number}"): 2 for number in (1, 3)}
# Up to so many bits every number is tried; else the least one, the one that was saved, and one that differs in each bit.
MOST = 8


def likenesses(host: TargetHost, saved: dict[int, int]) -> list[TargetHost]:
    """The hosts that it may be, as far as these saved values can tell them apart."""
    if host.unknown is None:
        return [host]
    known = replace(host.unknown, listed=(), bits={})
    values = [
        [
            (register, number)
            for number in numbers(host.registers[register], mask, saved.get(register, 0))
            if number <= LEVELS.get(register, number)
        ]
        for register, mask in host.unknown.bits.items()
    ]
    # Not listed, or with what was saved as its own.
    listed = [[None, (register, saved[register])] for register in host.unknown.listed if register in saved]
    return [
        replace(host, unknown=known, registers=host.registers | dict(filter(None, chosen)))
        for chosen in product(*values, *listed)
    ]


def numbers(least: int, mask: int, saved: int) -> set[int]:
    """What a register may read of which these bits are not known: no field has less than it shows."""
    known = least & ~mask
    if mask.bit_count() <= MOST:
        return {known | part for part in parts(mask) if is_least(least & mask, part)}
    return {least, known | saved & mask, known | ~saved & mask}


def parts(mask: int) -> Iterator[int]:
    """All numbers that have no bit outside of the mask."""
    part = mask
    while part:
        yield part
        part = part - 1 & mask
    yield 0


def is_least(one: int, other: int) -> bool:
    """Whether no field of the other is less than that of this one."""
    return all(one >> at & 0xF <= other >> at & 0xF for at in NIBBLES)
