"""Intake of whole fleets: sources of any format become a fleet on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from kvmfw.documents import parsed_json
from kvmfw.errors import ArgumentError, FormatError, InputError
from kvmfw.inventory import births
from kvmfw.inventory.history import HISTORY, read_history
from kvmfw.inventory.intake import Inventory
from kvmfw.inventory.making import making_of_cpu
from kvmfw.readers.blocks import block_of_sets, blocks_of_table
from kvmfw.readers.csvs import columns_of_csv
from kvmfw.readers.firecracker import fingerprint_capture
from kvmfw.readers.folders import files_of
from kvmfw.readers.formats import (
    INVENTORIES,
    MOVES_OF,
    TABLES,
    check_format,
    detect,
    host_of,
    name_of,
    told_of,
    vcpus_of,
)
from kvmfw.readers.generations import read_one
from kvmfw.readers.homes import Homes, homes_of
from kvmfw.readers.hosts_table import read_hosts_table
from kvmfw.readers.rejects import Intake, OnError, Reject
from kvmfw.readers.source import whole
from kvmfw.readers.stored import is_stored
from kvmfw.readers.tables import COLUMNS, check_columns, declared_rows, left_out, open_table
from kvmfw.store import Draft

__all__ = ["Ingested", "Progress", "ingest"]

Progress = Callable[[str, float, int], None]
"""Called with the source, the share of all bytes that is done (0 to 1), and the rows so far."""

_HOSTS_TABLE = "hosts.csv"
_DOCUMENTS = 256


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of sources.

    Attributes
    ----------
    rows, used, rejected : int
        Rows of tables, lines and documents that came in, were used, were rejected; the latter two add up.
    vms, sets, hosts, captures : int
        What the fleet on disk holds now: vCPUs of VMs, distinct sets, hosts, distinct captures.
    generation : int
        How often the fleet was written.
    rejects : list of Reject
        The first 1000 rejected rows.
    inferred : int
        Of how many vCPUs of tables nothing says how they are made, so that their ID registers were asked.
    left_out : list of str
        Columns of tables that were not looked at.
    born, assumed : int
        Of how many VMs of inventories the register sets were derived from where they were started; of how many of
        these nothing but `born_here` says where that was.
    homes : Homes
        Where the VMs of the fleet run, as far as that is known.
    """

    rows: int
    used: int
    rejected: int
    vms: int
    sets: int
    hosts: int
    captures: int
    generation: int
    rejects: list[Reject]
    inferred: int
    left_out: list[str]
    born: int
    assumed: int
    homes: Homes


def ingest(
    sources: Sequence[str | Path],
    output: str | Path,
    *,
    from_: str | None = None,
    on_error: OnError = "raise",
    rejects: str | Path | None = None,
    update: bool = True,
    keep: int = 1,
    columns: Mapping[str, str] | None = None,
    cpu: str | None = None,
    born_here: bool = False,
    progress: Progress | None = None,
) -> Ingested:
    """Take sources of any format into a fleet on disk (docs/formats.md).

    Parameters
    ----------
    sources : sequence of path
        Files, and folders of files.
    output : path
        The folder of the fleet. It appears whole or not at all.
    from_ : str, optional
        The format of all files; found out by content, file by file, if not given.
    on_error : {"raise", "collect"}
        Whether the first row that cannot be used stops the intake, or is set aside.
    rejects : path, optional
        A CSV file for the rejected rows: source, row, reason.
    update : bool
        Whether VMs and hosts that the fleet holds already stay, unless they are taken in again.
    keep : int
        How many generations before the new one stay on the disk, for those who read them.
    columns : mapping of str to str, optional
        What columns of tables are called that have names of their own, such as ``{"host": "hypervisor"}``.
    cpu : str, optional
        How QEMU made the vCPUs of VMs in inventories that do not say it: its ``-cpu``, such as ``host,pmu=off``.
    born_here : bool
        Whether VMs of inventories that do not say it are taken to have been started where they run.
    progress : callable, optional
        Told how far the intake is.

    Returns
    -------
    Ingested
        Counts.

    Raises
    ------
    InputError
        When a source cannot be used, or the output cannot be written.
    """
    if from_ is not None:
        check_format(from_)
    check_columns(columns or {}, (*COLUMNS, *births.COLUMNS))
    files = [file for source in sources for file in _files(Path(source), Path(output))]
    intake = Intake(on_error)
    if rejects is not None:
        intake.write_to(Path(rejects))
    try:
        with Draft(Path(output), update=update, keep=keep) as draft:
            inventory = Inventory(None if cpu is None else making_of_cpu(cpu), born_here)
            run = _Run(draft, intake, files, columns or {}, inventory, progress=progress)
            run.run(from_)
            manifest = draft.commit(
                rows=intake.rows, used=intake.used, rejected=intake.rejected, inferred=intake.inferred
            )
    except OSError as error:
        raise InputError(error.strerror or "cannot be written", file=str(output)) from error
    finally:
        intake.close()
    counts: dict[str, int] = manifest["tables"]
    generation = manifest["generation"]
    return Ingested(
        intake.rows,
        intake.used,
        intake.rejected,
        **counts,
        generation=generation,
        rejects=intake.rejects,
        inferred=intake.inferred,
        left_out=run.left_out,
        born=inventory.born,
        assumed=inventory.assumed,
        homes=read_one(Path(output), homes_of),
    )


def _files(source: Path, output: Path) -> list[Path]:
    if source.is_dir() and is_stored(source):
        raise InputError("this is a fleet on disk already; ingest what it was made of", file=str(source))
    found = files_of(source, "VMs or captures")
    if source.is_dir():
        found += [source / name for name in (_HOSTS_TABLE, HISTORY) if (source / name).exists()]
    inside = output.absolute()
    return [file for file in found if inside not in file.absolute().parents]


class _Run:
    def __init__(
        self,
        draft: Draft,
        intake: Intake,
        files: Sequence[Path],
        columns: Mapping[str, str],
        inventory: Inventory,
        *,
        progress: Progress | None,
    ) -> None:
        self.draft, self.intake, self.files, self.progress = draft, intake, files, progress
        self.inventory = inventory
        self.columns, self._seen_columns = columns, dict[str, None]()
        self.left_out: list[str] = []
        self.sizes = {file: max(file.stat().st_size, 1) for file in files}
        self.total = sum(self.sizes.values())
        self.done = 0

    def run(self, from_: str | None) -> None:
        tables = []
        for file in self.files:
            if file.name == _HOSTS_TABLE:
                tables.append(file)
                continue
            if file.name == HISTORY:
                self.inventory.add_history(read_history(file))
                continue
            try:
                self._take(file, from_ or detect(file, self.columns))
            except InputError as error:
                self.intake.reject_source(str(file), _with_file(error, file))
            self.done += self.sizes[file]
            self._tell(file, 0)
        for column in self.columns.values():
            if column not in self._seen_columns:
                known = ", ".join(self._seen_columns) or "none"
                raise ArgumentError(f"no table has a column `{column}`; there are {known}")
        for table in tables:
            try:
                rows = read_hosts_table(table, partial(self.intake.reject, str(table)))
            except InputError as error:
                self.intake.reject_source(str(table), error)
            else:
                self.draft.add_hosts(rows, str(table), self.intake)
        self.inventory.take_in(self.draft, self.intake)

    def _tell(self, file: Path, share: float) -> None:
        if self.progress is not None:
            self.progress(str(file), (self.done + share * self.sizes[file]) / self.total, self.intake.rows)

    def _take(self, file: Path, kind: str) -> None:
        if kind == "capture":
            host_of(file, kind)
            self._capture(parsed_json(whole(file), file))
            return
        if kind == "firecracker-fingerprint":
            # What a fresh microVM saved there is both: a host, and a VM that runs on it.
            self._capture(fingerprint_capture(parsed_json(whole(file), file), name_of(file)), rows=0)
        if kind in TABLES:
            self._table(file, kind)
            return
        if kind == births.FORMAT.name:
            columns = {name: given for name, given in self.columns.items() if name in births.COLUMNS}
            self._seen_columns |= dict.fromkeys(columns_of_csv(file))
            self.inventory.add(kind, births.births_of(file, columns), moves_of=MOVES_OF.get(kind))
            return
        if kind in INVENTORIES:
            self.inventory.add(kind, told_of(file, kind), moves_of=MOVES_OF.get(kind))
            return
        documents = vcpus_of(file, kind, self.intake)
        while vms := list(islice(documents, _DOCUMENTS)):
            self.draft.add_block(block_of_sets(vms), str(file), self.intake)

    def _capture(self, document: dict[str, Any], rows: int = 1) -> None:
        self.draft.add_capture(document)
        self.intake.use(rows)

    def _table(self, file: Path, kind: str) -> None:
        expected = declared_rows(file, kind)
        before = self.intake.rows
        table = open_table(file, kind)
        columns = {name: given for name, given in self.columns.items() if name in COLUMNS}
        self._seen_columns |= dict.fromkeys(table.schema.names)
        new = (name for name in left_out(table.schema.names, columns) if name not in self.left_out)
        self.left_out.extend(new)
        for block in blocks_of_table(table, str(file), self.intake, columns):
            self.draft.add_block(block, str(file), self.intake)
            self._tell(file, min((self.intake.rows - before) / expected, 1) if expected else 0)


def _with_file(error: InputError, file: Path) -> InputError:
    if isinstance(error, ArgumentError):
        return FormatError(error.problem, file=str(file))
    error.file = error.file or str(file)
    return error
