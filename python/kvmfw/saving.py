"""Fleets that are saved and opened again, with the same handles: tables in generations, as those of a fleet on disk.

What is saved is what a fleet knows. Of register sets that is what this core looks at, so only the same core opens it again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from kvmfw import _native
from kvmfw.documents import parsed_json
from kvmfw.errors import FormatError, InputError
from kvmfw.files import open_file
from kvmfw.names import arrow_texts, texts_of
from kvmfw.readers.generations import Generations, read_one, snapshot
from kvmfw.readers.source import whole
from kvmfw.readers.stored import MANIFEST, SAVED, SOURCE
from kvmfw.readers.vcpu import config_of_words, words_of_config

__all__ = ["Left", "Writing", "read", "save"]

VERSION = 1
SCHEMAS = {
    "vms": pa.schema(
        [
            ("vm", pa.large_string()),
            ("handle", pa.uint64()),
            ("set", pa.uint32()),
            ("host", pa.large_string()),
            ("of", pa.large_string()),
        ]
    ),
    "sets": pa.schema(
        [
            ("vcpu", pa.string()),
            ("vmm", pa.string()),
            ("register", pa.large_list(pa.uint64())),
            ("value", pa.large_binary()),
        ]
    ),
    "hosts": pa.schema([("host", pa.large_string()), ("handle", pa.uint64()), ("capture", pa.uint32())]),
    "captures": pa.schema([("document", pa.large_binary()), ("vmm", pa.string())]),
}
_PART = "part-00000.parquet"
_KEPT = 1
"""Generations before the one that holds that stay on the disk."""
_MOST = 1 << 62
_READ_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Writing:
    """Who wrote a saved fleet, and which generation of the folder it was."""

    by: str
    number: int


@dataclass(frozen=True)
class Left:
    """A fleet as it was left.

    Attributes
    ----------
    vmm, scheme : str
        How it is judged.
    parts : frozenset of str
        VMs of which each kind of vCPU has a row of its own.
    writing : Writing
        Who saved it.
    """

    vmm: str
    scheme: str
    parts: frozenset[str]
    writing: Writing
    _generation: int
    _arrivals: tuple[int, int]
    _tables: Mapping[str, pa.Table]
    _folder: Path

    def added_to(self, change: _native.Change) -> None:
        """Let an empty fleet go on where this one was left."""
        vms, sets, hosts, captures = (self._tables[name] for name in SCHEMAS)
        kinds = []
        for row, one in enumerate(captures.to_pylist()):
            try:
                kinds.append(_native.Host.from_json(one["document"]).with_vmm(one["vmm"]))
            except FormatError as error:
                error.file = f"{self._folder / 'captures'}: row {row}"
                raise
        try:
            change.add_hosts(kinds, _numbers(hosts, "capture"), texts_of(_one(hosts, "host")))
            self._add_vms(change, vms, sets)
            of = (
                (_numbers(table, "handle"), last)
                for table, last in zip((vms, hosts), self._arrivals, strict=True)
            )
            _native.go_on(change, self._generation, *of)
        except InputError as error:
            error.file = str(self._folder)
            raise

    @staticmethod
    def _add_vms(change: _native.Change, vms: pa.Table, sets: pa.Table) -> None:
        register, value = _one(sets, "register"), _one(sets, "value")
        places = _one(vms, "host").dictionary_encode()
        homes = places.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
        # One more stands for VMs whose rows could not be used.
        told = (sets.column(name).to_pylist() for name in ("vcpu", "vmm"))
        configs = [*((*config_of_words(words), vmm) for words, vmm in zip(*told, strict=True)), None]
        like = _one(vms, "set").fill_null(len(sets)).to_numpy(zero_copy_only=False)
        starts = register.offsets.to_numpy() if len(register) else np.zeros(1, np.int64)
        columns = (starts, register.values.to_numpy(), *_buffers(value))
        named = (texts_of(_one(vms, "vm")), (texts_of(places.dictionary), homes), like)
        _native.add_like(change, configs, columns, named)


def save(
    folder: Path,
    known: Callable[[Writing], bool],
    by: str,
    take: Callable[[], tuple[_native.Snapshot, frozenset[str]]],
    facts: Mapping[str, str],
) -> int:
    """Make a fleet the next generation of a folder; give its number.

    Parameters
    ----------
    folder : Path
        Where it shall be.
    known : callable
        Tells whether what stands there is what this fleet was before.
    by : str
        Who writes.
    take : callable
        Gives the fleet as it is now, and the VMs of which each kind of vCPU has a row; asked when nobody else can write.
    facts : mapping
        How it is judged.

    Raises
    ------
    InputError
        When something else stands there, or somebody else has written there since.
    """
    generations = Generations(folder)
    with generations.draft() as draft, generations.lock():
        number = 1
        if not generations.is_begun():
            there = _writing(_manifest(snapshot(folder)))
            if not known(there):
                problem = f"generation {there.number} stands there, which is another fleet's: open it, or save elsewhere"
                raise InputError(problem, file=str(folder))
            number = there.number + 1
        now, parts = take()
        arrivals, tables = _tables(now, parts)
        digests = {}
        for name, table in tables.items():
            (draft / name).mkdir()
            path = draft / name / _PART
            pq.write_table(table, path, compression="zstd")
            digests[name] = _digest(path)
        manifest = {
            "format": SAVED,
            "version": VERSION,
            "source": SOURCE,
            "generation": number,
            "by": by,
            **facts,
            "changes": now.generation(),
            "arrivals": {"vms": arrivals[0], "hosts": arrivals[1]},
            "tables": {name: len(table) for name, table in tables.items()},
            "digests": digests,
        }
        manifest["digest"] = _digest_of(manifest)
        (draft / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        generations.publish(draft, number, (*tables, MANIFEST), _KEPT)
    return number


def _tables(now: _native.Snapshot, parts: frozenset[str]) -> tuple[tuple[int, int], dict[str, pa.Table]]:
    arrivals, (places, home_of), (captures, capture_of) = _native.members_left(now)
    classes, _ = now.members(False)
    configs, (starts, register, ends, value) = _native.class_sets(now, classes)
    is_usable = np.array([config is not None for config in configs], dtype=bool)
    at = np.searchsorted(classes, now.vm_classes())
    numbers = (np.cumsum(is_usable) - 1)[at]
    vms, hosts, _, _ = now.sizes()
    names = arrow_texts(now.names(False, 0, vms))
    homes = pa.DictionaryArray.from_arrays(
        pa.array(home_of, mask=home_of < 0), pa.array(places, pa.large_string())
    )
    kept = np.append(is_usable, True)
    sets = [
        pa.array([words_of_config(config[:3]) for config in configs if config is not None], pa.string()),
        pa.array([config[3] for config in configs if config is not None], pa.string()),
        pa.LargeListArray.from_arrays(pa.array(starts[kept]), pa.array(register)),
        pa.LargeBinaryArray.from_buffers(
            pa.large_binary(), int(is_usable.sum()), [None, pa.py_buffer(ends[kept]), pa.py_buffer(value)]
        ),
    ]
    columns = {
        "vms": [
            names,
            pa.array(now.handles(False)),
            pa.array(numbers.astype(np.uint32), mask=~is_usable[at]),
            homes.cast(pa.large_string()),
            _wholes(names, parts),
        ],
        "sets": sets,
        "hosts": [
            arrow_texts(now.names(True, 0, hosts)),
            pa.array(now.handles(True)),
            pa.array(capture_of),
        ],
        "captures": [
            pa.array([capture.document for capture in captures], pa.large_binary()),
            pa.array([capture.vmm for capture in captures], pa.string()),
        ],
    }
    return arrivals, {name: pa.table(columns[name], schema=SCHEMAS[name]) for name in SCHEMAS}


def _wholes(names: pa.Array, parts: frozenset[str]) -> pa.Array:
    """Give for each row of a kind of vCPU the VM that it is of."""
    if not parts:
        return pa.nulls(len(names), pa.large_string())
    wholes = (name.rpartition("/vcpu")[0] for name in names.to_pylist())
    return pa.array([whole if whole in parts else None for whole in wholes], pa.large_string())


def read(folder: Path) -> Left:
    """Read a saved fleet.

    Raises
    ------
    FormatError
        When it is no saved fleet, is damaged, or another core saved it.
    """
    return read_one(folder, _read)


def _read(folder: Path) -> Left:
    path = folder / MANIFEST
    manifest = _manifest(folder)
    if manifest.get("source") != SOURCE:
        problem = (
            "another version of kvmfw saved this fleet, which kept what it looks at; build the fleet anew"
        )
        raise FormatError(problem, "source", file=str(path))
    tables = {}
    for name, schema in SCHEMAS.items():
        file = folder / name / _PART
        if _digest(file) != _of(manifest, "digests", dict, path).get(name):
            raise FormatError(f"this is not the table that {MANIFEST} tells of", file=str(file))
        try:
            tables[name] = pq.read_table(file)
        except (pa.ArrowException, OSError) as error:
            raise FormatError("the table cannot be read", file=str(file)) from error
        if tables[name].schema != schema:
            raise FormatError("the columns are not those of a saved fleet", file=str(file))
    arrivals = _of(manifest, "arrivals", dict, path)
    return Left(
        _of(manifest, "vmm", str, path),
        _of(manifest, "scheme", str, path),
        frozenset(one for one in tables["vms"].column("of").unique().to_pylist() if one is not None),
        _writing(manifest),
        _count(manifest, "changes", path),
        (_count(arrivals, "vms", path), _count(arrivals, "hosts", path)),
        tables,
        folder,
    )


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    manifest = parsed_json(whole(path), path)
    if not isinstance(manifest, dict) or manifest.get("format") != SAVED:
        raise FormatError(f"expected `{SAVED}`, a fleet that was saved", "format", file=str(path))
    if manifest.get("version") != VERSION:
        problem = f"version {manifest.get('version')} is not known; this kvmfw reads version {VERSION}"
        raise FormatError(problem, "version", file=str(path))
    if manifest.pop("digest", None) != _digest_of(manifest):
        raise FormatError("the document is not as it was written", "digest", file=str(path))
    _of(manifest, "by", str, path)
    _count(manifest, "generation", path)
    return manifest


def _writing(manifest: Mapping[str, Any]) -> Writing:
    return Writing(manifest["by"], manifest["generation"])


def _of(document: Mapping[str, Any], key: str, kind: type[Any], path: Path) -> Any:
    found = document.get(key)
    if type(found) is not kind:
        raise FormatError(f"expected {kind.__name__}", key, file=str(path))
    return found


def _count(document: Mapping[str, Any], key: str, path: Path) -> int:
    count: int = _of(document, key, int, path)
    if not 0 <= count <= _MOST:
        raise FormatError(f"expected a number from 0 to {_MOST}", key, file=str(path))
    return count


def _digest_of(manifest: Mapping[str, Any]) -> str:
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _digest(path: Path) -> str:
    state = hashlib.blake2b(digest_size=16)
    with open_file(path) as file:
        try:
            while data := file.read(_READ_AT_ONCE):
                state.update(data)
        except OSError as error:
            raise InputError(error.strerror or "cannot be read", file=str(path)) from error
    return state.hexdigest()


def _one(table: pa.Table, name: str) -> pa.Array:
    column = table.column(name).combine_chunks()
    return pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column


def _numbers(table: pa.Table, name: str) -> npt.NDArray[Any]:
    column = _one(table, name)
    if column.null_count:
        raise FormatError(f"`{name}` is null where a number is needed")
    numbers: npt.NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return numbers


def _buffers(values: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Give where each value starts, with the end of the last one, and the bytes of all."""
    if not len(values):
        return np.zeros(1, np.int64), np.empty(0, np.uint8)
    _, starts, data = values.buffers()
    places = np.frombuffer(starts, np.int64)[values.offset : values.offset + len(values) + 1]
    return places, np.empty(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
