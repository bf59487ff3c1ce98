"""Readers and writers at once, every answer compared with the judge of pairs: ``python -m benches.mixed --minutes 10``.

Names tell which registers a VM has and which capture a host has, so that each answer of a snapshot can be checked by what the
direct judge said of the two before. Prints how many answers were compared, how many differed, and how memory went.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import threading
import time
from pathlib import Path

import numpy as np

import kvmfw
from benches.fleets import Shape, Synthetic


def memory() -> float:
    """Give MiB that are resident now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


class Mixed:
    """A fleet whose members say by their names what they are."""

    def __init__(self, vms: int, hosts: int, kinds: int = 60, captures: int = 12) -> None:
        made = Synthetic.make(Shape("mixed", kinds, captures, kinds, captures))
        self.captures = made.hosts[0]
        self.saved = [dict(made.set_of(kind).to_mapping()) for kind in range(kinds)]
        sets = [kvmfw.RegisterSet.from_mapping(one) for one in self.saved]
        self.said = np.array(
            [[int(kvmfw.validate(one, host).outcome) for host in self.captures] for one in sets]
        )
        self.fleet = kvmfw.Fleet(
            [self.vm(row % kinds, f"first{row}") for row in range(vms)],
            [self.host(row % captures, f"first{row}") for row in range(hosts)],
            threads=1,
        )
        self.over = threading.Event()
        self.changes = self.compared = 0
        self.wrong: list[str] = []

    def vm(self, kind: int, name: str) -> kvmfw.RegisterSet:
        return kvmfw.RegisterSet.from_mapping(self.saved[kind], name=f"{name}-{kind}")

    def host(self, kind: int, name: str) -> kvmfw.Host:
        return self.captures[kind].renamed(f"{name}-{kind}")

    def write(self, number: int, changes: int) -> None:
        rng = random.Random(number)
        own: list[str] = []
        for turn in range(changes):
            if self.over.is_set():
                break
            kind = rng.randrange(len(self.saved))
            if rng.random() < 0.5 or not own:
                name = f"w{number}.{turn}"
                self.fleet.add_vms([self.vm(kind, name)])
                own.append(f"{name}-{kind}")
            else:
                self.fleet.remove_vms([own.pop(rng.randrange(len(own)))])
            if turn % 50 == 0:
                name, kind = f"h{number}.{turn}", rng.randrange(len(self.captures))
                self.fleet.add_hosts([self.host(kind, name)])
                self.fleet.remove_hosts([f"{name}-{kind}"])
            self.changes += 1

    def read(self, number: int) -> None:
        rng = random.Random(1000 + number)
        while not self.over.is_set():
            now = self.fleet.snapshot()
            hosts = np.array([int(name.rpartition("-")[2]) for name in now.host_names])
            for _ in range(50):
                row = rng.randrange(now.shape[0])
                name = now.vm_names[row]
                wanted = np.flatnonzero(self.said[int(name.rpartition("-")[2])][hosts] < 2)
                for vm in (row, name, now.vm(row)):
                    if not np.array_equal(now.candidates(vm, unknown="refuse", change="accept"), wanted):
                        self.wrong.append(f"generation {now.generation}: {vm}")
                    self.compared += 1

    def run(self, changes: int, seconds: float, writing: int = 2, reading: int = 4) -> list[float]:
        """Let some write so many changes each, and others read, for so long at most; give how much memory there was meanwhile."""
        writers = [threading.Thread(target=self.write, args=(at, changes)) for at in range(writing)]
        readers = [threading.Thread(target=self.read, args=(at,)) for at in range(reading)]
        for thread in (*writers, *readers):
            thread.start()
        end, resident = time.monotonic() + seconds, []
        while time.monotonic() < end and any(writer.is_alive() for writer in writers) and not self.wrong:
            time.sleep(min(5.0, seconds / 20))
            resident.append(memory())
        self.over.set()
        for thread in (*writers, *readers):
            thread.join()
        return resident


def main() -> int:
    """Run, and tell what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument(
        "--changes", type=int, default=10**9, help="stop after so many changes of each writer"
    )
    parser.add_argument("--vms", type=int, default=200_000)
    parser.add_argument("--hosts", type=int, default=1_000)
    parser.add_argument("--writers", type=int, default=2)
    parser.add_argument("--readers", type=int, default=4)
    options = parser.parse_args()
    mixed = Mixed(options.vms, options.hosts)
    resident = mixed.run(options.changes, options.minutes * 60, options.writers, options.readers)
    late = resident[len(resident) // 2 :] or [memory()]
    print(
        f"{mixed.changes:,} changes, {mixed.compared:,} answers compared, {len(mixed.wrong)} wrong {mixed.wrong[:3]}"
    )
    print(
        f"resident: {late[0]:.0f} MiB half way, {late[-1]:.0f} MiB at the end ({late[-1] / late[0] - 1:+.1%})"
    )
    return int(bool(mixed.wrong))


if __name__ == "__main__":
    sys.exit(main())
