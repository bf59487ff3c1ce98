"""What a person sees on a terminal: tables that fit, colours that say the outcome."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kvmfw.analysis.not_judged import HOMELESS
from kvmfw.verdict import Outcome

__all__ = [
    "ALARM",
    "as_json",
    "console",
    "heading",
    "note",
    "outcome_text",
    "print_json",
    "print_not_judged",
    "table",
    "working",
]

ALARM = "bold red"

STYLES = {
    Outcome.ACCEPT: "green",
    Outcome.CHANGE: "yellow",
    Outcome.UNKNOWN: "magenta",
    Outcome.REFUSE: "red",
}


def console() -> Console:
    """Make a console for standard output as it is now."""
    return Console(file=sys.stdout, highlight=False, emoji=False)


def note(text: str) -> None:
    """Say something on stderr that is not a result."""
    click.echo(text, err=True)


def as_json(data: Any) -> str:
    """Give JSON: one document, stable order, readable."""
    return json.dumps(data, indent=1, ensure_ascii=False)


def print_json(data: Any) -> None:
    """Print JSON."""
    click.echo(as_json(data))


def outcome_text(outcome: Outcome) -> Text:
    """Give an outcome in its colour."""
    return Text(outcome.name, style=f"bold {STYLES[outcome]}")


@contextmanager
def working(text: str) -> Iterator[None]:
    """Say on a terminal's stderr what takes its time; say nothing to files and pipes."""
    err = Console(file=sys.stderr)
    if not err.is_terminal:
        yield
        return
    with err.status(text):
        yield


def heading(text: str) -> Text:
    """Give a heading."""
    return Text(text, style="bold")


def print_not_judged(out: Console, sentences: Sequence[tuple[str, str]]) -> None:
    """Say first what was not judged: (word, sentence) each; those that fail the gate stand out."""
    if not sentences:
        return
    out.print(heading("Not judged"))
    for word, sentence in sentences:
        text = Text(sentence, style=ALARM if word == HOMELESS else "")
        out.print(Padding(text, (0, 0, 0, 2), expand=False))
    out.print()


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
    if len(title) <= 10 or not breaks:
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
