"""Work under every limit of memory, each in a child of its own: it is done, or MemoryError is raised and all is as it was.

``python -m tests.support.limited WORK VMS STEP``: for each limit, in MiB above what the process has, how it ended.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from benches.fleets import Shape, Synthetic

import kvmfw
import kvmfw.readers  # whether Python can load a library is decided before the limit

HOSTS = 100
TREAT: dict[str, Any] = {"unknown": "refuse", "change": "accept"}
ENDS = {0: "done", 1: "MemoryError", 2: "not as it was", 3: "another exception"}
ENOUGH = 2
"""Limits under which work is done before no further one is tried."""


def limit(mebibytes: int | None) -> None:
    """Let the process have so much more address space than it has; without a number any."""
    most = resource.RLIM_INFINITY
    if mebibytes is not None:
        with Path("/proc/self/statm").open() as sizes:
            most = int(sizes.read().split()[0]) * resource.getpagesize() + (mebibytes << 20)
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


def seen(fleet: kvmfw.Fleet) -> tuple[object, ...]:
    """Give what must be as it was."""
    return fleet.shape, fleet.generation, fleet.used_classes, fleet.counts().tobytes(), list(fleet.vm_names)


class Work:
    """VMs that all differ, and a small fleet that is there before."""

    def __init__(self, vms: int) -> None:
        made = Synthetic.make(Shape("all different", vms, HOSTS))
        self.hosts = made.hosts
        self.long = made.long_table()
        names = pa.array([f"vm-{row:08x}" for row in range(vms)])
        self.table = made.nested_table().set_column(0, "vm", names)
        self.sets = [made.set_of(row, f"one-{row}") for row in range(500)]

    def small(self) -> kvmfw.Fleet:
        """Give the fleet that is there before."""
        return kvmfw.Fleet(self.table.slice(0, 50), self.hosts, threads=2)

    def build(self, most: int) -> int:
        """Build a fleet, and ask for a matrix."""
        limit(most)
        fleet = kvmfw.Fleet(self.long, self.hosts, threads=2)
        fleet.validate_matrix(**TREAT)
        return 0

    def add(self, most: int) -> int:
        """Add to a fleet, all at once and one by one."""
        fleet = self.small()
        before = seen(fleet)
        try:
            limit(most)
            fleet.add_vms(self.table.slice(50))
        except MemoryError:
            limit(None)
            if seen(fleet) != before:
                return 2
            fleet.add_vms(self.table.slice(50, 100))
            return 1 if fleet.shape[0] == 150 and fleet.vm_row("vm-00000095") == 149 else 2
        for one in self.sets:
            fleet.add_vms([one])
        fleet.remove_vms([one.name for one in self.sets])
        fleet.remove_vms(np.arange(len(self.table) // 2))
        return 0

    def ask(self, most: int) -> int:
        """Ask a fleet everything; what is refused under the limit is answered without it."""
        fleet = kvmfw.Fleet(self.table, self.hosts, threads=2)
        rows = np.arange(fleet.shape[0])
        questions: list[Callable[[], Any]] = [
            fleet.counts,
            lambda: fleet.counts("host"),
            lambda: fleet.validate_matrix(**TREAT),
            fleet.class_table,
            lambda: fleet.arcs(**TREAT),
            lambda: fleet.candidates_of(rows, home="include", **TREAT),
            lambda: fleet.candidates("vm-00000064", **TREAT),
            lambda: fleet.validate_pairs(rows, rows % HOSTS, units=np.empty(len(rows), dtype=np.uint16)),
            lambda: (fleet.vm_homes, fleet.vm_handles, fleet.vm_classes, list(fleet.vm_names)),
            lambda: fleet.vm_names.take(np.zeros(6_000_000, dtype=np.int64)),
            lambda: fleet.audit(**TREAT),
            fleet.tables,
        ]
        end = 0
        for question in questions:
            limit(most)
            try:
                question()
            except MemoryError:
                end = 1
            limit(None)
        return end if fleet.counts().sum() == fleet.shape[0] * HOSTS else 2


def end_of(work: Callable[[int], int], most: int) -> str:
    """Give how a child ends that does its work under a limit."""
    child = os.fork()
    if child == 0:
        code = 3
        try:
            signal.alarm(300)
            code = work(most)
        except MemoryError:
            code = 1
        except BaseException:
            traceback.print_exc()
        finally:
            limit(None)
            os._exit(code)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return ENDS.get(ended, f"status {ended}")


def main(name: str, vms: int, step: int) -> None:
    """Try every limit until there is enough."""
    work, done = getattr(Work(vms), name), 0
    for most in count(8, step):
        end = end_of(work, most)
        print(most, end, flush=True)
        done = done + 1 if end == "done" else 0
        if done == ENOUGH:
            return


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
