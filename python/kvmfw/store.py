"""The fleet on disk: a normalised Parquet folder that appears whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kvmfw.errors import InputError
from kvmfw.inventory.history import History
from kvmfw.readers.blocks import Block
from kvmfw.readers.generations import Generations, snapshot
from kvmfw.readers.hosts_table import HostRow
from kvmfw.readers.rejects import Intake, twice
from kvmfw.readers.seen import Seen
from kvmfw.readers.stored import FORMAT, MANIFEST, SOURCE, VERSION, is_stored, read_manifest, stored_table
from kvmfw.sharing import NewSet, Sharing

__all__ = ["SCHEMAS", "Draft"]

_WIDE = pa.list_(pa.struct([("register", pa.uint64()), ("value", pa.binary())]))
SCHEMAS = {
    "vms": pa.schema(
        [
            ("vm", pa.string()),
            ("vcpu", pa.uint16()),
            ("set", pa.string()),
            ("host", pa.string()),
            ("born", pa.string()),
            ("vmm", pa.string()),
            ("register", pa.list_(pa.uint64())),
            ("value", pa.list_(pa.uint64())),
        ]
    ),
    "sets": pa.schema(
        [
            ("set", pa.string()),
            ("vcpu", pa.string()),
            ("register", pa.list_(pa.uint64())),
            ("value", pa.list_(pa.uint64())),
            ("wide", _WIDE),
        ]
    ),
    "captures": pa.schema(
        [
            ("capture", pa.string()),
            ("name", pa.string()),
            ("kernel", pa.string()),
            ("midr", pa.uint64()),
            ("document", pa.large_string()),
        ]
    ),
}
"""The tables of a fleet on disk; ``hosts`` has the columns host and capture, and those of hosts.csv."""

_FEW_VALUES = ["vcpu", "set", "host", "born", "vmm", "register.list.element"]
"""Columns of which entries are kept once; in others nearly all differ."""
_ALWAYS = 4
"""So many columns of VMs every fleet on disk has."""
_PART_ROWS = 1 << 20
_GROUP_ROWS = 1 << 17
_SET_ROWS = 1 << 12


class _Parts:
    """Writes one table in parts, by a thread of its own; a part is closed when it is large enough."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self.folder, self.schema = folder, schema
        self.rows = self.part_rows = self.parts = 0
        self._writer: pq.ParquetWriter | None = None
        self._thread = ThreadPoolExecutor(1, "kvmfw-write")
        self._writing: Future[None] | None = None
        folder.mkdir()

    def write(self, table: pa.Table) -> None:
        """Write some rows, after those before; whoever comes next is told what went wrong."""
        self._wait()
        self._writing = self._thread.submit(self._write, table)

    def _wait(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _write(self, table: pa.Table) -> None:
        if not table.num_rows and self.parts:
            return
        if self._writer is None:
            path = self.folder / f"part-{self.parts:05}.parquet"
            self._writer = pq.ParquetWriter(
                path, self.schema, compression="zstd", use_dictionary=_FEW_VALUES, write_statistics=False
            )
            self.parts += 1
        self._writer.write_table(table)
        self.rows += table.num_rows
        self.part_rows += table.num_rows
        if self.part_rows >= _PART_ROWS:
            self._end()

    def close(self) -> None:
        """Finish what was written."""
        try:
            self._wait()
        finally:
            self._thread.shutdown()
            self._end()

    def _end(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer, self.part_rows = None, 0


@dataclass(slots=True)
class _Host:
    capture: str
    columns: dict[str, str] = field(default_factory=dict)


class Draft:
    """A fleet on disk in the making; use it as a context manager.

    Nothing is seen of it until `commit`: then it becomes the next generation in one step, and what an
    interruption leaves is the old fleet, whole. Of two drafts at once the later one takes over what the earlier one
    committed.

    Parameters
    ----------
    folder : Path
        Where the fleet shall be.
    update : bool
        Whether VMs and hosts that stand there already stay, unless they are taken in again.
    keep : int
        How many generations before this one stay on the disk, for those who read them.

    Raises
    ------
    InputError
        When something that is no fleet on disk stands there.
    """

    def __init__(self, folder: Path, *, update: bool = True, keep: int = 1) -> None:
        self._generations = Generations(folder)
        if not self._generations.is_begun() and not is_stored(folder):
            raise InputError("something that is not a fleet on disk stands there", file=str(folder))
        if is_stored(folder):
            read_manifest(folder)
        self.folder, self.update, self.keep = folder, update, keep
        self._sharing = Sharing()
        self._pending_vms: list[pa.Table] = []
        self._pending_sets: list[NewSet] = []
        self._seen = Seen()
        self._source: str | None = SOURCE
        self._rejected: set[str] = set()
        self._captures: dict[str, tuple[str, str, int, str]] = {}
        self._capture_of: dict[str, str] = {}
        self._hosts: dict[str, _Host] = {}
        self._listed: set[str] = set()

    def __enter__(self) -> Draft:
        with ExitStack() as opened:
            self._draft = opened.enter_context(self._generations.draft())
            self._vms = opened.enter_context(closing(_Parts(self._draft / "vms", SCHEMAS["vms"])))
            self._sets = opened.enter_context(closing(_Parts(self._draft / "sets", SCHEMAS["sets"])))
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def add_block(self, block: Block, source: str, intake: Intake) -> None:
        """Take in register sets, all vCPUs of a VM together; a VM that was taken in already is rejected."""
        kept = self._new(block, source, intake)
        sets, differing, new = self._sharing.take(block, kept)
        self._pending_sets += new
        told = (
            pa.nulls(len(block), pa.string()) if one is None else pa.array(one)
            for one in (block.born, block.vmm)
        )
        columns = [block.names, pa.array(block.index), block.homes, *told]
        if len(kept) < len(block):
            columns = [column.take(pa.array(kept)) for column in columns]
        vm, vcpu, host, born, vmm = columns
        arrays = [vm, vcpu, sets, host, born, vmm, *differing]
        self._pending_vms.append(pa.Table.from_arrays(arrays, schema=SCHEMAS["vms"]))
        if sum(table.num_rows for table in self._pending_vms) >= _GROUP_ROWS:
            self._flush_vms()
        if len(self._pending_sets) >= _SET_ROWS:
            self._flush_sets()

    def _new(self, block: Block, source: str, intake: Intake) -> npt.NDArray[np.int64]:
        """Give the vCPUs of VMs that were not taken in yet; the others are rejected."""
        starts = np.flatnonzero(np.diff(block.vms, prepend=block.vms[:1] - 1))
        names = block.names if len(starts) == len(block) else block.names.take(pa.array(starts))
        if not (self._rejected or block.unusable) and self._seen.ascend(names):
            intake.use(int(block.rows.sum()))
            return np.arange(len(block))
        kept: list[int] = []
        taken = -1
        numbers, rows, firsts = (column.tolist() for column in (block.vms, block.rows, block.first))
        for at, vm in enumerate(block.names.to_pylist()):
            is_half = vm in self._rejected or block.unusable.get(vm, firsts[at]) < firsts[at]
            if is_half or (vm in self._seen and numbers[at] != taken):
                intake.reject_rows(source, range(firsts[at], firsts[at] + rows[at]), twice(vm))
                continue
            taken = numbers[at]
            self._seen.add(vm)
            intake.use(rows[at])
            kept.append(at)
        self._rejected |= block.unusable.keys()
        return np.array(kept, dtype=np.int64)

    def _flush_vms(self) -> None:
        if self._pending_vms:
            self._vms.write(pa.concat_tables(self._pending_vms).combine_chunks())
        self._pending_vms = []

    def _flush_sets(self) -> None:
        pending, self._pending_sets = self._pending_sets, []
        arrays = [
            pa.array([one.name for one in pending], pa.string()),
            pa.array([one.words for one in pending], pa.string()),
            _lists([one.register for one in pending]),
            _lists([one.value for one in pending]),
            pa.array(
                [[{"register": id_, "value": value} for id_, value in one.wide] for one in pending], _WIDE
            ),
        ]
        self._sets.write(pa.Table.from_arrays(arrays, schema=SCHEMAS["sets"]))

    def add_capture(self, document: Mapping[str, Any]) -> None:
        """Take in a capture, and the host of its name; captures that differ only in that name are one.

        A later capture of one name takes the place of an earlier one.
        """
        host = dict(document["host"])
        name = str(host.pop("name"))
        text = json.dumps({**document, "host": host}, sort_keys=True, separators=(",", ":"))
        digest = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        whole = json.dumps(dict(document), separators=(",", ":"))
        self._captures.setdefault(digest, (name, str(host["kernel"]), int(host["midr"], 16), whole))
        self._capture_of[name] = digest
        self._hosts[name] = _Host(digest)

    def add_hosts(self, rows: Sequence[HostRow], source: str, intake: Intake) -> None:
        """Take in the rows of ``hosts.csv``: the hosts are then those, each with the capture that it names."""
        named = {row.capture for row in rows}
        for row in rows:
            digest = self._capture_of.get(row.capture)
            if digest is None:
                intake.reject(source, row.line, f"there is no capture named `{row.capture}`")
                continue
            intake.use(1)
            more = {key: value for key, value in row.cells.items() if key not in ("host", "capture")}
            # Hosts have the order of these rows, also those that bear the name of their capture.
            self._hosts.pop(row.host, None)
            self._hosts[row.host] = _Host(digest, more)
        self._listed |= (listed := {row.host for row in rows})
        for name in named - listed:
            # The capture speaks for the hosts that name it, and is no host of its own.
            self._hosts.pop(name, None)

    def history(self) -> tuple[dict[str, str], History]:
        """Give the documents of captures by key, and which of them speaks for which host.

        Hosts that the fleet has already count, where it is updated.
        """
        documents: dict[str, str] = {}
        hosts: dict[str, str] = {}
        names: dict[str, str] = {}
        old = snapshot(self.folder)
        if self.update and is_stored(old):
            captures = stored_table(old, "captures", ["capture", "name", "document"]).to_pylist()
            documents = {row["capture"]: str(row["document"]) for row in captures}
            names = {str(row["name"]): row["capture"] for row in captures}
            listed = stored_table(old, "hosts", ["host", "capture"]).to_pylist()
            hosts = {str(row["host"]): row["capture"] for row in listed}
        documents |= {digest: document for digest, (*_, document) in self._captures.items()}
        hosts |= {name: host.capture for name, host in self._hosts.items()}
        return documents, History(hosts, names | self._capture_of)

    def forget_captures(self, names: Iterable[str]) -> None:
        """Let captures that spoke for hosts before be no hosts of their own."""
        for name in set(names) - self._listed:
            self._hosts.pop(name, None)

    def has_vm(self, name: str) -> bool:
        """Tell whether a VM was taken in already."""
        return name in self._seen

    def commit(self, **facts: Any) -> dict[str, Any]:
        """Finish the fleet and put it in its place; give what is in it."""
        with self._generations.lock():
            return self._commit(facts)

    def _commit(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Add what stands there now to the draft and publish it: with the lock, so that no intake is lost."""
        old = snapshot(self.folder)
        before = int(read_manifest(old).get("generation", 0)) if is_stored(old) else 0
        if self.update and is_stored(old):
            self._keep_old(old)
        self._flush_vms()
        self._flush_sets()
        self._vms.write(SCHEMAS["vms"].empty_table())
        self._vms.close()
        self._sets.close()
        hosts = self._write_hosts()
        used = {host.capture for host in self._hosts.values()}
        captures = [(digest, *self._captures[digest]) for digest in sorted(used)]
        parts = _Parts(self._draft / "captures", SCHEMAS["captures"])
        columns: Sequence[Any] = list(zip(*captures, strict=True)) or [()] * 5
        parts.write(pa.table([list(column) for column in columns], schema=SCHEMAS["captures"]))
        parts.close()
        counts = {"vms": self._vms.rows, "sets": self._sets.rows, "hosts": hosts, "captures": len(captures)}
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "source": self._source,
            "generation": before + 1,
            "tables": counts,
            **facts,
        }
        (self._draft / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        self._generations.publish(self._draft, before + 1, (*counts, MANIFEST), self.keep)
        return manifest

    def _write_hosts(self) -> int:
        names = list(self._hosts)
        more = sorted({column for host in self._hosts.values() for column in host.columns})
        rows = [(name, self._hosts[name]) for name in names]
        columns: dict[str, list[str]] = {"host": names, "capture": [host.capture for _, host in rows]}
        columns |= {column: [host.columns.get(column, "") for _, host in rows] for column in more}
        table = pa.table({name: pa.array(column, pa.string()) for name, column in columns.items()})
        parts = _Parts(self._draft / "hosts", table.schema)
        parts.write(table)
        parts.close()
        return len(names)

    def _keep_old(self, folder: Path) -> None:
        """Take over what stands there and was not taken in again."""
        taken = self._seen.names()
        columns, added = SCHEMAS["vms"].names[:_ALWAYS], SCHEMAS["vms"].names[_ALWAYS:]
        old = stored_table(folder, "vms", columns, added)
        for name in (name for name in added if name not in old.column_names):
            old = old.append_column(name, pa.nulls(len(old), SCHEMAS["vms"].field(name).type))
        old = old.select(SCHEMAS["vms"].names)
        old = old.filter(pc.invert(pc.is_in(old.column("vm"), value_set=taken))).cast(SCHEMAS["vms"])
        if read_manifest(folder).get("source") != SOURCE and len(
            old.column("register").combine_chunks().flatten()
        ):
            # Two cores told who is alike.
            self._source = None
        self._pending_vms.append(old)
        wanted = pc.unique(old.column("set"))
        sets = stored_table(folder, "sets", SCHEMAS["sets"].names)
        known = pa.array(self._sharing.names, pa.string())
        mask = pc.and_(
            pc.is_in(sets.column("set"), value_set=wanted),
            pc.invert(pc.is_in(sets.column("set"), value_set=known)),
        )
        self._flush_sets()
        self._sets.write(sets.filter(mask).cast(SCHEMAS["sets"]))
        captures = stored_table(folder, "captures", SCHEMAS["captures"].names)
        old_names = {}
        for row in captures.to_pylist():
            facts = row["name"], row["kernel"], row["midr"], row["document"]
            self._captures.setdefault(row["capture"], facts)
            old_names[row["capture"]] = row["name"]
        old_hosts = stored_table(folder, "hosts", []).to_pylist()
        listed = {row["host"] for row in old_hosts}
        for row in old_hosts:
            name, capture = row.pop("host"), row.pop("capture")
            # A new capture of the same name speaks for the hosts for which the old one did.
            again = self._capture_of.get(old_names.get(capture, ""))
            if again is not None and old_names[capture] not in listed:
                self._hosts.pop(old_names[capture], None)
            self._hosts.setdefault(name, _Host(again or capture, row))


def _lists(parts: Sequence[Any]) -> pa.Array:
    offsets = np.zeros(len(parts) + 1, dtype=np.int32)
    np.cumsum([len(part) for part in parts], out=offsets[1:])
    words = np.concatenate(parts) if parts else np.empty(0, np.uint64)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(words, pa.uint64()))
