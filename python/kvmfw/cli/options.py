"""Options that several verbs share."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from kvmfw import _native
from kvmfw.cli.streams import note
from kvmfw.errors import ArgumentError, InputError
from kvmfw.vmms import OWN

__all__ = [
    "VMMS",
    "fail_on_option",
    "folder_argument",
    "format_option",
    "scheme_option",
    "vmm_option",
    "weaker_option",
    "where_option",
]

VMMS = tuple(name for name, *_ in _native.vmms() if name != OWN)
SCHEMES = tuple(_native.schemes())

Verb = TypeVar("Verb", bound=Callable[..., Any])


def fail_on_option(*known: str, default: str) -> Callable[[Verb], Verb]:
    """Add the option --fail-on: words with commas between, or none."""

    def read(ctx: click.Context, param: click.Parameter, value: str) -> frozenset[str]:
        words = frozenset(filter(None, (word.strip() for word in value.split(","))))
        if words == {"none"}:
            return frozenset()
        for word in sorted(words - set(known)):
            raise click.BadParameter(
                f"`{word}` is not known; expected {', '.join(known)} or none", ctx, param
            )
        return words

    return click.option(
        "--fail-on",
        callback=read,
        default=default,
        show_default=True,
        metavar="WORDS",
        help=f"What gives exit code 2: {', '.join(known)} (with commas between), or none.",
    )


def path_type(*, folder: bool | None = None) -> click.Path:
    """Take an existing file or folder; `folder` says which of them."""
    return click.Path(
        exists=True, file_okay=folder is not True, dir_okay=folder is not False, path_type=Path, readable=True
    )


def folder_argument(verb: Verb) -> Verb:
    """Add the argument FLEET."""
    return click.argument("fleet", type=path_type(folder=True))(verb)


def examples(*lines: str) -> str:
    """Give the end of a help text: commands to copy, each on its own line."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def where_option(verb: Verb) -> Verb:
    """Add the option --where."""

    def read(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
        pairs = [value.partition("=") for value in values]
        for name, equals, _ in pairs:
            if not name or not equals:
                raise click.BadParameter(f"`{name}{equals}` is not COLUMN=VALUE", ctx, param)
        return {name: value for name, _, value in pairs}

    return click.option(
        "--where",
        callback=read,
        multiple=True,
        metavar="COLUMN=VALUE",
        help="Keep hosts with this value in hosts.csv (or capture, kernel, cpu), and their VMs.",
    )(verb)


def vmm_option(*more: str, default: str | None = "kvm", is_one: bool = False) -> Callable[[Verb], Verb]:
    """Add the option --vmm, with further words than the restore policies; `is_one`: each pair by its own is no answer."""

    def read(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
        if value == default and ctx.get_parameter_source(param.name or "") is ParameterSource.DEFAULT:
            value = _derived(ctx, param, is_one) or value
        problem = None if value is None or value in more else _native.vmm_problem(value)
        if is_one and value == OWN:
            problem = "here one VMM is needed"
        if problem is not None:
            raise click.BadParameter(f"{problem} (`kvmfw vmms` lists all)", ctx, param)
        return value

    def complete(ctx: click.Context, param: click.Parameter, start: str) -> list[str]:
        del ctx, param
        own = () if is_one else (OWN,)
        return [word for word in (*VMMS, *own, *more) if word.startswith(start)]

    others = (*more, *(() if is_one else ("own, each pair by the VMM that its host, else its VM, tells",)))
    words = f", or {', or '.join(others)}" if others else ""
    return click.option(
        "--vmm",
        callback=read,
        metavar="NAME",
        default=default,
        show_default=default or "that of TARGET",
        shell_complete=complete,
        help=f"How the VMM restores the registers: a name that `kvmfw vmms` lists{words}.",
    )


def _derived(ctx: click.Context, param: click.Parameter, is_one: bool) -> str | None:
    """Give the VMM that the fleet itself tells, if it tells one; it was read before what is not given on the command line."""
    fleet = ctx.params.get("fleet")
    if not isinstance(fleet, Path) or not fleet.is_dir():
        return None
    reader = import_module("kvmfw.readers.told_vmms")
    try:
        told = reader.told_vmm(fleet, ctx.params.get("where", {}))
    except ArgumentError as error:
        # Nobody gave --vmm: what is wrong stands in the fleet.
        problem = f"in the column `vmm`: {error} (`kvmfw vmms` lists all; --vmm names another to judge by)"
        raise InputError(problem, file=str(fleet)) from error
    if told is None:
        return None
    name: str = told.name
    if name == OWN and is_one:
        part = " (or with `--where vmm=...` some of them)" if told.whose == "hosts" else ""
        problem = f"the {told.whose} have several VMMs: {told.listed}; name the one to judge by{part}"
        raise click.BadParameter(problem, ctx, param)
    note(f"kvmfw: {told} (--vmm names another)")
    return name


def scheme_option(verb: Verb) -> Verb:
    """Add the option --scheme."""
    return click.option(
        "--scheme",
        type=click.Choice(SCHEMES),
        default="kvm",
        show_default=True,
        help="Who judges: the target's KVM, the generic comparison of low 4 bits, or equality.",
    )(verb)


def weaker_option(verb: Verb) -> Verb:
    """Add the option --weaker."""
    return click.option(
        "--weaker", is_flag=True, help="Propose upgrades to hosts with weaker security (mitigations) as well."
    )(verb)


def format_option(*formats: str) -> Callable[[Verb], Verb]:
    """Add the option --format."""
    return click.option(
        "--format",
        "form",
        type=click.Choice(formats),
        default=formats[0],
        show_default=True,
        help="What to print on standard output.",
    )
