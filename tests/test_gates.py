"""The gates that fleets have today against plain loops, and as a chapter of the report."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import kvmfw
from kvmfw import Outcome
from kvmfw.analysis import examine, make_frame, not_judged, open_fleet
from kvmfw.analysis.gates import GATES, GateScore, score_gates
from kvmfw.analysis.opened import capture_documents
from kvmfw.report import issues
from kvmfw.report.html import html_report
from kvmfw.testing import tiny_host, tiny_set
from tests.support.command import run
from tests.support.slow_audit import random_fleet

EXAMPLES = Path(__file__).parents[1] / "examples"
TAKEN = (Outcome.ACCEPT, Outcome.CHANGE)


def slow_scores(
    fleet: kvmfw.Fleet,
    captures: Sequence[str],
    documents: Mapping[str, Any],
    rows: Sequence[int] | None = None,
) -> list[tuple[Any, ...]]:
    """Count every pair of a VM and another host, one by one; `rows`: only on these hosts."""
    homes = fleet.vm_homes.tolist()
    hosts = range(len(captures)) if rows is None else rows
    truth = {
        (v, h): Outcome(fleet.validate_pairs([v], [h])[0])
        for v, home in enumerate(homes)
        if home in hosts
        for h in hosts
        if h != home
    }
    scores = []
    for gate in GATES:
        keys = {name: gate.key(documents[name]) for name in set(captures)}
        allowed = {(v, h): keys[captures[homes[v]]] == keys[captures[h]] for v, h in truth}
        lost = [pair for pair, outcome in truth.items() if outcome in TAKEN and not allowed[pair]]
        pairs = Counter((captures[homes[v]], captures[h]) for v, h in lost)
        vms = {(v, captures[homes[v]], captures[h]) for v, h in lost}
        moves = Counter((source, target) for _, source, target in vms)
        relaxed = sorted(
            ((*both, moves[both], count) for both, count in pairs.items()), key=lambda row: (-row[3], row[:2])
        )
        scores.append(
            (
                gate.name,
                len(truth),
                sum(allowed.values()),
                sum(allowed[pair] and outcome is Outcome.REFUSE for pair, outcome in truth.items()),
                len(lost),
                sum(outcome is Outcome.UNKNOWN for outcome in truth.values()),
                len({v for v, _ in lost}),
                relaxed[:100],
            )
        )
    return scores


def told(scores: Sequence[GateScore]) -> list[tuple[Any, ...]]:
    return [
        (
            one.gate.name,
            one.pairs,
            one.allowed,
            one.wrongly_allowed,
            one.wrongly_forbidden,
            one.undecided,
            one.vms,
            [(row.source, row.target, row.vms, row.pairs) for row in one.relaxed],
        )
        for one in scores
    ]


def test_gates_equal_plain_loops() -> None:
    opened, documents = open_fleet(EXAMPLES), capture_documents(EXAMPLES)
    captures = opened.columns["capture"]
    found = score_gates(make_frame(opened.fleet), captures, documents)
    assert told(found) == slow_scores(opened.fleet, captures, documents)


@pytest.mark.parametrize("seed", range(12))
def test_gates_of_random_fleets_and_of_some_of_their_hosts_equal_plain_loops(seed: int) -> None:
    made = random_fleet(seed)
    fleet = kvmfw.Fleet(made.vms, made.hosts)
    documents = {one["host"]["name"]: one for one in made.captures}
    captures = [host._native.name for host in made.hosts]
    assert told(score_gates(make_frame(fleet), captures, documents)) == slow_scores(
        fleet, captures, documents
    )
    kept = [row for row, zone in enumerate(made.zone) if zone == made.zone[0]]
    frame = make_frame(fleet, columns={"zone": made.zone}, where={"zone": made.zone[0]})
    assert told(score_gates(frame, captures, documents)) == slow_scores(fleet, captures, documents, kept)


def test_no_gate_of_today_is_both_safe_and_free_on_the_examples() -> None:
    opened = open_fleet(EXAMPLES)
    for score in score_gates(
        make_frame(opened.fleet), opened.columns["capture"], capture_documents(EXAMPLES)
    ):
        assert score.wrongly_allowed or score.wrongly_forbidden


def test_a_vm_without_a_home_is_not_counted_and_a_missing_document_is_an_error() -> None:
    fleet = kvmfw.Fleet([tiny_set(workaround_3=1)], [tiny_host(workaround_3=1, name="a")])
    with pytest.raises(kvmfw.ArgumentError, match="capture `a` is not there"):
        score_gates(make_frame(fleet), ["a"], {})
    documents = capture_documents(EXAMPLES)
    (first,) = list(documents)[:1]
    assert all(score.pairs == 0 for score in score_gates(make_frame(fleet), [first], documents))


# --- the chapter of the report --------------------------------------------------------------------


def test_the_report_asks_what_schemes_asks() -> None:
    audited = json.loads(run("audit", EXAMPLES, "--format", "json").stdout)
    compared = json.loads(run("schemes", EXAMPLES, "--gates", "--format", "json").stdout)["gates"]
    assert [one | {"relaxed": None} for one in compared] == [
        one | {"relaxed": None} for one in audited["gates"]
    ]
    assert [{"gate": one["gate"], **row} for one in compared for row in one["relaxed"]] == audited["relaxed"]


def test_the_chapter_names_every_gate_with_its_source_and_numbers() -> None:
    page, text = (run("audit", EXAMPLES, "--format", form).stdout for form in ("html", "markdown"))
    (chapter,) = [part for part in page.split("<section ") if part.startswith('id="gates"')]
    rows = json.loads(run("audit", EXAMPLES, "--format", "json").stdout)["gates"]
    for row, gate in zip(rows, GATES, strict=True):
        for form in (chapter, text):
            assert gate.who.replace("'", "&#39;") in form or gate.who in form
            assert gate.compares.replace("'", "&#39;") in form or gate.compares in form
            assert f"{row['wrongly_allowed']:,}" in form
            assert f"{row['wrongly_forbidden']:,}" in form
    shown = run("audit", EXAMPLES, width=80).stdout
    assert "What the gates of today would do here" in shown


def test_gates_that_cannot_be_compared_are_not_done(monkeypatch: pytest.MonkeyPatch) -> None:
    opened, documents = open_fleet(EXAMPLES), capture_documents(EXAMPLES)
    frame = make_frame(opened.fleet, columns=opened.columns)
    first = next(iter(documents))
    report = examine(
        frame, columns=opened.columns, documents={k: v for k, v in documents.items() if k != first}
    )
    assert report.not_done["gates"].startswith("1 of 22 hosts have no capture of the probe")
    assert {"gates", "relaxed"} & report.tables.keys() == set()
    assert report.to_dict()["gates"] is None
    (chapter,) = [
        part
        for part in html_report(report, issues(report), title="f").split("<section ")
        if part.startswith('id="gates"')
    ]
    assert "Not done: 1 of 22" in chapter
    monkeypatch.setattr(not_judged, "_MOST_COMPARED", 10)
    left = examine(frame, columns=opened.columns, documents=documents)
    assert "schemes --gates" in left.not_done["gates"]


def test_without_homes_gates_are_not_done_and_without_documents_not_asked_for() -> None:
    fleet = kvmfw.Fleet([tiny_set(name="v")], [tiny_host(name="a"), tiny_host(name="b")])
    columns = {"capture": ["a", "b"]}
    report = examine(make_frame(fleet), columns=columns, documents={"a": {}, "b": {}})
    assert "no known home" in report.not_done["gates"]
    assert "gates" not in examine(make_frame(fleet), columns=columns).to_dict()
