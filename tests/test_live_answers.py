"""Fuzzed answers of real kernels, kept with the captures of their hosts: every judge must be right about all of them.

`python -m tests.live.fuzz --replay FOLDER --sample tests/live/answers` puts them there (docs/live.md).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live import store
from tests.live.fuzz import capture_of
from tests.live.judging import DERIVED, MEASURED, ORACLE, UNKNOWN, WAYS, WRONG, Judge
from tests.live.predict import Engine

FOLDER = Path(__file__).parent / "live" / "answers"
KEPT = sorted(FOLDER.glob("*.answers.gz"))
# What may be UNKNOWN of the answers of one host.
MOST = {MEASURED: 0.01, DERIVED: 0.03, ORACLE: 0.03}


def test_there_are_answers_of_all_kinds_of_hosts() -> None:
    names = " ".join(path.name for path in KEPT)
    kinds = ("a64fx", "nested", "16k", "gic-version-2", "5.10.0", "6.1.0", "6.12.", "6.18.", "7.0.", "7.3.")
    assert [kind for kind in kinds if kind not in names] == []


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.name.removesuffix(".answers.gz"))
def test_every_judge_says_what_the_kernel_said(path: Path) -> None:
    head, cases, said = store.load(path)
    judge = Judge(Engine(), capture_of(FOLDER, head["capture"]), head["host"])
    for way in WAYS:
        judged = [
            one for case, answers in zip(cases, said, strict=True) for one in judge.case(case, answers, way)
        ]
        assert [one for one in judged if one.result == WRONG] == [], way
        unknown = sum(one.result == UNKNOWN for one in judged)
        assert len(judged) > 2000
        assert unknown <= MOST[way] * len(judged), way
