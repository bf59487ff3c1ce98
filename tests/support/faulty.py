"""Every n-th call fails, for every n: what stands on the disk, and in memory, is what was there before or what comes after.

``python -m tests.support.faulty WORK KINDS``, with the library of ``faulty.c`` preloaded (`tries` does that): for each n a child
does the work once, in which the n-th call of these kinds fails. Ends when a child came to its end without a fault, and prints
how often which end was seen.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from benches.fleets import Shape, Synthetic

import kvmfw
from kvmfw.analysis import open_fleet
from kvmfw.cli import main as verbs
from kvmfw.planners.watched import Watched
from kvmfw.testing import tiny_host, tiny_set
from tests.support.limited import TREAT, seen
from tests.support.samples import fleet_source

KINDS = {"open": 1, "read": 2, "write": 4, "sync": 8, "place": 16, "room": 32, "short": 64}
ENDS = {0: "done", 1: "done all the same", 2: "refused", 3: "wrong"}
SECONDS = 120
LIBRARY = ctypes.CDLL(None)


def tries(folder: Path, work: str, kinds: str) -> Counter[str]:
    """Build the library, try every n, and give how often which end was seen."""
    library, source = folder / "faulty.so", Path(__file__).with_suffix(".c")
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    ran = subprocess.run(
        [sys.executable, "-m", "tests.support.faulty", work, kinds],
        env={**os.environ, "LD_PRELOAD": str(library)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-4000:]
    return Counter(json.loads(ran.stdout.splitlines()[-1]))


def arm(number: int, kinds: int, folder: Path) -> None:
    """Let the n-th call of some kinds on files below a folder fail from now on."""
    LIBRARY.faulty_arm(ctypes.c_long(number), kinds, os.fsencode(folder))


def run(*words: str) -> int:
    """Run a verb as a shell would; give 0, or 2 where it says in one sentence what was wrong."""
    with tempfile.TemporaryFile("w+") as out:
        try:
            with redirect_stderr(out), redirect_stdout(out):
                verbs(list(words))
            code: object = 0
        except SystemExit as left:
            code = left.code or 0
        out.seek(0)
        text = out.read()
    assert code in (0, 1), text
    assert "Traceback" not in text, text
    assert text or not code, "no sentence"
    return 2 if code else 0


class Work:
    """Something that is done once for each n."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sources = {
            tag: str(fleet_source(folder / tag, tag, vms, tag)) for tag, vms in (("a", 30), ("b", 40))
        }
        self.fleet = folder / "fleet"
        assert run("ingest", self.sources["a"], "-o", str(self.fleet)) == 0

    def prepare(self) -> None:
        """What comes before, in which nothing fails."""

    def work(self) -> int:
        """Do it: 0 done, 2 refused."""
        raise NotImplementedError

    def check(self, code: int) -> None:
        """Look at what became of it, in the process that did it."""

    def stands(self, code: int) -> None:
        """Look at what stands on the disk afterwards, and make it what it was before."""


class Ingest(Work):
    """An intake into a fleet: all of it is there, or nothing."""

    def work(self) -> int:
        return run("ingest", self.sources["b"], "-o", str(self.fleet))

    def stands(self, code: int) -> None:
        opened = open_fleet(self.fleet).fleet
        tags = Counter(name.partition("-")[0] for name in opened.vm_names)
        assert tags == {"a": 30, "b": 40} or (tags == {"a": 30} and code == 2), (tags, code)
        assert set(opened.host_names) == set(tags)
        assert run("ingest", self.sources["a"], "--replace", "-o", str(self.fleet)) == 0
        assert not list((self.fleet / "generations").glob(".d*")), "the next intake cleans up"


class Written(Work):
    """A verb that writes a file in place of an older one."""

    name = ""
    words: tuple[str, ...] = ()

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.file = folder / self.name
        self.file.write_bytes(b"old")

    def work(self) -> int:
        return run("audit", str(self.fleet), "--fail-on", "none", *self.words, str(self.file))

    def stands(self, code: int) -> None:
        data = self.file.read_bytes()
        assert (code == 2) == (data == b"old"), (code, data[:50])
        assert data == b"old" or self.is_whole(data)
        for path in self.folder.iterdir():
            if path.name not in ("a", "b", "fleet", self.name):
                # What could not be removed either is a draft beside it.
                assert path.name.startswith(f".{self.name}."), path
                path.unlink()
        self.file.write_bytes(b"old")

    def is_whole(self, data: bytes) -> bool:
        raise NotImplementedError


class Report(Written):
    name, words = "report.html", ("--html",)

    def is_whole(self, data: bytes) -> bool:
        return data.rstrip().endswith(b"</html>")


class Tables(Written):
    name, words = "tables.json", ("--format", "json", "-o")

    def is_whole(self, data: bytes) -> bool:
        return bool(json.loads(data)["totals"])


class Folder(Work):
    """The tables of an audit, a file for each: all of them are new, or none."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.tables = folder / "tables"
        assert self.work() == 0
        self.names = sorted(path.name for path in self.tables.iterdir())
        self.stands(0)

    def work(self) -> int:
        words = ("--format", "parquet", "-o", str(self.tables), "--fail-on", "none")
        return run("audit", str(self.fleet), *words)

    def stands(self, code: int) -> None:
        for path in self.tables.iterdir():
            # What could not be removed either is a draft beside its file.
            assert path.name in self.names or path.name.startswith("."), path
        old = [name for name in self.names if (self.tables / name).read_bytes() == b"old"]
        assert len(old) == (len(self.names) if code == 2 else 0), (code, old)
        for path in self.tables.iterdir():
            path.unlink()
        for name in self.names:
            (self.tables / name).write_bytes(b"old")


class Record(Written):
    name, words = "record.parquet", ("--record",)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.file.unlink()
        assert self.work() == 0
        self.rows = 1

    def stands(self, code: int) -> None:
        rows = pq.read_table(self.file).num_rows
        assert rows == self.rows + (code != 2), (rows, self.rows, code)
        self.rows = rows


class Reload(Work):
    """A service beside which the fleet changed: it keeps what it has, and has what came when the disk is well again."""

    def prepare(self) -> None:
        self.watched = Watched(self.fleet, every=1e9)
        assert run("ingest", self.sources["b"], "-o", str(self.fleet)) == 0

    def work(self) -> int:
        self.watched._building.acquire()
        self.watched._look()
        return 2 if self.watched.problem else 0

    def check(self, code: int) -> None:
        shape = self.watched.loaded().snapshot.shape
        assert shape == ((30, 1) if code == 2 else (70, 2)), (shape, code, self.watched.problem)
        assert self.work() == 0
        assert self.watched.loaded().snapshot.shape == (70, 2)

    def stands(self, code: int) -> None:
        del code
        assert run("ingest", self.sources["a"], "--replace", "-o", str(self.fleet)) == 0


class Save(Work):
    """A fleet that is saved over what it was: the one or the other is opened, and it can be saved again."""

    def __init__(self, folder: Path) -> None:
        self.saved = folder / "saved"

    def prepare(self) -> None:
        self.living = kvmfw.Fleet([tiny_set(name="a")], [tiny_host(name="h")])
        self.living.save(self.saved)
        self.living.add_vms([tiny_set(name="b")])

    def work(self) -> int:
        try:
            self.living.save(self.saved)
        except (kvmfw.InputError, OSError):
            return 2
        return 0

    def check(self, code: int) -> None:
        names = "".join(kvmfw.Fleet.open(self.saved).vm_names)
        assert names == "ab" or (names == "a" and code == 2), (names, code)
        self.living.add_vms([tiny_set(name="c")])
        self.living.save(self.saved)
        assert not list((self.saved / "generations").glob(".d*"))

    def stands(self, code: int) -> None:
        del code
        assert "".join(kvmfw.Fleet.open(self.saved).vm_names) == "abc"
        shutil.rmtree(self.saved)


class Changes(Work):
    """Changes of a fleet in memory, each of them in turn where room is refused; all of one is there, or nothing."""

    step: Callable[[kvmfw.Fleet, Changes], Any]

    def __init__(self, folder: Path) -> None:
        del folder
        made = Synthetic.make(Shape("all different", 400, 20))
        names = pa.array([f"vm-{row:08x}" for row in range(400)])
        self.table = made.nested_table().set_column(0, "vm", names)
        self.captures, _ = made.hosts
        self.one = made.set_of(7, "one")

    def prepare(self) -> None:
        self.fleet_ = kvmfw.Fleet(self.table.slice(0, 50), self.captures[:10], threads=2)
        self.fleet_.vm("vm-00000001")
        self.before = seen(self.fleet_)

    def work(self) -> int:
        try:
            type(self).step(self.fleet_, self)
        except MemoryError:
            return 2
        return 0

    def check(self, code: int) -> None:
        if code == 2:
            assert seen(self.fleet_) == self.before
            type(self).step(self.fleet_, self)
        again = kvmfw.Fleet(self.table.slice(0, 50), self.captures[:10], threads=1)
        type(self).step(again, self)
        assert seen(self.fleet_) == seen(again)


STEPS: dict[str, Callable[[kvmfw.Fleet, Changes], Any]] = {
    "add-many": lambda fleet, with_: fleet.add_vms(with_.table.slice(50)),
    "add-one": lambda fleet, with_: fleet.add_vms([with_.one]),
    "remove": lambda fleet, _: fleet.remove_vms(["vm-00000007", "vm-00000003"]),
    "remove-many": lambda fleet, _: fleet.remove_vms(np.arange(40)),
    "move": lambda fleet, _: fleet.move("vm-00000003", 1),
    "update": lambda fleet, with_: fleet.update_vms({3: with_.one}),
    "add-hosts": lambda fleet, with_: fleet.add_hosts(with_.captures[10:]),
    "reboot": lambda fleet, with_: fleet.update_hosts({2: with_.captures[15]}),
    "remove-hosts": lambda fleet, _: fleet.remove_hosts([2, 3]),
    "matrix": lambda fleet, _: fleet.validate_matrix(**TREAT),
    "counts": lambda fleet, _: fleet.counts(),
    "class-table": lambda fleet, _: fleet.class_table(),
    "arcs": lambda fleet, _: fleet.arcs(**TREAT).expand(),
    "audit": lambda fleet, _: fleet.audit(**TREAT),
}
WORKS: dict[str, type[Work]] = {
    "ingest": Ingest,
    "report": Report,
    "tables": Tables,
    "folder": Folder,
    "record": Record,
    "reload": Reload,
    "save": Save,
    **{name: type(name, (Changes,), {"step": staticmethod(step)}) for name, step in STEPS.items()},
}


def child(work: Work, number: int, kinds: int, folder: Path) -> int:
    """Do the work once in a child; give how it ended."""
    forked = os.fork()
    if forked:
        return os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1])
    end = 3
    try:
        signal.alarm(SECONDS)
        work.prepare()
        arm(number, kinds, folder)
        code = work.work()
        is_over = LIBRARY.faulty_count() < number
        arm(0, 0, folder)
        work.check(code)
        end = 2 if code else int(not is_over)
    except BaseException:
        arm(0, 0, folder)
        traceback.print_exc()
    finally:
        os._exit(end)


def main(name: str, kinds: str) -> None:
    """Try every n until nothing fails."""
    ends: Counter[str] = Counter()
    bits = sum(KINDS[kind] for kind in kinds.split("+"))
    with tempfile.TemporaryDirectory() as place:
        work = WORKS[name](Path(place))
        for number in count(1):
            end = child(work, number, bits, Path(place))
            word = ENDS.get(end, f"status {end}")
            if word not in ENDS.values() or end == 3:
                print(f"{name}: call {number} of {kinds}: {word}", file=sys.stderr)
                sys.exit(1)
            work.stands(end)
            ends[word] += 1
            if end == 0:
                break
    print(json.dumps(ends))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
