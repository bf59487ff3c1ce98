"""Fleets and histories on disk: who writes or reads them is killed, and intakes at once."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq

from kvmfw.analysis import open_fleet
from kvmfw.ingest import ingest
from kvmfw.planners.watched import Watched
from tests.support.faulty import run
from tests.support.samples import fleet_source

__all__ = ["killed_records", "killed_reloads", "kills", "two_intakes"]

FORK = multiprocessing.get_context("fork")


def killed(
    work: Callable[[], object], chance: random.Random, most: float, meanwhile: Callable[[], object]
) -> bool:
    """Do work in a child, and something else meanwhile; kill the child at a random moment within so many seconds then."""
    child = FORK.Process(target=work)
    child.start()
    meanwhile()
    time.sleep(chance.uniform(0, most))
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    return child.exitcode == -signal.SIGKILL


def nothing() -> None:
    """Do nothing meanwhile."""


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
        work = partial(ingest, [sources[other]], fleet, update=False)
        was_killed = killed(work, chance, 1.2 * whole, nothing)
        tries += was_killed
        opened = open_fleet(fleet).fleet
        tags = {name.partition("-")[0] for name in opened.vm_names} | set(opened.host_names)
        is_whole = tags in ({"a"}, {"b"}) and opened.shape[0] == {"a": 700, "b": 900}[min(tags)]
        survived += is_whole and was_killed
        if not is_whole:
            return tries, survived, tries - survived
        holds = min(tags)
    ingest([sources[holds]], fleet, update=False)
    assert not list((fleet / "generations").glob(".draft-*")), (
        "drafts of the dead are removed by the next intake"
    )
    return tries, survived, tries - survived


def killed_records(folder: Path, rounds: int) -> tuple[int, int, int]:
    """Kill an audit that adds to a history: how many were killed, after how many it had all that it had, and one more or not."""
    fleet, history = folder / "fleet", folder / "records" / "history.parquet"
    ingest([fleet_source(folder / "a", "a", 30, "a")], fleet)
    history.parent.mkdir()
    audit = partial(run, "audit", str(fleet), "--fail-on", "none", "--record", str(history))
    audit()
    started, one = time.monotonic(), pq.read_table(history).num_rows
    audit()
    whole, had = time.monotonic() - started, pq.read_table(history)
    tries, survived = 0, 0
    chance = random.Random(1)
    for _ in range(rounds):
        was_killed = killed(audit, chance, 1.2 * whole, nothing)
        has = pq.read_table(history)
        is_whole = has.num_rows in (had.num_rows, had.num_rows + one) and has.slice(0, had.num_rows) == had
        tries += was_killed
        survived += was_killed and is_whole
        if not is_whole:
            break
        had = has
    return tries, survived, tries - survived


def killed_reloads(folder: Path, rounds: int) -> tuple[int, int, int]:
    """Kill who serves a fleet while it reads it anew: how many, after how many the next one serves the fleet as it is."""
    fleet = folder / "fleet"
    sources = {tag: fleet_source(folder / tag, tag, count, tag) for tag, count in (("a", 700), ("b", 900))}
    ingest([sources["a"]], fleet)
    started = time.monotonic()
    Watched(fleet)
    whole = time.monotonic() - started
    tries, survived = 0, 0
    chance = random.Random(1)
    for number in range(rounds):
        tag = "ba"[number % 2]
        exchange = partial(ingest, [sources[tag]], fleet, update=False)
        was_killed = killed(partial(serve, fleet), chance, 1.2 * whole, exchange)
        names = Watched(fleet).loaded().snapshot.vm_names
        is_whole = len(names) == {"a": 700, "b": 900}[tag] and {name[0] for name in names} == {tag}
        tries += was_killed
        survived += was_killed and is_whole
    return tries, survived, tries - survived


def serve(fleet: Path) -> None:
    """Ask a fleet that is watched, again and again."""
    watched = Watched(fleet, every=0)
    while True:
        watched.loaded()
        time.sleep(0.001)


def two_intakes(folder: Path, rounds: int) -> tuple[int, int, int]:
    """Let two processes take VMs into one fleet at once: rounds, rounds in which all of both are there, others."""
    sources = [fleet_source(folder / tag, tag, 20, tag) for tag in "abc"]
    survived = 0
    for number in range(rounds):
        fleet = folder / f"fleet-{number}"
        ingest([sources[0]], fleet)
        children = [FORK.Process(target=ingest, args=([one], fleet)) for one in sources[1:]]
        for child in children:
            child.start()
        for child in children:
            child.join()
        names = pq.read_table(fleet / "vms").column("vm").to_pylist()
        is_whole = len(set(names)) == len(names) == 60 and [child.exitcode for child in children] == [0, 0]
        survived += is_whole
        if is_whole:
            shutil.rmtree(fleet)
    return rounds, survived, rounds - survived
