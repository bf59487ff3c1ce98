"""`explain`: one pair of a fleet, by name, or where a VM can go."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.compute as pc

from kvmfw import readers
from kvmfw.cli.door import FINDINGS
from kvmfw.cli.options import (
    examples,
    fail_on_option,
    folder_argument,
    format_option,
    scheme_option,
    vmm_option,
)
from kvmfw.cli.screen import console, heading, table
from kvmfw.cli.verdicts import Judged, all_option, policy_of, print_left_open, show
from kvmfw.errors import InputError
from kvmfw.fleet import Fleet
from kvmfw.readers.stored import births_of, is_stored, stored_table
from kvmfw.verdict import Outcome, validate
from kvmfw.vmms import OWN

__all__ = ["explain"]

_UNUSABLE = "KVMFW-UNUSABLE"
_NAMED = 20


@click.command(
    short_help="Explain one pair of a fleet, by name, or where a VM can go.",
    epilog=examples("kvmfw explain examples vm-17 host-3", "kvmfw explain examples vm-17"),
)
@folder_argument
@click.argument("vm")
@click.argument("host", default="")
@vmm_option()
@scheme_option
@format_option("table", "json")
@fail_on_option("change", "unknown", "refuse", default="refuse,unknown")
@all_option
def explain(
    *, fleet: Path, vm: str, host: str, vmm: str, scheme: str, form: str, fail_on: frozenset[str], every: bool
) -> int:
    """Explain one pair of a fleet, by name: all findings of the VM called VM on the host called HOST.

    Without HOST, tell which hosts take the VM; exit code 2 where there is none besides its own.
    """
    vms, hosts = readers.fleet_folder(fleet, by_own=vmm == OWN)
    opened = Fleet(vms, hosts, vmm=vmm, scheme=scheme)
    row, born = _row(opened.vm_names, vm, "VM", fleet), _born(fleet, vm)

    def judged(other: int) -> Judged:
        # A fleet keeps of a VM what hosts look at; the set itself has the values, and the order in which it is written.
        verdict = opened.explain(row, other)
        if all(finding.rule != _UNUSABLE for finding in verdict.findings):
            verdict = validate(vms[row], hosts[other], vmm=vmm, scheme=scheme)
        return Judged(vms[row], hosts[other], verdict, vm, born)

    if host:
        return show(
            [judged(_row(opened.host_names, host, "host", fleet))], form, fail_on, [fleet], every=every
        )
    others = [at for at in range(len(hosts)) if at != opened.vm_homes[row]]
    outcomes = list(map(Outcome, opened.validate_pairs([row] * len(others), others).tolist()))
    if form == "json":
        show([judged(other) for other in others], form, fail_on, [fleet], every=every)
    else:
        taken = [at for at, one in zip(others, outcomes, strict=True) if one < Outcome.UNKNOWN]
        said = [judged(at) for at in (taken or others)[:_NAMED]]
        _print_targets(vm, [opened.host_names[at] for at in others], outcomes, said)
    return FINDINGS if all(one.name.lower() in fail_on for one in outcomes) else 0


def _print_targets(
    vm: str, hosts: Sequence[str], outcomes: Sequence[Outcome], said: Sequence[Judged]
) -> None:
    """Say what the other hosts say to a VM, those that take it first; some of their verdicts tell what is left open."""
    out = console()
    out.print(heading(f"{vm} on {len(hosts):,} other host{'' if len(hosts) == 1 else 's'}"))
    if said:
        out.print(f"({'; '.join(dict.fromkeys(policy_of(one.verdict) for one in said))})", style="dim")
        print_left_open(out, said)
    rows = []
    for outcome in Outcome:
        named = [host for host, said in zip(hosts, outcomes, strict=True) if said is outcome]
        more = f" and {len(named) - _NAMED:,} more" if len(named) > _NAMED else ""
        rows.append((outcome, len(named), ", ".join(named[:_NAMED]) + more))
    out.print(table(("outcome", "hosts", "which"), rows, numbers=("hosts",)))
    out.print("with the name of a host, `kvmfw explain` says why", style="dim")


def _born(fleet: Path, vm: str) -> str | None:
    """Say from what the registers of a VM were derived; None where they were saved."""
    if not is_stored(fleet):
        return None
    row = pc.index(stored_table(fleet, "vms", ["vm"]).column("vm").cast(pa.string()), vm).as_py()
    return None if row < 0 else births_of(fleet)[row].as_py()


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
