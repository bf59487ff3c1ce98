"""Vendors' kernels: what every kernel says that such a one may be like (semantics 3.2, vendors)."""

from __future__ import annotations

import re
from dataclasses import replace

from . import firmware
from .facts import Answer, Facts, parse_release, unknown
from .fields import FIELDS

# 6.13.0-rc3; 6.1.0-56-arm64, 6.12.117+deb13-cloud-arm64, 6.10.6+bpo-arm64-16k
_MAINLINE = r"\d+\.\d+(\.\d+)?(-rc\d+)?"
_DEBIAN = r"\d+\.\d+(\.\d+)?(-\d+|-0\.(deb|bpo)[\d.]*|\+(deb|bpo)[\d.+]*)(-cloud|-rt)?-arm64(-16k|-64k)?"

# one kernel of each set of rules that was read or run
_KERNELS = (
    *("5.4.200", "5.10.262", "5.17.0", "6.1.192", "6.3.0", "6.5.0", "6.6.60"),
    *("6.12.8", "6.12.43", "6.12.117", "6.16.12", "6.17.8", "6.17.13"),
    *("6.18.15", "6.19.14", "7.0.13", "7.1.8", "7.2.13", "7.3.4"),
)


def is_vendors(release: str) -> bool:
    """Is this neither mainline's, nor a stable series', nor Debian's?"""
    return re.fullmatch(_MAINLINE, release) is None and re.fullmatch(_DEBIAN, release) is None


def likenesses(facts: Facts) -> list[Facts]:
    """The host under every upstream kernel that a vendor may have made it of.

    The release that it names, all younger ones (changes are ported back, none is taken out), and the one before, since a
    point release tells nothing. From 6.7 on masks decide; where they are not known, any may be.
    """
    major, minor, point = parse_release(facts.release)
    older = [kernel for kernel in _KERNELS if parse_release(kernel)[:2] < (major, minor)]
    younger = [kernel for kernel in _KERNELS if parse_release(kernel)[:2] >= (major, minor)]
    names = [f"{major}.{minor}.{point or 0}", *older[-1:], *younger]
    found = []
    for name in names:
        alike = replace(facts, release=name)
        if not alike.at_least(6, 7):
            if facts.masks is None and name not in older:
                found.append(alike)
        elif facts.masks is not None:
            found.append(alike)
        else:
            everything = dict.fromkeys(FIELDS, (1 << 64) - 1)
            found += [replace(alike, masks={}), replace(alike, masks=everything)]
    return found


def joined(answers: list[Answer], value: int) -> Answer:
    """What all of them say of ``value``: the same, or at least whether it stays."""
    first = answers[0]
    if all(answer == first for answer in answers):
        return first
    changes = {answer.changes(value) if answer.accepted else None for answer in answers}
    if changes == {True}:
        return Answer(altered=True)
    if changes == {False}:
        return Answer(moves=True)  # a clock, but on some kernels
    return unknown("which changes this vendor's kernel carries")


def own_bits(register: int, value: int) -> bool:
    """Has this value bits of a bitmap that mainline does not know?  A vendor may (semantics 1.7)."""
    return bool(value & ~firmware.BITMAP_MASKS.get(register, value))
