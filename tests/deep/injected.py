"""Calls that fail: the n-th open, read, write, sync or change of a folder, and the n-th request for room, for every n."""

from __future__ import annotations

from collections import Counter
from itertools import product
from pathlib import Path

from tests.support.faulty import STEPS, tries

__all__ = ["disk", "memory"]

DISK = "open+write+sync+place"
WORKS = ("ingest", "save", "report", "tables", "folder", "record")


def disk(folder: Path, rounds: int) -> tuple[int, int, int]:
    """Fail every call on the disk in turn: how many failed, how many left what was before or what comes after."""
    del rounds  # it ends where the work does
    ends: Counter[str] = Counter()
    for work, kinds in [*product(WORKS, (DISK, "read", "short")), ("reload", "open"), ("reload", "read")]:
        ends += (found := tries(folder, work, kinds))
        print(f"{work}, {kinds}: {_told(found)[0]}", flush=True)
    return _told(ends)


def memory(folder: Path, rounds: int) -> tuple[int, int, int]:
    """Refuse every request for room in turn, in each change and question: how many, and how many were done or had not been."""
    del rounds
    ends: Counter[str] = Counter()
    for step in STEPS:
        ends += tries(folder, step, "room")
    return _told(ends)


def _told(ends: Counter[str]) -> tuple[int, int, int]:
    failed = ends["refused"] + ends["done all the same"]
    return failed, failed, 0
