"""The verb `help`: what a verb does, as `kvmfw VERB --help` says it."""

from __future__ import annotations

import click

__all__ = ["help"]


@click.command(short_help="Explain a verb, or list all.")
@click.argument("verb", default="")
@click.pass_context
def help(ctx: click.Context, verb: str) -> None:  # noqa: A001
    """Explain VERB with its options and examples; without VERB, list all verbs."""
    above = ctx.find_root()
    if not verb:
        click.echo(above.get_help())
        return
    assert isinstance(above.command, click.Group)
    command = above.command.get_command(above, verb)
    if command is None:
        raise click.UsageError(f"there is no verb `{verb}`; `kvmfw help` lists all", ctx)
    with click.Context(command, parent=above, info_name=verb) as told:
        click.echo(command.get_help(told))
