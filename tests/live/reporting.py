"""What came of fuzzing, as text: a table of hosts, and every kind of answer that was not agreed."""

from __future__ import annotations

from collections import Counter

import kvmfw

from .archive import natural
from .judging import MEASURED, UNKNOWN, WAYS, WRONG, Score


def score_table(scores: dict[str, Score], whole: Score) -> list[str]:
    """A markdown table, a row a host, and the sum."""
    heads = [
        "host",
        "seeds",
        "answers",
        *[f"wrong, {way}" for way in WAYS],
        *[f"not predicted, {way}" for way in WAYS],
    ]
    lines = [f"| {' | '.join(heads)} |", f"| {' | '.join('---' for _ in heads)} |"]
    for name, score in [*sorted(scores.items()), ("all", whole)]:
        cells = [name, " ".join(str(seed) for seed in sorted(score.seeds)), str(score.total(MEASURED))]
        cells += [str(score.total(way, WRONG)) for way in WAYS]
        cells += [f"{score.total(way, UNKNOWN)} ({score.share(way):.2%})" for way in WAYS]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def grid_table(scores: dict[str, Score]) -> list[str]:
    """A markdown table of answers: kernels, and how their hosts were made."""
    cells: dict[tuple[str, str], int] = {}
    for name, score in scores.items():
        kernel, cpu, options = name.split("__", 2)
        made = cpu if options == "default" else f"{cpu}, {options.removeprefix('default.')}"
        cells[kernel, made] = score.total(MEASURED)
    kernels = sorted({kernel for kernel, _ in cells}, key=natural)
    machines = sorted({made for _, made in cells})
    lines = [f"| kernel | {' | '.join(machines)} |", f"| --- |{' ---: |' * len(machines)}"]
    for kernel in kernels:
        row = (f"{cells[kernel, made]:,}" if (kernel, made) in cells else "" for made in machines)
        lines.append(f"| {kernel} | {' | '.join(row)} |")
    return lines


def unknown_table(whole: Score) -> list[str]:
    """A markdown table of the registers that were not predicted, the most frequent first."""
    counts: dict[str, Counter[str]] = {}
    for (way, result, _, register, _, _), kind in whole.kinds.items():
        if result == UNKNOWN:
            counts.setdefault(register, Counter())[way] += kind.count
    rows = sorted(counts.items(), key=lambda row: (-row[1].total(), row[0]))
    lines = [f"| register | {' | '.join(WAYS)} |", f"| --- |{' ---: |' * len(WAYS)}"]
    for register, count in rows:
        lines.append(f"| {name_of(register)} | {' | '.join(str(count[way]) for way in WAYS)} |")
    return lines


def report_kinds(whole: Score, limit: int = 400) -> list[str]:
    """Every kind, wrong ones first, the most frequent first, with one example each."""
    lines: list[str] = []
    for result in (WRONG, UNKNOWN):
        for way in WAYS:
            kinds = [(key, kind) for key, kind in whole.kinds.items() if key[:2] == (way, result)]
            if not kinds:
                continue
            kinds.sort(key=lambda pair: -pair[1].count)
            count = sum(kind.count for _, kind in kinds)
            lines += ["", f"## {result}, {way}: {count} answers of {len(kinds)} kinds", ""]
            for (_, _, case, register, said, predicted), kind in kinds[:limit]:
                lines.append(
                    f"- {kind.count} x {name_of(register)} ({case}): KVM {said}, predicted {predicted}; "
                    f"{len(kind.places)} places, such as {kind.example}"
                )
    return lines


def name_of(register: str) -> str:
    """The engine's name for a register, beside its id."""
    if not register.startswith("0x"):
        return register
    return f"{kvmfw.register_name(int(register, 16))} {register}"
