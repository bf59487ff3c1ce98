"""The gates that fleets have today, beside what the target's KVM says: what each lets through, and what it forbids.

Every one of them compares two hosts, never a VM with a host, and asks for equality of something: so a gate is a key,
and lets a VM go where the key of the target is that of the host it runs on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kvmfw.analysis.frame import Ints
from kvmfw.analysis.security import LEVELS
from kvmfw.captures import fresh_values
from kvmfw.cpus import cpu_model
from kvmfw.errors import ArgumentError
from kvmfw.fleet import Fleet
from kvmfw.verdict import Outcome

__all__ = ["GATES", "Gate", "GateScore", "Relaxed", "score_gates"]

Document = Mapping[str, Any]
_RELAXED = 100


@dataclass(frozen=True, slots=True)
class Gate:
    """A gate.

    Attributes
    ----------
    name : str
        Its name here.
    who : str
        Who has it, and in which version that was seen ("read": in the sources; "said": in a document or a report).
    compares : str
        What it compares.
    key : callable
        What must be equal, of a capture document.
    """

    name: str
    who: str
    compares: str
    key: Callable[[Document], object]


def _model(capture: Document) -> object:
    midr = _number(capture["host"].get("midr"))
    return None if midr is None else cpu_model(midr)


def _number(text: str | None) -> int | None:
    """Read a number of a capture, which may have zeros in front or not."""
    return None if text is None else int(text, 16)


def _values(capture: Document, registers: Sequence[int] | None) -> object:
    """Give what a fresh VM of each configuration has in these registers, in all by default."""
    return [
        (vcpu["name"], values if registers is None else [values.get(register) for register in registers])
        for vcpu, values in fresh_values(capture)
    ]


def _cpu_and_firmware(capture: Document) -> object:
    host = capture["host"]
    numbers = _number(host.get("midr")), _number(host.get("revidr"))
    return *numbers, host.get("machine"), _values(capture, LEVELS)


GATES = (
    Gate(
        "nothing",
        "Nova 34.0.0 (read: on AArch64 the destination's CPU is compared with itself), KubeVirt d923fdb815 (read: no CPU"
        " label on arm64), E2B infra 54693ff35 (read: every arm64 CPU is one family and model), CloudStack, Proxmox (said)",
        "nothing that differs between two arm64 hosts",
        lambda _: (),
    ),
    Gate(
        "model",
        "libvirt's comparison of two hosts on arm64 (read)",
        "vendor and model of the CPU",
        _model,
    ),
    Gate(
        "kernel",
        "cloudpods (said), CubeSandbox PR 1331 (said: with a hash of CPUID, which arm64 has not)",
        "the kernel release, as a string",
        lambda capture: capture["host"].get("kernel"),
    ),
    Gate(
        "cpu-and-firmware",
        "RHEL 10 (said: identical CPUs, firmware and page size)",
        "MIDR_EL1, REVIDR_EL1, the machine, and the levels that its firmware and boot options give; captures have no page size",
        _cpu_and_firmware,
    ),
    Gate(
        "dump",
        "Firecracker's cpu-template-helper fingerprint compare (read)",
        "the kernel release and every register of a fresh VM",
        lambda capture: (capture["host"].get("kernel"), _values(capture, None)),
    ),
)


@dataclass(frozen=True, slots=True)
class Relaxed:
    """Moves that a gate forbids and KVM takes, between hosts of two captures.

    Attributes
    ----------
    source, target : str
        The captures.
    vms, pairs : int
        VMs that run on hosts of the one and can go to some of the other; pairs of such a VM and host.
    """

    source: str
    target: str
    vms: int
    pairs: int


@dataclass(frozen=True, slots=True)
class GateScore:
    """How a gate does, in pairs of a VM that is known to run somewhere and another host.

    Attributes
    ----------
    gate : Gate
        The gate.
    pairs, allowed : int
        All pairs, and those that it lets through.
    wrongly_allowed : int
        Of these, pairs that KVM refuses: found out at the end of the transfer.
    wrongly_forbidden : int
        Pairs that it forbids and KVM takes.
    undecided : int
        Pairs on which it is not known what KVM says; they count as neither.
    vms : int
        VMs that it forbids a move which KVM takes.
    relaxed : tuple of Relaxed
        Where it may be relaxed for these VMs: most pairs first, at most 100.
    """

    gate: Gate
    pairs: int
    allowed: int
    wrongly_allowed: int
    wrongly_forbidden: int
    undecided: int
    vms: int
    relaxed: tuple[Relaxed, ...]


def score_gates(
    fleet: Fleet, captures: Sequence[str], documents: Mapping[str, Document], gates: Sequence[Gate] = GATES
) -> list[GateScore]:
    """Count, for each gate, where it differs from what the target's KVM says.

    Parameters
    ----------
    fleet : Fleet
        The fleet. VMs that are not known to run somewhere are not counted: a gate compares two hosts.
    captures : sequence of str
        The capture of each host, by row.
    documents : mapping of str to dict
        The capture documents, by name.
    gates : sequence of Gate
        The gates.

    Raises
    ------
    ArgumentError
        When the document of a capture is not there.

    Examples
    --------
    >>> import json
    >>> from kvmfw.testing import capture_document, tiny_set
    >>> from kvmfw.sets import Host
    >>> WA1, WA3 = 0x6030000000140001, 0x6030000000140003
    >>> made = {name: capture_document({WA1: 2, WA3: level}, name=name) for name, level in (("a", 2), ("b", 1))}
    >>> hosts = [Host.from_json(json.dumps(document)) for document in made.values()]
    >>> fleet = Fleet([tiny_set(workaround_3=1)], hosts)
    >>> fleet.move(0, "a")
    >>> [(one.gate.name, one.allowed, one.wrongly_forbidden) for one in score_gates(fleet, ["a", "b"], made)]
    [('nothing', 1, 0), ('model', 1, 0), ('kernel', 1, 0), ('cpu-and-firmware', 0, 1), ('dump', 0, 1)]
    """
    missing = sorted(set(captures) - documents.keys())
    if missing:
        raise ArgumentError(f"the document of capture `{missing[0]}` is not there: a gate compares captures")
    names = list(dict.fromkeys(captures))
    capture_of = np.array([names.index(name) for name in captures], dtype=np.int64)
    homes = fleet.vm_homes.astype(np.int64)
    known = np.flatnonzero(homes >= 0)
    vms, vm_first, vm_of = _groups(fleet.vm_classes[known], capture_of[homes[known]])
    hosts, host_first, host_of = _groups(fleet.host_classes, capture_of)
    weight = np.outer(np.bincount(vm_of, minlength=len(vms)), np.bincount(host_of, minlength=len(hosts)))
    np.subtract.at(weight, (vm_of, host_of[homes[known]]), 1)
    grid = np.meshgrid(known[vm_first], host_first, indexing="ij")
    truth = fleet.validate_pairs(grid[0].ravel(), grid[1].ravel()).reshape(weight.shape)
    taken = (truth < Outcome.UNKNOWN) & (weight > 0)
    members = np.bincount(vm_of, minlength=len(vms))
    undecided = int(weight[truth == Outcome.UNKNOWN].sum())
    scores = []
    for gate in gates:
        keys = [gate.key(documents[name]) for name in names]
        same = np.array([[one == other for other in keys] for one in keys], dtype=np.bool_)
        allowed = same[np.ix_(vms[:, 1], hosts[:, 1])]
        lost = taken & ~allowed
        scores.append(
            GateScore(
                gate,
                int(weight.sum()),
                int(weight[allowed].sum()),
                int(weight[allowed & (truth == Outcome.REFUSE)].sum()),
                int(weight[lost].sum()),
                undecided,
                int(members[lost.any(axis=1)].sum()),
                _relaxed(names, vms[:, 1], hosts[:, 1], np.where(lost, weight, 0), members),
            )
        )
    return scores


def _groups(
    classes: npt.NDArray[np.uint32], captures: Ints
) -> tuple[Ints, npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Give the pairs of a class and a capture that there are, the first row of each, and the pair of each row."""
    both = np.stack([classes.astype(np.int64), captures], axis=1)
    found, first, number = np.unique(both, axis=0, return_index=True, return_inverse=True)
    return found, first, number.ravel()


def _relaxed(
    names: Sequence[str], sources: Ints, targets: Ints, lost: Ints, members: npt.NDArray[np.intp]
) -> tuple[Relaxed, ...]:
    found: dict[tuple[int, int], list[int]] = {}
    for target in np.unique(targets).tolist():
        pairs = lost[:, targets == target].sum(axis=1)
        for source in np.unique(sources[pairs > 0]).tolist():
            of = (sources == source) & (pairs > 0)
            found[source, target] = [int(members[of].sum()), int(pairs[of].sum())]
    rows = [Relaxed(names[one], names[other], *counts) for (one, other), counts in found.items()]
    return tuple(sorted(rows, key=lambda row: (-row.pairs, row.source, row.target))[:_RELAXED])
