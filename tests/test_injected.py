"""Every n-th call fails, for every n to the end: nothing is lost, nothing is mixed (`make deep` has all of it)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.faulty import tries


@pytest.mark.parametrize(
    ("work", "kinds", "least"),
    [
        ("ingest", "place+sync", 20),
        ("record", "sync+place", 2),
        ("tables", "write+sync+place", 4),
        ("reload", "open", 8),
    ],
)
def test_whatever_fails_on_the_disk_it_is_before_or_after(
    work: str, kinds: str, least: int, tmp_path: Path
) -> None:
    ends = tries(tmp_path, work, kinds)
    assert ends["refused"] >= least, ends
    assert ends["done"] == 1


def test_whatever_room_is_refused_a_change_is_whole_or_has_not_been(tmp_path: Path) -> None:
    ends = tries(tmp_path, "add-many", "room")
    assert ends["refused"] >= 2, ends
    assert ends["done"] == 1
