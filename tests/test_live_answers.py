"""Fuzzed answers of real kernels, kept with the captures of their hosts: every judge must be right about all of them.

`python -m tests.live.fuzz --sample tests/live/answers` made them (docs/live.md); newer answers are added the same way.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live import store
from tests.live.fuzz import capture_of
from tests.live.judging import DERIVED, MEASURED, ORACLE, WAYS, WRONG, Judge
from tests.live.predict import Engine
from tests.live.reporting import report_kinds

FOLDER = Path(__file__).parent / "live" / "answers"
KEPT = sorted(FOLDER.glob("*.answers.gz"))
# What may be UNKNOWN of the answers of one host.
MOST = {MEASURED: 0.01, DERIVED: 0.03, ORACLE: 0.03}


def test_there_are_answers_of_all_kinds_of_hosts() -> None:
    names = " ".join(path.name for path in KEPT)
    assert all(word in names for word in ("a64fx", "nested", "16k", "gic2", "5.10", "6.1.", "6.12", "7.3"))


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.name.removesuffix(".answers.gz"))
def test_every_judge_says_what_the_kernel_said(path: Path) -> None:
    head, cases, said = store.load(path)
    capture = capture_of(FOLDER, head["capture"])
    score = Judge(Engine(), capture, head["host"]).score(cases, said)
    wrong = [line for way in WAYS if score.total(way, WRONG) for line in report_kinds(score)]
    assert wrong == []
    for way in WAYS:
        assert score.total(way) > 3000
        assert score.share(way) <= MOST[way], report_kinds(score)
