"""Verdicts on a terminal and as JSON: what `validate` and `explain` print."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from kvmfw.cli.door import FINDINGS
from kvmfw.cli.screen import WIDE, console, heading, outcome_text, print_json, table
from kvmfw.sets import Host, RegisterSet
from kvmfw.telling import Weight, fold, overview, what_to_do
from kvmfw.telling.knobs import knob_of
from kvmfw.telling.overview import Alike, Reason
from kvmfw.verdict import Finding, Outcome, Verdict
from kvmfw.vmms import find_vmm

__all__ = ["Judged", "all_option", "policy_of", "print_left_open", "show"]

GROUPS, NAMES = 10, 3

all_option = click.option(
    "--all",
    "every",
    is_flag=True,
    help="Every verdict in full where there are many, and one row for each register, also where many share one reason.",
)


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict with the pair that it is about; `born` says from what the VM's registers were derived, if nobody saved them."""

    vm: RegisterSet
    host: Host
    verdict: Verdict
    vm_name: str
    born: str | None = None

    @property
    def pair(self) -> tuple[str, str]:
        """The names of VM and host."""
        return self.vm_name, self.host.name

    def to_dict(self) -> dict[str, Any]:
        """Give it as JSON-ready data."""
        derived = {} if self.born is None else {"born": self.born}
        return {"vm": self.vm_name, "host": self.host.name, **derived, **self.verdict.to_dict()}


def show(
    judged: Sequence[Judged], form: str, fail_on: frozenset[str], inputs: Iterable[Path], *, every: bool
) -> int:
    """Print verdicts and give the exit code."""
    if form == "json":
        listed = [one.to_dict() for one in judged]
        print_json("verdicts", {"verdicts": listed}, inputs)
    else:
        out = console()
        if len(judged) > 1:
            _print_overview(out, judged, every=every)
        if len(judged) == 1 or every:
            for one in judged:
                _print_verdict(out, one, every=every, alone=len(judged) == 1)
                if len(judged) > 1:
                    out.print()
    failed = any(one.verdict.outcome.name.lower() in fail_on for one in judged)
    return FINDINGS if failed else 0


def print_left_open(out: Console, judged: Sequence[Judged]) -> None:
    """Say before any finding what no finding is about."""
    beside = dict.fromkeys(str(beside) for one in judged for beside in one.verdict.not_judged)
    out.print(f"Not judged: {', '.join(beside)} (kvmfw vmms)", style="dim")


def _print_verdict(out: Console, one: Judged, *, every: bool, alone: bool) -> None:
    verdict = one.verdict
    line = outcome_text(verdict.outcome)
    line.append(f"  {one.vm_name} on {one.host.name}", style="default not bold")
    line.append(f"  ({policy_of(verdict)})", style="dim")
    out.print(line, soft_wrap=True)
    if alone:
        print_left_open(out, [one])
    if one.born is not None:
        born = f"the registers of the VM were not saved but derived: {one.born} (docs/inventory.md)"
        out.print(born, soft_wrap=True)
    if not verdict.findings:
        out.print("every register is kept as it was saved")
        return
    folds = fold(verdict.findings, one.vm, one.host, every=every)
    _print_rows(
        out, [(_outcome(f.outcome, f.weight), f.sentence, f.rule, f.evidence) for f in folds], ("finding",)
    )
    counts = {outcome: sum(finding.outcome is outcome for finding in verdict.findings) for outcome in Outcome}
    words = [f"{count} {outcome.name}" for outcome, count in counts.items() if count]
    findings = "finding" if len(verdict.findings) == 1 else "findings"
    out.print(f"{len(verdict.findings)} {findings}: {', '.join(words)}", style="dim")
    _print_cures(out, verdict.findings, verdict.vmm)


def _print_overview(out: Console, judged: Sequence[Judged], *, every: bool) -> None:
    """Say of many pairs how many there are of each outcome, why, and which are alike."""
    found = overview([(one.pair, one.verdict) for one in judged])
    counts = ", ".join(f"{count:,} {outcome.name}" for outcome, count in found.outcomes.items() if count)
    policies = ", ".join(dict.fromkeys(policy_of(one.verdict) for one in judged))
    vms, hosts = len({one.vm_name for one in judged}), len({one.host.name for one in judged})
    sizes = f"{vms:,} VM{'s' * (vms != 1)} on {hosts:,} host{'s' * (hosts != 1)}"
    out.print(f"{sizes}: {counts}  ({policies})", soft_wrap=True)
    print_left_open(out, judged)
    out.print()
    if found.reasons:
        out.print(heading("Why"))
        rows = [
            (_outcome(r.outcome, r.weight), r.pairs, r.sentence, r.rule, r.evidence) for r in found.reasons
        ]
        _print_rows(out, rows, ("pairs", "finding, of one of them"))
        _print_cures(out, _first_of_each(found.reasons, judged), None)
        out.print()
    out.print(heading("Pairs that are alike"))
    rows_of_pairs = [
        (one.outcome, len(one.pairs), _some_pairs(one, hosts), len(one.verdict.findings))
        for one in found.alike[:GROUPS]
    ]
    out.print(table(("outcome", "pairs", "VMs", "findings"), rows_of_pairs, numbers=("pairs", "findings")))
    if len(found.alike) > GROUPS:
        out.print(f"and {len(found.alike) - GROUPS:,} more groups", style="dim")
    if not every:
        out.print("--all prints every verdict in full, --format json has all of it", style="dim")
    out.print()


def _print_rows(out: Console, rows: Sequence[Sequence[Any]], columns: tuple[str, ...]) -> None:
    """Print a table whose last columns are rule and evidence; where they have no room they stand below the sentence."""
    numbers = [name for name in columns if name == "pairs"]
    if out.width >= WIDE:
        out.print(table(("outcome", *columns, "rule", "evidence"), rows, numbers=numbers))
        return
    cells = [[*row[:-3], Text.assemble(f"{row[-3]}\n", (f"{row[-2]}, {row[-1]}", "dim"))] for row in rows]
    out.print(table(("outcome", *columns), cells, numbers=numbers))


def _print_cures(out: Console, findings: Iterable[Finding], vmm: str | None) -> None:
    """Say once for each rule that is in the way what to do; of one pair also the setting of its VMM."""
    by_rule: dict[str, list[Finding]] = {}
    for one in sorted(findings, key=lambda one: -one.outcome):
        if one.outcome >= Outcome.UNKNOWN:
            by_rule.setdefault(one.rule, []).append(one)
    if not by_rule:
        return
    out.print(heading("What to do"))
    for rule, told in by_rule.items():
        out.print(Text.assemble((rule, "bold"), f": {what_to_do(rule)}"))
        for one in told:
            knob = None if vmm is None else knob_of(one, vmm)
            if knob is not None:
                out.print(f"  new VMs as this host has it, {knob}", soft_wrap=True)


def _first_of_each(reasons: Sequence[Reason], judged: Sequence[Judged]) -> Iterable[Finding]:
    """Give a finding for each outcome and rule."""
    wanted = dict.fromkeys((one.outcome, one.rule) for one in reasons)
    for outcome, rule in wanted:
        every = (finding for one in judged for finding in one.verdict.findings)
        yield next(one for one in every if (one.outcome, one.rule) == (outcome, rule))


def _some_pairs(one: Alike, hosts: int) -> str:
    told = [vm if hosts == 1 else f"{vm} on {host}" for vm, host in dict.fromkeys(one.pairs)]
    more = f" and {len(told) - NAMES:,} more" if len(told) > NAMES else ""
    return ", ".join(told[:NAMES]) + more


def _outcome(outcome: Outcome, weight: Weight | None) -> Text:
    told = outcome_text(outcome)
    if weight is not None:
        told.append(f" {weight.name.lower()}", style="default not bold")
    return told


def policy_of(verdict: Verdict) -> str:
    """Say by which VMM and scheme it was judged."""
    source = "" if _is_measured(verdict.vmm) else ": from its sources, not measured"
    return f"vmm {verdict.vmm}{source}, scheme {verdict.scheme}"


def _is_measured(vmm: str) -> bool:
    """Tell whether real loads of this VMM were compared; of names without a release each release says so itself."""
    row = find_vmm(vmm)
    return row.measured or bool(row.releases)
