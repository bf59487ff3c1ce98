"""The schemes side by side: how often a generic comparison agrees with the target's own decision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kvmfw import _native
from kvmfw.analysis.units import unit_of
from kvmfw.fleet import Fleet
from kvmfw.registers import schemes_of
from kvmfw.sets import Host, RegisterSet
from kvmfw.verdict import Outcome

__all__ = ["SCHEMES", "RegisterScore", "SchemeScore", "compare_schemes"]

SCHEMES = tuple(_native.schemes())


@dataclass(frozen=True, slots=True)
class RegisterScore:
    """How a scheme judges one unit, in pairs of a VM and a host that is not its own.

    Attributes
    ----------
    unit : str
        The unit's name.
    wrongly_accepted : int
        Pairs on which the scheme takes the unit and KVM refuses it.
    wrongly_refused : int
        Pairs on which the scheme refuses the unit and KVM takes it.
    """

    unit: str
    wrongly_accepted: int
    wrongly_refused: int


@dataclass(frozen=True, slots=True)
class SchemeScore:
    """How a scheme judges a fleet, in pairs of a VM and a host that is not its own.

    Attributes
    ----------
    scheme : str
        The scheme.
    pairs : int
        All pairs.
    accepted : int
        Pairs that the scheme takes (ACCEPT or CHANGE).
    wrongly_accepted : int
        Of these, pairs that KVM refuses: the restore would fail.
    wrongly_refused : int
        Pairs that the scheme refuses and KVM takes: targets lost.
    undecided : int
        Pairs on which it is not known what KVM says; they count as neither.
    judges : int
        Registers of the fleet that the scheme judges itself; of the others it says what the target's KVM does.
    registers : tuple of RegisterScore
        The units on which scheme and KVM differ, worst first.
    """

    scheme: str
    pairs: int
    accepted: int
    wrongly_accepted: int
    wrongly_refused: int
    undecided: int
    judges: int
    registers: tuple[RegisterScore, ...]


def compare_schemes(
    vms: Sequence[RegisterSet], hosts: Sequence[Host], *, vmm: str = "kvm"
) -> list[SchemeScore]:
    """Judge a fleet under every scheme, and count where each differs from the target's own decision.

    Parameters
    ----------
    vms : sequence of RegisterSet
        The VMs; one that names its host is not counted with it.
    hosts : sequence of Host
        The hosts.
    vmm : str
        The restore policy.

    Examples
    --------
    >>> from kvmfw.testing import tiny_host, tiny_set
    >>> scores = compare_schemes([tiny_set(workaround_3=1)], [tiny_host(workaround_3=2)])
    >>> [(score.scheme, score.accepted, score.wrongly_refused) for score in scores]
    [('kvm', 1, 0), ('signed4', 1, 0), ('equal', 0, 1)]
    """
    fleets = [Fleet(vms, hosts, vmm=vmm, scheme=scheme) for scheme in SCHEMES]
    vm_first, vm_class = _joint([fleet.vm_classes for fleet in fleets])
    host_first, host_class = _joint([fleet.host_classes for fleet in fleets])
    weight = np.outer(
        np.bincount(vm_class, minlength=len(vm_first)), np.bincount(host_class, minlength=len(host_first))
    )
    homes = fleets[0].vm_homes
    known = np.flatnonzero(homes >= 0)
    np.subtract.at(weight, (vm_class[known], host_class[homes[known]]), 1)
    grid_vm, grid_host = (grid.ravel() for grid in np.meshgrid(vm_first, host_first, indexing="ij"))
    outcomes = [fleet.validate_pairs(grid_vm, grid_host) for fleet in fleets]
    flat = weight.ravel()
    units = [_unit_outcomes(fleet, grid_vm, grid_host, flat) for fleet in fleets]
    truth = outcomes[0]
    undecided = int(flat[truth == Outcome.UNKNOWN].sum())
    scores = []
    for scheme, fleet, said, by_unit in zip(SCHEMES, fleets, outcomes, units, strict=True):
        taken = said < Outcome.UNKNOWN
        scores.append(
            SchemeScore(
                scheme,
                int(flat.sum()),
                int(flat[taken].sum()),
                int(flat[taken & (truth == Outcome.REFUSE)].sum()),
                int(flat[(said == Outcome.REFUSE) & (truth < Outcome.UNKNOWN)].sum()),
                undecided,
                _judges(fleet, scheme),
                _registers(by_unit, units[0], flat),
            )
        )
    return scores


def _judges(fleet: Fleet, scheme: str) -> int:
    registers = [register for _, register, _ in fleet.snapshot()._native.units() if register is not None]
    return sum(scheme == SCHEMES[0] or scheme in schemes_of(register) for register in registers)


def _joint(classes: Sequence[npt.NDArray[np.uint32]]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Give one row for each class that the fleets make together, and the class of each row."""
    _, first, number = np.unique(np.stack(classes), axis=1, return_index=True, return_inverse=True)
    return first.astype(np.int64), number.ravel().astype(np.int64)


def _unit_outcomes(
    fleet: Fleet,
    vms: npt.NDArray[np.int64],
    hosts: npt.NDArray[np.int64],
    weight: npt.NDArray[np.int64],
) -> dict[tuple[int, str], Outcome]:
    """Give, for each pair that counts and unit that does not simply accept, what the unit says."""
    names = fleet.units
    found: dict[tuple[int, str], Outcome] = {}
    for at in np.flatnonzero(weight).tolist():
        for finding in fleet.explain(int(vms[at]), int(hosts[at])).findings:
            key = at, names[unit_of(fleet, finding)]
            found[key] = max(found.get(key, Outcome.ACCEPT), finding.outcome)
    return found


def _registers(
    said: dict[tuple[int, str], Outcome],
    truth: dict[tuple[int, str], Outcome],
    weight: npt.NDArray[np.int64],
) -> tuple[RegisterScore, ...]:
    accepted: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for (at, unit), outcome in truth.items():
        if outcome is Outcome.REFUSE and said.get((at, unit), Outcome.ACCEPT) < Outcome.UNKNOWN:
            accepted[unit] += int(weight[at])
    for (at, unit), outcome in said.items():
        if outcome is Outcome.REFUSE and truth.get((at, unit), Outcome.ACCEPT) < Outcome.UNKNOWN:
            refused[unit] += int(weight[at])
    found = [RegisterScore(unit, accepted[unit], refused[unit]) for unit in accepted.keys() | refused.keys()]
    return tuple(sorted(found, key=lambda one: (-one.wrongly_accepted, -one.wrongly_refused, one.unit)))
