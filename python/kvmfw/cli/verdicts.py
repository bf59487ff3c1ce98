"""Verdicts on a terminal and as JSON: what `validate` and `explain` print."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from kvmfw.cli.door import FINDINGS
from kvmfw.cli.screen import console, outcome_text, print_json, table
from kvmfw.verdict import Finding, Outcome, Verdict
from kvmfw.vmms import vmms

__all__ = ["all_option", "show"]

WIDE = 120
LIST_RULES = {"KVMFW-LIST-MISSING": "do not exist on this host", "KVMFW-LIST-EXTRA": "were not saved"}


all_option = click.option(
    "--all", "every", is_flag=True, help="One row for each register, also where many share one reason."
)


def show(
    verdicts: Sequence[tuple[str, str, Verdict]],
    form: str,
    fail_on: frozenset[str],
    inputs: Iterable[Path],
    *,
    every: bool,
    born: str | None = None,
) -> int:
    """Print verdicts and give the exit code; `born` says from what the VM's registers were derived, if nobody saved them."""
    derived = {} if born is None else {"born": born}
    if form == "json":
        listed: list[dict[str, Any]] = [
            {"vm": vm, "host": host, **derived, **verdict.to_dict()} for vm, host, verdict in verdicts
        ]
        print_json("verdicts", {"verdicts": listed}, inputs)
    else:
        out = console()
        for vm, host, verdict in verdicts:
            _print_verdict(out, vm, host, verdict, every=every)
        if born is not None:
            out.print(
                f"the registers of the VM were not saved but derived: {born} (docs/inventory.md)",
                soft_wrap=True,
            )
    failed = any(verdict.outcome.name.lower() in fail_on for _, _, verdict in verdicts)
    return FINDINGS if failed else 0


def _print_verdict(out: Console, vm: str, host: str, verdict: Verdict, *, every: bool) -> None:
    line = outcome_text(verdict.outcome)
    line.append(f"  {vm} on {host}", style="default not bold")
    source = "" if _is_measured(verdict.vmm) else ": from its sources, not measured"
    line.append(f"  (vmm {verdict.vmm}{source}, scheme {verdict.scheme})", style="dim")
    out.print(line, soft_wrap=True)
    if not verdict.findings:
        out.print("every register is kept as it was saved\n")
        return
    rows = [_row_of(group) for group in _groups(verdict.findings, every=every)]
    if out.width >= WIDE:
        out.print(table(("outcome", "finding", "rule", "evidence"), rows))
    else:
        out.print(table(("outcome", "finding"), [row[:2] for row in rows]))
    counts = {outcome: sum(finding.outcome is outcome for finding in verdict.findings) for outcome in Outcome}
    words = [f"{count} {outcome.name}" for outcome, count in counts.items() if count]
    findings = "finding" if len(verdict.findings) == 1 else "findings"
    out.print(f"{len(verdict.findings)} {findings}: {', '.join(words)}\n", style="dim")


def _is_measured(vmm: str) -> bool:
    """Tell whether real loads of this VMM were compared; of names without a release each release says so itself."""
    return all(row.measured or row.releases for row in vmms() if row.name == vmm)


def _groups(findings: Sequence[Finding], *, every: bool) -> list[list[Finding]]:
    """Put together findings that say the same of many registers; worst first, then in write order."""
    groups: dict[object, list[Finding]] = defaultdict(list)
    for at, finding in enumerate(findings):
        alone = every or finding.rule not in LIST_RULES
        groups[at if alone else (finding.rule, finding.outcome, finding.errno)].append(finding)
    return sorted(groups.values(), key=lambda group: -group[0].outcome)


def _row_of(group: Sequence[Finding]) -> tuple[Outcome, str, str, str]:
    first = group[0]
    sentence = first.sentence
    if len(group) > 1:
        names = ", ".join(finding.name for finding in group)
        sentence = f"{len(group)} registers {LIST_RULES[first.rule]}"
        sentence += f" ({first.errno}): {names}" if first.errno else f": {names}"
    return first.outcome, sentence, first.rule, first.evidence
