"""Settings of a VMM that let VMs move between hosts: applied to fresh VMs of every host and judged before they are promised."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil

import numpy as np
import numpy.typing as npt

from kvmfw.analysis.baseline import Baseline, Kind, baseline_of_kinds, kinds_of
from kvmfw.analysis.cliques import FEW, cliques, weight_of
from kvmfw.analysis.means import Means
from kvmfw.errors import ArgumentError
from kvmfw.fleet import Fleet
from kvmfw.rules import find_rule
from kvmfw.sets import Host, RegisterSet
from kvmfw.verdict import Finding, Outcome, validate

__all__ = ["Remaining", "Settings", "find_settings"]

ROUNDS = 8
EXPLAINED = 4096


@dataclass(frozen=True, slots=True)
class Remaining:
    """What keeps VMs from hosts although the settings are made.

    Attributes
    ----------
    names : tuple of str
        The registers, or vCPU: several where some hosts lack registers that others have.
    rule : str
        The rule that speaks.
    sources, targets : tuple of str
        Hosts whose VMs are refused, and hosts that refuse them.
    outcome : Outcome
        The worst that is said.
    sentence : str
        What a host says, for example.
    """

    names: tuple[str, ...]
    rule: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    outcome: Outcome
    sentence: str


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings for the VMs of some hosts, and what they do not reach.

    Attributes
    ----------
    baseline : Baseline
        The values that the covered hosts take.
    values : dict of int to int
        Registers that VMs must start with, lower than they would or otherwise.
    hidden : tuple of int
        Registers to hide: some covered hosts lack them.
    changed : dict of int to int
        For each register in `values`, the bits in which fresh VMs of some covered host differ from it.
    hosts : int
        How many hosts were asked for.
    remains : tuple of Remaining
        What still stands in the way between the hosts that must be covered; empty when the goal is reached.
    largest : tuple of str
        The largest set of hosts found for which it is reached, where it is not reached for all that were asked for.
    """

    baseline: Baseline
    values: dict[int, int]
    hidden: tuple[int, ...]
    changed: dict[int, int]
    hosts: int
    remains: tuple[Remaining, ...]
    largest: tuple[str, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """The worst that a covered host says to a VM of another with these settings."""
        return max((one.outcome for one in self.remains), default=self.baseline.outcome)


@dataclass(frozen=True, slots=True)
class _Judged:
    """VMs on hosts: who is refused, and by what, for each pair of classes that was looked at.

    `refused` has shape (VMs, hosts); `told` holds the findings of pairs of classes, at most `EXPLAINED` of them.
    """

    refused: npt.NDArray[np.bool_]
    vm_classes: npt.NDArray[np.uint32]
    host_classes: npt.NDArray[np.uint32]
    told: dict[tuple[int, int], list[Finding]]

    @classmethod
    def of(cls, vms: Sequence[RegisterSet], hosts: Sequence[Host], vmm: str) -> _Judged:
        """Judge every VM on every host, its own as well."""
        fleet = Fleet(vms, hosts, vmm=vmm)
        vm_classes, host_classes = fleet.vm_classes, fleet.host_classes
        table = np.asarray(fleet.class_table() >= Outcome.UNKNOWN, dtype=np.bool_)
        _, vm_rows = np.unique(vm_classes, return_index=True)
        _, host_rows = np.unique(host_classes, return_index=True)
        told = {}
        for vm, host in np.argwhere(table)[:EXPLAINED].tolist():
            verdict = fleet.explain(int(vm_rows[vm]), int(host_rows[host]))
            told[vm, host] = [one for one in verdict.findings if one.outcome >= Outcome.UNKNOWN]
        return cls(table[np.ix_(vm_classes, host_classes)], vm_classes, host_classes, told)

    def findings(self) -> Iterator[tuple[list[int], list[int], Finding]]:
        """Give what was found, with the VMs and hosts that it holds for."""
        for (vm_class, host_class), found in self.told.items():
            vms, hosts = (
                np.flatnonzero(classes == number).tolist()
                for classes, number in ((self.vm_classes, vm_class), (self.host_classes, host_class))
            )
            for one in found:
                yield vms, hosts, one

    def together(self) -> npt.NDArray[np.bool_]:
        """Tell which two hosts take each other's VMs."""
        return np.asarray(~(self.refused | self.refused.T), dtype=np.bool_)


@dataclass(frozen=True)
class _Finder:
    """Finds settings for sets of kinds of hosts.

    `hide` gives hosts as they are where registers are hidden.
    """

    kinds: Sequence[Kind]
    means: Means
    features: tuple[str, ...]
    vgic: bool
    enabled: tuple[str, ...]
    hide: Callable[[Host, Collection[int]], Host]
    known: dict[tuple[int, ...], _Tried] = field(default_factory=dict)

    def of(self, numbers: Sequence[int]) -> _Tried:
        """Find settings for these kinds; each set is looked at once."""
        key = tuple(sorted(numbers))
        if key not in self.known:
            self.known[key] = self._find([self.kinds[number] for number in key])
        return self.known[key]

    def _find(self, kinds: Sequence[Kind]) -> _Tried:
        made = baseline_of_kinds(
            kinds, features=self.features, vgic=self.vgic, enabled=self.enabled, vmm=self.means.vmm
        )
        common = made.vm.to_mapping()
        hidden: set[int] = set()
        if self.means.hides:
            hidden = {one.register for one in made.registers if one.absent_on}
        hosts = [self.hide(kind.host, hidden) if hidden else kind.host for kind in kinds]
        values: dict[int, int] = {}
        for _ in range(ROUNDS):
            vms = [self._vm(kind, host, values, hidden) for kind, host in zip(kinds, hosts, strict=True)]
            judged = _Judged.of(vms, hosts, self.means.vmm)
            wanted = {one.register for _, _, one in judged.findings() if one.register is not None}
            new = {
                register: common[register]
                for register in wanted - values.keys()
                if register in common
                and any(
                    self._start(kind, register, common[register]) != kind.fresh[register] for kind in kinds
                )
            }
            if not new:
                break
            values |= new
        return _Tried(tuple(kinds), made, values, tuple(sorted(hidden)), judged)

    def _start(self, kind: Kind, register: int, wanted: int) -> int:
        return self.means.starts_with(register, kind.fresh[register], wanted)

    def _vm(self, kind: Kind, host: Host, values: Mapping[int, int], hidden: Collection[int]) -> RegisterSet:
        """Give what a VM saves that was started on this kind of host with the settings, and did not run."""
        registers = {register: value for register, value in kind.fresh.items() if register not in hidden}
        if not values:
            return self._set(registers)
        registers |= {register: self._start(kind, register, wanted) for register, wanted in values.items()}
        # A host may raise or drop what the VMM sets: what the register then reads is what is saved.
        for one in validate(self._set(registers), host, vmm=self.means.vmm).findings:
            if one.register is not None and one.register in values and one.reads is not None:
                registers[one.register] = one.reads
        return self._set(registers)

    def _set(self, registers: dict[int, int]) -> RegisterSet:
        return RegisterSet.from_mapping(
            registers, features=self.features, vgic=self.vgic, enabled=self.enabled, name="fresh"
        )

    def largest(self) -> list[int]:
        """Find the largest set of kinds, by hosts, for which settings reach the goal."""
        weights = [len(kind.names) for kind in self.kinds]
        best: list[int] = []
        for clique in cliques(self._fits(), weights):
            chosen = clique
            while weight_of(chosen, weights) > weight_of(best, weights):
                together = self.of(chosen).judged.together()
                if together.all():
                    best = chosen
                    break
                # Settings that all of a set need may be too much for some: go on with those that they suit.
                order = sorted(chosen)
                part = cliques(together, [weights[number] for number in order])[0]
                chosen = [order[at] for at in part if together[at, at]]
        return sorted(best)

    def _fits(self) -> npt.NDArray[np.bool_]:
        """Tell which pairs of kinds may be in one set."""
        plain = _Judged.of(
            [self._set(dict(kind.fresh)) for kind in self.kinds],
            [kind.host for kind in self.kinds],
            self.means.vmm,
        )
        if len(self.kinds) > FEW:
            return plain.together() | self.of(range(len(self.kinds))).judged.together()
        fits = np.ones_like(plain.refused)
        other_cpu = np.zeros_like(plain.refused)
        for vms, hosts, one in plain.findings():
            if one.rule == "KVMFW-IMPLEMENTATION":
                other_cpu[np.ix_(vms, hosts)] = True
            lacks = one.register is None or any(one.register not in self.kinds[at].fresh for at in hosts)
            if lacks and not self.means.hides:
                fits[np.ix_(vms, hosts)] = False
        # Two CPUs that each refuse the other's identification take no common one.
        fits &= fits.T & ~(other_cpu & other_cpu.T)
        together = plain.together()
        for one_kind, other in np.argwhere(np.triu(fits & ~together, 1)).tolist():
            reached = bool(self.of([one_kind, other]).judged.together().all())
            fits[one_kind, other] = fits[other, one_kind] = reached
        return fits


@dataclass(frozen=True, slots=True)
class _Tried:
    """Settings for some kinds, and what the kinds say to each other's VMs with them."""

    kinds: tuple[Kind, ...]
    baseline: Baseline
    values: dict[int, int]
    hidden: tuple[int, ...]
    judged: _Judged

    def changed(self) -> dict[int, int]:
        return {
            register: int(np.bitwise_or.reduce([kind.fresh[register] ^ value for kind in self.kinds]))
            for register, value in self.values.items()
        }

    def remains(self) -> list[Remaining]:
        found: dict[str, list[tuple[list[int], list[int], Finding]]] = {}
        for row in self.judged.findings():
            found.setdefault(row[2].name, []).append(row)
        rows: dict[object, Remaining] = {}
        for name, members in sorted(found.items(), key=lambda item: (-len(item[1]), item[0])):
            worst = max((one for _, _, one in members), key=lambda one: one.outcome)
            sources = self._names(vm for vms, _, _ in members for vm in vms)
            targets = self._names(host for _, hosts, _ in members for host in hosts)
            # Registers that the same hosts lack have one reason; each other register has its own.
            key = (worst.rule, sources, targets) if find_rule(worst.rule).absence else name
            names = (*rows[key].names, name) if key in rows else (name,)
            rows[key] = Remaining(names, worst.rule, sources, targets, worst.outcome, worst.sentence)
        return list(rows.values())

    def _names(self, numbers: Iterable[int]) -> tuple[str, ...]:
        return tuple(name for number in sorted(set(numbers)) for name in self.kinds[number].names)


def find_settings(
    hosts: Sequence[Host],
    means: Means,
    *,
    hide: Callable[[Host, Collection[int]], Host],
    features: Sequence[str] = ("psci_0_2",),
    vgic: bool = True,
    enabled: Sequence[str] = (),
    share: float = 1.0,
) -> Settings:
    """Find settings with which every host takes the VMs that start on the others.

    The settings are applied to a fresh VM of each host as the VMM would, and all are judged on all hosts. Where
    that does not reach the goal for as many hosts as asked for, `Settings.remains` says what stands in the way.

    Parameters
    ----------
    hosts : sequence of Host
        The hosts; those of one capture count once each.
    means : Means
        What the VMM can do.
    hide : callable
        (host, registers) -> the host as it is where the VMM hides the registers.
    features, enabled : sequence of str
        How the VM's vCPU is made.
    vgic : bool
        Whether the VM has a GICv3.
    share : float
        Which share of the hosts it must be reached for; the others are left out, as few as can be.

    Raises
    ------
    ArgumentError
        When no host can make such a vCPU, or the share is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise ArgumentError(f"`share` is {share}; expected above 0 and at most 1")
    kinds, lacking = kinds_of(hosts, features, vgic, enabled)
    finder = _Finder(kinds, means, tuple(features), vgic, tuple(enabled), hide)
    every = finder.of(range(len(kinds)))
    refused = bool(every.judged.refused.any())
    needed = ceil(len(hosts) * share - 1e-9)
    tried, remains = every, every.remains()
    largest: tuple[str, ...] = ()
    if refused or len(hosts) - len(lacking) < needed:
        chosen = finder.largest() if refused else list(range(len(kinds)))
        largest = tuple(name for number in chosen for name in kinds[number].names)
        if len(largest) >= needed:
            tried, remains = finder.of(chosen), []
        elif len(hosts) - len(lacking) < needed:
            sentence = "cannot make such a vCPU, or were not asked for it"
            remains.append(Remaining(("vCPU",), "KVMFW-VCPU", (), tuple(lacking), Outcome.REFUSE, sentence))
    covered = {name for kind in tried.kinds for name in kind.names}
    left_out = tuple(host.name for host in hosts if host.name not in covered)
    made = replace(tried.baseline, left_out=left_out)
    return Settings(made, tried.values, tried.hidden, tried.changed(), len(hosts), tuple(remains), largest)
