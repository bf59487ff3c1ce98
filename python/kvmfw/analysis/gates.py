"""The gates that fleets have today, beside what the target's KVM says: what each lets through, and what it forbids.

Every one of them compares two hosts, never a VM with a host, and asks for equality of something: so a gate is a key,
and lets a VM go where the key of the target is that of the host it runs on.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from kvmfw.analysis.frame import Frame, Ints
from kvmfw.analysis.keys import numbered
from kvmfw.analysis.security import LEVELS
from kvmfw.captures import fresh_values
from kvmfw.cpus import cpu_model
from kvmfw.errors import ArgumentError
from kvmfw.verdict import Outcome

__all__ = ["GATES", "Gate", "GateScore", "Relaxed", "gate_row", "gate_tables", "score_gates"]

Document = Mapping[str, Any]
_RELAXED = 100
_AT_ONCE = 1 << 20
"""So many kinds of pairs are looked at at a time."""


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
    key: Callable[[Document], Hashable]


def _model(capture: Document) -> Hashable:
    midr = _number(capture["host"].get("midr"))
    return None if midr is None else cpu_model(midr)


def _number(text: str | None) -> int | None:
    """Read a number of a capture, which may have zeros in front or not."""
    return None if text is None else int(text, 16)


def _values(capture: Document, registers: Sequence[int] | None) -> Hashable:
    """Give what a fresh VM of each configuration has in these registers, in all by default."""
    return tuple(
        (
            vcpu["name"],
            frozenset(values.items()) if registers is None else tuple(map(values.get, registers)),
        )
        for vcpu, values in fresh_values(capture, registers)
    )


def _cpu_and_firmware(capture: Document) -> Hashable:
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


@dataclass(slots=True)
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
    relaxed : list of Relaxed
        Where it may be relaxed for these VMs: most pairs first, at most 100.
    """

    gate: Gate
    pairs: int = 0
    allowed: int = 0
    wrongly_allowed: int = 0
    wrongly_forbidden: int = 0
    undecided: int = 0
    vms: int = 0
    relaxed: list[Relaxed] = field(default_factory=list)


def gate_tables(scores: Sequence[GateScore]) -> dict[str, list[dict[str, Any]]]:
    """Give the scores of gates as tables of a report."""
    relaxed = [{"gate": score.gate.name, **asdict(one)} for score in scores for one in score.relaxed]
    return {"gates": [gate_row(score) for score in scores], "relaxed": relaxed}


def gate_row(score: GateScore) -> dict[str, Any]:
    """Give the score of a gate as JSON-ready data, without where it may be relaxed."""
    gate = {"gate": score.gate.name, "who": score.gate.who, "compares": score.gate.compares}
    counts = ("pairs", "allowed", "wrongly_allowed", "wrongly_forbidden", "undecided", "vms")
    return gate | {name: getattr(score, name) for name in counts}


def score_gates(
    frame: Frame, captures: Sequence[str], documents: Mapping[str, Document], gates: Sequence[Gate] = GATES
) -> list[GateScore]:
    """Count, for each gate, where it differs from what the target's KVM says.

    Parameters
    ----------
    frame : Frame
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
    >>> from kvmfw import Fleet, Host
    >>> from kvmfw.analysis import make_frame
    >>> from kvmfw.testing import capture_document, tiny_set
    >>> WA1, WA3 = 0x6030000000140001, 0x6030000000140003
    >>> made = {name: capture_document({WA1: 2, WA3: level}, name=name) for name, level in (("a", 2), ("b", 1))}
    >>> hosts = [Host.from_json(json.dumps(document)) for document in made.values()]
    >>> frame = make_frame(Fleet([tiny_set(workaround_3=1)], hosts), homes=[0])
    >>> [(one.gate.name, one.allowed, one.wrongly_forbidden) for one in score_gates(frame, ["a", "b"], made)]
    [('nothing', 1, 0), ('model', 1, 0), ('kernel', 1, 0), ('cpu-and-firmware', 0, 1), ('dump', 0, 1)]
    """
    kinds = _Kinds(frame, captures)
    missing = sorted(set(kinds.captures) - documents.keys())
    if missing:
        raise ArgumentError(f"the document of capture `{missing[0]}` is not there: a gate compares captures")
    scores = [GateScore(gate) for gate in gates]
    keys = [_numbers(gate.key(documents[name]) for name in kinds.captures) for gate in gates]
    for source, of in kinds.by_source():
        allows = [key == key[source] for key in keys]
        # By target: all pairs, those that KVM refuses, leaves open and takes; and VMs that it takes.
        counts = np.zeros((4, len(kinds.captures)), dtype=np.int64)
        movable = np.zeros(len(kinds.captures), dtype=np.int64)
        for vms, pairs, said in kinds.pairs(of):
            taken = (said < Outcome.UNKNOWN) & frame.counts_as_taken[said] & (pairs > 0)
            parts = (True, said == Outcome.REFUSE, said == Outcome.UNKNOWN, taken)
            counts += [kinds.by_capture(np.where(part, pairs, 0).sum(axis=0)) for part in parts]
            can_go = np.logical_or.reduceat(taken, kinds.first_of_capture, axis=1)
            movable += vms @ can_go
            for score, allowed in zip(scores, allows, strict=True):
                score.vms += int(vms[(can_go & ~allowed).any(axis=1)].sum())
        for score, allowed in zip(scores, allows, strict=True):
            score.pairs += int(counts[0].sum())
            score.allowed += int(counts[0, allowed].sum())
            score.wrongly_allowed += int(counts[1, allowed].sum())
            score.undecided += int(counts[2].sum())
            score.wrongly_forbidden += int(counts[3, ~allowed].sum())
            rows = [
                Relaxed(
                    kinds.captures[source],
                    kinds.captures[target],
                    int(movable[target]),
                    int(counts[3, target]),
                )
                for target in np.flatnonzero(~allowed & (counts[3] > 0)).tolist()
            ]
            most = sorted([*score.relaxed, *rows], key=lambda row: (-row.pairs, row.source, row.target))
            score.relaxed = most[:_RELAXED]
    return scores


class _Kinds:
    """Kinds of VMs, by class and home, and of hosts, by capture and class: no gate and no unit tells more apart."""

    def __init__(self, frame: Frame, captures: Sequence[str]) -> None:
        rows = frame.host_rows
        self.captures = sorted({captures[row] for row in rows.tolist()})
        number = {name: at for at, name in enumerate(self.captures)}
        capture = np.array([number[captures[row]] for row in rows.tolist()], dtype=np.int64)
        classes = len(frame.host_weight)
        keys, self.hosts, of = numbered(capture * classes + frame.host_class[rows])
        self.host_capture, host_class = keys // classes, keys % classes
        self.first_of_capture = np.searchsorted(self.host_capture, np.arange(len(self.captures)))
        kind_of_host = np.full(len(frame.host_class), -1, dtype=np.int64)
        kind_of_host[rows] = of
        homes = frame.home_value(kind_of_host)
        known = np.flatnonzero(homes >= 0)
        weight = None if frame.weight is None else frame.weight[known]
        keys, self.vms, _ = numbered(
            homes[known] * frame.fleet.class_shape[0] + frame.vm_class[frame.vm_rows][known], weight
        )
        self.home, vm_class = keys // frame.fleet.class_shape[0], keys % frame.fleet.class_shape[0]
        living, _, self.row = numbered(vm_class)
        self.outcomes = frame.outcome_rows(living)[:, host_class]

    def by_capture(self, counts: Ints) -> Ints:
        """Add up counts of kinds of hosts by their captures."""
        return np.asarray(np.add.reduceat(counts, self.first_of_capture))

    def by_source(self) -> Iterator[tuple[int, slice]]:
        """Give each capture that VMs run on, and which kinds of VMs these are."""
        source = self.host_capture[self.home]
        starts = np.flatnonzero(np.diff(source, prepend=-1)).tolist()
        for start, end in pairwise([*starts, len(source)]):
            yield int(source[start]), slice(start, end)

    def pairs(self, of: slice) -> Iterator[tuple[Ints, Ints, npt.NDArray[np.uint8]]]:
        """Give some of these kinds of VMs at a time: how many VMs, how many pairs with each kind of host, and what it says."""
        step = max(1, _AT_ONCE // len(self.hosts))
        for start in range(of.start, of.stop, step):
            part = slice(start, min(start + step, of.stop))
            vms = self.vms[part]
            pairs = vms[:, None] * self.hosts
            pairs[np.arange(len(vms)), self.home[part]] -= vms
            yield vms, pairs, self.outcomes[self.row[part]]


def _numbers(keys: Iterable[Hashable]) -> Ints:
    """Give each key a number: equal ones have one."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
