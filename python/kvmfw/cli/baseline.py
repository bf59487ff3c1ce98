"""`baseline`: the greatest register values that all hosts take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from kvmfw.analysis import make_frame, open_fleet
from kvmfw.analysis.baseline import Baseline
from kvmfw.analysis.baseline import baseline as find_baseline
from kvmfw.analysis.opened import OpenedFleet
from kvmfw.cli.options import folder_argument, format_option, vmm_option, where_option
from kvmfw.cli.screen import console, heading, outcome_text, print_json, table
from kvmfw.readers import ENABLED, FEATURES

__all__ = ["baseline", "baseline_document", "baseline_of", "vcpu_options"]


Verb = TypeVar("Verb", bound=Callable[..., Any])

FEW_NAMES = 4


def vcpu_options(verb: Verb) -> Verb:
    """Add the options that say how a VM's vCPU is made, and for which share of the hosts."""
    for option in (
        click.option(
            "--share",
            type=click.FloatRange(0, 1, min_open=True),
            default=1.0,
            show_default=True,
            help="Share of the hosts that must take it; those that bind most are left out first.",
        ),
        click.option(
            "--enable", "enabled", multiple=True, type=click.Choice(ENABLED), help="A VM capability."
        ),
        click.option("--vgic/--no-vgic", default=True, show_default=True, help="Whether the VM has a GICv3."),
        click.option(
            "--feature",
            "features",
            multiple=True,
            type=click.Choice(FEATURES),
            metavar="FEATURE",
            default=("psci_0_2",),
            show_default=True,
            help=f"A vCPU feature, one of {', '.join(FEATURES)}; may be given many times.",
        ),
    ):
        verb = option(verb)
    return verb


def baseline_of(opened: OpenedFleet, where: dict[str, str], vmm: str, vcpu: dict[str, Any]) -> Baseline:
    """Find the baseline of the hosts that are asked for."""
    rows = make_frame(opened.fleet, columns=opened.columns, where=where).host_rows.tolist()
    return find_baseline([opened.hosts[row] for row in rows], vmm=vmm, **vcpu)


@click.command(short_help="Find the greatest register values that all hosts take.")
@folder_argument
@vmm_option()
@where_option
@vcpu_options
@format_option("table", "json", "register-set")
def baseline(*, fleet: Path, vmm: str, where: dict[str, str], form: str, **vcpu: Any) -> None:
    """Find the greatest register values that a VM may start with so that all hosts take it.

    For each register: the value, the hosts that bind it (they refuse the greatest value that a host
    has), and the hosts that lack it. With --share 0.9, hosts that bind most are left out as long as
    90 % are covered. `--format register-set` gives the values as a register set.
    """
    made = baseline_of(open_fleet(fleet, vmm=vmm), where, vmm, vcpu)
    if form == "json":
        print_json(baseline_document(made))
    elif form == "register-set":
        print_json(made.vm.to_document())
    else:
        _print_baseline(made)


def baseline_document(made: Baseline) -> dict[str, Any]:
    """Give a baseline as JSON-ready data."""
    return {
        "covered": list(made.covered),
        "left_out": list(made.left_out),
        "outcome": made.outcome.name,
        "registers": [
            {
                "register": f"{one.register:#x}",
                "name": one.name,
                "value": None if one.value is None else f"{one.value:#x}",
                "greatest": f"{one.greatest:#x}",
                "bound_by": list(one.bound_by),
                "absent_on": list(one.absent_on),
            }
            for one in made.registers
        ],
    }


def _names(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - FEW_NAMES:,} more" if len(names) > FEW_NAMES else ""
    return ", ".join(names[:FEW_NAMES]) + more


def _print_baseline(made: Baseline) -> None:
    out = console()
    line = heading(f"Baseline for {len(made.covered):,} hosts: ")
    line.append(outcome_text(made.outcome))
    out.print(line)
    if made.left_out:
        out.print(f"left out: {_names(made.left_out)}", style="dim")
    present = [one for one in made.registers if not one.absent_on]
    rows = [
        (
            one.name,
            "no common value" if one.value is None else f"{one.value:#x}",
            f"{one.greatest:#x}" if one.value != one.greatest else "same",
            _names(one.bound_by) or None,
        )
        for one in present
    ]
    out.print(table(("register", "value", "greatest", "bound by"), rows))
    absent: dict[tuple[str, ...], list[str]] = {}
    for one in made.registers:
        if one.absent_on:
            absent.setdefault(one.absent_on, []).append(one.name)
    if absent:
        out.print()
        out.print(heading("Registers that some hosts lack: hide them from VMs"))
        cells = [(len(names), ", ".join(names), _names(hosts)) for hosts, names in absent.items()]
        out.print(table(("count", "registers", "lacking on"), cells, numbers=("count",)))
