"""Fleets on disk with several writers and readers at once: nothing lost, nothing mixed, nothing left."""

from __future__ import annotations

import errno
import fcntl
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kvmfw.analysis import open_fleet
from kvmfw.errors import FormatError, InputError
from kvmfw.ingest import ingest
from kvmfw.readers.generations import Generations, snapshot
from kvmfw.readers.stored import stored_table
from tests.support.samples import WA3, fleet_source

FORK = multiprocessing.get_context("fork")


def source(folder: Path, tag: str, count: int, host: str = "h", *, level: int = 1) -> list[Path]:
    """VMs named by a tag, at home on a host with a capture of its own."""
    return [fleet_source(folder / f"source-{tag}", tag, count, host, level=level)]


def names(fleet: Path) -> list[str]:
    return pq.read_table(fleet / "vms").column("vm").to_pylist()  # type: ignore[no-any-return]


def test_two_intakes_at_once_both_stay(tmp_path: Path) -> None:
    fleet = tmp_path / "fleet"
    ingest(source(tmp_path, "base", 3), fleet)
    sources = [source(tmp_path, tag, 300, f"h-{tag}") for tag in "ABC"]
    children = [FORK.Process(target=ingest, args=(one, fleet)) for one in sources]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0, 0, 0]
    found = names(fleet)
    assert len(found) == len(set(found)) == 3 + 3 * 300
    assert json.loads((fleet / "fleet.json").read_text())["generation"] == 4


def test_two_first_intakes_at_once_both_stay(tmp_path: Path) -> None:
    sources = [source(tmp_path, tag, 50, f"h-{tag}") for tag in "AB"]
    children = [FORK.Process(target=ingest, args=(one, tmp_path / "fleet")) for one in sources]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0, 0]
    assert len(names(tmp_path / "fleet")) == 100


def _rewrite(sources: list[list[Path]], fleet: Path, stop: Event) -> None:
    while not stop.is_set():
        for one in sources:
            ingest(one, fleet, update=False)


def test_a_reader_beside_a_writer_sees_one_generation(tmp_path: Path) -> None:
    fleet = tmp_path / "fleet"
    sources = [source(tmp_path, tag, 40, f"h-{tag}", level=level) for tag, level in (("A", 1), ("B", 2))]
    ingest(sources[0], fleet)
    stop = FORK.Event()
    writer = FORK.Process(target=_rewrite, args=(sources, fleet, stop))
    writer.start()
    seen: set[str] = set()
    try:
        deadline = time.monotonic() + 60
        reads = 0
        while (reads < 40 or len(seen) < 2) and time.monotonic() < deadline:
            opened = open_fleet(fleet)
            tags = {name.partition("-")[0] for name in opened.fleet.vm_names}
            hosts = {name.partition("-")[2] for name in opened.fleet.host_names}
            assert len(tags) == 1
            assert hosts == tags
            assert set(opened.columns["capture"]) == {f"h-{tag}" for tag in tags}
            seen |= tags
            reads += 1
    finally:
        stop.set()
        writer.join(60)
    assert writer.exitcode == 0
    assert seen == {"A", "B"}


def test_a_reader_that_was_overtaken_reads_the_next_generation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = tmp_path / "fleet"
    for tag in "AB":
        ingest(source(tmp_path, tag, 2, f"h-{tag}"), fleet, update=False)
    first, later = snapshot(fleet), source(tmp_path, "C", 5, "h-C")
    overtaken: list[str] = []

    def slow(folder: Path, name: str, *columns: object, **how: object) -> pa.Table:
        if folder == first and not overtaken:
            overtaken.append(name)
            for _ in range(2):
                ingest(later, fleet, update=False)
        return stored_table(folder, name, *columns, **how)  # type: ignore[arg-type]

    monkeypatch.setattr("kvmfw.readers.stored.stored_table", slow)
    opened = open_fleet(fleet)
    assert overtaken
    assert (opened.fleet.shape, list(opened.fleet.host_names)) == ((5, 1), ["h-C"])


def test_old_generations_stay_as_long_as_asked(tmp_path: Path) -> None:
    fleet = tmp_path / "fleet"
    for number in range(1, 6):
        ingest(source(tmp_path, f"v{number}", number), fleet, update=False, keep=2)
    kept = sorted(path.name for path in (fleet / "generations").iterdir() if not path.name.startswith("."))
    assert kept == ["000003", "000004", "000005"]
    assert [pq.read_table(fleet / "generations" / name / "vms").num_rows for name in kept] == [3, 4, 5]
    assert snapshot(fleet).name == "000005"


def test_names_with_any_character_stay_apart(tmp_path: Path) -> None:
    fleet = tmp_path / "fleet"
    for at, name in enumerate(("b", "b\0x", "b/vcpu1", "b\n", "ü")):
        table = pa.table(
            {
                "vm": [name],
                "register": pa.array([WA3], pa.uint64()),
                "value": pa.array([1], pa.uint64()),
            }
        )
        pq.write_table(table, tmp_path / f"{at}.parquet")
        ingest([tmp_path / f"{at}.parquet"], fleet)
    assert sorted(names(fleet)) == sorted(("b", "b\0x", "b/vcpu1", "b\n", "ü"))


def test_what_killed_intakes_leave_is_gone_after_the_next(tmp_path: Path) -> None:
    fleet = tmp_path / "fleet"
    ingest(source(tmp_path, "A", 2), fleet)
    big = source(tmp_path, "big", 400_000)
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP):
        command = [sys.executable, "-m", "kvmfw", "ingest", str(big[0]), "-o", str(fleet)]
        # Under nohup a program is born deaf to SIGHUP.
        heard = signal.signal(signal.SIGHUP, signal.SIG_DFL)
        running = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        signal.signal(signal.SIGHUP, heard)
        before = set(fleet.glob("generations/.draft-*"))
        deadline = time.monotonic() + 30
        while set(fleet.glob("generations/.draft-*")) <= before and time.monotonic() < deadline:
            time.sleep(0.002)
        os.kill(running.pid, number)
        assert running.wait(30) != 0
        assert names(fleet) == ["A-0", "A-1"]
    ingest(source(tmp_path, "B", 1), fleet)
    assert sorted(names(fleet)) == ["A-0", "A-1", "B-0"]
    left = {path.name for path in (fleet / "generations").iterdir()}
    assert left == {".lock", "000001", "000002"}


def test_a_draft_whose_owner_lives_is_left_alone(tmp_path: Path) -> None:
    generations = Generations(tmp_path / "fleet")
    with generations.draft() as first, generations.draft() as second:
        assert first.is_dir()
        assert second.is_dir()
    assert not (tmp_path / "fleet").exists()


def test_an_intake_that_fails_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(InputError):
        ingest([tmp_path / "bad.json"], tmp_path / "fleet")
    assert not (tmp_path / "fleet").exists()


def test_a_fleet_from_before_there_were_generations_is_taken_over(tmp_path: Path) -> None:
    fleet, plain = tmp_path / "fleet", tmp_path / "plain"
    ingest(source(tmp_path, "A", 2, "h-A"), fleet)
    snapshot(fleet).rename(plain)
    assert open_fleet(plain).fleet.shape == (2, 1)
    ingest(source(tmp_path, "B", 3, "h-B"), plain)
    assert open_fleet(plain).fleet.shape == (5, 2)
    assert len(names(plain)) == 5
    old = plain / "generations" / "000001"
    assert pq.read_table(old / "vms").num_rows == 2
    assert sorted(path.name for path in plain.iterdir()) == [
        "captures",
        "current",
        "fleet.json",
        "generations",
        "hosts",
        "sets",
        "vms",
    ]


@pytest.mark.parametrize("text", ['"seven"', "null", "-1", "1.5", "true"])
def test_a_generation_that_is_no_number_is_one_sentence(text: str, tmp_path: Path) -> None:
    fleet = tmp_path / "fleet"
    ingest(source(tmp_path, "A", 2), fleet)
    (fleet / "fleet.json").write_text(f'{{"format": "kvmfw-fleet", "version": 1, "generation": {text}}}')
    with pytest.raises(FormatError, match="how often the fleet was written"):
        open_fleet(fleet)
    with pytest.raises(FormatError, match="how often the fleet was written"):
        ingest(source(tmp_path, "B", 1), fleet)


def test_the_umask_decides_who_may_read(tmp_path: Path) -> None:
    fleet = tmp_path / "fleet"
    before = os.umask(0o027)
    try:
        ingest(source(tmp_path, "A", 1), fleet)
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in snapshot(fleet).rglob("*.parquet")}
    folders = {path.stat().st_mode & 0o777 for path in (snapshot(fleet), snapshot(fleet) / "vms")}
    assert (modes, folders) == ({0o640}, {0o750})


def _failing(monkeypatch: pytest.MonkeyPatch, number: int) -> list[str]:
    """Make the n-th call that changes the disk fail as on a full one; give the calls that were made."""
    calls: list[str] = []

    def wrapped(name: str, real: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            calls.append(name)
            if len(calls) == number:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*args, **options)

        return call

    for owner, name in (
        (os, "fsync"),
        (os, "mkdir"),
        (os, "rename"),
        (os, "replace"),
        (os, "symlink"),
        (os, "open"),
        (os, "chmod"),
        (fcntl, "flock"),
        (pq.ParquetWriter, "write_table"),
        (pq.ParquetWriter, "close"),
        (Path, "write_text"),
    ):
        monkeypatch.setattr(owner, name, wrapped(name, getattr(owner, name)))
    return calls


def test_whatever_call_fails_the_fleet_is_the_old_one_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = tmp_path / "fleet"
    sources = {tag: source(tmp_path, tag, count, f"h-{tag}") for tag, count in (("A", 2), ("B", 3))}
    ingest(sources["A"], fleet)
    holds, number, untouched = "A", 1, 0
    outcomes: list[tuple[bool, bool]] = []
    while untouched < 2:
        other = "B" if holds == "A" else "A"
        with monkeypatch.context() as patched:
            calls = _failing(patched, number)
            try:
                ingest(sources[other], fleet, update=False)
                done = True
            except InputError:
                done = False
        opened = open_fleet(fleet)
        found = opened.fleet.host_names[0][-1]
        assert {name[0] for name in opened.fleet.vm_names} == {found}
        assert opened.fleet.shape == ({"A": 2, "B": 3}[found], 1)
        assert found == other or not done
        outcomes.append((done, found == other))
        untouched += len(calls) < number
        holds, number = found, number + 1
    assert outcomes.count((False, False)) > 30  # the old fleet, whole
    assert not list((fleet / "generations").glob(".d*"))
