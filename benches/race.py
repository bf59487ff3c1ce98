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
        """Give every contender its turn in each round: some calls in a row, of which the first does not count.

        ``before`` gives each the same caches, and is followed by a pause in which the threads of the one before come to
        rest; the first call wakes its own (0.1 to 5 ms on a virtual machine). A turn ends after a tenth of a second, so
        that slow contenders have one call, which counts.
        """
        for _ in range(rounds):
            for name, contender in contenders.items():
                before()
                time.sleep(0.05)
                wall, cpu = _turn(contender)
                self.wall.setdefault(name, []).append(wall)
                self.cpu.setdefault(name, []).append(cpu)

    def ratio(self, other: str, name: str = "kvmfw") -> float:
        """Tell how many times as fast as another contender, by the medians over rounds."""
        return statistics.median(self.wall[other]) / statistics.median(self.wall[name])

    def cpu_ratio(self, other: str, name: str = "kvmfw") -> float:
        """The same in CPU time of the best rounds: other processes take caches and memory, which only ever adds."""
        return min(self.cpu[other]) / min(self.cpu[name])

    def guard(self, least: dict[str, float], amounts: dict[str, float] | None = None) -> None:
        """Fail where it is not at least so many times as fast as another, in CPU time, whatever else the machine does."""
        ratios = {
            other: self.cpu_ratio(other) * self.amount / (amounts or {}).get(other, self.amount)
            for other in least
        }
        slower = {
            other: f"{ratio:.2f} < {least[other]}" for other, ratio in ratios.items() if ratio < least[other]
        }
        assert not slower, f"{self.figure}: kvmfw is slower beside {slower}"

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


def _turn(contender: Callable[[], Any]) -> tuple[float, float]:
    """Give the median time of a call, and its CPU time."""
    walls: list[float] = []
    cpus: list[float] = []
    while sum(walls) < _TURN:
        wall, cpu = time.perf_counter(), time.process_time()
        contender()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return statistics.median(walls[1:] or walls), statistics.median(cpus[1:] or cpus)


_TURN = 0.1
