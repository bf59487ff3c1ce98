"""`explain`: one pair of a fleet, by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.compute as pc

from kvmfw import readers
from kvmfw.cli.options import (
    examples,
    fail_on_option,
    folder_argument,
    format_option,
    scheme_option,
    vmm_option,
)
from kvmfw.cli.verdicts import Judged, all_option, show
from kvmfw.errors import InputError
from kvmfw.fleet import Fleet
from kvmfw.readers.stored import births_of, is_stored, stored_table
from kvmfw.verdict import validate

__all__ = ["explain"]

_UNUSABLE = "KVMFW-UNUSABLE"


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
    vms, hosts = readers.fleet_folder(fleet)
    opened = Fleet(vms, hosts, vmm=vmm, scheme=scheme)
    row, other = _row(opened.vm_names, vm, "VM", fleet), _row(opened.host_names, host, "host", fleet)
    # A fleet keeps of a VM what hosts look at; the set itself has the values, and the order in which it is written.
    verdict = opened.explain(row, other)
    if all(finding.rule != _UNUSABLE for finding in verdict.findings):
        verdict = validate(vms[row], hosts[other], vmm=vmm, scheme=scheme)
    judged = Judged(vms[row], hosts[other], verdict, vm, _born(fleet, vm))
    return show([judged], form, fail_on, [fleet], every=every)


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
