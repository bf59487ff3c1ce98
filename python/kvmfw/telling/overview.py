"""Many verdicts in few lines: what stands in the way of how many pairs, and which pairs are alike."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from kvmfw.rules import find_rule
from kvmfw.telling.folds import names_of
from kvmfw.telling.weights import Weight, weight_of
from kvmfw.verdict import Finding, Outcome, Verdict

__all__ = ["Alike", "Overview", "Reason", "overview"]

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Reason:
    """What one rule says of the same pairs, by whatever registers.

    Attributes
    ----------
    outcome, weight : Outcome, Weight or None
        What it says, and what a change touches.
    rule, evidence : str
        Who says it, and by what.
    pairs : int
        Of how many pairs.
    sentence : str
        What it says, of one of the pairs.
    """

    outcome: Outcome
    weight: Weight | None
    rule: str
    evidence: str
    pairs: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Alike:
    """Pairs with the same findings on the same registers.

    Attributes
    ----------
    outcome : Outcome
        That of each of them.
    pairs : tuple of (VM, host)
        Their names.
    verdict : Verdict
        That of the first.
    """

    outcome: Outcome
    pairs: tuple[Pair, ...]
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Overview:
    """Many verdicts: how many of each outcome, why, and which are alike.

    Attributes
    ----------
    outcomes : dict of Outcome to int
        Pairs by outcome.
    reasons : list of Reason
        The worst first, then those of most pairs.
    alike : list of Alike
        Pairs by what is said of them, the worst and the largest groups first.
    """

    outcomes: dict[Outcome, int]
    reasons: list[Reason]
    alike: list[Alike]


def overview(judged: Sequence[tuple[Pair, Verdict]]) -> Overview:
    """Look over many verdicts."""
    outcomes = Counter(verdict.outcome for _, verdict in judged)
    speaks: dict[tuple[Outcome, str, str, str], int] = defaultdict(int)
    samples: dict[tuple[Outcome, str, str, str], Finding] = {}
    groups: dict[object, list[Pair]] = defaultdict(list)
    firsts: dict[object, Verdict] = {}
    for at, (pair, verdict) in enumerate(judged):
        said = frozenset((one.outcome, one.rule, one.evidence, one.name) for one in verdict.findings)
        groups[said].append(pair)
        firsts.setdefault(said, verdict)
        for one in verdict.findings:
            key = (one.outcome, one.rule, one.evidence, one.name)
            speaks[key] |= 1 << at
            samples.setdefault(key, one)
    return Overview(
        {outcome: outcomes[outcome] for outcome in Outcome},
        _reasons(speaks, samples),
        sorted(
            (Alike(firsts[said].outcome, tuple(pairs), firsts[said]) for said, pairs in groups.items()),
            key=lambda one: (-one.outcome, -len(one.pairs)),
        ),
    )


def _reasons(
    speaks: dict[tuple[Outcome, str, str, str], int], samples: dict[tuple[Outcome, str, str, str], Finding]
) -> list[Reason]:
    """Put registers together of which one rule says the same of the same pairs."""
    together: dict[tuple[Outcome, str, str, int], list[Finding]] = defaultdict(list)
    for key, pairs in speaks.items():
        outcome, rule, evidence, _ = key
        together[outcome, rule, evidence, pairs].append(samples[key])
    made = []
    for (outcome, rule, evidence, pairs), findings in together.items():
        first = findings[0]
        sentence = first.sentence
        if len(findings) > 1:
            meaning = find_rule(rule).meaning.rstrip(".")
            sentence = f"{len(findings)} registers: {names_of(one.name for one in findings)}. {meaning}"
        made.append(Reason(outcome, weight_of(first), rule, evidence, pairs.bit_count(), sentence))
    return sorted(made, key=lambda one: (-one.outcome, -(one.weight or 0), -one.pairs, one.rule))
