"""What came of fuzzing, as text: a table of hosts, and every kind of answer that was not agreed."""

from __future__ import annotations

import kvmfw

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
