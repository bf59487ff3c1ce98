"""Fleets that outgrow one machine: pure functions on record batches, for any engine that maps over them.

In two phases: `classify_batch` maps each VM to the class of VMs that no host can tell apart, and gives what
was saved of each class once; `decide` judges the few classes on one machine and makes a small table;
`validate_batch` joins it. All three can be pickled, keep nothing, and give the same for the same input.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kvmfw.errors import ArgumentError
from kvmfw.fleet import Fleet
from kvmfw.readers.blocks import Block, blocks_of_table
from kvmfw.readers.rejects import Intake
from kvmfw.registers import registers

__all__ = ["CLASSIFIED", "OUTCOMES", "classify_batch", "classify_batches", "decide", "validate_batch"]

_MEMBER = pa.struct([("vcpu", pa.string()), ("words", pa.binary())])
CLASSIFIED = pa.schema(
    [("vm", pa.string()), ("class", pa.binary()), ("problem", pa.string()), ("members", pa.list_(_MEMBER))]
)
"""What `classify_batch` gives. For one VM of each class of a batch, `members` holds what was saved of each kind of
vCPU: how it is made, and ids and values in turn, 8 bytes each, lowest first; engines without unsigned integers
hand it through unharmed. It is null for the other VMs of the class.
"""

_COUNTS = ("accept", "change", "unknown", "refuse")
OUTCOMES = pa.schema(
    [("vm", pa.string()), ("class", pa.binary()), ("problem", pa.string())]
    + [(name, pa.int32()) for name in _COUNTS]
)
"""What `validate_batch` gives: on how many hosts each VM has which outcome."""

_HOSTS = b"kvmfw.hosts"


@lru_cache(maxsize=1)
def _judged() -> npt.NDArray[np.uint64]:
    return np.array(sorted(register.id for register in registers()), dtype=np.uint64)


def classify_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Map the VMs of a batch to classes.

    Parameters
    ----------
    batch : pyarrow.RecordBatch
        VMs in long form, with all rows of a VM in this batch and together, or in nested form: the columns that
        `Fleet` takes, and ``vcpu_index`` where VMs have several vCPUs.

    Returns
    -------
    pyarrow.RecordBatch
        One row for each VM, as `CLASSIFIED` says. VMs with rows that cannot be used have no class and a problem.

    Raises
    ------
    ArgumentError
        When a column is missing or of a wrong type.
    """
    parts = [part for part in classify_batches([batch]) if part.num_rows]
    whole = pa.Table.from_batches(parts, CLASSIFIED).combine_chunks()
    return whole.to_batches()[0] if parts else pa.RecordBatch.from_pylist([], schema=CLASSIFIED)


def classify_batches(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Map the VMs of a stream of batches to classes; in long form a VM may go on in the next batch."""
    intake = Intake("collect", unusable={})
    seen: set[bytes] = set()
    for block in blocks_of_table(batches, "batch", intake):
        yield _classified(block, seen)
    yield _rejected(intake)


def _rejected(intake: Intake) -> pa.RecordBatch:
    rows = [{"vm": name, "problem": problem} for name, problem in (intake.unusable or {}).items()]
    return pa.RecordBatch.from_pylist(rows, schema=CLASSIFIED)


def _classified(block: Block, seen: set[bytes]) -> pa.RecordBatch:
    kinds = list(_kinds(block))
    names: list[str] = []
    classes: list[bytes] = []
    members: list[list[dict[str, Any]] | None] = []
    at = 0
    while at < len(block):
        end = at + 1
        while end < len(block) and block.names[end] == block.names[at]:
            end += 1
        own = dict(zip(reversed(kinds[at:end]), reversed(range(at, end)), strict=True))
        class_ = kinds[at] if len(own) == 1 else _digest(*sorted(own))
        names.append(block.names[at])
        classes.append(class_)
        members.append(None if class_ in seen else [_member(block, one) for one in sorted(own.values())])
        seen.add(class_)
        at = end
    return pa.RecordBatch.from_arrays(
        [
            pa.array(names, pa.string()),
            pa.array(classes, pa.binary()),
            pa.nulls(len(names), pa.string()),
            pa.array(members, pa.list_(_MEMBER)),
        ],
        schema=CLASSIFIED,
    )


def _member(block: Block, at: int) -> dict[str, Any]:
    rows = slice(int(block.starts[at]), int(block.starts[at + 1]))
    words = np.stack([block.register[rows], block.value[rows]], axis=1)
    return {"vcpu": block.words[at], "words": words.astype("<u8", copy=False).tobytes()}


def _digest(*parts: bytes) -> bytes:
    return hashlib.blake2b(b"".join(parts), digest_size=16).digest()


def _kinds(block: Block) -> Iterator[bytes]:
    """Give for each vCPU a digest of all that a host can tell: how it is made, its list, the values looked at."""
    judged = _judged()
    places = np.minimum(np.searchsorted(judged, block.register), len(judged) - 1)
    looked_at = np.where(judged[places] == block.register, block.value, np.uint64(0))
    rows = np.stack([block.register, looked_at], axis=1).astype("<u8", copy=False).tobytes()
    for at, words in enumerate(block.words):
        yield _digest(words.encode(), rows[16 * int(block.starts[at]) : 16 * int(block.starts[at + 1])])


def decide(
    classified: Iterable[pa.RecordBatch], hosts: Any, *, vmm: str = "kvm", scheme: str = "kvm"
) -> pa.Buffer:
    """Judge every class that occurs in `classified` on every host.

    Parameters
    ----------
    classified : iterable of pyarrow.RecordBatch
        What `classify_batch` gave; rows without members are passed over.
    hosts, vmm, scheme
        As for `Fleet`.

    Returns
    -------
    pyarrow.Buffer
        A small table for `validate_batch`: broadcast it to the workers.
    """
    members: dict[bytes, list[dict[str, Any]]] = {}
    for batch in classified:
        found = batch.filter(batch.column("members").is_valid())
        for row in found.select(["class", "members"]).to_pylist():
            members.setdefault(row["class"], row["members"])
    ids = sorted(members)
    flat = [(class_, member) for class_ in ids for member in members[class_]]
    vms = _nested([member for _, member in flat]) if flat else []
    fleet = Fleet(vms, hosts, vmm=vmm, scheme=scheme)
    weights = np.bincount(fleet.host_classes, minlength=fleet.class_shape[1])
    counts = np.zeros((len(ids), len(_COUNTS)), dtype=np.int32)
    at = 0
    for row, class_ in enumerate(ids):
        worst = np.zeros(fleet.class_shape[1], dtype=np.uint8)
        for _ in members[class_]:
            worst = np.maximum(worst, fleet.class_row(at))
            at += 1
        counts[row] = np.bincount(worst, weights=weights, minlength=len(_COUNTS))
    columns = {"class": pa.array(ids, pa.binary())}
    columns |= {name: pa.array(counts[:, at]) for at, name in enumerate(_COUNTS)}
    table = pa.table(columns).replace_schema_metadata({_HOSTS: str(fleet.shape[1]).encode()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _nested(members: Sequence[Mapping[str, Any]]) -> pa.Table:
    words = [np.frombuffer(member["words"], dtype="<u8").reshape(-1, 2) for member in members]
    starts = pa.array(np.cumsum([0, *(len(one) for one in words)]), pa.int32())
    flat = np.concatenate(words) if words else np.empty((0, 2), np.uint64)
    columns = {
        "vm": pa.array(np.arange(len(members))),
        "vcpu": pa.array([one["vcpu"] for one in members], pa.string()),
    }
    for at, name in enumerate(("register", "value")):
        column = np.ascontiguousarray(flat[:, at]).astype(np.uint64)
        columns[name] = pa.ListArray.from_arrays(starts, pa.array(column))
    return pa.table(columns)


@lru_cache(maxsize=4)
def _tables(buffer: bytes) -> tuple[dict[bytes, int], npt.NDArray[np.int32], int]:
    table = pa.ipc.open_stream(buffer).read_all()
    rows = {class_: row for row, class_ in enumerate(table.column("class").to_pylist())}
    counts = np.stack([table.column(name).to_numpy() for name in _COUNTS], axis=1)
    return rows, counts.astype(np.int32), int(table.schema.metadata[_HOSTS])


def validate_batch(batch: pa.RecordBatch, tables: pa.Buffer | bytes) -> pa.RecordBatch:
    """Give for each VM of a batch on how many hosts it has which outcome.

    Parameters
    ----------
    batch : pyarrow.RecordBatch
        What `classify_batch` gave, or VMs as it takes them.
    tables : pyarrow.Buffer or bytes
        What `decide` made of all classes.

    Returns
    -------
    pyarrow.RecordBatch
        One row for each VM, as `OUTCOMES` says. A VM whose rows cannot be used is unknown on every host.

    Raises
    ------
    ArgumentError
        When a VM is of a class that `decide` did not see.

    Examples
    --------
    >>> from kvmfw.testing import tiny_host
    >>> vms = pa.record_batch({"vm": ["a"], "register": [[0x6030000000140003]], "value": [[2]]})
    >>> classified = classify_batch(vms)
    >>> tables = decide([classified], [tiny_host(workaround_3=1), tiny_host(workaround_3=2)])
    >>> validate_batch(classified, tables).select(["vm", "change", "refuse"]).to_pylist()
    [{'vm': 'a', 'change': 1, 'refuse': 1}]
    """
    classified = batch if "class" in batch.schema.names else classify_batch(batch)
    rows, counts, hosts = _tables(bytes(tables))
    unusable = np.array([[0, 0, hosts, 0]], dtype=np.int32)
    found = []
    for class_ in classified.column("class").to_pylist():
        row = -1 if class_ is None else rows.get(class_)
        if row is None:
            raise ArgumentError("a VM is of a class that was not decided; decide the classes of all batches")
        found.append(row)
    chosen = np.concatenate([counts, unusable])[np.array(found, dtype=np.intp)]
    arrays = [classified.column(name) for name in ("vm", "class", "problem")]
    arrays += [pa.array(np.ascontiguousarray(chosen[:, at])) for at in range(len(_COUNTS))]
    return pa.RecordBatch.from_arrays(arrays, schema=OUTCOMES)
