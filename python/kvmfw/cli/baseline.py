"""`baseline`: the greatest register values that all hosts take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kvmfw.analysis import open_fleet
from kvmfw.analysis.means import any_means
from kvmfw.analysis.settings import Settings
from kvmfw.cli.door import FINDINGS
from kvmfw.cli.options import folder_argument, format_option, vmm_option, where_option
from kvmfw.cli.screen import console, heading, outcome_text, print_json, table
from kvmfw.cli.settings import (
    gate,
    remains_option,
    settings_document,
    settings_of,
    some_names,
    vcpu_options,
)
from kvmfw.cli.streams import note
from kvmfw.quoting import json_text
from kvmfw.telling.folds import names_of
from kvmfw.verdict import Outcome

__all__ = ["baseline"]


@click.command(short_help="Find the greatest register values that all hosts take.")
@folder_argument
@vmm_option(is_one=True)
@where_option
@vcpu_options
@format_option("table", "json", "register-set")
@remains_option
def baseline(
    *, fleet: Path, vmm: str, where: dict[str, str], form: str, fail_on: frozenset[str], **vcpu: Any
) -> int:
    """Find the greatest register values that a VM may start with so that all hosts take it.

    For each register: the value, the hosts that bind it (they refuse the greatest value that a host
    has), and the hosts that lack it, for which it must be hidden. VMs of every host are judged with these
    values on all others: exit code 2 when some are refused nevertheless; it is then said by what, and
    for how many hosts the goal is reached. `--format register-set` gives the values as a register set.
    """
    made = settings_of(open_fleet(fleet, vmm=vmm), fleet, where, any_means(vmm), vcpu)
    if form == "json":
        print_json("baseline", settings_document(made), [fleet])
    elif form == "register-set":
        click.echo(json_text(made.baseline.vm.to_document()))
    else:
        _print_baseline(made)
    if not made.remains and made.outcome >= Outcome.UNKNOWN:
        note(
            "kvmfw: hosts do not take the register set by itself: registers that it must not have are missing in it"
        )
        return FINDINGS if "remains" in fail_on else 0
    return gate(made, fail_on)


def _print_baseline(found: Settings) -> None:
    out = console()
    made = found.baseline
    reached = "not reached" if found.remains else "reached"
    line = heading(f"Baseline for {len(made.covered):,} hosts: {reached}")
    line.append("; what some hosts do to VMs that start so: ", style="default not bold")
    line.append(outcome_text(found.outcome))
    out.print(line)
    if made.left_out:
        out.print(f"left out: {some_names(made.left_out)}", style="dim")
    present = [one for one in made.registers if not one.absent_on]
    rows = [
        (
            one.name,
            "no common value" if one.value is None else f"{one.value:#x}",
            f"{one.greatest:#x}" if one.value != one.greatest else "same",
            some_names(one.bound_by) or None,
        )
        for one in present
    ]
    out.print(table(("register", "value", "greatest", "bound by"), rows))
    if any(one.value is None for one in present):
        out.print(
            "no common value: each value that hosts have is refused by one of the others. What to do: make groups of"
            " hosts that take each other's VMs (--where, --share), or hosts equal (`kvmfw whatif FLEET --best 3`)",
            style="dim",
        )
    absent: dict[tuple[str, ...], list[str]] = {}
    for one in made.registers:
        if one.absent_on:
            absent.setdefault(one.absent_on, []).append(one.name)
    if absent:
        out.print()
        out.print(heading("Registers that some hosts lack: hide them from VMs"))
        cells = [(len(names), names_of(names), some_names(hosts)) for hosts, names in absent.items()]
        out.print(table(("count", "registers", "lacking on"), cells, numbers=("count",)))
