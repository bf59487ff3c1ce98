"""Long calls of a fleet in which all VMs and hosts differ, each interrupted in its midst: prints how long each took to notice.

Run by itself: the signal goes to the process.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from benches.fleets import Shape, Synthetic

import kvmfw


def reaction(call: Callable[[], Any], delay: float, number: int) -> str:
    """How long a call took from the signal to its exception; `done` where it was over before."""
    sent: list[float] = []

    def send() -> None:
        sent.append(time.monotonic())
        os.kill(os.getpid(), number)

    timer = threading.Timer(delay, send)
    try:
        timer.start()
        call()
        timer.cancel()
        timer.join()
        # A signal that came at the very end is seen here.
        time.sleep(0.01)
    except KeyboardInterrupt:
        return f"{time.monotonic() - sent[0]:.3f}"
    return "done"


def interrupt(number: int, frame: object) -> None:
    """What SIGTERM does in a service that wants to leave in order."""
    del number, frame
    raise KeyboardInterrupt


def main(vms: int, hosts: int, delay: float) -> None:
    """Interrupt each long call, then ask whether the fleet is as it was."""
    signal.signal(signal.SIGTERM, interrupt)
    made = Synthetic.make(Shape("all different", vms, hosts, None, None))
    table, few, captures = made.long_table(), made.long_table(0, 64), made.hosts
    calls: dict[str, Callable[[kvmfw.Fleet], Any]] = {
        "add_vms": lambda fleet: fleet.add_vms(made.long_table(64)),
        "matrix": lambda fleet: fleet.validate_matrix(change="accept", unknown="refuse"),
        "counts": lambda fleet: fleet.counts("vm"),
        "counts of hosts": lambda fleet: fleet.counts("host"),
        "candidates_of": lambda fleet: fleet.candidates_of(
            np.arange(fleet.shape[0]), change="accept", unknown="refuse", home="include"
        ),
        "arcs": lambda fleet: fleet.arcs(change="accept", unknown="refuse"),
        "audit": lambda fleet: fleet.audit(unknown="refuse", change="accept"),
        "pairs": lambda fleet: fleet.validate_pairs(
            np.repeat(np.arange(fleet.shape[0]), 64), np.tile(np.arange(64), fleet.shape[0])
        ),
    }
    numbers = signal.SIGINT, signal.SIGTERM
    small, large = kvmfw.Fleet(few, captures), kvmfw.Fleet(table, captures)
    print("build", reaction(lambda: kvmfw.Fleet(table, captures), delay, numbers[0]), flush=True)
    rows = np.arange(32)
    outcomes = small.validate_pairs(rows, rows % hosts)
    for at, (name, call) in enumerate(calls.items()):
        fleet = small if name == "add_vms" else large
        before = fleet.shape
        print(name, reaction(partial(call, fleet), delay, numbers[at % 2]), flush=True)
        assert fleet.shape == before
        assert (fleet.validate_pairs(rows, rows % hosts) == outcomes).all()
    # After what was stopped the fleet takes the same VMs.
    small.add_vms(made.long_table(64, 64))
    rows = np.arange(128)
    assert (small.validate_pairs(rows, rows % hosts) == large.validate_pairs(rows, rows % hosts)).all()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
