"""Fleet folders with everything that audits need besides outcomes: columns, captures, register sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from kvmfw import readers
from kvmfw.analysis.security import Protection, protection_of
from kvmfw.cpus import cpu_name
from kvmfw.documents import parsed_json
from kvmfw.errors import ArgumentError, FormatError, InputError
from kvmfw.fleet import Fleet
from kvmfw.readers.folders import files_of
from kvmfw.readers.formats import detect
from kvmfw.readers.generations import read_one
from kvmfw.readers.hosts_table import HostRows, read_hosts_table
from kvmfw.readers.own import CAPTURE
from kvmfw.readers.source import whole
from kvmfw.readers.stored import births_of, is_stored, read_manifest, stored_table
from kvmfw.sets import Host, RegisterSet
from kvmfw.vmms import OWN

__all__ = [
    "OpenedFleet",
    "capture_documents",
    "chosen_column",
    "file_protection",
    "open_fleet",
    "protections",
    "read_columns",
    "with_kinds",
]


@dataclass(frozen=True, slots=True)
class OpenedFleet:
    """A fleet with its sources.

    Attributes
    ----------
    fleet : Fleet
        The outcomes.
    hosts : sequence of Host
        The capture of each host, by row.
    vms : sequence of RegisterSet
        The register set of each VM, by row.
    columns : mapping of str to sequence of str
        Further columns of the hosts, by row: those of hosts.csv, and capture, kernel and cpu.
    intake : tuple of int
        Rows rejected when the fleet was last taken in, and all rows of that intake.
    born : tuple of int
        Of how many VMs the registers were not saved but derived; of how many from where they are only taken to be born.
    """

    fleet: Fleet
    hosts: Sequence[Host]
    vms: Sequence[RegisterSet]
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    intake: tuple[int, int] = (0, 0)
    born: tuple[int, int] = (0, 0)


def open_fleet(folder: str | Path, *, vmm: str = "kvm", scheme: str = "kvm") -> OpenedFleet:
    """Open a fleet folder (docs/formats.md) with its columns.

    Parameters
    ----------
    folder : path
        The folder.
    vmm, scheme : str
        As for `Fleet`.

    Raises
    ------
    InputError
        When something in it cannot be used; the error names the file.
    """
    vms, hosts, columns, (intake, born) = read_one(Path(folder), lambda one: _sources(one, vmm == OWN))
    columns = with_kinds(columns, hosts)
    return OpenedFleet(Fleet(vms, hosts, vmm=vmm, scheme=scheme), hosts, vms, columns, intake, born)


def with_kinds(columns: Mapping[str, Sequence[str]], hosts: Sequence[Host]) -> dict[str, Sequence[str]]:
    """Add to the columns of hosts what their captures tell: capture, kernel and cpu."""
    told: dict[str, Sequence[str]] = {
        "kernel": [host.kernel for host in hosts],
        "cpu": [", ".join(map(cpu_name, host.cores or [host.midr])) for host in hosts],
    }
    return told | {**columns, "capture": [host._native.name for host in hosts]}


def _sources(
    folder: Path,
    by_own: bool,
) -> tuple[
    Sequence[RegisterSet], list[Host], dict[str, Sequence[str]], tuple[tuple[int, int], tuple[int, int]]
]:
    vms, hosts = readers.fleet_folder(folder, by_own=by_own)
    return vms, hosts, read_columns(folder, [host.name for host in hosts]), (_intake(folder), _born(folder))


def _intake(folder: Path) -> tuple[int, int]:
    """Read how many rows were rejected, of how many, when a fleet on disk was taken in."""
    manifest = read_manifest(folder) if is_stored(folder) else {}
    counts = manifest.get("rejected", 0), manifest.get("rows", 0)
    if not all(type(count) is int for count in counts):
        raise FormatError("expected whole numbers", "rows, rejected", file=str(folder / "fleet.json"))
    return counts


def _born(folder: Path) -> tuple[int, int]:
    """Count VMs whose registers were derived, and those that are only taken to be born where they run."""
    if not is_stored(folder):
        return 0, 0
    born = births_of(folder).drop_null()
    return len(born), int(pc.sum(pc.starts_with(born, "taken ")).as_py() or 0)


def read_columns(folder: Path, names: Sequence[str]) -> dict[str, Sequence[str]]:
    """Read the further columns of a fleet's hosts, in the order of `names`; nothing where there are none."""
    path = folder / "hosts.csv"
    if is_stored(folder):
        path = folder / "hosts"
        rows = [_texts(row) for row in stored_table(folder, "hosts", []).to_pylist()]
        known = HostRows()
        for number, row in enumerate(rows):
            problem = known.problem(row)
            if problem is not None:
                raise FormatError(problem, f"row {number}", file=str(path))
    elif path.exists():
        rows = [row.cells for row in read_hosts_table(path)]
    else:
        return {}
    if [row["host"] for row in rows] != list(names):
        raise InputError("the hosts changed while they were read", file=str(path))
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else ()) if name != "host"}


def _texts(row: Mapping[str, Any]) -> dict[str, str]:
    return {name: "" if value is None else str(value) for name, value in row.items()}


def capture_documents(folder: Path) -> dict[str, dict[str, Any]]:
    """Read the capture documents of a fleet that was opened before, by the name of the capture.

    Dumps of other tools that stand for a capture are left out.
    """
    if is_stored(folder):
        texts = stored_table(folder, "captures", ["document"]).column("document").to_pylist()
    else:
        files = files_of(folder / "captures", "captures")
        texts = [whole(path) for path in files if detect(path) == CAPTURE.name]
    documents = [parsed_json(text) for text in texts]
    return {one["host"]["name"]: one for one in documents if one.get("format") == "kvmfw-capture"}


def protections(folder: Path) -> dict[str, Protection]:
    """Read how the hosts of each capture protect, by the name of the capture; dumps of other tools do not tell."""
    return {name: protection_of(document) for name, document in capture_documents(folder).items()}


def file_protection(path: Path) -> Protection:
    """Read how the host of one capture protects; a dump of another tool does not tell."""
    try:
        document = parsed_json(whole(path), path)
    except FormatError:
        return Protection()
    known = isinstance(document, dict) and document.get("format") == "kvmfw-capture"
    return protection_of(document) if known else Protection()


def chosen_column(columns: Mapping[str, Sequence[str]], name: str) -> Sequence[str]:
    """Give a column by name.

    Raises
    ------
    ArgumentError
        When there is no such column; it names those that there are.
    """
    if name not in columns:
        raise ArgumentError(f"the fleet has no column `{name}`; it has {', '.join(columns) or 'none'}")
    return columns[name]
