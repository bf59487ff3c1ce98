"""Findings that say the same of many registers, in one line; those that weigh most first."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from kvmfw.cpus import MIDR, cpu_with_revision
from kvmfw.rules import find_rule
from kvmfw.sets import Host, RegisterSet
from kvmfw.telling.absences import why_absent
from kvmfw.telling.weights import Weight, weight_of
from kvmfw.verdict import Finding, Outcome

__all__ = ["Fold", "fold", "in_order", "names_of"]

_MANY = {"KVMFW-LIST-EXTRA": "were not saved: the guest sees this host's defaults"}
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Fold:
    """Findings of one verdict that are told together.

    Attributes
    ----------
    findings : tuple of Finding
        All of them, in write order; all with one outcome, one rule and one evidence.
    sentence : str
        What they say.
    """

    findings: tuple[Finding, ...]
    sentence: str

    @property
    def outcome(self) -> Outcome:
        """What they all say."""
        return self.findings[0].outcome

    @property
    def weight(self) -> Weight | None:
        """What the change touches; None where it is no CHANGE."""
        return weight_of(self.findings[0])

    @property
    def rule(self) -> str:
        """The id of the rule that speaks in all of them."""
        return self.findings[0].rule

    @property
    def evidence(self) -> str:
        """What all of them go by."""
        return self.findings[0].evidence


def fold(
    findings: Sequence[Finding],
    vm: RegisterSet | None = None,
    host: Host | None = None,
    *,
    every: bool = False,
) -> list[Fold]:
    """Put findings together that say the same but for the register's name.

    Parameters
    ----------
    findings : sequence of Finding
        Those of one verdict.
    vm, host : optional
        The pair: with them it is told why a host does not have a register.
    every : bool
        Leave each finding by itself.
    """
    why = _explained(findings, vm, host)
    groups: dict[object, list[Finding]] = defaultdict(list)
    for at, one in enumerate(findings):
        said = one.rule if one.rule in _MANY else _about_each(one)
        key = (one.outcome, one.rule, one.evidence, one.errno, said, why(one))
        groups[at if every else key].append(one)
    made = [Fold(tuple(group), _sentence(group, why(group[0]))) for group in groups.values()]
    return sorted(made, key=in_order)


def in_order(one: Fold) -> tuple[int, int]:
    """Give the place among others: the worst first, then what weighs most."""
    return -one.outcome, -(one.weight or 0)


def _explained(
    findings: Iterable[Finding], vm: RegisterSet | None, host: Host | None
) -> Callable[[Finding], str]:
    known: dict[int, str] = {}
    if vm is not None and host is not None:
        for one in findings:
            if find_rule(one.rule).absence and one.register is not None:
                known[one.register] = why_absent(one.register, vm, host)
    return lambda one: known.get(one.register or 0, "")


def _about_each(one: Finding) -> str:
    return one.sentence.replace(one.name, "each")


def _sentence(group: Sequence[Finding], why: str) -> str:
    first = group[0]
    if len(group) == 1:
        said = first.sentence
    else:
        told = _MANY.get(first.rule) or _about_each(first)
        between = " " if first.rule in _MANY else ", "
        names = names_of(one.name for one in group)
        said = f"{len(group)} registers{between}{told}: {names}"
    if first.register == MIDR and first.saved is not None and first.own is not None:
        said += f". The VM has run on {cpu_with_revision(first.saved)}, this host is {cpu_with_revision(first.own)}"
    return f"{said} ({why})" if why else said


def names_of(names: Iterable[str]) -> str:
    """Name registers; runs that differ by one number are named by their ends.

    >>> names_of(["PMCR_EL0", "PMEVCNTR0_EL0", "PMEVCNTR1_EL0", "PMEVCNTR2_EL0", "CCSIDR 3"])
    'PMCR_EL0, PMEVCNTR0_EL0 to PMEVCNTR2_EL0, CCSIDR 3'
    """
    listed = list(names)
    runs: list[list[str]] = [listed[:1]] if listed else []
    for before, name in pairwise(listed):
        if _follows(before, name):
            runs[-1].append(name)
        else:
            runs.append([name])
    return ", ".join(part for run in runs for part in _ends(run))


def _ends(run: Sequence[str]) -> Sequence[str]:
    return run if len(run) < 3 else [f"{run[0]} to {run[-1]}"]


def _follows(before: str, name: str) -> bool:
    """Tell whether two names differ by one step in one number, or in the last two as octal digits (C12_7, C13_0)."""
    if _NUMBER.sub("#", before) != _NUMBER.sub("#", name):
        return False
    old, new = ([int(text) for text in _NUMBER.findall(one)] for one in (before, name))
    steps = [after - was for was, after in zip(old, new, strict=True)]
    changed = [step for step in steps if step]
    return changed == [1] or (len(steps) > 1 and not any(steps[:-2]) and steps[-2:] == [1, -7])
