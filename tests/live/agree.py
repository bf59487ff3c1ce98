"""Compares real answers with the predictions that were made before, and prints the tables."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from .compare import MOVING
from .predict import Expected, Prediction

Json = dict[str, Any]


@dataclass(frozen=True)
class Disagreement:
    """One answer that was not the predicted one."""

    target: str
    register: str
    said: str
    predicted: str
    example: str

    @property
    def kind(self) -> tuple[str, str, str]:
        """What many disagreements with one cause have in common."""
        return self.register, self.said.split()[0], self.predicted.split()[0]


@dataclass
class Tally:
    """What came of one (source kernel, target kernel) pair, or of several."""

    sets: int = 0
    by_vmm: int = 0
    kept: int = 0
    changed: int = 0
    refused: int = 0
    vcpus_refused: int = 0
    unknown: int = 0
    disagreements: list[Disagreement] = field(default_factory=list)

    @property
    def answers(self) -> int:
        return self.kept + self.changed + self.refused + self.vcpus_refused

    def add(self, other: Tally) -> None:
        for name in ("sets", "by_vmm", "kept", "changed", "refused", "vcpus_refused", "unknown"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.disagreements += other.disagreements


def agrees(answer: Json, expected: Expected) -> bool:
    """Whether KVM answered as predicted: the outcome, and errno and value where they were predicted."""
    outcome = answer["outcome"]
    same: bool = expected.outcome == outcome
    # A register that moves by itself is never told to have changed.
    if outcome == "kept" and answer["register"] in MOVING:
        same |= expected.outcome == "changed"
    if outcome == "refused" and expected.errno is not None:
        same &= expected.errno == answer.get("errno")
    if outcome == "changed" and expected.read_back is not None:
        same &= expected.read_back == answer.get("read_back")
    return same


def words(*parts: str | None) -> str:
    return " ".join(part for part in parts if part)


def judge(report: Json, prediction: Prediction | None, target: str, vmm: str) -> Tally:
    """One register set's answers against its prediction (None: nothing was predicted)."""
    tally = Tally(sets=1)
    place = f"{report['id']} -> {target} ({vmm})"
    refused = report.get("refused")
    tally.vcpus_refused = int(refused is not None)
    if prediction is not None and refused is not None and prediction.vcpu == "unknown":
        tally.unknown += 1
    elif prediction is not None and (prediction.vcpu == "refused") != (refused is not None):
        said = f"refused {refused}" if refused else "made"
        tally.disagreements.append(Disagreement(target, "vCPU", said, prediction.vcpu, place))
    for answer in report["answers"]:
        setattr(tally, answer["outcome"], getattr(tally, answer["outcome"]) + 1)
        if prediction is None:
            continue
        expected = prediction.expected(answer["register"])
        if expected.outcome == "unknown":
            tally.unknown += 1
        elif not agrees(answer, expected):
            said = words(answer["outcome"], answer.get("errno"), answer.get("read_back"))
            thought = words(expected.outcome, expected.errno, expected.read_back)
            example = f"{place}: written {answer.get('written')}"
            tally.disagreements.append(Disagreement(target, answer["register"], said, thought, example))
    return tally


def explain(disagreements: list[Disagreement], limit: int = 100) -> list[str]:
    """One line per kind of disagreement, the most frequent first, each with an example."""
    kinds = Counter(one.kind for one in disagreements)
    targets: dict[tuple[str, str, str], set[str]] = {}
    for one in disagreements:
        targets.setdefault(one.kind, set()).add(one.target)
    examples = {one.kind: one for one in reversed(disagreements)}
    lines = []
    for kind, count in kinds.most_common(limit):
        one = examples[kind]
        lines.append(f"- {one.register}: {count} times on {len(targets[kind])} hosts, such as {one.example}:")
        lines.append(f"  KVM {one.said}, predicted {one.predicted}")
    if len(kinds) > limit:
        lines.append(f"- and {len(kinds) - limit} other kinds")
    return lines


def table(tallies: dict[tuple[str, str], Tally], predicted: bool) -> str:
    """A markdown table, one row per directed pair of kernels, and the sum."""
    heads = ["from", "to", "register sets", "refused by the VMM", "answers", "kept", "changed", "refused"]
    heads += ["vCPU refused", "not predicted", "disagreements"]
    whole = Tally()
    rows = []
    for (source, target), tally in sorted(tallies.items()):
        whole.add(tally)
        rows.append(row(source, target, tally, predicted))
    rows.append(row("all", "", whole, predicted))
    widths = [max(len(line[at]) for line in [heads, *rows]) for at in range(len(heads))]
    lines = [heads, ["-" * width for width in widths], *rows]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in padded)


def row(source: str, target: str, tally: Tally, predicted: bool) -> list[str]:
    numbers = [
        tally.sets,
        tally.by_vmm,
        tally.answers,
        tally.kept,
        tally.changed,
        tally.refused,
        tally.vcpus_refused,
    ]
    judged = [str(tally.unknown), str(len(tally.disagreements))] if predicted else ["all", "-"]
    return [source, target, *(str(number) for number in numbers), *judged]
