"""A plugin of pytest: of the tests that reach a change, does any notice it?"""

from __future__ import annotations

import contextlib
import gc
import importlib
import multiprocessing
import pkgutil
import random
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import kvmfw
from tests.mutants.changes import Change, changes, exchange
from tests.support.children import in_child

ALONE = 60.0
"""Seconds that one test may take."""
FORK = 0.2
"""Seconds that a child takes which does nothing."""

MISSED = re.compile(r": (missed by \d+ of \d+ tests|unreached)$")

_WORK: list[Callable[[int], Any]] = []


def _worked(number: int) -> Any:
    return number, _WORK[-1](number)


def _in_all_cores(count: int, work: Callable[[int], Any]) -> Iterator[tuple[int, Any]]:
    """Work for each number, in processes that have all that is here."""
    _WORK.append(work)
    with multiprocessing.get_context("fork").Pool() as pool:
        yield from pool.imap_unordered(_worked, range(count))


class Judges:
    """Tests of a session, and which of them reach what is changed.

    Parameters
    ----------
    files : list[Path]
        Modules that are changed.
    sample : int or None
        How many changes are looked at, by chance; None for all.
    seed : int
        Of that chance.
    again : str or None
        What an earlier run printed: only those are looked at that it missed.
    seconds : float
        How long tests may take for one change, by what they took before. The quick ones come first,
        and those that noticed others.
    """

    def __init__(
        self, files: list[Path], sample: int | None, seed: int, again: str | None, seconds: float
    ) -> None:
        self.files, self.seconds = files, seconds
        every = [change for file in files for change in changes(file)]
        random.Random(seed).shuffle(every)
        if again is not None:
            missed = {line.rpartition(": ")[0] for line in again.splitlines() if MISSED.search(line)}
            every = [change for change in every if str(change) in missed]
        self.every, self.chosen = len(every), every[:sample]
        self.ends: Counter[str] = Counter()

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        for module in pkgutil.walk_packages(kvmfw.__path__, "kvmfw."):
            # What is loaded here is not loaded by every child. Some modules want extras that are not installed.
            with contextlib.suppress(Exception):
                importlib.import_module(module.name)
        gc.collect()
        gc.freeze()
        reaching: defaultdict[tuple[str, int], list[tuple[float, pytest.Item]]] = defaultdict(list)
        for number, found in _in_all_cores(len(session.items), lambda at: self._reached(session.items[at])):
            for file, lines in found[1].items():
                for line in lines:
                    reaching[file, line].append((found[0], session.items[number]))
        noticed: Counter[str] = Counter()
        for number, end in _in_all_cores(
            len(self.chosen), lambda at: self._end(self.chosen[at], reaching, noticed)
        ):
            self.ends[end.partition(" ")[0]] += 1
            print(f"{self.chosen[number]}: {end}", flush=True)
        return True

    def _reached(self, item: pytest.Item) -> tuple[float, dict[str, list[int]]]:
        """How long a test takes, and which lines it reaches; none where it does not pass here."""

        def lines() -> dict[str, list[int]]:
            import coverage  # noqa: PLC0415  # not installed where tests are only collected

            seen = coverage.Coverage(
                data_file=None, include=[str(file) for file in self.files], config_file=False
            )
            with seen.collect():
                passes = not _failed([item])
            data = seen.get_data()
            return {file: data.lines(file) or [] for file in data.measured_files()} if passes else {}

        began = time.monotonic()
        try:
            found = in_child(lines, ALONE)
        except (TimeoutError, ChildProcessError):
            found = {}
        return max(time.monotonic() - began - FORK, FORK / 10), found

    def _end(
        self,
        change: Change,
        reaching: dict[tuple[str, int], list[tuple[float, pytest.Item]]],
        noticed: Counter[str],
    ) -> str:
        known = reaching.get((str(change.file), change.line), [])
        items: list[pytest.Item] = []
        taken = 0.0
        for seconds, item in sorted(known, key=lambda one: one[0] / (1 + 20 * noticed[one[1].nodeid])):
            if taken + seconds <= self.seconds or not items:
                items.append(item)
                taken += seconds
        if not items:
            return "unreached"
        try:
            failed = in_child(lambda: _failed(items) if exchange(change) else "unchanged", 20 + 5 * taken)
        except TimeoutError:
            return "caught by its time"
        except ChildProcessError:
            return "caught by its end"
        if failed == "unchanged":
            return "unchanged"
        noticed[failed] += 1
        return f"caught by {failed}" if failed else f"missed by {len(items)} of {len(known)} tests"


def _failed(items: list[pytest.Item]) -> str:
    """Run tests up to the first that fails, in a child that ends with them; give its name."""
    failed: list[str] = []

    class Reports:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if report.failed:
                failed.append(report.nodeid)

    manager = items[0].config.pluginmanager
    if manager.has_plugin("terminalreporter"):
        manager.unregister(name="terminalreporter")
    manager.register(Reports())
    for item in items:
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        if failed:
            return failed[0]
    return ""
