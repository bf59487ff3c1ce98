"""The schemes side by side: how often a generic comparison agrees with the target's own decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kvmfw import _native
from kvmfw.fleet import Fleet
from kvmfw.registers import schemes_of
from kvmfw.sets import Host, RegisterSet
from kvmfw.verdict import Outcome

__all__ = ["SCHEMES", "RegisterScore", "SchemeScore", "compare_schemes"]

SCHEMES = tuple(_native.schemes())

_AT_ONCE = 256
"""VM groups whose units are compared at once: their rows are in memory."""


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
    judges : tuple of str
        Registers of the fleet that the scheme judges itself; of the others it says what the target's KVM does.
    decided : int
        Pairs on which one of these is refused, by the scheme or by KVM: on all others it had nothing to decide.
    decided_alone : int
        Of these, pairs on which nothing else is refused.
    registers : tuple of RegisterScore
        The units on which scheme and KVM differ, worst first.
    """

    scheme: str
    pairs: int
    accepted: int
    wrongly_accepted: int
    wrongly_refused: int
    undecided: int
    judges: tuple[str, ...]
    decided: int
    decided_alone: int
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
    truth = fleets[0]
    vm_first, vm_class = _joint([fleet.vm_classes for fleet in fleets])
    host_first, host_class = _joint([fleet.host_classes for fleet in fleets])
    weight = np.outer(
        np.bincount(vm_class, minlength=len(vm_first)), np.bincount(host_class, minlength=len(host_first))
    )
    homes = truth.vm_homes
    known = np.flatnonzero(homes >= 0)
    np.subtract.at(weight, (vm_class[known], host_class[homes[known]]), 1)
    groups = _Groups(vm_first, host_first, weight)
    grid_vm, grid_host = (grid.ravel() for grid in np.meshgrid(vm_first, host_first, indexing="ij"))
    outcomes = [fleet.validate_pairs(grid_vm, grid_host) for fleet in fleets]
    flat = weight.ravel()
    undecided = int(flat[outcomes[0] == Outcome.UNKNOWN].sum())
    scores = []
    for scheme, fleet, said in zip(SCHEMES, fleets, outcomes, strict=True):
        taken = said < Outcome.UNKNOWN
        judges = _judges(fleet, scheme)
        decided, decided_alone, registers = _units(truth, fleet, groups, judges)
        scores.append(
            SchemeScore(
                scheme,
                int(flat.sum()),
                int(flat[taken].sum()),
                int(flat[taken & (outcomes[0] == Outcome.REFUSE)].sum()),
                int(flat[(said == Outcome.REFUSE) & (outcomes[0] < Outcome.UNKNOWN)].sum()),
                undecided,
                judges,
                decided,
                decided_alone,
                registers,
            )
        )
    return scores


@dataclass(frozen=True, slots=True)
class _Groups:
    """VMs and hosts that no scheme can tell apart: a row of each group, and how many pairs two groups have."""

    vms: npt.NDArray[np.int64]
    hosts: npt.NDArray[np.int64]
    weight: npt.NDArray[np.int64]


def _judges(fleet: Fleet, scheme: str) -> tuple[str, ...]:
    units = zip(fleet.units, fleet.snapshot()._native.units(), strict=True)
    registers = [(name, register) for name, (_, register, _) in units if register is not None]
    return tuple(
        name for name, register in registers if scheme == SCHEMES[0] or scheme in schemes_of(register)
    )


def _joint(classes: Sequence[npt.NDArray[np.uint32]]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Give one row for each class that the fleets make together, and the class of each row."""
    _, first, number = np.unique(np.stack(classes), axis=1, return_index=True, return_inverse=True)
    return first.astype(np.int64), number.ravel().astype(np.int64)


def _units(
    truth: Fleet, fleet: Fleet, groups: _Groups, judges: Sequence[str]
) -> tuple[int, int, tuple[RegisterScore, ...]]:
    """Compare what the units of two fleets of the same VMs and hosts say, VM group by VM group.

    Returns
    -------
    tuple of int, int and tuple of RegisterScore
        Pairs on which a unit that the scheme judges is refused, of these those on which nothing else is, and the
        units that differ.
    """
    names = list(dict.fromkeys([*truth.units, *fleet.units]))
    own = np.isin(names, judges)
    accepted, refused = np.zeros(len(names), dtype=np.int64), np.zeros(len(names), dtype=np.int64)
    decided = decided_alone = 0
    for start in range(0, len(groups.vms), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        weight = groups.weight[part].ravel()
        said, known = (
            _said(one, groups.vms[part], groups.hosts, {unit: names.index(unit) for unit in one.units})
            for one in (fleet, truth)
        )
        for counts, refuses, takes in ((accepted, known, said), (refused, said, known)):
            keys = refuses[0][refuses[1] == Outcome.REFUSE]
            at = np.searchsorted(takes[0], keys)
            there = at < len(takes[0])
            there[there] = takes[0][at[there]] == keys[there]
            pairs, units = np.divmod(keys[~there], len(names))
            counts[:] += np.bincount(units, weight[pairs], len(names)).astype(np.int64)
        every = np.concatenate([keys[outcomes == Outcome.REFUSE] for keys, outcomes in (said, known)])
        pairs, units = np.divmod(every, len(names))
        mine = np.unique(pairs[own[units]])
        decided += int(weight[mine].sum())
        decided_alone += int(weight[np.setdiff1d(mine, pairs[~own[units]])].sum())
    rows = zip(names, accepted.tolist(), refused.tolist(), strict=True)
    found = [RegisterScore(*row) for row in rows if any(row[1:])]
    order = sorted(found, key=lambda score: (-score.wrongly_accepted - score.wrongly_refused, score.unit))
    return decided, decided_alone, tuple(order)


def _said(
    fleet: Fleet, vms: npt.NDArray[np.int64], hosts: npt.NDArray[np.int64], number: dict[str, int]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Give what units say of these pairs of rows other than that they take the VM: pair and unit in one number, ascending."""
    vm_classes, host_classes = fleet.vm_classes[vms], fleet.host_classes[hosts]
    found = fleet.snapshot()._native.unit_outcomes(np.unique(vm_classes), True, False)
    vm_class, host_class, unit, outcome = (column.astype(np.int64) for column in found)
    cells = vm_class << 32 | host_class
    order = np.argsort(cells, kind="stable")
    wanted = (vm_classes.astype(np.int64)[:, None] << 32 | host_classes.astype(np.int64)).ravel()
    first, last = (np.searchsorted(cells[order], wanted, side=side) for side in ("left", "right"))
    counts = last - first
    rows = order[np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())]
    units = np.array([number[name] for name in fleet.units], dtype=np.int64)[unit[rows]]
    keys = np.repeat(np.arange(len(wanted)), counts) * (max(number.values(), default=0) + 1) + units
    by_key = np.argsort(keys)
    return keys[by_key], outcome[rows][by_key].astype(np.uint8)
