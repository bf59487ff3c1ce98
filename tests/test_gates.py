"""The gates that fleets have today against plain loops."""

from __future__ import annotations

from pathlib import Path

import pytest

import kvmfw
from kvmfw import Outcome
from kvmfw.analysis import open_fleet
from kvmfw.analysis.gates import GATES, score_gates
from kvmfw.analysis.opened import capture_documents
from kvmfw.testing import tiny_host, tiny_set

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_gates_equal_plain_loops() -> None:
    opened, documents = open_fleet(EXAMPLES), capture_documents(EXAMPLES)
    captures, homes = opened.columns["capture"], opened.fleet.vm_homes.tolist()
    truth = {
        (v, h): Outcome(opened.fleet.validate_pairs([v], [h])[0])
        for v in range(len(homes))
        for h in range(len(captures))
        if h != homes[v]
    }
    for score in score_gates(opened.fleet, captures, documents):
        keys = [score.gate.key(documents[name]) for name in captures]
        allowed = {(v, h): keys[homes[v]] == keys[h] for v, h in truth}
        lost = [pair for pair, outcome in truth.items() if outcome < Outcome.UNKNOWN and not allowed[pair]]
        assert score.pairs == len(truth)
        assert score.allowed == sum(allowed.values())
        assert score.wrongly_allowed == sum(
            allowed[pair] and outcome is Outcome.REFUSE for pair, outcome in truth.items()
        )
        assert score.wrongly_forbidden == len(lost)
        assert score.vms == len({v for v, _ in lost})
        by_captures = {(captures[homes[v]], captures[h]) for v, h in lost}
        assert {(row.source, row.target) for row in score.relaxed} <= by_captures
        assert len(by_captures) > 100 or sum(row.pairs for row in score.relaxed) == len(lost)
    assert {score.gate.name for score in score_gates(opened.fleet, captures, documents)} == {
        gate.name for gate in GATES
    }


def test_no_gate_of_today_is_both_safe_and_free_on_the_examples() -> None:
    opened = open_fleet(EXAMPLES)
    for score in score_gates(opened.fleet, opened.columns["capture"], capture_documents(EXAMPLES)):
        assert score.wrongly_allowed or score.wrongly_forbidden


def test_a_vm_without_a_home_is_not_counted_and_a_missing_document_is_an_error() -> None:
    fleet = kvmfw.Fleet([tiny_set(workaround_3=1)], [tiny_host(workaround_3=1, name="a")])
    with pytest.raises(kvmfw.ArgumentError, match="capture `a` is not there"):
        score_gates(fleet, ["a"], {})
    documents = capture_documents(EXAMPLES)
    (first,) = list(documents)[:1]
    assert all(score.pairs == 0 for score in score_gates(fleet, [first], documents))
