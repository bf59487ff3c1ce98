"""Writing results: whole files or nothing."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

import click

__all__ = ["output_option", "print_or_write", "write_whole"]

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


def write_whole(path: Path, text: str) -> None:
    """Write a file under another name first, so that an interruption leaves no half of it."""
    handle, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(draft).chmod(0o644)
        Path(draft).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(draft).unlink()
        raise
