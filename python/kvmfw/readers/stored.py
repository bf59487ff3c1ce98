"""Fleets on disk, as `kvmfw ingest` writes them: VMs that refer to sets, hosts that refer to captures.

Each table is a Parquet file or a folder of them: ``vms`` (vm, vcpu, set, host, and in register and value what differs
from its set), ``sets`` (set, vcpu, register, value, wide), ``hosts`` (host, capture, and any others), ``captures``
(capture, document).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from kvmfw import _native
from kvmfw.documents import parsed_json
from kvmfw.errors import FormatError, InputError
from kvmfw.readers.batches import Batches
from kvmfw.readers.classes import Classes
from kvmfw.readers.cutter import runs_of_table
from kvmfw.readers.generations import snapshot
from kvmfw.readers.hosts_table import VMM
from kvmfw.readers.runs import Alike, Runs
from kvmfw.readers.saved import set_of_words
from kvmfw.readers.source import whole
from kvmfw.readers.texts import without_dictionary
from kvmfw.readers.vcpu import derived_vcpu, words_of
from kvmfw.sets import Host, RegisterSet

__all__ = [
    "FORMAT",
    "MANIFEST",
    "SAVED",
    "SOURCE",
    "VERSION",
    "StoredVms",
    "births_of",
    "is_stored",
    "read_manifest",
    "stored_hosts",
    "stored_table",
]

FORMAT, VERSION = "kvmfw-fleet", 2
SAVED = "kvmfw-saved-fleet"
"""What `Fleet.save` writes: what a fleet knows, which no verb takes for what was saved of its VMs."""
SOURCE = _native.build_info()[2]
"""Which core tells who is alike: of a fleet that another one wrote this one looks at all that is saved."""
MANIFEST = "fleet.json"
_BATCH = 1 << 13
_WORTH_SHARING = 2
"""VMs are taken in by their sets where a set is had by so many on average."""
_OWN = ("register", "value")
"""Of VMs, the columns of what differs from their sets."""


def is_stored(folder: Path) -> bool:
    """Tell whether a folder is a fleet on disk: written by `kvmfw ingest`, or with tables of the same names."""
    folder = snapshot(folder)
    return (folder / MANIFEST).exists() or _table_path(folder, "sets") is not None


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read what ``fleet.json`` says; nothing where tables stand without one.

    Raises
    ------
    FormatError
        When it is not such a document, or of an unknown version.
    """
    path = snapshot(folder) / MANIFEST
    if not path.exists():
        return {}
    manifest = parsed_json(whole(path), path)
    if isinstance(manifest, dict) and manifest.get("format") == SAVED:
        raise FormatError(
            "this is a fleet that was saved; `kvmfw.Fleet.open` opens it", "format", file=str(path)
        )
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise FormatError(f"expected `{FORMAT}`", "format", file=str(path))
    if manifest.get("version") not in range(1, VERSION + 1):
        problem = f"version {manifest.get('version')} is not known; this kvmfw reads versions 1 to {VERSION}"
        raise FormatError(problem, "version", file=str(path))
    generation = manifest.setdefault("generation", 0)
    if type(generation) is not int or generation < 0:
        raise FormatError("expected how often the fleet was written", "generation", file=str(path))
    return manifest


def _table_path(folder: Path, name: str) -> Path | None:
    for path in (folder / name, folder / f"{name}.parquet"):
        if path.is_file() or (path.is_dir() and any(path.rglob("*.parquet"))):
            return path
    return None


def stored_table(
    folder: Path, name: str, columns: Sequence[str], optional: Sequence[str] = (), few: Iterable[str] = ()
) -> pa.Table:
    """Read one table of a fleet on disk; where no column is named, all of it. Those of `few` have dictionaries.

    Raises
    ------
    FormatError
        When the table is missing, damaged, or lacks a column.
    """
    path = _table_path(snapshot(folder), name)
    if path is None:
        raise FormatError(f"the fleet has no table `{name}`", file=str(folder))
    try:
        options = ds.ParquetReadOptions(dictionary_columns=set(few))
        dataset = ds.dataset(path, format=ds.ParquetFileFormat(read_options=options), partitioning="hive")
        missing = [column for column in columns if column not in dataset.schema.names]
        if missing:
            known = ", ".join(dataset.schema.names)
            raise FormatError(f"there is no column `{missing[0]}`; there are {known}", file=str(path))
        wanted = [*columns, *(column for column in optional if column in dataset.schema.names)]
        return dataset.to_table(columns=wanted if columns or optional else None)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        words = " ".join(str(error).split())[:200]
        raise FormatError(f"the table is damaged or cut off: {words}", file=str(path)) from error


def _row_of(ids: pa.ChunkedArray, known: pa.ChunkedArray, what: str, folder: Path) -> npt.NDArray[np.int64]:
    if pa.types.is_dictionary(ids.type):
        whole = ids.unify_dictionaries().combine_chunks()
        whole = pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole
        numbers = pc.index_in(
            whole.dictionary, value_set=pc.cast(known, whole.type.value_type).combine_chunks()
        )
        found = pa.chunked_array([numbers.take(whole.indices)])
    else:
        found = pc.index_in(ids, value_set=pc.cast(known, ids.type).combine_chunks())
    if found.null_count:
        row = int(pc.index(found.is_null(), True).as_py())
        raise FormatError(
            f"row {row} names the {what} `{ids[row].as_py()}`, which there is not", file=str(folder)
        )
    rows: npt.NDArray[np.int64] = found.combine_chunks().to_numpy(zero_copy_only=False).astype(np.int64)
    return rows


def births_of(folder: Path) -> pa.ChunkedArray:
    """Give how each VM came to have its registers, by row of the table of VMs; null where they were saved."""
    vms = stored_table(folder, "vms", ["vm"], ["born"])
    if "born" in vms.column_names:
        return without_dictionary(vms.column("born")).cast(pa.string())
    return pa.chunked_array([pa.nulls(len(vms), pa.string())])


class StoredVms(Sequence[RegisterSet]):
    """The VMs of a fleet on disk: register sets that are made when they are asked for.

    A VM with several vCPUs has one row for each kind of vCPU, named ``vm/vcpuN``; where no host can tell its
    vCPUs apart it has one row with its own name.

    Parameters
    ----------
    folder : Path
        The fleet on disk.
    by_own : bool
        Whether it matters whose VMs they are.
    """

    def __init__(self, folder: Path, *, by_own: bool = False) -> None:
        folder = snapshot(folder)
        self._is_own_source = read_manifest(folder).get("source") == SOURCE
        sets = stored_table(folder, "sets", ["set", "register", "value"], ["vcpu", "wide"])
        vms = stored_table(
            folder, "vms", ["vm", "set"], ["vcpu", "host", *[VMM] * by_own, *_OWN], few=("set", "host", VMM)
        )
        self._sets = sets.combine_chunks()
        self._own: pa.Table | None = None
        rows = _row_of(vms.column("set"), without_dictionary(sets.column("set")), "set", folder / "vms")
        names = without_dictionary(vms.column("vm"))
        kept = np.arange(len(rows))
        if "vcpu" in vms.column_names and pc.max(vms.column("vcpu")).as_py():
            if set(_OWN) <= set(vms.column_names):
                self._own = vms.select(_OWN).combine_chunks()
            names, kept = self._joined(names, vms.column("vcpu"), rows)
        is_all = len(kept) == len(rows)
        chosen = vms if is_all else vms.take(pa.array(kept))
        self._names = (names if is_all else names.take(pa.array(kept))).combine_chunks()
        self._rows = rows[kept]
        self._hosts = None
        if "host" in vms.column_names:
            self._hosts = without_dictionary(chosen.column("host")).combine_chunks()
        self._vmms = None
        if VMM in vms.column_names:
            self._vmms = without_dictionary(chosen.column(VMM)).cast(pa.string()).combine_chunks()
        if set(_OWN) <= set(vms.column_names):
            self._own = chosen.select(_OWN).combine_chunks()

    def _joined(
        self, names: pa.ChunkedArray, index: pa.ChunkedArray, rows: npt.NDArray[np.int64]
    ) -> tuple[pa.ChunkedArray, npt.NDArray[np.intp]]:
        """Keep one row for each kind of vCPU of a VM."""
        kinds = self._kinds_of_vms(rows) if self._differs_for_this_source() else self._kinds()[rows]
        vm = (
            names.dictionary_encode().combine_chunks().indices.to_numpy(zero_copy_only=False).astype(np.int64)
        )
        _, kept = np.unique(np.stack([vm, kinds], axis=1), axis=0, return_index=True)
        kept.sort()
        several = np.bincount(vm[kept], minlength=int(vm.max()) + 1)[vm] > 1
        suffix = pc.binary_join_element_wise(names, index.cast(pa.string()), "/vcpu")
        return pc.if_else(pa.array(several), suffix, names), kept

    def alike(self) -> Alike | None:
        """Give the VMs by their sets; None where few share one, another core told who is alike, or one cannot be used."""
        if len(self._rows) < _WORTH_SHARING * self._sets.num_rows or self._differs_for_this_source():
            return None
        runs = self._runs_of_sets()
        if Classes(runs).bad:
            return None
        if self._vmms is None:
            return Alike(runs, self._rows.astype(np.uint32), self._names, self._hosts)
        # VMs of one set and one VMM are alike.
        vmms = self._vmms.dictionary_encode("encode")
        codes = vmms.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        pairs, like = np.unique(self._rows * len(vmms.dictionary) + codes, return_inverse=True)
        sets, told = np.divmod(pairs, len(vmms.dictionary))
        runs = replace(runs.taken(sets), vmms=vmms.dictionary.take(pa.array(told)))
        return Alike(runs, like.astype(np.uint32), self._names, self._hosts)

    def _differs_for_this_source(self) -> bool:
        """Whether VMs differ from their sets, and it was another core that told that no host can tell them apart."""
        return self._own is not None and not self._is_own_source and len(self._own.column(0).flatten()) > 0

    def _runs_of_sets(self) -> Runs:
        numbered = self._sets.select(self._columns()).append_column(
            "vm", pa.array(np.arange(self._sets.num_rows))
        )
        (runs,) = runs_of_table(numbered, _native.Fleet("kvm", "kvm", 1))
        return runs

    def _kinds_of_vms(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Do the same for vCPUs of which another core told who is alike."""
        every = (self._set(row, "", None, self._differing(at)) for at, row in enumerate(rows.tolist()))
        return Classes(list(every)).of.astype(np.int64)

    def _kinds(self) -> npt.NDArray[np.int64]:
        """Give each set the number of its class; those that no host can tell apart have the same."""
        if self.has_wide:
            return Classes([self._set(row, "", None) for row in range(self._sets.num_rows)]).of.astype(
                np.int64
            )
        return Classes(self._runs_of_sets()).of.astype(np.int64)

    @property
    def has_wide(self) -> bool:
        """Whether a register of more than 8 bytes that KVM looks at holds more than columns of words can."""
        if "wide" not in self._sets.column_names:
            return False
        wide = self._sets.column("wide").combine_chunks().flatten()
        return any(_native.looked_at(pc.unique(pc.struct_field(wide, "register")).to_pylist()))

    def _columns(self) -> list[str]:
        return [name for name in ("vcpu", "register", "value") if name in self._sets.column_names]

    def _words(self, row: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
        found = (self._sets.column(name)[row].values for name in ("register", "value"))
        ids, values = (words.to_numpy(zero_copy_only=False).astype(np.uint64) for words in found)
        return ids, values

    def _set(
        self,
        row: int,
        name: str,
        home: str | None,
        differing: Mapping[int, int] | None = None,
        vmm: str | None = None,
    ) -> RegisterSet:
        ids, values = self._words(row)
        mapping = dict(zip(ids.tolist(), values.tolist(), strict=True)) | dict(differing or {})
        if "wide" in self._sets.column_names:
            wide = self._sets.column("wide")[row].as_py() or ()
            mapping |= {part["register"]: int.from_bytes(part["value"], "little") for part in wide}
        text = self._sets.column("vcpu")[row].as_py() if "vcpu" in self._sets.column_names else None
        if not text:
            features, vgic, enabled = derived_vcpu(mapping)
            text = words_of(features, vgic, enabled)
        return set_of_words(mapping, str(text), name, home, vmm)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, row: int) -> RegisterSet: ...
    @overload
    def __getitem__(self, row: slice) -> list[RegisterSet]: ...
    def __getitem__(self, row: int | slice) -> RegisterSet | list[RegisterSet]:
        if isinstance(row, slice):
            return [self[at] for at in range(*row.indices(len(self)))]
        home = None if self._hosts is None else self._hosts[row].as_py()
        vmm = None if self._vmms is None else self._vmms[row].as_py() or None
        return self._set(int(self._rows[row]), self._names[row].as_py(), home, self._differing(row), vmm)

    def _differing(self, row: int) -> dict[int, int]:
        """Give what a vCPU has instead of what its set has."""
        if self._own is None:
            return {}
        ids, values = (self._own.column(name)[row].as_py() or () for name in _OWN)
        return dict(zip(ids, values, strict=True))

    def _whole(self, sets: pa.Table, start: int) -> Iterator[pa.Array]:
        """Give registers and values of VMs with what differs from their sets, which stand beside one another."""
        registers, values = (sets.column(name).combine_chunks() for name in _OWN)
        offsets = registers.offsets.to_numpy() - registers.offsets[0].as_py()
        ids, words = (column.flatten().to_numpy().astype(np.uint64) for column in (registers, values))
        for at in range(len(registers)):
            rows = slice(int(offsets[at]), int(offsets[at + 1]))
            for id_, value in self._differing(start + at).items():
                words[rows.start + np.searchsorted(ids[rows], np.uint64(id_))] = value
        places = pa.array(offsets, pa.int32())
        yield from (pa.ListArray.from_arrays(places, pa.array(column)) for column in (ids, words))

    def reader(self) -> Batches:
        """Give the VMs as a stream in nested form, with the columns vm, vcpu (words), host, register, value."""
        sets = self._sets.select(self._columns())
        is_differing = self._differs_for_this_source()

        def batch(start: int) -> pa.RecordBatch:
            rows = self._rows[start : start + _BATCH]
            part = sets.take(pa.array(rows))
            if is_differing:
                for name, lists in zip(_OWN, self._whole(part, start), strict=True):
                    part = part.set_column(part.column_names.index(name), name, lists)
            part = part.append_column("vm", self._names.slice(start, _BATCH))
            if self._hosts is not None:
                part = part.append_column("host", self._hosts.slice(start, _BATCH).cast(pa.string()))
            if self._vmms is not None:
                part = part.append_column(VMM, self._vmms.slice(start, _BATCH))
            return part.combine_chunks().to_batches()[0]

        def batches() -> Iterator[pa.RecordBatch]:
            for start in range(0, len(self), _BATCH):
                yield batch(start)

        if not len(self):
            raise InputError("the fleet has no VM")
        return Batches(batch(0).schema, batches())


def stored_hosts(folder: Path, *, by_own: bool = False) -> list[Host]:
    """Read the hosts of a fleet on disk, with their VMMs where asked for; hosts with one capture share it.

    Raises
    ------
    FormatError
        When a table is damaged, or a host names a capture that there is not.
    """
    folder = snapshot(folder)
    captures = stored_table(folder, "captures", ["capture", "document"])
    hosts = stored_table(folder, "hosts", ["host", "capture"], [VMM] * by_own)
    rows = _row_of(
        without_dictionary(hosts.column("capture")),
        without_dictionary(captures.column("capture")),
        "capture",
        folder / "hosts",
    )
    made: dict[int, Host] = {}
    with_vmm = cache(Host.with_vmm)
    found = []
    vmms = hosts.column(VMM).to_pylist() if VMM in hosts.column_names else [None] * len(hosts)
    named = without_dictionary(hosts.column("host")).to_pylist()
    for name, row, vmm in zip(named, rows.tolist(), vmms, strict=True):
        if row not in made:
            try:
                made[row] = Host.from_json(captures.column("document")[row].as_py())
            except FormatError as error:
                error.file = f"{folder / 'captures'}: row {row}"
                raise
        host = with_vmm(made[row], vmm) if vmm else made[row]
        found.append(host.renamed(name))
    return found
