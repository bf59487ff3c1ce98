"""An audit as text in every form: tables for people, documents for machines."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from kvmfw.analysis import SHOWN, OpenedFleet, Report, Table
from kvmfw.cli.not_judged import print_not_judged
from kvmfw.cli.screen import ALARM, WIDE, console, heading, outcome_text, table
from kvmfw.provenance import Provenance, provenance
from kvmfw.published import published
from kvmfw.quoting import json_text
from kvmfw.report import Issue, junit, markdown, sarif
from kvmfw.report.html import html_report
from kvmfw.report.words import headline, in_one_sentence, not_done
from kvmfw.verdict import Outcome

__all__ = ["Shown", "print_report"]

COUNTS = ("totals", "same_cpu")


@dataclass(frozen=True)
class Shown:
    """An audit and how to show it."""

    report: Report
    found: Sequence[Issue]
    opened: OpenedFleet
    fleet: Path
    fail_on: frozenset[str]
    top: int
    inputs: Sequence[Path]

    @cached_property
    def made(self) -> Provenance:
        """Where the audit comes from: inputs are read for it once, whatever is written."""
        return provenance(self.inputs)

    def text(self, form: str) -> str:
        """Give the audit in a form of `--format` that is one text."""
        if form == "json":
            body = self.report.to_dict() | {"waived": self._waived()}
            return json_text(published("audit", body, self.made))
        if form == "sarif":
            return json_text(sarif(self.found, self.fleet, self.report.tables["not_judged"]))
        if form == "junit":
            return junit(self.report, self.found, self.fail_on)
        if form == "html":
            title = self.fleet.resolve().name
            return html_report(self.report, self.found, title=title, made=self.made)
        if form == "markdown":
            return markdown(self.report, self.found, top=self.top, made=self.made)
        text = io.StringIO()
        print_report(console(text, width=160), self.report, self.top)
        return text.getvalue()

    def _waived(self) -> list[dict[str, Any]]:
        return [
            {
                "rule": issue.rule,
                "subject": issue.subject,
                "reason": issue.waiver.reason,
                "expires": issue.waiver.expires.isoformat(),
            }
            for issue in self.found
            if issue.waiver is not None
        ]


def print_report(out: Console, report: Report, top: int) -> None:
    """Print the tables of an audit, `top` rows of each."""
    out.print(f"{headline(report)}\n")
    print_not_judged(out, [(row["word"], row["sentence"]) for row in report.tables["not_judged"]])
    out.print(heading(f"{in_one_sentence(report)}.\n"))
    nothing = []
    for part in SHOWN:
        rows = report.tables.get(part.name)
        if rows is None or part.name == "not_judged":
            continue
        if rows:
            _print_part(out, part, rows, top)
        else:
            nothing.append(part.title.lower())
    if nothing:
        out.print(f"None: {', '.join(nothing)}.")
    for why, titles in not_done(report).items():
        out.print(f"Not done: {', '.join(titles)} ({why}).", style=ALARM)


def _print_part(out: Console, part: Table, rows: Sequence[dict[str, object]], top: int) -> None:
    title = heading(part.title)
    title.append(f"  {len(rows):,}" if part.name not in COUNTS else "", style="default not bold")
    out.print(title)
    out.print(part.meaning, style="dim")
    columns = [column for column in part.columns if not column.wide]
    shown = len(rows) if part.name in COUNTS else top
    titles = [column.title for column in columns]
    cells = [[column.show(row) for column in columns] for row in rows[:shown]]
    numbers = [column.title for column in columns if column.number]
    if out.width < WIDE:
        joined = [at for at, column in enumerate(columns) if column.onward]
        titles, *cells = (_onward(row, joined) for row in (titles, *cells))
    out.print(table(titles, [[_coloured(text) for text in row] for row in cells], numbers=numbers))
    if len(rows) > shown:
        out.print(f"and {len(rows) - shown:,} more (--top shows more, --format json all)", style="dim")
    out.print()


def _onward(row: Sequence[str], joined: Sequence[int]) -> list[str]:
    """Put each of the joined cells below the one before it."""
    made: list[str] = []
    for at, text in enumerate(row):
        if at in joined:
            made[-1] += f" →\n{text}"
        else:
            made.append(text)
    return made


def _coloured(text: str) -> str | Text:
    return outcome_text(Outcome[text]) if text in Outcome.__members__ else text
