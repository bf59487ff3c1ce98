"""The verb `probe`: asks the KVM of this machine."""

from __future__ import annotations

from pathlib import Path

import click

import kvmfw.probe

__all__ = ["probe"]


@click.command(
    short_help="Ask this machine's KVM and print its capture.",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def probe(arguments: tuple[str, ...]) -> int:
    """Ask this machine's KVM and print its capture (`kvmfw probe --help`); --print-script prints the probe itself, one file."""
    if arguments == ("--print-script",):
        click.echo(Path(kvmfw.probe.__file__).read_text(encoding="utf-8"), nl=False)
        return 0
    try:
        return kvmfw.probe.guarded(list(arguments))
    except SystemExit as left:
        # Its own parser leaves with 2 on wrong usage; here 2 means findings.
        return 0 if not left.code else 1
