"""Where results go: standard output or a file."""

from __future__ import annotations

from pathlib import Path

import click

from kvmfw.files import write_whole

__all__ = ["output_option", "print_or_write"]

output_option = click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Where to write instead of standard output.",
)


def print_or_write(text: str, output: Path | None) -> None:
    """Print a text, or write it to a file; a file appears whole or not at all."""
    if output is None:
        click.echo(text, nl=not text.endswith("\n"))
    else:
        write_whole(output, text if text.endswith("\n") else f"{text}\n")
