"""Every golden vector, judged by the engine and by the oracle: both must say what was written by hand."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

import kvmfw
from tests.support import golden, golden_oracle
from tests.support.fleets import WAYS, direct, fleet_of
from tests.support.golden import Case, Expected

CASES = golden.cases()
Verdict = tuple[str, tuple[Expected, ...]]


def by_engine(case: Case) -> Verdict:
    verdict = kvmfw.validate(case.register_set(), case.target(), vmm=case.vmm, state=case.state)
    return verdict.outcome.name, tuple(
        Expected(f.register, f.effect, f.errno, f.reads) for f in verdict.findings
    )


def shown(case: Case, verdict: Verdict) -> list[str]:
    """A verdict as lines to compare; findings on other registers are left out where the case says so."""
    named = {finding.register for finding in case.findings}
    outcome, findings = verdict
    lines = [f"{outcome} {case.label}"]
    for finding in findings:
        if case.others_ignored and finding.register not in named:
            continue
        name = "the whole" if finding.register is None else kvmfw.register_name(finding.register)
        reads = "" if finding.reads is None else f" reads {finding.reads:#x}"
        lines.append(f"{name}: {finding.effect} {finding.errno or ''}{reads}")
    return lines


@pytest.mark.parametrize("case", CASES, ids=[case.label for case in CASES])
def test_the_engine_says_what_was_written_by_hand(case: Case) -> None:
    assert shown(case, by_engine(case)) == shown(case, (case.outcome, case.findings)), case.source


@pytest.mark.parametrize("case", CASES, ids=[case.label for case in CASES])
def test_the_oracle_says_what_was_written_by_hand(case: Case) -> None:
    assert shown(case, golden_oracle.judge(case)) == shown(case, (case.outcome, case.findings)), case.source


@pytest.mark.parametrize("vmm", sorted({case.vmm for case in CASES}))
def test_fleets_of_every_kind_say_of_vectors_what_the_engine_says(vmm: str) -> None:
    """Sets and hosts of one file beside each other: what one of them needs is looked at in all."""
    of_file: defaultdict[str, list[Case]] = defaultdict(list)
    for case in CASES:
        if (case.vmm, case.state) == (vmm, "fresh"):
            of_file[case.label.partition(":")[0]].append(case)
    for cases in of_file.values():
        sets, hosts = [case.register_set() for case in cases], [case.target() for case in cases]
        rows, columns = np.indices((len(sets), len(hosts)))
        wanted, _ = direct(sets, hosts, range(len(hosts)), vmm=vmm)
        for way in WAYS:
            fleet = fleet_of(sets, hosts, range(len(hosts)), way=way, vmm=vmm)
            found = fleet.validate_pairs(rows.ravel(), columns.ravel())
            np.testing.assert_array_equal(found, wanted.ravel(), err_msg=f"{cases[0].label}, {way}")


def test_there_are_vectors() -> None:
    assert len(CASES) > 400
    assert len({case.label for case in CASES}) == len(CASES)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"extra": 1}, "unknown key `extra`"),
        (
            {"host": {"kernel": "6.1.0", "registers": {}, "masks": None, "colour": "red"}},
            "unknown key `colour`",
        ),
        ({"host": {"kernel": "6.1.0", "registers": {}}}, "`masks` is missing"),
        ({"set": {"register": {}}}, "unknown key `register`"),
        ({"expect": {"outcome": "ACCEPT", "finding": []}}, "unknown key `finding`"),
        (
            {"expect": {"outcome": "ACCEPT", "findings": [{"register": None, "effect": "eaten"}]}},
            "not an effect",
        ),
    ],
)
def test_a_case_with_an_unknown_key_is_refused(change: golden.Json, problem: str) -> None:
    plain: golden.Json = {
        "name": "plain",
        "source": "none",
        "host": {"kernel": "6.1.0", "registers": {}, "masks": None},
        "set": {"registers": {}},
        "expect": {"outcome": "ACCEPT"},
    }
    golden.read_case("file", {}, plain)
    with pytest.raises(ValueError, match=problem):
        golden.read_case("file", {}, plain | change)
