"""Security of hosts by their captures: whether one mitigates less than another. The only place that knows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from kvmfw.boot_options import options_in_effect
from kvmfw.captures import fresh_values
from kvmfw.registers import named, register_name

__all__ = ["Comparison", "Protection", "Security", "compare_security", "protection_of"]

# Bit 4 of WORKAROUND_2 is the flag of a VM, no level (include/uapi/asm/kvm.h).
_LEVEL = 0xF
LEVELS = tuple(named(f"SMCCC_ARCH_WORKAROUND_{number}") for number in (1, 2, 3))
"""Levels of SMCCC workarounds, which KVM itself orders: it takes a lower one than its own, never a higher one
(docs/semantics.md)."""

# Options that switch protection of an arm64 kernel off (Documentation/admin-guide/kernel-parameters.txt and the aliases of
# arch/arm64/kernel/pi/idreg-override.c of 6.18, read); those that count with any value have an empty set.
_WEAKENING = {
    "mitigations": {"off"},
    "nospectre_v2": set[str](),
    "nospectre_bhb": set[str](),
    "ssbd": {"force-off"},
    "kpti": {"0", "off", "n", "no", "false"},
    "nokaslr": set[str](),
    "rodata": {"off"},
    "arm64.nobti": set[str](),
    "arm64.nogcs": set[str](),
    "arm64.nopauth": set[str](),
    "arm64.nomte": set[str](),
}
# What mitigations=off stands for on arm64, by the same document; kpti stays on where KASLR is.
_ALL_OFF = frozenset({"nospectre_v2", "nospectre_bhb", "ssbd"})
_OFF_WITHOUT_KASLR = frozenset({"kpti"})


class Security(StrEnum):
    """How a host protects, beside another."""

    SAME = "same"
    STRONGER = "stronger"
    WEAKER = "weaker"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Protection:
    """What a capture says of how its host protects.

    Attributes
    ----------
    boot_options : str or None
        The kernel's command line; `None` where it was not recorded.
    vulnerabilities : mapping of str to (str or None), or None
        Files of /sys/devices/system/cpu/vulnerabilities; `None` where they were not recorded.
    levels : mapping of int to int
        Levels of SMCCC workarounds that fresh VMs have: the lowest over the vCPUs.
    """

    boot_options: str | None = None
    vulnerabilities: Mapping[str, str | None] | None = None
    levels: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Comparison:
    """How one host's security stands beside another's, and why: one short text for each difference."""

    security: Security
    reasons: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.security}: {'; '.join(self.reasons)}" if self.reasons else str(self.security)


def protection_of(document: Mapping[str, Any]) -> Protection:
    """Read in a capture document how its host protects."""
    host = document["host"]
    levels: dict[int, int] = {}
    for _, values in fresh_values(document, LEVELS):
        for register, value in values.items():
            level = value & _LEVEL
            levels[register] = min(level, levels.get(register, level))
    return Protection(host.get("boot_options"), host.get("vulnerabilities"), levels)


def compare_security(before: Protection, after: Protection) -> Comparison:
    """Tell how a host's security changes when it becomes as `after`.

    Something weaker makes it weaker, whatever else is stronger. What is not recorded on both sides is unknown.

    Examples
    --------
    >>> old = Protection("quiet", {"spectre_v2": "Mitigation: CSV2, BHB"})
    >>> new = Protection("quiet mitigations=off", {"spectre_v2": "Mitigation: CSV2, but not BHB"})
    >>> print(compare_security(old, new).security, compare_security(new, old).security)
    weaker stronger
    """
    parts = [
        *_options(before.boot_options, after.boot_options),
        *_vulnerabilities(before.vulnerabilities, after.vulnerabilities),
        *_levels(before.levels, after.levels),
    ]
    for verdict in (Security.WEAKER, Security.UNKNOWN, Security.STRONGER):
        reasons = tuple(reason for found, reason in parts if found is verdict)
        if reasons:
            return Comparison(verdict, reasons)
    return Comparison(Security.SAME)


def _off(options: str) -> frozenset[str]:
    """Give what the command line switches off."""
    given = options_in_effect(options)
    off = {
        name
        for name, values in _WEAKENING.items()
        if name in given and (not values or given[name].value in values)
    }
    return frozenset(off) | _implied(off)


def _implied(off: Collection[str]) -> frozenset[str]:
    """Give what `mitigations=off` stands for, where it is given."""
    if "mitigations" not in off:
        return frozenset()
    return _ALL_OFF | (_OFF_WITHOUT_KASLR if "nokaslr" in off else frozenset())


def _options(before: str | None, after: str | None) -> Iterable[tuple[Security, str]]:
    if before is None or after is None:
        yield Security.UNKNOWN, "boot options were not recorded"
        return
    old, new = _off(before), _off(after)
    for gone, verdict, words in (
        (new - old, Security.WEAKER, "with"),
        (old - new, Security.STRONGER, "without"),
    ):
        # mitigations=off says it all; the options that it stands for are not listed again.
        named = gone - _implied(old | new) if "mitigations" in gone else gone
        given = options_in_effect(after if verdict is Security.WEAKER else before)
        for name in sorted(named):
            yield verdict, f"{words} {given[name].text if name in given else name}"


def _rank(text: str) -> int | None:
    """Order what a file says: vulnerable, mitigated in part, mitigated, not affected; `None`: it says neither."""
    lower = text.lower()
    if lower.startswith("not affected"):
        return 3
    if lower.startswith("mitigation"):
        # arch/arm64/kernel/proton-pack.c: "Mitigation: CSV2, but not BHB".
        return 1 if "but not" in lower or "vulnerable" in lower else 2
    return 0 if lower.startswith("vulnerable") else None


def _vulnerabilities(
    before: Mapping[str, str | None] | None, after: Mapping[str, str | None] | None
) -> Iterable[tuple[Security, str]]:
    if before is None or after is None:
        yield Security.UNKNOWN, "vulnerabilities were not recorded"
        return
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if old == new:
            if old is None:
                yield Security.UNKNOWN, f"{name} is not told"
            continue
        verdict = _texts(old, new)
        if verdict is not Security.SAME:
            yield verdict, f"{name} from `{old or 'not told'}` to `{new or 'not told'}`"


def _texts(old: str | None, new: str | None) -> Security:
    if old is None or new is None:
        # A kernel without the file does not know the vulnerability, so it does nothing about it.
        told, better = (new, Security.STRONGER) if old is None else (old, Security.WEAKER)
        rank = _rank(told or "")
        return {3: Security.SAME, 2: better, 1: better}.get(-1 if rank is None else rank, Security.UNKNOWN)
    ranks = _rank(old), _rank(new)
    if ranks[0] is None or ranks[1] is None:
        return Security.UNKNOWN
    if ranks[0] != ranks[1]:
        return Security.STRONGER if ranks[1] > ranks[0] else Security.WEAKER
    if ranks[0] in (0, 3):
        return Security.SAME
    parts = [set(text.partition(":")[2].replace(" ", "").split(",")) for text in (old, new)]
    if parts[0] < parts[1]:
        return Security.STRONGER
    return Security.WEAKER if parts[1] < parts[0] else Security.UNKNOWN


def _levels(before: Mapping[int, int], after: Mapping[int, int]) -> Iterable[tuple[Security, str]]:
    """Compare the levels of SMCCC workarounds that guests are told; one that a host does not have is 0."""
    for register in LEVELS:
        old, new = before.get(register, 0), after.get(register, 0)
        if old != new:
            verdict = Security.STRONGER if new > old else Security.WEAKER
            yield verdict, f"{register_name(register)} from level {old} to {new}"
