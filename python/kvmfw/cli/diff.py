"""`diff`: before and after."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from kvmfw import readers
from kvmfw.analysis.compare import CaptureDiff, FleetDiff, diff_captures, diff_fleets, no_returns
from kvmfw.analysis.not_judged import HOMELESS, OPEN
from kvmfw.analysis.opened import file_protection, protections
from kvmfw.analysis.security import Comparison, Protection, Security, compare_security, protection_of
from kvmfw.cli.door import FINDINGS
from kvmfw.cli.not_judged import print_not_judged
from kvmfw.cli.options import (
    examples,
    fail_on_option,
    format_option,
    path_type,
    scheme_option,
    vmm_option,
)
from kvmfw.cli.output import print_or_write
from kvmfw.cli.screen import console, heading, outcome_text, print_json, table
from kvmfw.cli.targets import foretold_of, kernel_of, kernel_option
from kvmfw.errors import InputError
from kvmfw.fleet import Fleet
from kvmfw.quoting import json_text
from kvmfw.report import sarif
from kvmfw.report.differences import issues_of_captures, issues_of_fleets
from kvmfw.sets import Host
from kvmfw.verdict import Outcome, Verdict
from kvmfw.vmms import OWN

__all__ = ["diff", "show_fleet_diff"]

SHOWN = 25


@click.command(
    short_help="Compare before and after an update: what VMs lose.",
    epilog=examples(
        "kvmfw diff host-6.1.129.json host-6.1.140.json",
        "kvmfw diff fleet-today fleet-after-update",
        "kvmfw diff host.json --kernel linux-image-6.18.15_arm64.deb",
    ),
)
@click.argument("before", type=path_type())
@click.argument("after", type=path_type(), required=False)
@kernel_option
@vmm_option()
@scheme_option
@format_option("table", "json", "sarif")
@fail_on_option("stranded", "unknown", "back", "homeless", default="stranded,back,unknown,homeless")
def diff(
    *,
    before: Path,
    after: Path | None,
    wanted: str | None,
    vmm: str,
    scheme: str,
    form: str,
    fail_on: frozenset[str],
) -> int:
    """Compare BEFORE and AFTER: the gate in front of an update.

    Two captures: what VMs saved on BEFORE find on AFTER, and back, register by register. Two fleet
    folders: the VMs of BEFORE on the hosts of both, matched by name: VMs newly stranded, and freed.
    Exit code 2 when something is stranded (captures: refused on AFTER), and when VMs started on AFTER
    are refused on BEFORE (`back`): half way through such an update they cannot leave the updated hosts.
    What is UNKNOWN is not taken (`unknown`).

    With --kernel instead of AFTER: what the host of BEFORE would be under another kernel that it never booted (kvmfw predict).
    """
    if (after is None) == (wanted is None):
        raise click.UsageError("name either AFTER or --kernel")
    if after is None:
        if wanted is None or before.is_dir():
            raise click.UsageError("--kernel is for one capture; for a fleet there is kvmfw whatif --kernel")
        return _gate_of_kernel(before, wanted, vmm=vmm, scheme=scheme, form=form, fail_on=fail_on)
    if before.is_dir() != after.is_dir():
        raise InputError("one is a file and the other a folder; compare two captures or two fleet folders")
    if before.is_dir():
        vms, hosts = readers.fleet_folder(before, by_own=vmm == OWN)
        old = Fleet(vms, hosts, vmm=vmm, scheme=scheme)
        later = readers.fleet_folder(after, by_own=vmm == OWN)[1]
        new = Fleet(vms, later, vmm=vmm, scheme=scheme)
        result = diff_fleets(old, new, back=no_returns(old, vms, hosts, later))
        security_of = _security((before, hosts), (after, later))
        return show_fleet_diff(result, security_of, form, fail_on, [before, after])
    security = compare_security(file_protection(before), file_protection(after))
    captured = (Host.load(before), Host.load(after))
    return _show_captures(
        captured,
        (before.stem, after.stem),
        security,
        [before, after],
        vmm=vmm,
        scheme=scheme,
        form=form,
        fail_on=fail_on,
    )


def _gate_of_kernel(
    before: Path, wanted: str, *, vmm: str, scheme: str, form: str, fail_on: frozenset[str]
) -> int:
    foretold = foretold_of(before, wanted)
    document = foretold.document()
    security = compare_security(file_protection(before), protection_of(document))
    hosts = (Host.load(before), Host.from_json(json.dumps(document)))
    image = kernel_of(wanted)
    names = (before.stem, f"{before.stem} under {foretold.target.release} (predicted)")
    inputs = [before, *([image] if image else [])]
    return _show_captures(hosts, names, security, inputs, vmm=vmm, scheme=scheme, form=form, fail_on=fail_on)


def _show_captures(
    hosts: tuple[Host, Host],
    names: tuple[str, str],
    security: Comparison,
    inputs: Sequence[Path],
    *,
    vmm: str,
    scheme: str,
    form: str,
    fail_on: frozenset[str],
) -> int:
    captures = diff_captures(*hosts, vmm=vmm, scheme=scheme)
    if form == "json":
        print_json("capture-diff", _security_document(security) | capture_diff_document(captures), inputs)
    elif form == "sarif":
        found = issues_of_captures(captures, *names)
        open_ends = [one.to_dict() for one in captures.not_judged]
        print_or_write(json_text(sarif(found, inputs[-1], open_ends)), None)
    else:
        _print_captures(console(), *names, captures, security)
    forward = {one.forward.outcome for one in captures.directions if one.forward is not None}
    back = {one.back.outcome for one in captures.directions if one.back is not None}
    failed = {
        "stranded": Outcome.REFUSE in forward,
        "unknown": Outcome.UNKNOWN in forward | back,
        "back": Outcome.REFUSE in back,
        HOMELESS: False,  # a capture has no VMs
    }
    return FINDINGS if any(failed[word] for word in fail_on) else 0


Compared = Sequence[tuple[str, Comparison]]


def _security(before: tuple[Path, Sequence[Host]], after: tuple[Path, Sequence[Host]]) -> Compared:
    """Compare the security of hosts of one name in both fleets, by capture."""
    now = {host.name: host._native.name for host in after[1]}
    pairs = dict.fromkeys((host._native.name, now[host.name]) for host in before[1] if host.name in now)
    old, new = protections(before[0]), protections(after[0])
    found = [
        (one, compare_security(old.get(one, Protection()), new.get(other, Protection())))
        for one, other in pairs
    ]
    return [(name, compared) for name, compared in found if compared.security is not Security.SAME]


def _security_document(compared: Comparison) -> dict[str, Any]:
    return {"security": compared.security.value, "reasons": list(compared.reasons)}


def show_fleet_diff(
    result: FleetDiff, security: Compared, form: str, fail_on: frozenset[str], inputs: Sequence[Path]
) -> int:
    """Print a diff of fleets, with the changes of security by capture, and give the exit code."""
    if form == "json":
        told = [{"capture": name, **_security_document(compared)} for name, compared in security]
        print_json("fleet-diff", {"security": told} | _fleet_diff_document(result), inputs)
    elif form == "sarif":
        told_open = [one.to_dict() for one in result.not_judged]
        print_or_write(json_text(sarif(issues_of_fleets(result), inputs[-1], told_open)), None)
    else:
        _print_fleets(console(), result, security)
    open_ends = {one.word for one in result.not_judged}
    failed = {
        "stranded": bool(result.newly_stranded),
        "unknown": OPEN in open_ends or any(one.finding.outcome is Outcome.UNKNOWN for one in result.back),
        "back": any(one.finding.outcome is Outcome.REFUSE for one in result.back),
        HOMELESS: HOMELESS in open_ends,
    }
    return FINDINGS if any(failed[word] for word in fail_on) else 0


def capture_diff_document(result: CaptureDiff) -> dict[str, Any]:
    """Give a diff of captures as JSON-ready data."""

    def outcome(verdict: Verdict | None) -> str | None:
        return None if verdict is None else verdict.outcome.name

    return {
        "not_judged": [one.to_dict() for one in result.not_judged],
        "strands": result.strands,
        "vcpus": [
            {"vcpu": one.vcpu, "forward": outcome(one.forward), "back": outcome(one.back)}
            for one in result.directions
        ],
        "registers": [
            {
                "register": one.name,
                "forward": one.forward.name,
                "back": one.back.name,
                "vcpus": one.vcpus,
                "forward_finding": one.forward_finding.to_dict() if one.forward_finding else None,
                "back_finding": one.back_finding.to_dict() if one.back_finding else None,
            }
            for one in result.registers
        ],
    }


def _print_captures(out: Console, before: str, after: str, result: CaptureDiff, security: Comparison) -> None:
    out.print(f"before: {before}\nafter:  {after}\nsecurity: {security}\n", soft_wrap=True)
    print_not_judged(out, [(one.word, str(one)) for one in result.not_judged])
    out.print(heading("Fresh VMs, by vCPU configuration"))
    rows = [
        [one.vcpu, *(None if verdict is None else verdict.outcome for verdict in (one.forward, one.back))]
        for one in result.directions
    ]
    out.print(table(("vCPU", "forward", "back"), rows))
    out.print()
    out.print(heading("Registers"))
    if not result.registers:
        out.print("every register is kept both ways")
        return
    columns: tuple[str, ...] = ("register", "forward", "back", "why")
    cells = []
    for one in result.registers[:SHOWN]:
        why = [finding.sentence for finding in (one.forward_finding, one.back_finding) if finding]
        cells.append([one.name, one.forward, one.back, "\n".join(why)])
    out.print(table(columns, cells))
    if len(result.registers) > SHOWN:
        out.print(f"and {len(result.registers) - SHOWN:,} more (--format json has them all)", style="dim")


def _fleet_diff_document(result: FleetDiff) -> dict[str, Any]:
    """Give a diff of fleets as JSON-ready data."""
    return {
        "not_judged": [one.to_dict() for one in result.not_judged],
        "vms": result.vms,
        "hosts": result.hosts,
        "changed_hosts": list(result.changed_hosts),
        "newly_stranded": [{"vm": vm, "host": host} for vm, host in result.newly_stranded],
        "freed": [{"vm": vm, "host": host} for vm, host in result.freed],
        "transitions": [
            {"before": was.name, "after": now.name, "pairs": pairs}
            for (was, now), pairs in result.transitions.items()
        ],
        "blockers": [{"unit": unit, "pairs": pairs} for unit, pairs in result.blockers],
        "back": [
            {
                "hosts": list(one.hosts),
                "features": list(one.features),
                "enabled": list(one.enabled),
                "finding": one.finding.to_dict(),
            }
            for one in result.back
        ],
    }


def _print_fleets(out: Console, result: FleetDiff, security: Compared) -> None:
    changed = len(result.changed_hosts)
    out.print(
        f"{result.vms:,} VMs, {result.hosts:,} hosts in both; hosts that answer otherwise: {changed:,}\n"
    )
    print_not_judged(out, [(one.word, str(one)) for one in result.not_judged])
    if security:
        out.print(heading("Security of hosts, by what they were"))
        out.print(table(("hosts of", "become"), [(name, str(compared)) for name, compared in security]))
        out.print()
    for title, rows in (("Newly stranded VMs", result.newly_stranded), ("Freed VMs", result.freed)):
        out.print(heading(f"{title}  {len(rows):,}"))
        if rows:
            out.print(table(("VM", "runs on"), rows[:SHOWN]))
        if len(rows) > SHOWN:
            out.print(f"and {len(rows) - SHOWN:,} more (--format json has them all)", style="dim")
        out.print()
    if result.blockers:
        out.print(heading("What refuses the newly stranded VMs where they were taken before"))
        out.print(table(("register", "pairs"), result.blockers[:SHOWN], numbers=("pairs",)))
        out.print()
    if result.back:
        out.print(heading(f"Ways without return  {len(result.back):,}"))
        out.print(
            "VMs that start on these hosts after the change cannot come back to hosts as they were, or nobody knows."
        )
        cells = [
            (
                _some(one.hosts),
                ", ".join((*one.features, *one.enabled)),
                one.finding.outcome,
                one.finding.sentence,
            )
            for one in result.back[:SHOWN]
        ]
        out.print(table(("hosts", "vCPU", "outcome", "why"), cells))
        out.print()
    out.print(heading("Pairs whose outcome changes"))
    moved = [(was, now, pairs) for (was, now), pairs in result.transitions.items() if was is not now]
    if moved:
        changes = [(outcome_text(was), outcome_text(now), pairs) for was, now, pairs in moved]
        out.print(table(("before", "after", "pairs"), changes, numbers=("pairs",)))
    else:
        out.print("none")


def _some(names: Sequence[str], shown: int = 4) -> str:
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
