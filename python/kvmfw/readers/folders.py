"""Folders and lists of sources: what is in them, in name order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kvmfw import _native
from kvmfw.errors import ArgumentError, FormatError, InputError, RowError
from kvmfw.readers.blocks import blocks_of_table, vcpus_of_block
from kvmfw.readers.cloud_hypervisor import STATE
from kvmfw.readers.cutter import runs_of_table
from kvmfw.readers.formats import TABLES, check_format, detect, holds_vms, host_of, vcpus_of
from kvmfw.readers.generations import read_one
from kvmfw.readers.hosts_table import VMM, read_hosts_table
from kvmfw.readers.rejects import Intake, named_twice
from kvmfw.readers.runs import Alike, Runs
from kvmfw.readers.source import is_gzip
from kvmfw.readers.stored import StoredVms, is_stored, read_manifest, stored_hosts
from kvmfw.readers.streams import runs_of_stream
from kvmfw.readers.tables import open_table
from kvmfw.readers.vcpus import sets_of
from kvmfw.sets import Host, RegisterSet

__all__ = [
    "files_of",
    "fleet_folder",
    "fleet_sources",
    "foreign_host",
    "foreign_set",
    "hosts",
    "parts_of",
    "parts_of_files",
    "register_sets",
]

_SETS = 1 << 12
_SKIPPED = ("hosts.csv", "history.csv", "fleet.json", "README.md", "rejects.csv")


def files_of(path: Path, what: str) -> list[Path]:
    """Give the files of a source: itself, or all files below a folder in name order.

    Raises
    ------
    InputError
        When there is none.
    """
    if not path.exists():
        raise InputError(f"there is no such file or folder; expected {what}", file=str(path))
    if path.is_file():
        return [path]
    below = (file.relative_to(path) for file in sorted(path.rglob("*")) if file.is_file())
    found = [path / file for file in below if not any(part.startswith((".", "_")) for part in file.parts)]
    snapshots = {file.parent for file in found if file.name == STATE}
    found = [file for file in found if file.name not in _SKIPPED]
    # Beside the state of a cloud-hypervisor snapshot are its configuration and the memory of the VM.
    found = [file for file in found if file.parent not in snapshots or file.name == STATE]
    if not found:
        raise InputError(f"the folder holds no {what}", file=str(path))
    return found


Part = tuple[str | None, Runs | Alike | list[RegisterSet]]
"""VMs of one source: the file, where it is one, and what stands there: columns of a table, or register sets."""


def parts_of(vms: Any, native: _native.Fleet, intake: Intake) -> Iterator[Part]:
    """Give the VMs of any source, in order.

    Parameters
    ----------
    vms
        A path, a fleet on disk, an Arrow table or stream, or register sets: as `kvmfw.Fleet` takes them.
    native
        The fleet whose threads look for where VMs start.
    intake : Intake
        Where documents that cannot be used are set aside, or raised.
    """
    if isinstance(vms, str | Path):
        yield from parts_of_files(files_of(Path(vms), "register sets"), native, intake)
    elif isinstance(vms, StoredVms) and not vms.has_wide:
        alike = vms.alike()
        if alike is None:
            yield from ((None, runs) for runs in runs_of_stream(vms.reader(), native))
        else:
            yield None, alike
    elif isinstance(vms, pa.RecordBatchReader):
        yield from ((None, runs) for runs in runs_of_stream(vms, native))
    elif hasattr(vms, "__arrow_c_stream__"):
        yield from ((None, runs) for runs in runs_of_table(vms, native))
    else:
        yield None, list(vms)


def parts_of_files(
    files: Sequence[Path], native: _native.Fleet, intake: Intake
) -> Iterator[tuple[str | None, Runs | list[RegisterSet]]]:
    """Do the same for files, in order."""
    for is_table, found in groupby(((file, detect(file)) for file in files), lambda one: one[1] in TABLES):
        if is_table:
            for file, kind in found:
                yield from ((str(file), runs) for runs in runs_of_stream(open_table(file, kind), native))
        else:
            sets = _sets(found, intake)
            while some := list(islice(sets, _SETS)):
                yield None, some


def _sets(files: Iterable[tuple[Path, str]], intake: Intake) -> Iterator[RegisterSet]:
    for file, kind in files:
        if kind in TABLES:
            for block in blocks_of_table(open_table(file, kind), str(file), intake):
                yield from sets_of(vcpus_of_block(block))
        else:
            yield from sets_of(vcpus for _, vcpus in vcpus_of(file, kind, intake))


def register_sets(path: str | Path, *, from_: str | None = None) -> Iterator[RegisterSet]:
    """Read the register sets of a file or of all files in a folder, in name order.

    Of a VM with several vCPUs there is one set for each kind of vCPU: see `distinct_vcpus`.

    Raises
    ------
    InputError
        When a file cannot be read or used.
    """
    files = files_of(Path(path), "register sets")
    if from_ is not None:
        check_format(from_)
    yield from _sets([(file, from_ or detect(file)) for file in files], Intake("raise"))


def _foreign(path: str | Path) -> str | None:
    """Give the format of a file if it is read and is none of the two JSON documents."""
    path = Path(path)
    if path.is_dir() and (path / STATE).exists():
        path = path / STATE
    try:
        kind = detect(path)
    except InputError:
        return None
    return None if kind in ("register-set", "capture") and not is_gzip(Path(path)) else kind


def foreign_host(path: str | Path) -> Host | None:
    """Read the host of a file that is no capture; None where its format holds none."""
    kind = _foreign(path)
    return None if kind is None else host_of(Path(path), kind)


def foreign_set(path: str | Path) -> RegisterSet | None:
    """Read the only VM of a file that is no register set; None where its format holds none.

    Raises
    ------
    FormatError
        When the file holds several, or kinds of vCPUs that hosts can tell apart.
    """
    kind = _foreign(path)
    if kind is None or not holds_vms(kind):
        return None
    found = list(register_sets(path, from_=kind))
    if len(found) != 1:
        problem = (
            f"the file holds {len(found)} VMs or kinds of vCPUs; read them with `kvmfw.readers.register_sets`"
        )
        raise FormatError(problem, file=str(path))
    return found[0]


def _captures(path: Path, from_: str | None = None) -> list[Host]:
    found = []
    for file in files_of(path, "captures"):
        kind = from_ or detect(file)
        host = host_of(file, kind)
        if host is None:
            raise FormatError(f"a file of format {kind} holds no host; expected a capture", file=str(file))
        found.append(host)
    return found


def hosts(source: Any, *, from_: str | None = None) -> tuple[list[Host], npt.NDArray[np.uint32], list[str]]:
    """Give distinct captures, the number of its capture for each host, and the hosts' names."""
    if isinstance(source, str | Path):
        source = _captures(Path(source), from_)
    if isinstance(source, tuple) and len(source) == 2 and not isinstance(source[1], Host):
        kinds = list(source[0])
        kind_of = np.ascontiguousarray(source[1])
        if kind_of.ndim != 1 or kind_of.dtype.kind not in "iu":
            raise ArgumentError(
                f"capture numbers are {kind_of.dtype}; expected a one-dimensional array of integers"
            )
        bad = np.flatnonzero((kind_of < 0) | (kind_of >= len(kinds)))
        if bad.size:
            row = int(bad[0])
            raise RowError(f"capture number {kind_of[row]} is out of range; there are {len(kinds)}", row)
        names = np.array([kind.name for kind in kinds], dtype=object)
        return kinds, kind_of.astype(np.uint32), names[kind_of].tolist()
    listed = list(source)
    known: dict[int, int] = {}
    kinds = []
    numbers = []
    for row, host in enumerate(listed):
        if not isinstance(host, Host):
            raise ArgumentError(f"host {row} is a {type(host).__name__}; expected a kvmfw.Host")
        number = known.setdefault(id(host._native), len(kinds))
        if number == len(kinds):
            kinds.append(host)
        numbers.append(number)
    return kinds, np.array(numbers, dtype=np.uint32), [host.name for host in listed]


def _stored(folder: Path, by_own: bool) -> tuple[StoredVms, list[Host]]:
    read_manifest(folder)
    return StoredVms(folder, by_own=by_own), stored_hosts(folder, by_own=by_own)


def fleet_folder(folder: Path, *, by_own: bool = False) -> tuple[Sequence[RegisterSet], list[Host]]:
    """Read a fleet folder: its register sets and its hosts, with the VMMs that they tell where pairs are judged by their own.

    Raises
    ------
    InputError
        When there is no VM or no host in it, or something in it cannot be used.
    """
    if not folder.is_dir():
        raise InputError(
            "there is no such folder; expected a fleet folder (docs/formats.md)", file=str(folder)
        )
    vms, hosts = _parts(folder, by_own)
    for what, found in (("host", hosts), ("VM", vms)):
        if not len(found):
            raise InputError(f"the fleet has no {what}: there is nothing to judge", file=str(folder))
    return vms, hosts


def _parts(folder: Path, by_own: bool) -> tuple[Sequence[RegisterSet], list[Host]]:
    if is_stored(folder):
        return read_one(folder, lambda generation: _stored(generation, by_own))
    hosts = _named_hosts(folder, by_own)
    sets = list(register_sets(_vms_in(folder)))
    seen: set[str] = set()
    for one in sets:
        if one.name in seen:
            raise FormatError(named_twice(one.name), file=str(folder))
        seen.add(one.name)
    return sets, hosts


def _vms_in(folder: Path) -> Path:
    vms = folder / "vms.jsonl"
    return vms if vms.exists() else folder / "vms"


def fleet_sources(folder: Path) -> tuple[list[Path], list[Host]]:
    """Give the files in which the VMs of a fleet folder stand, in their order, without reading them; and its hosts.

    Raises
    ------
    InputError
        When there is no file of VMs or no host, or it is a fleet on disk, whose tables refer to one another.
    """
    if is_stored(folder):
        problem = "a fleet on disk is read on one machine; expected the folder that it was made of"
        raise InputError(problem, file=str(folder))
    return files_of(_vms_in(folder), "register sets"), _named_hosts(folder, by_own=False)


def _named_hosts(folder: Path, by_own: bool) -> list[Host]:
    if not (folder / "captures").exists():
        problem = "there is no fleet in it: no `captures`; `kvmfw ingest` makes one of tables, streams and other files"
        raise InputError(problem, file=str(folder))
    captures = {host.name: host for host in _captures(folder / "captures")}
    table = folder / "hosts.csv"
    if not table.exists():
        return list(captures.values())
    named: list[Host] = []
    # Hosts of one capture and one VMM share both.
    with_vmm = cache(Host.with_vmm)
    for row in read_hosts_table(table):
        capture = captures.get(row.capture)
        if capture is None:
            problem = f"there is no capture named `{row.capture}`"
            raise FormatError(problem, f"line {row.line}", file=str(table))
        vmm = row.cells.get(VMM) if by_own else None
        if vmm:
            capture = with_vmm(capture, vmm)
        named.append(capture.renamed(row.host))
    return named
