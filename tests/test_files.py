"""Outputs: whole files, links and devices that stay what they are, drafts that nobody can guess."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from contextlib import nullcontext
from pathlib import Path

import pyarrow as pa
import pytest

from kvmfw.errors import FormatError
from kvmfw.files import whole_file, whole_files, write_whole
from kvmfw.readers.tables import open_table
from kvmfw.report.tabular import write_tables

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "report"
    path.write_text("old")

    def fill() -> None:
        with whole_file(path) as draft:
            draft.write_text("half")
            raise RuntimeError("full")

    with pytest.raises(RuntimeError, match="full"):
        fill()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("fails", range(4))
def test_files_that_belong_together_change_together(
    fails: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / name for name in "abc"]
    paths[0].write_text("old a")
    paths[2].write_text("old c")
    calls: list[Path] = []

    def replace(draft: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == fails + 1:
            raise OSError(errno.EIO, "broken")
        draft.rename(target)
        return target

    monkeypatch.setattr(Path, "replace", replace)
    ended = nullcontext() if fails == 3 else pytest.raises(OSError, match="broken")
    with ended, whole_files(paths) as drafts:
        for draft, path in zip(drafts, paths, strict=True):
            draft.write_text(f"new {path.name}")
    wanted = ["new a", "new b", "new c"] if fails == 3 else ["old a", "old c"]
    assert [path.read_text() for path in sorted(tmp_path.iterdir())] == wanted


def test_a_link_stays_and_what_it_names_is_written(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link = tmp_path / "latest"
    link.symlink_to(Path("there") / "report")
    for text in ("one", "two"):
        write_whole(link, text)
        assert link.is_symlink()
        assert (tmp_path / "there" / "report").read_text() == text
    assert len(list((tmp_path / "there").iterdir())) == 1


def test_a_pipe_is_written_to_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_text()))
    reader.start()
    write_whole(pipe, "through")
    reader.join(30)
    assert found == ["through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize("device", ["/dev/stdout", "/dev/null", "/proc/self/fd/1"])
def test_devices_are_not_replaced(device: str) -> None:
    before = os.lstat(device)
    command = [sys.executable, "-m", "kvmfw", "audit", str(EXAMPLES), "--format", "json", "-o", device]
    found = subprocess.run([*command, "--fail-on", "none"], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("{") == (device != "/dev/null")
    assert stat.S_IFMT(os.lstat(device).st_mode) == stat.S_IFMT(before.st_mode)


def test_errors_name_the_file_that_was_asked_for(tmp_path: Path) -> None:
    for path, code in ((tmp_path / "nowhere" / "report", errno.ENOENT), (Path("/dev/full"), errno.ENOSPC)):
        with pytest.raises(OSError, match=os.strerror(code)) as raised:
            write_whole(path, "text")
        assert (raised.value.filename, raised.value.errno) == (str(path), code)


def test_a_closed_standard_output_is_no_traceback() -> None:
    command = [sys.executable, "-W", "ignore", "-m", "kvmfw", "rule", "KVMFW-WA3-LEVEL"]
    closed = subprocess.run(
        ["sh", "-c", '"$@" >&-', "sh", *command], capture_output=True, text=True, check=False
    )
    assert (closed.returncode, closed.stderr) == (0, "")


def test_the_umask_decides_about_new_files_and_old_ones_keep_their_mode(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "new", "")
        (tmp_path / "old").touch()
        (tmp_path / "old").chmod(0o604)
        write_whole(tmp_path / "old", "")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("new", "old")]
    assert modes == [0o640, 0o604]


def test_a_planted_link_beside_a_table_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "totals.csv.part").symlink_to(victim)
    write_tables({"totals": [{"outcome": "ACCEPT", "pairs": 1}]}, tmp_path / "out", "csv")
    assert victim.read_text() == "mine"
    assert pa.csv.read_csv(tmp_path / "out" / "totals.csv").num_rows == 1


SHORTENED = """
import os, sys
from pathlib import Path
import pyarrow as pa
from kvmfw.errors import FormatError
from kvmfw.readers.tables import open_table

path, make = Path(sys.argv[1]), {"file": pa.ipc.new_file, "stream": pa.ipc.new_stream}[sys.argv[2]]
batch = pa.record_batch({"vm": ["vm"] * 100_000, "value": list(range(100_000))})
with pa.OSFile(str(path), "wb") as file, make(file, batch.schema) as writer:
    for _ in range(20):
        writer.write_batch(batch)
read = []
try:
    for part in open_table(path, "arrow"):
        read.append(part)
        if len(read) == 2:
            os.truncate(path, 4096)
except FormatError as error:
    print(all(part == batch for part in read), len(read) < 20, error)
"""


@pytest.mark.parametrize("kind", ["file", "stream"])
def test_an_arrow_file_that_is_shortened_while_it_is_read_is_an_error(kind: str, tmp_path: Path) -> None:
    """Mapped into memory, what is gone would be a SIGBUS: the process dies, and the scheduler in it."""
    path = tmp_path / "vms.arrow"
    command = [sys.executable, "-W", "ignore", "-c", SHORTENED, str(path), kind]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith(f"True True {path}: the file is damaged or cut off"), found.stdout


def test_an_arrow_stream_that_is_cut_between_batches_is_an_error(tmp_path: Path) -> None:
    """Pyarrow takes it for a shorter stream: the VMs of the lost batches would be gone without a word."""
    path = tmp_path / "vms.arrow"
    batch = pa.record_batch({"vm": ["a"], "register": [1], "value": [2]})
    sizes = []
    with pa.OSFile(str(path), "wb") as file:
        with pa.ipc.new_stream(file, batch.schema) as writer:
            for _ in range(3):
                writer.write_batch(batch)
                sizes.append(file.tell())
        sizes.append(file.tell())
    for size in reversed(sizes):
        os.truncate(path, size)
        whole = size == sizes[-1]
        with nullcontext() if whole else pytest.raises(FormatError, match="cut off"):
            assert len(list(open_table(path, "arrow"))) == 3
