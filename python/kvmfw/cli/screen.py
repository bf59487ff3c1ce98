"""What a person sees on a terminal: tables that fit, colours that say the outcome."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import click
from rich import box
from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from kvmfw.provenance import provenance
from kvmfw.published import published
from kvmfw.quoting import json_text, printable
from kvmfw.registers import register_name
from kvmfw.verdict import Outcome

__all__ = [
    "ALARM",
    "WIDE",
    "console",
    "heading",
    "named_register",
    "outcome_text",
    "print_json",
    "table",
    "working",
]

ALARM = "bold red"
WIDE = 120
"""Columns of letters from which a table has room for all that it can say."""

STYLES = {
    Outcome.ACCEPT: "green",
    Outcome.CHANGE: "yellow",
    Outcome.UNKNOWN: "magenta",
    Outcome.REFUSE: "red",
}


@dataclass(frozen=True)
class _Harmless:
    """What is shown, without letters that steer a terminal: names may hold any."""

    shown: Any

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self.shown, options):
            lines = map(printable, segment.text.split("\n"))
            yield Segment("\n".join(lines), segment.style, segment.control)


class _HarmlessNames(RenderHook):
    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Harmless(one) for one in renderables]


def console(file: TextIO | None = None, width: int | None = None) -> Console:
    """Make a console, for standard output as it is now where nothing else is given."""
    made = Console(file=file or sys.stdout, width=width, highlight=False, emoji=False)
    made.push_render_hook(_HarmlessNames())
    return made


def print_json(name: str, body: Mapping[str, Any], inputs: Iterable[Path] = ()) -> None:
    """Print the document of a format of `kvmfw.published`."""
    click.echo(json_text(published(name, body, provenance(inputs))))


def named_register(register: int) -> dict[str, str]:
    """Give a register as documents have it: its id and its name."""
    return {"register": f"{register:#x}", "name": register_name(register)}


def outcome_text(outcome: Outcome) -> Text:
    """Give an outcome in its colour."""
    return Text(outcome.name, style=f"bold {STYLES[outcome]}")


@contextmanager
def working(text: str) -> Iterator[Callable[[int], None] | None]:
    """Say on a terminal's stderr what takes its time; say nothing to files and pipes.

    Gives who may be told how far the piece of work at hand is, in thousandths.
    """
    err = Console(file=sys.stderr)
    if not err.is_terminal:
        yield None
        return
    with err.status(text) as status:
        yield lambda permille: status.update(f"{text} {permille // 10:3} %")


def heading(text: str) -> Text:
    """Give a heading."""
    return Text(text, style="bold")


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, numbers: Sequence[str] = ()) -> Table:
    """Make a table; columns named in `numbers` are right-aligned and keep their width."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for name in columns:
        if name in numbers:
            made.add_column(_two_lines(name), justify="right", no_wrap=True)
        else:
            made.add_column(name, overflow="fold")
    for row in rows:
        made.add_row(*(_cell(value) for value in row))
    return made


def _two_lines(title: str) -> str:
    """Break a long title in the middle: columns of numbers are narrower than what they are called."""
    breaks = [at for at, letter in enumerate(title) if letter == " "]
    if len(title) <= 6 or not breaks:
        return title
    middle = min(breaks, key=lambda at: abs(at - len(title) / 2))
    return f"{title[:middle]}\n{title[middle + 1 :]}"


def _cell(value: Any) -> Text:
    if isinstance(value, Text):
        return value
    if value is None:
        return Text("-", style="dim")
    if isinstance(value, Outcome):
        return outcome_text(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return Text(f"{value:,}")
    return Text(str(value))
