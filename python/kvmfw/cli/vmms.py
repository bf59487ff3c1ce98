"""`vmms`: the VMMs whose restore is known, and from where."""

from __future__ import annotations

import click

from kvmfw.cli.options import format_option
from kvmfw.cli.screen import console, print_json, table
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
                "not_judged": one.not_judged,
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
            one.not_judged,
        )
        for one in found
    ]
    console().print(table(("name", "measured", "known from", "not judged"), rows))
