"""The report as one HTML file: nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from jinja2 import Environment, Template
from markupsafe import Markup, escape

import kvmfw
from kvmfw.analysis import SHOWN, Report, Table, unit_outcomes
from kvmfw.analysis.frame import Ints
from kvmfw.analysis.keys import numbered
from kvmfw.analysis.tables import Column, Row
from kvmfw.provenance import Provenance
from kvmfw.quoting import printable
from kvmfw.report.charts import COLOURS, blocker_bars, heat_map, trap_graph
from kvmfw.report.issues import Issue
from kvmfw.report.shown import MOST_ALIKE, Classes, shown_classes
from kvmfw.report.words import headline, in_one_sentence
from kvmfw.verdict import Outcome

__all__ = ["html_report"]

MEANINGS = {
    "ACCEPT": "taken, and the guest goes on as it was",
    "CHANGE": "taken, but the guest will not see exactly what was saved",
    "UNKNOWN": "not known; the table of unknowns says what would tell",
    "REFUSE": "the restore fails",
}
ROWS_SHOWN = 20
_BETWEEN = re.compile(r"`([^`\n]+)`")
ROWS_KEPT = 20_000
# Of so many pairs of classes at once it is asked what stands in the way.
MOST_PAIRS = 1 << 18


def html_report(report: Report, found: Sequence[Issue], *, title: str, made: Provenance | None = None) -> str:
    """Give an audit as one HTML document.

    Parameters
    ----------
    report : Report
        The audit.
    found : sequence of Issue
        Its issues; those with a waiver are listed with their reason.
    title : str
        The fleet's name.
    made : Provenance, optional
        Where it comes from; without it the page says so.

    """
    shown = shown_classes(report)
    heat, place = heat_map(report, shown) if shown.cells.size else ("", {})
    graph, left_out = trap_graph(report)
    present = report.tables.keys() | report.not_done.keys()
    sections = [
        _section(part, report)
        for part in SHOWN
        if part.name in present and part.name not in ("not_judged", "totals", "same_cpu")
    ]
    text: str = _template().render(
        title=title,
        version=kvmfw.__version__,
        headline=headline(report),
        sentence=in_one_sentence(report),
        made=made,
        meanings=MEANINGS,
        same_cpu=report.tables.get("same_cpu", []),
        rows_shown=ROWS_SHOWN,
        facts=report.facts,
        cards=_cards(report),
        not_judged=report.tables["not_judged"],
        totals=report.tables["totals"],
        colours=dict(zip((outcome.name for outcome in Outcome), COLOURS, strict=True)),
        sections={section["table"]: section for section in sections},
        order=[section["table"] for section in sections],
        heat=Markup(heat),
        heat_size=shown.cells.shape,
        heat_left_out=(shown.vms_left_out, shown.hosts_left_out),
        graph=Markup(graph),
        graph_left_out=left_out,
        bars=Markup(blocker_bars(report)),
        classes=report.tables["host_classes"],
        waived=[issue for issue in found if issue.waiver is not None],
        data=Markup(_json(_classes(report, shown, place))),
    )
    return text


@cache
def _template() -> Template:
    source = resources.files("kvmfw").joinpath("report", "template.html").read_text("utf-8")
    made_of = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, finalize=_harmless)
    made_of.filters["code"] = _code
    return made_of.from_string(source)


def _harmless(value: Any) -> Any:
    """Give text without letters that steer a terminal or turn what is read around; what is markup already has none."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _code(text: str) -> Markup:
    """Give lines of text with what stands between backticks as code."""
    return Markup(_BETWEEN.sub(r"<code>\1</code>", str(escape(_lines(text)))))


def _json(data: Any) -> str:
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
    return printable(text)


def _cards(report: Report) -> list[dict[str, str]]:
    facts, tables = report.facts, report.tables
    vms = facts["vms"] or 1
    totals = {row["outcome"]: row for row in tables["totals"]}
    counted = zip(Outcome, report.frame.counts_as_taken.tolist(), strict=True)
    taken = sum(totals[outcome.name]["share"] for outcome, counts in counted if counts)
    stranded, few, traps, drain = (
        tables.get(name, []) for name in ("stranded", "few_targets", "traps", "drain")
    )
    blocked = [row for row in drain if not row["drains"]]
    what = (
        ("stranded", len(stranded), "stranded VMs", f"{len(stranded) / vms:.1%} of {facts['vms']:,}"),
        (
            "few_targets",
            len(few),
            f"VMs with targets, but fewer than {facts['few']}",
            f"{len(few) / vms:.1%}",
        ),
        ("traps", len(traps), "one-way traps", f"{sum(row['residents'] for row in traps):,} VMs in them"),
        ("drain", len(blocked), "hosts that cannot be emptied", f"of {len(drain):,} with VMs"),
    )
    cards = [
        _card(name, "not done", words, "see what was not judged", True)
        if name in report.not_done
        else _card(name, f"{count:,}", words, more, count > 0)
        for name, count, words, more in what
    ]
    unknown = f"{totals['UNKNOWN']['share']:.1%} unknown"
    return [*cards, _card("heat", f"{taken:.1%}", "of pairs taken", unknown, False)]


def _card(link: str, number: str, what: str, more: str, alarm: bool) -> dict[str, str]:
    return {"link": link, "number": number, "what": what, "more": more, "kind": "alarm" if alarm else "calm"}


def _section(part: Table, report: Report) -> dict[str, Any]:
    rows = report.tables.get(part.name, [])
    why = report.not_done.get(part.name)
    shown = [_cells(column, rows[:ROWS_KEPT]) for column in part.columns]
    return {
        "table": part.name,
        "title": part.title,
        "meaning": part.meaning,
        "empty": part.empty if why is None else f"Not done: {why}.",
        "done": why is None,
        "count": len(rows),
        "left_out": max(len(rows) - ROWS_KEPT, 0),
        "columns": part.columns,
        "rows": list(zip(*(column[:ROWS_SHOWN] for column in shown), strict=True)),
        "all": Markup(_json(shown)) if len(rows) > ROWS_SHOWN else None,
    }


def _cells(column: Column, rows: Sequence[Row]) -> list[str]:
    """Show a column; what is drawn later is the same text as what stands there first."""
    texts = list(map(column.show, rows))
    if "".join(texts).isprintable():
        return texts
    return [_lines(text) for text in texts] if column.sentence else [printable(text) for text in texts]


def _lines(text: str) -> str:
    return "\n".join(map(printable, text.split("\n")))


def _classes(report: Report, shown: Classes, place: dict[str, float]) -> dict[str, Any]:
    """Give what the script needs to tell what stands in the way of a pair of classes."""
    frame, (vms, hosts) = report.frame, (shown.vms, shown.hosts)
    set_of, sets = _in_the_way(report, shown)
    labels = {row["class"]: printable(row["label"]) for row in report.tables["host_classes"]}
    cpus = {row["class"]: printable(", ".join(row.get("cpu", []))) for row in report.tables["host_classes"]}
    listed = set(hosts.tolist())
    said = (report.census.unit, report.census.host_class, report.census.outcome)
    examples = {}
    for unit, host, outcome in zip(*(column.tolist() for column in said), strict=True):
        if host in listed:
            finding = report.samples.finding(unit, host, Outcome(outcome))
            examples[f"{unit} {host} {outcome}"] = (
                f"{finding.outcome.name} {finding.rule}: {finding.sentence}"
            )
    return {
        "place": place,
        "vms": vms.tolist(),
        "vmWeights": [int(frame.class_vms[group].sum()) for group in shown.alike],
        "vmNames": [printable(name) for name in frame.vm_names(frame.first_rows()[0][vms])],
        "alike": {one: row for row, group in enumerate(shown.alike) for one in group[1:MOST_ALIKE]},
        "alikeCounts": [len(group) for group in shown.alike],
        "vmCpus": _cpus_of_vms(report, shown, cpus),
        "hostCpus": [cpus[host] for host in hosts.tolist()],
        "hosts": hosts.tolist(),
        "hostLabels": [labels[host] for host in hosts.tolist()],
        "hostWeights": frame.host_weight[hosts].tolist(),
        "setOf": _packed(set_of.astype("<u4")),
        "sets": sets,
        "units": frame.fleet.units,
        "examples": examples,
    }


def _cpus_of_vms(report: Report, shown: Classes, cpus: dict[int, str]) -> list[str]:
    """Give for each row the CPU that its VMs run on; nothing where it is not known or they run on several."""
    frame = report.frame
    row_of = np.full(frame.fleet.class_shape[0], -1, dtype=np.int64)
    for row, group in enumerate(shown.alike):
        row_of[group] = row
    names = sorted({*cpus.values(), ""})
    number = {name: at for at, name in enumerate(names)}
    cpu_of = np.full(frame.fleet.class_shape[1], number[""], dtype=np.int64)
    cpu_of[list(cpus)] = [number[name] for name in cpus.values()]
    rows = row_of[frame.group_vm_class]
    known = (frame.group_home_class >= 0) & (rows >= 0)
    on = np.zeros((len(shown.alike), len(names)), dtype=np.bool_)
    on[rows[known], cpu_of[frame.group_home_class[known]]] = True
    return [
        names[cpu] if several == 1 else ""
        for cpu, several in zip(on.argmax(axis=1).tolist(), on.sum(axis=1).tolist(), strict=True)
    ]


def _in_the_way(report: Report, shown: Classes) -> tuple[Ints, list[list[int]]]:
    """Give for each cell the number of a set of units, and the sets."""
    width = report.frame.fleet.class_shape
    row_of, column_of = np.full(width[0], -1, dtype=np.int64), np.full(width[1], -1, dtype=np.int64)
    row_of[shown.vms], column_of[shown.hosts] = np.arange(len(shown.vms)), np.arange(len(shown.hosts))
    set_of = np.zeros(shown.cells.shape, dtype=np.int64)
    sets: dict[bytes, int] = {b"": 0}
    vms, at_once = np.sort(shown.vms), max(MOST_PAIRS // width[1], 1)
    for start in range(0, len(vms), at_once):
        units = unit_outcomes(report.frame, vms[start : start + at_once])
        listed = column_of[units.host_class] >= 0
        row, column = row_of[units.vm_class[listed]], column_of[units.host_class[listed]]
        number_of = units.unit[listed]
        if not len(row):
            continue
        is_first = np.r_[True, (row[1:] != row[:-1]) | (column[1:] != column[:-1])][: len(row)]
        starts = np.flatnonzero(is_first)
        # Many cells have the same units, which are told once.
        bits = np.zeros((len(starts), -(-len(report.frame.fleet.units) // 32) * 32), dtype=np.bool_)
        bits[np.cumsum(is_first) - 1, number_of] = True
        same = np.zeros(len(starts), dtype=np.int64)
        for word in np.packbits(bits, axis=1).view(np.uint32).astype(np.int64).T:
            same = numbered(same * len(starts) + numbered(word)[2])[2]
        _, first = np.unique(same, return_index=True)
        ends = np.r_[starts[1:], len(row)]
        numbers = [
            sets.setdefault(number_of[starts[at] : ends[at]].tobytes(), len(sets)) for at in first.tolist()
        ]
        set_of[row[starts], column[starts]] = np.array(numbers, dtype=np.int64)[same]
    return set_of, [np.frombuffer(one, dtype=np.int64).tolist() for one in sets]


def _packed(array: Any) -> str:
    return base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes())).decode("ascii")
