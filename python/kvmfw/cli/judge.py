"""Verbs for single pairs: `validate` on files, `explain` on names of a fleet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console

import kvmfw.probe
from kvmfw import readers
from kvmfw.cli.door import FINDINGS
from kvmfw.cli.options import (
    VMMS,
    examples,
    fail_on_option,
    folder_argument,
    format_option,
    path_type,
    scheme_option,
    vmm_option,
)
from kvmfw.cli.screen import console, outcome_text, print_json, table
from kvmfw.errors import InputError
from kvmfw.fleet import Fleet
from kvmfw.sets import Host
from kvmfw.verdict import Finding, Outcome, Verdict
from kvmfw.verdict import validate as judge

__all__ = ["explain", "validate"]

WIDE = 120
LIST_RULES = {"KVMFW-LIST-MISSING": "do not exist on this host", "KVMFW-LIST-EXTRA": "were not saved"}

all_option = click.option(
    "--all", "every", is_flag=True, help="One row for each register, also where many share one reason."
)


@click.command(
    epilog=examples(
        "kvmfw validate vm.json host.json",
        "kvmfw validate vm.json host.json --vmm all --format json",
        "kvmfw validate --on-host vms.jsonl",
    )
)
@click.argument("vm", type=path_type())
@click.argument("host", type=path_type(), required=False)
@click.option(
    "--on-host",
    is_flag=True,
    help="Really write the registers into a fresh vCPU of this machine's KVM, instead of judging by a capture.",
)
@vmm_option("all")
@scheme_option
@click.option(
    "--state",
    type=click.Choice(["fresh", "exited", "ran"]),
    default="fresh",
    show_default=True,
    help="What the target vCPU has done before the writes; a restore meets a fresh one.",
)
@format_option("table", "json")
@fail_on_option("change", "unknown", "refuse", default="refuse,unknown")
@all_option
def validate(
    *,
    vm: Path,
    host: Path | None,
    on_host: bool,
    vmm: str,
    scheme: str,
    state: str,
    form: str,
    fail_on: frozenset[str],
    every: bool,
) -> int:
    """Judge whether HOST takes the VM's registers.

    VM is a register set (.json), many of them (.jsonl), or a folder of such files; HOST is a capture
    or a folder of captures. Every finding is shown, never only the first. With --on-host there is no HOST:
    the KVM of this machine is asked, and its answers are printed as JSON.
    """
    if on_host == (host is not None):
        problem = (
            "--on-host asks this machine; leave HOST out"
            if on_host
            else "HOST is missing: a capture, or --on-host"
        )
        raise click.UsageError(problem)
    if host is None:
        if vmm == "all":
            raise click.UsageError("--on-host writes in the order of one VMM; name it with --vmm")
        return kvmfw.probe.main(["validate", "--on-host", str(vm), "--vmm", vmm])
    vms = list(readers.register_sets(vm))
    hosts = readers.hosts(host)[0] if host.is_dir() else [Host.load(host)]
    verdicts = [
        (one.name or vm.name, other.name, judge(one, other, vmm=policy, scheme=scheme, state=state))
        for one in vms
        for other in hosts
        for policy in (VMMS if vmm == "all" else (vmm,))
    ]
    return show(verdicts, form, fail_on, every=every)


@click.command(
    short_help="Explain one pair of a fleet, by name.", epilog=examples("kvmfw explain examples vm-17 host-3")
)
@folder_argument
@click.argument("vm")
@click.argument("host")
@vmm_option()
@scheme_option
@format_option("table", "json")
@fail_on_option("change", "unknown", "refuse", default="refuse,unknown")
@all_option
def explain(
    *, fleet: Path, vm: str, host: str, vmm: str, scheme: str, form: str, fail_on: frozenset[str], every: bool
) -> int:
    """Explain one pair of a fleet, by name: all findings of the VM called VM on the host called HOST."""
    opened = Fleet.load(fleet, vmm=vmm, scheme=scheme)
    rows = _row(opened.vm_names, vm, "VM", fleet), _row(opened.host_names, host, "host", fleet)
    return show([(vm, host, opened.explain(*rows))], form, fail_on, every=every)


def _row(names: Sequence[str], name: str, what: str, fleet: Path) -> int:
    try:
        return list(names).index(name)
    except ValueError:
        near = ", ".join(sorted(names, key=lambda known: _distance(known, name))[:3])
        raise InputError(
            f"there is no {what} named `{name}`; the nearest are {near}", file=str(fleet)
        ) from None


def _distance(known: str, name: str) -> tuple[bool, int, str]:
    shared = sum(a == b for a, b in zip(known, name, strict=False))
    return name not in known, -shared, known


def show(
    verdicts: Sequence[tuple[str, str, Verdict]], form: str, fail_on: frozenset[str], *, every: bool
) -> int:
    """Print verdicts and give the exit code."""
    if form == "json":
        listed: list[dict[str, Any]] = [
            {"vm": vm, "host": host, **verdict.to_dict()} for vm, host, verdict in verdicts
        ]
        print_json(listed[0] if len(listed) == 1 else listed)
    else:
        out = console()
        for vm, host, verdict in verdicts:
            _print_verdict(out, vm, host, verdict, every=every)
    failed = any(verdict.outcome.name.lower() in fail_on for _, _, verdict in verdicts)
    return FINDINGS if failed else 0


def _print_verdict(out: Console, vm: str, host: str, verdict: Verdict, *, every: bool) -> None:
    line = outcome_text(verdict.outcome)
    line.append(f"  {vm} on {host}", style="default not bold")
    line.append(f"  (vmm {verdict.vmm}, scheme {verdict.scheme})", style="dim")
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
