"""Races: contenders that take turns, and the table of ratios that comes of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

# Figure, contender, what it did per second, CPU seconds, ratio and the one that is wanted.
ROWS: list[tuple[str, str, str, str, str]] = []


def table() -> list[str]:
    """Give the table of ratios in Markdown."""
    head = ("figure", "contender", "speed", "CPU time", "kvmfw is n times as fast")
    return ["| " + " | ".join(row) + " |" for row in (head, ("---",) * len(head), *ROWS)]


class Race:
    """Contenders that take turns, so that a busy machine slows all of them."""

    def __init__(self, figure: str, unit: str, amount: float) -> None:
        self.figure, self.unit, self.amount = figure, unit, amount
        self.wall: dict[str, list[float]] = {}
        self.cpu: dict[str, list[float]] = {}

    def run(self, rounds: int, before: Callable[[], Any], **contenders: Callable[[], Any]) -> None:
        """Time every contender once in each round. ``before`` gives each the same caches, and is followed by a pause in
        which the threads of the one before come to rest.
        """
        for _ in range(rounds):
            for name, contender in contenders.items():
                before()
                time.sleep(0.05)
                wall, cpu = time.perf_counter(), time.process_time()
                contender()
                self.wall.setdefault(name, []).append(time.perf_counter() - wall)
                self.cpu.setdefault(name, []).append(time.process_time() - cpu)

    def ratio(self, other: str, name: str = "kvmfw") -> float:
        """Tell how many times as fast as another contender: the median over rounds."""
        pairs = zip(self.wall[other], self.wall[name], strict=True)
        return statistics.median(slow / fast for slow, fast in pairs)

    def cpu_ratio(self, other: str, name: str = "kvmfw") -> float:
        """The same in CPU time: other processes on the machine do not count."""
        pairs = zip(self.cpu[other], self.cpu[name], strict=True)
        return statistics.median(slow / fast for slow, fast in pairs)

    def report(self, amounts: dict[str, float] | None = None, **wanted: float) -> None:
        """Add the contenders to the table, with the ratios that are wanted."""
        for name, times in self.wall.items():
            amount = (amounts or {}).get(name, self.amount)
            speed = f"{amount / statistics.median(times) / 1e6:,.1f} M {self.unit}/s"
            times_as_fast = self.ratio(name) * self.amount / amount
            ratio = "" if name == "kvmfw" else f"{times_as_fast:.2f}"
            goal = f">= {wanted[name]:g}" if wanted.get(name) else ""
            cpu = f"{statistics.median(self.cpu[name]):.4f} s"
            ROWS.append((self.figure, name.replace("_", " "), speed, cpu, f"{ratio} {goal}".strip()))
