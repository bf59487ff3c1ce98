"""The verb `rule`: what a rule id means, and where it is known from."""

from __future__ import annotations

from dataclasses import asdict

import click

from kvmfw.cli.options import examples, format_option
from kvmfw.cli.screen import console, heading, print_json, table
from kvmfw.rules import Rule, find_rule, rules

__all__ = ["rule"]


@click.command(
    short_help="Explain a rule id, or list all.",
    epilog=examples("kvmfw rule", "kvmfw rule KVMFW-WA3-LEVEL"),
)
@click.argument("name", default="")
@format_option("table", "json")
def rule(name: str, form: str) -> None:
    """Explain the rule id NAME with its source; without NAME, list all rule ids."""
    found = [find_rule(name)] if name else rules()
    if form == "json":
        listed = [asdict(one) for one in found]
        print_json("rules", {"rules": listed})
        return
    out = console()
    if name:
        out.print(heading(found[0].id))
        out.print(found[0].meaning)
        out.print(f"spoken by: {_speakers(found[0])}")
        out.print(f"source: {found[0].source}")
    else:
        out.print(
            table(("rule", "spoken by", "meaning"), [(one.id, _speakers(one), one.meaning) for one in found])
        )


def _speakers(one: Rule) -> str:
    words = {"vcpu": "the vCPU", "list": "the register list", "register": "a register"}
    return " or ".join(words[unit] for unit in one.units) or "an audit"
