"""Markdown: the audit for a ticket or a pull request."""

from __future__ import annotations

from collections.abc import Sequence

from kvmfw.analysis import SHOWN, Report
from kvmfw.provenance import Provenance
from kvmfw.quoting import markdown_cell
from kvmfw.report.issues import Issue
from kvmfw.report.words import headline, in_one_sentence, not_done

__all__ = ["markdown"]


def markdown(report: Report, found: Sequence[Issue], *, top: int, made: Provenance) -> str:
    """Give an audit as Markdown, `top` rows of each table; `made` says where it comes from."""
    lines = [
        "# Fleet audit",
        "",
        f"**{markdown_cell(in_one_sentence(report))}.**",
        "",
        f"{headline(report)}.",
        "",
    ]
    for part in SHOWN:
        rows = report.tables.get(part.name)
        if rows is None:
            continue
        lines += [f"## {part.title} ({len(rows):,})", "", part.meaning, ""]
        if not rows:
            lines += [f"{part.empty}", ""]
            continue
        shown = len(rows) if part.name in ("totals", "same_cpu", "not_judged") else top
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
    lines += [f"Made {made.made} by kvmfw {made.kvmfw} (`{markdown_cell(' '.join(made.command))}`) from:", ""]
    lines += [f"- {markdown_cell(one.name)}, SHA-256 {one.sha256 or 'unknown'}" for one in made.inputs]
    return "\n".join([*lines, ""])


def _reason(issue: Issue) -> str:
    return f"{issue.waiver.reason}, until {issue.waiver.expires}" if issue.waiver else ""
