"""The verb `why`: what a line of a log means."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import click
from rich.console import Console

from kvmfw.cli.options import examples, format_option, path_type, vmm_option
from kvmfw.cli.screen import console, outcome_text, print_json
from kvmfw.errors import InputError
from kvmfw.messages import Explained, Told, explain, in_the_way, read_messages
from kvmfw.readers.source import opened
from kvmfw.sets import Host, RegisterSet

__all__ = ["why"]

_LONGEST = 1 << 16
EXPECTED = (
    "expected lines of QEMU, Firecracker, cloud-hypervisor, gem5, strace or the kernel's KVM tests that name a register, "
    "or a register with its value, such as `ID_AA64PFR0_EL1 0x1100000011111112`"
)


@click.command(
    short_help="Explain an error message, a log, or a register with its value.",
    epilog=examples(
        "kvmfw why 'Could not set register fw reg 3 to 2 (is 1)'",
        "kvmfw why 0x6030000000140003 0x2 --host host.json",
        "journalctl -u libvirtd | kvmfw why -",
    ),
)
@click.argument("text", nargs=-1, required=True)
@click.option("--host", type=path_type(), help="The target's capture: judges what the message is about.")
@click.option(
    "--vm", type=path_type(), help="The VM's register set, for the value where the message has none."
)
@vmm_option()
@format_option("table", "json")
def why(*, text: tuple[str, ...], host: Path | None, vm: Path | None, vmm: str, form: str) -> None:
    """Say what TEXT means: which register and field, which rule of KVM refused, on which kernels, what to do.

    TEXT is a message, a file of them (a log), or - for standard input. Each line may hold other things too; what is
    no message is passed over. With --host, and --vm, what the message is about is judged as well.
    """
    if vm is not None and host is None:
        raise click.UsageError("--vm is judged on a host: name its capture with --host")
    capture = None if host is None else Host.load(host)
    saved = None if vm is None else RegisterSet.load(vm)
    read = [*read_messages(_lines(text))]
    found = [explain(told, capture, saved, vmm=vmm) for told in in_the_way(read)]
    if not found:
        raise InputError(f"no message that kvmfw knows; {EXPECTED}")
    if form == "json":
        inputs = [path for path in (host, vm) if path is not None]
        print_json("messages", {"messages": [one.to_dict() for one in found]}, inputs)
        return
    out = console()
    alike: dict[Told, list[Explained]] = {}
    for one in found:
        alike.setdefault(replace(one.told, line=0, text=""), []).append(one)
    for same in alike.values():
        _print(out, same[0], len(same) - 1)


def _lines(text: tuple[str, ...]) -> Iterable[str]:
    joined = " ".join(text)
    if joined == "-":
        return _lines_of(sys.stdin.buffer)
    path = Path(joined)
    if len(text) == 1 and "\n" not in joined and len(joined) < 4096 and path.is_file():
        return _lines_of_file(path)
    return joined.splitlines()


def _lines_of_file(path: Path) -> Iterator[str]:
    with opened(path) as file:
        yield from _lines_of(file)


def _lines_of(file: BinaryIO) -> Iterator[str]:
    """Read lines of any length; what is longer than a line of a log is read in pieces."""
    while line := file.readline(_LONGEST):
        yield line.decode("utf-8", "replace")


def _print(out: Console, one: Explained, more: int) -> None:
    """Print a message, and how many more lines say the same: each vCPU of a VM says it."""
    told = one.told
    about = (
        told.about.value if told.register is None else f"{one.name} ({told.register:#x}): {told.about.value}"
    )
    others = f" and {more:,} more" if more else ""
    out.print(f"line {told.line}{others}, {told.speaker}: {about}", style="bold", soft_wrap=True)
    rows = [("message", told.text)]
    if told.counts is not None:
        rows.append(("registers", f"{told.counts[0]} saved, at most {told.counts[1]} are taken"))
    if told.saved is not None:
        own = "" if told.own is None else f", the target has {told.own:#x}"
        rows.append(("value", f"{told.saved:#x}{own}"))
    if told.errno is not None:
        rows.append(("error", told.errno))
    if told.field is not None:
        rows.append(("field", f"{one.name}.{told.field}"))
    named = any(field.name for field in one.fields)
    for field in one.fields if named else ():
        place = field.name or (
            f"bit {field.low}" if field.high == field.low else f"bits {field.high}:{field.low}"
        )
        rows.append(("field", f"{one.name}.{place}: saved {field.saved:#x}, the target has {field.own:#x}"))
    if one.rule is not None:
        rows.append(("rule", f"{one.rule.id}: {one.rule.meaning}"))
        rows.append(("source", one.rule.source))
    if one.takes is not None:
        rows.append(("KVM takes", one.takes))
    if one.listed_by is not None:
        rows.append(("listed by", one.listed_by))
    rows.append(("what to do", one.cure))
    for word, value in rows:
        out.print(f"  {word + ':':<12}{value}", soft_wrap=True)
    for finding in one.findings:
        line = outcome_text(finding.outcome)
        line.append(f"  {finding.sentence} ({finding.rule}, {finding.evidence})", style="default not bold")
        out.print("  ", line, soft_wrap=True)
    out.print()
