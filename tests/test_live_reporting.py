"""What the fuzzer reports of its answers: tables, and whether they are good enough."""

from __future__ import annotations

import pytest

from tests.live import fuzz, reporting
from tests.live.judging import DERIVED, MEASURED, UNKNOWN, WAYS, WRONG, Kind, Score
from tests.live.questions import SINGLE

PSCI, PFR0 = 0x6030000000140000, 0x603000000013C020


def score_of(**counts: int) -> Score:
    score = Score()
    for name, number in counts.items():
        for way in WAYS:
            score.counts[way, SINGLE, name] = number
    return score


@pytest.mark.parametrize(
    ("counts", "good"),
    [
        ({"agreed": 1000}, True),
        ({"agreed": 990, "unknown": 10}, True),
        ({"agreed": 989, "unknown": 11}, False),
        ({"agreed": 1000, "wrong": 1}, False),
        ({}, False),
    ],
)
def test_too_many_unpredicted_answers_are_not_good_enough(counts: dict[str, int], good: bool) -> None:
    assert fuzz.good_enough(score_of(**counts), 0.01, 0.03) is good


def test_the_report_tells_what_was_asked_where_and_what_was_not_predicted() -> None:
    scores = {
        "6.12.118-arm64__max__nested": score_of(agreed=1000),
        "6.1.0-56-arm64__max__default": score_of(agreed=20, unknown=1),
        "6.1.0-56-arm64__cortex-a57__default.gic-version-2": score_of(agreed=3),
    }
    assert reporting.grid_table(scores) == [
        "| kernel | cortex-a57, gic-version-2 | max | max, nested |",
        "| --- | ---: | ---: | ---: |",
        "| 6.1.0-56-arm64 | 3 | 21 |  |",
        "| 6.12.118-arm64 |  |  | 1,000 |",
    ]
    whole = Score()
    for way, register in ((MEASURED, "vCPU"), (MEASURED, hex(PSCI)), (DERIVED, hex(PSCI))):
        whole.kinds[way, UNKNOWN, SINGLE, register, "kept", "unknown"] = Kind(2, "an example")
    whole.kinds[MEASURED, WRONG, SINGLE, hex(PFR0), "kept", "changed"] = Kind(1, "an example")
    assert reporting.unknown_table(whole)[2:] == [
        f"| PSCI_VERSION {hex(PSCI)} | 2 | 2 | 0 |",
        "| vCPU | 2 | 0 | 0 |",
    ]
