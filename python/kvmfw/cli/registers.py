"""`registers`: the catalogue of registers."""

from __future__ import annotations

import click

from kvmfw.cli.options import format_option
from kvmfw.cli.screen import console, print_json, table
from kvmfw.errors import InputError
from kvmfw.registers import registers as catalogue

__all__ = ["registers"]


@click.command(short_help="List the registers whose values KVM looks at.")
@click.argument("word", default="")
@format_option("table", "json")
def registers(word: str, form: str) -> None:
    """List the registers whose values KVM looks at; WORD keeps those with it in id, name or meaning."""
    wanted = word.lower()
    found = [
        register
        for register in catalogue()
        if wanted in f"{register.id:#x} {register.name} {register.kind} {register.meaning}".lower()
    ]
    if not found:
        raise InputError(f"no register of the catalogue has `{word}` in its id, name, kind or meaning")
    if form == "json":
        listed = [
            {"id": f"{one.id:#x}", "name": one.name, "kind": one.kind, "meaning": one.meaning}
            for one in found
        ]
        print_json("registers", {"registers": listed})
        return
    rows = [(f"{one.id:#x}", one.name, one.kind, one.meaning) for one in found]
    out = console()
    if out.width >= 100:
        out.print(table(("id", "name", "kind", "meaning"), rows, numbers=("id",)))
    else:
        out.print(table(("id", "name", "meaning"), [(*row[:2], row[3]) for row in rows], numbers=("id",)))
