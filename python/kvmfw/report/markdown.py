"""Markdown: the audit for a ticket or a pull request."""

from __future__ import annotations

from collections.abc import Sequence

from kvmfw.analysis import SHOWN, Report
from kvmfw.quoting import markdown_cell
from kvmfw.report.issues import Issue
from kvmfw.report.words import headline, not_done

__all__ = ["markdown"]


def markdown(report: Report, found: Sequence[Issue], *, top: int) -> str:
    """Give an audit as Markdown, `top` rows of each table."""
    lines = ["# Fleet audit", "", f"{headline(report)}.", ""]
    for part in SHOWN:
        rows = report.tables.get(part.name)
        if rows is None:
            continue
        lines += [f"## {part.title} ({len(rows):,})", "", part.meaning, ""]
        if not rows:
            lines += [f"{part.empty}", ""]
            continue
        shown = len(rows) if part.name in ("totals", "not_judged") else top
        lines.append("| " + " | ".join(column.title for column in part.columns) + " |")
        lines.append("|" + "|".join("---:" if column.number else "---" for column in part.columns) + "|")
        lines += [
            "| " + " | ".join(markdown_cell(str(column.show(row))) for column in part.columns) + " |"
            for row in rows[:shown]
        ]
        if len(rows) > shown:
            lines += ["", f"and {len(rows) - shown:,} more"]
        lines.append("")
    for why, titles in not_done(report).items():
        lines += [f"**Not done**: {', '.join(titles)} ({markdown_cell(why)}).", ""]
    waived = [issue for issue in found if issue.waiver is not None]
    if waived:
        lines += [f"## Waived ({len(waived):,})", ""]
        lines += [
            f"- {markdown_cell(i.message)} ({i.rule}): {markdown_cell(_reason(i))}" for i in waived[:top]
        ]
        lines.append("")
    return "\n".join(lines)


def _reason(issue: Issue) -> str:
    return f"{issue.waiver.reason}, until {issue.waiver.expires}" if issue.waiver else ""
