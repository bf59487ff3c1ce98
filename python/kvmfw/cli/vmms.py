"""`vmms`: the VMMs whose restore is known, and from where."""

from __future__ import annotations

from dataclasses import asdict

import click

from kvmfw.cli.options import format_option
from kvmfw.cli.screen import console, heading, print_json, table
from kvmfw.vmms import beside_registers
from kvmfw.vmms import vmms as table_of_vmms

__all__ = ["vmms"]


@click.command(short_help="List the VMMs whose restore is known, and from where.")
@format_option("table", "json")
def vmms(form: str) -> None:
    """List the names for --vmm: releases, and names without one, which are judged as each of their releases."""
    found = table_of_vmms()
    if form == "json":
        listed = [
            {
                "name": one.name,
                "releases": list(one.releases),
                "measured": one.measured,
                "source": one.source,
                "not_judged": [asdict(beside) for beside in one.not_judged],
            }
            for one in found
        ]
        print_json("vmms", {"vmms": listed})
        return
    rows = [
        (
            one.name,
            "yes" if one.measured else "no",
            f"{one.source}: {', '.join(one.releases)}" if one.releases else one.source,
        )
        for one in found
    ]
    out = console()
    out.print(table(("name", "measured", "known from"), rows))
    out.print()
    out.print(heading("Not judged"))
    told = [
        (str(beside), beside.why, ", ".join(names), beside.judged_by or "never")
        for beside, names in beside_registers()
    ]
    out.print(
        table(("beside registers", "where source and target differ", "of", "judged where both tell"), told)
    )
