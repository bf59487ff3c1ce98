"""Baselines: the greatest register values that a VM may start with so that all hosts, or most, take it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kvmfw.errors import ArgumentError
from kvmfw.ids import FIRMWARE, FIRMWARE_BITMAP, SYSTEM, group_of
from kvmfw.registers import register_name
from kvmfw.sets import Host, RegisterSet
from kvmfw.verdict import Outcome, validate

__all__ = ["Baseline", "BaselineRegister", "Kind", "baseline", "baseline_of_kinds", "kinds_of"]

ROUNDS = 200


@dataclass(frozen=True, slots=True)
class BaselineRegister:
    """One register of a baseline.

    Attributes
    ----------
    register : int
        The register id.
    name : str
        Its name.
    value : int or None
        What a VM may start with; `None` where the hosts take no common value, or where some lack the
        register (see `absent_on`).
    greatest : int
        The greatest value that a fresh VM has on one of the hosts.
    bound_by : tuple of str
        Hosts that refuse the greatest value: they bind it.
    absent_on : tuple of str
        Hosts that do not have the register: a VM must not save it.
    """

    register: int
    name: str
    value: int | None
    greatest: int
    bound_by: tuple[str, ...]
    absent_on: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Baseline:
    """Register values that all covered hosts take.

    Attributes
    ----------
    covered : tuple of str
        The hosts that it is for.
    left_out : tuple of str
        Hosts that it is not for: they cannot make the vCPU or were not asked for it.
    outcome : Outcome
        The worst that a covered host says to a VM with the values, without the registers that are absent
        or have none; REFUSE where hosts have no value in common.
    registers : tuple of BaselineRegister
        Registers that some covered host binds, lacks or disputes, and all firmware registers.
    vm : RegisterSet
        A VM with these values.
    """

    covered: tuple[str, ...]
    left_out: tuple[str, ...]
    outcome: Outcome
    registers: tuple[BaselineRegister, ...]
    vm: RegisterSet


@dataclass(frozen=True, slots=True)
class Kind:
    """Hosts that share a capture."""

    host: Host
    names: tuple[str, ...]
    fresh: dict[int, int]


@dataclass(frozen=True, slots=True)
class _Descent:
    """How far values had to go down: the place among the candidates, and which kinds refused.

    `binding` holds the kinds that refused the greatest value.
    """

    place: dict[int, int]
    binding: dict[int, set[int]]
    outcome: Outcome


def baseline(
    hosts: Sequence[Host],
    *,
    features: Sequence[str] = ("psci_0_2",),
    vgic: bool = True,
    enabled: Sequence[str] = (),
    vmm: str = "kvm",
) -> Baseline:
    """Find the greatest register values that hosts take.

    Parameters
    ----------
    hosts : sequence of Host
        The hosts; those of one capture count once each.
    features, enabled : sequence of str
        How the VM's vCPU is made.
    vgic : bool
        Whether the VM has a GICv3.
    vmm : str
        The restore policy.

    Raises
    ------
    ArgumentError
        When no host can make such a vCPU.

    Examples
    --------
    >>> from kvmfw.testing import tiny_host
    >>> made = baseline([tiny_host(workaround_3=2, name="a"), tiny_host(workaround_3=1, name="b")])
    >>> [(one.name, one.value, one.bound_by) for one in made.registers if one.bound_by]
    [('SMCCC_ARCH_WORKAROUND_3', 1, ('b',))]
    """
    kinds, lacking = kinds_of(hosts, features, vgic, enabled)
    return baseline_of_kinds(
        kinds, features=features, vgic=vgic, enabled=enabled, vmm=vmm, left_out=tuple(lacking)
    )


def baseline_of_kinds(
    kinds: Sequence[Kind],
    *,
    features: Sequence[str],
    vgic: bool,
    enabled: Sequence[str],
    vmm: str,
    left_out: tuple[str, ...] = (),
) -> Baseline:
    """Find the greatest values that these kinds of hosts take; `baseline` tells the rest."""
    make = _Maker(tuple(features), vgic, tuple(enabled), vmm)
    return make.result(kinds, make.descend(kinds), left_out)


def kinds_of(
    hosts: Sequence[Host], features: Sequence[str], vgic: bool, enabled: Sequence[str]
) -> tuple[list[Kind], list[str]]:
    """Put hosts of one capture together; also give the names of hosts that cannot make such a vCPU or were not asked.

    Raises
    ------
    ArgumentError
        When no host can make it.
    """
    names: dict[int, list[str]] = {}
    first: dict[int, Host] = {}
    for host in hosts:
        names.setdefault(id(host._native), []).append(host.name)
        first.setdefault(id(host._native), host)
    kinds, lacking = [], []
    for key, host in first.items():
        fresh = host.fresh_set(features=features, vgic=vgic, enabled=enabled)
        if fresh is None:
            lacking += names[key]
        else:
            kinds.append(Kind(host, tuple(names[key]), fresh.to_mapping()))
    if not kinds:
        words = ", ".join([*features, *(["vgic"] if vgic else []), *enabled])
        raise ArgumentError(f"no host was asked for, or can make, a vCPU with {words}")
    return kinds, lacking


def _nibbles(value: int) -> list[int]:
    return [value >> shift & 0xF for shift in range(0, max(value.bit_length(), 1), 4)]


def _candidates(register: int, values: Sequence[int]) -> list[int]:
    """Give the values to try, greatest first: those of fresh VMs, and what they have in common."""
    distinct = set(values)
    group = group_of(register)
    both = values[0]
    for value in values[1:]:
        both &= value
    if group == SYSTEM:
        for first in list(distinct):
            for second in list(distinct):
                distinct.add(_least(first, second))
        least = values[0]
        for value in values[1:]:
            least = _least(least, value)
        distinct |= {least, 0}
        return sorted(distinct, key=lambda value: (sum(_nibbles(value)), value), reverse=True)
    if group == FIRMWARE:
        distinct |= set(range(min(distinct))) if max(distinct) < 16 else set()
        return sorted(distinct, reverse=True)
    return sorted(distinct | {both}, key=lambda value: (value.bit_count(), value), reverse=True)


def _least(first: int, second: int) -> int:
    """Give the smaller of two values in every 4 bits."""
    size = max(first.bit_length(), second.bit_length())
    return sum(min(first >> at & 0xF, second >> at & 0xF) << at for at in range(0, size, 4))


class _Maker:
    """Goes down from the greatest values until nobody refuses."""

    def __init__(self, features: tuple[str, ...], vgic: bool, enabled: tuple[str, ...], vmm: str) -> None:
        self._features, self._vgic, self._enabled, self._vmm = features, vgic, enabled, vmm

    def _set(self, registers: dict[int, int]) -> RegisterSet:
        return RegisterSet.from_mapping(
            registers, features=self._features, vgic=self._vgic, enabled=self._enabled, name="baseline"
        )

    def _common(self, kinds: Sequence[Kind]) -> dict[int, list[int]]:
        common = set(kinds[0].fresh).intersection(*(kind.fresh for kind in kinds))
        return {
            register: _candidates(register, [kind.fresh[register] for kind in kinds])
            for register in sorted(common)
        }

    def descend(self, kinds: Sequence[Kind]) -> _Descent:
        candidates = self._common(kinds)
        place = dict.fromkeys(candidates, 0)
        binding: dict[int, set[int]] = {}
        worst = Outcome.ACCEPT
        for _ in range(ROUNDS):
            tried = {
                register: candidates[register][at]
                for register, at in place.items()
                if at < len(candidates[register])
            }
            worst = Outcome.ACCEPT
            lower: set[int] = set()
            for number, kind in enumerate(kinds):
                for finding in validate(self._set(tried), kind.host, vmm=self._vmm).findings:
                    worst = max(worst, finding.outcome)
                    register = finding.register
                    if register is not None and register in tried and finding.outcome >= Outcome.UNKNOWN:
                        lower.add(register)
                        if place[register] == 0:
                            binding.setdefault(register, set()).add(number)
            if not lower:
                break
            for register in lower:
                place[register] += 1
        if any(at >= len(candidates[register]) for register, at in place.items()):
            worst = Outcome.REFUSE
        return _Descent(place, binding, worst)

    def result(self, kinds: Sequence[Kind], descent: _Descent, left_out: tuple[str, ...]) -> Baseline:
        candidates = self._common(kinds)
        chosen = {
            register: candidates[register][at]
            for register, at in descent.place.items()
            if at < len(candidates[register])
        }
        rows = []
        for register in sorted({register for kind in kinds for register in kind.fresh}):
            absent = tuple(name for kind in kinds if register not in kind.fresh for name in kind.names)
            binding = descent.binding.get(register, set())
            if not (absent or binding or group_of(register) in (FIRMWARE, FIRMWARE_BITMAP)):
                continue
            values = [kind.fresh[register] for kind in kinds if register in kind.fresh]
            rows.append(
                BaselineRegister(
                    register,
                    register_name(register),
                    chosen.get(register),
                    max(values),
                    tuple(name for at in sorted(binding) for name in kinds[at].names),
                    absent,
                )
            )
        covered = tuple(name for kind in kinds for name in kind.names)
        return Baseline(covered, left_out, descent.outcome, tuple(rows), self._set(chosen))
