"""`schema`: the published schemas."""

from __future__ import annotations

from importlib import resources

import click

from kvmfw.published import FORMATS
from kvmfw.published.schemas import schema_of
from kvmfw.quoting import json_text

__all__ = ["schema"]

INPUTS = ("capture", "register-set")


@click.command(short_help="Print the JSON Schema of a format.")
@click.argument("document", type=click.Choice([*INPUTS, *FORMATS]))
def schema(document: str) -> None:
    """Print the JSON Schema of a format: of captures and register sets, and of what the verbs print with --format json."""
    if document in INPUTS:
        click.echo(
            resources.files("kvmfw").joinpath("schemas", f"{document}.json").read_text("utf-8"), nl=False
        )
    else:
        click.echo(json_text(schema_of(document)))
