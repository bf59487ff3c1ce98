"""Fleets on disk: intakes that are killed, and intakes at once."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pyarrow.parquet as pq

from kvmfw.analysis import open_fleet
from kvmfw.ingest import ingest
from tests.support.samples import fleet_source

__all__ = ["kills", "two_intakes"]

FORK = multiprocessing.get_context("fork")


def kills(folder: Path, rounds: int) -> tuple[int, int, int]:
    """Kill an intake that replaces a fleet at a random moment: how many were killed, old or new whole, lost or mixed."""
    fleet = folder / "fleet"
    sources = {tag: fleet_source(folder / tag, tag, count, tag) for tag, count in (("a", 700), ("b", 900))}
    ingest([sources["a"]], fleet)
    started = time.monotonic()
    ingest([sources["b"]], fleet, update=False)
    whole = time.monotonic() - started
    holds, tries, survived = "b", 0, 0
    chance = random.Random(1)
    for _ in range(rounds):
        other = "a" if holds == "b" else "b"
        child = FORK.Process(target=ingest, args=([sources[other]], fleet), kwargs={"update": False})
        child.start()
        time.sleep(chance.uniform(0, 1.2 * whole))
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        tries += child.exitcode == -signal.SIGKILL
        opened = open_fleet(fleet).fleet
        tags = {name.partition("-")[0] for name in opened.vm_names} | set(opened.host_names)
        is_whole = tags in ({"a"}, {"b"}) and opened.shape[0] == {"a": 700, "b": 900}[min(tags)]
        survived += is_whole and child.exitcode == -signal.SIGKILL
        if not is_whole:
            return tries, survived, tries - survived
        holds = min(tags)
    ingest([sources[holds]], fleet, update=False)
    assert not list((fleet / "generations").glob(".draft-*")), (
        "drafts of the dead are removed by the next intake"
    )
    return tries, survived, tries - survived


def two_intakes(folder: Path, rounds: int) -> tuple[int, int, int]:
    """Let two processes take VMs into one fleet at once: rounds, rounds in which all of both are there, others."""
    sources = [fleet_source(folder / tag, tag, 20, tag) for tag in "abc"]
    survived = 0
    for number in range(rounds):
        fleet = folder / f"fleet-{number % 8}-{number}"
        ingest([sources[0]], fleet)
        children = [FORK.Process(target=ingest, args=([one], fleet)) for one in sources[1:]]
        for child in children:
            child.start()
        for child in children:
            child.join()
        names = pq.read_table(fleet / "vms").column("vm").to_pylist()
        survived += len(set(names)) == len(names) == 60 and [child.exitcode for child in children] == [0, 0]
    return rounds, survived, rounds - survived
