"""`schema`: the published schemas."""

from __future__ import annotations

from importlib import resources

import click

__all__ = ["schema"]


@click.command()
@click.argument("document", type=click.Choice(["capture", "register-set"]))
def schema(document: str) -> None:
    """Print the JSON Schema of a format."""
    click.echo(resources.files("kvmfw").joinpath("schemas", f"{document}.json").read_text("utf-8"), nl=False)
