"""Writers and readers at once: every answer is that of its generation (`python -m benches.mixed` does it for hours)."""

from __future__ import annotations

from benches.mixed import Mixed


def test_every_answer_beside_writers_is_what_the_direct_judge_says() -> None:
    mixed = Mixed(300, 40, kinds=20, captures=6)
    mixed.run(changes=400, seconds=120)
    assert not mixed.wrong, mixed.wrong[:3]
    assert mixed.changes == 800
    assert mixed.compared > 100
