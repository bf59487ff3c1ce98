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

from kvmfw import _native
from kvmfw.errors import ArgumentError
from kvmfw.fleet import Fleet
from kvmfw.readers.classes import Classes, words_of_run
from kvmfw.readers.runs import Runs
from kvmfw.readers.streams import runs_of_stream
from kvmfw.vmms import OWN

__all__ = [
    "CLASSIFIED",
    "OUTCOMES",
    "classify_batch",
    "classify_batches",
    "decide",
    "digest_of",
    "validate_batch",
]

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
    seen: set[bytes] = set()
    kinds = _native.Kinds(1)
    for runs in runs_of_stream(batches, _native.Fleet("kvm", "kvm", 1)):
        yield _classified(runs, Classes(runs, kinds), seen)


def _classified(runs: Runs, classes: Classes, seen: set[bytes]) -> pa.RecordBatch:
    """Give for each VM its class: that of its vCPUs where they are alike, else one made of all their classes."""
    digests = {class_: digest_of(classes.key(class_)) for class_ in np.unique(classes.of).tolist()}
    kinds = [digests[class_] for class_ in classes.of.tolist()]
    starts = np.flatnonzero(np.diff(runs.vms(), prepend=-1))
    found: list[bytes | None] = []
    problems: list[str | None] = []
    members: list[list[dict[str, Any]] | None] = []
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(runs)], strict=True):
        bad = next((classes.bad[run] for run in range(start, end) if run in classes.bad), None)
        problems.append(bad[0][1] if bad else None)
        own = dict(zip(reversed(kinds[start:end]), reversed(range(start, end)), strict=True))
        class_ = kinds[start] if len(own) == 1 else digest_of(*sorted(own))
        found.append(None if bad else class_)
        new = not bad and class_ not in seen
        members.append([_member(runs, own[one]) for one in sorted(own)] if new else None)
        if new:
            seen.add(class_)
    return pa.RecordBatch.from_arrays(
        [
            runs.names.take(pa.array(starts)).cast(pa.string()),
            pa.array(found, pa.binary()),
            pa.array(problems, pa.string()),
            pa.array(members, pa.list_(_MEMBER)),
        ],
        schema=CLASSIFIED,
    )


def _member(runs: Runs, run: int) -> dict[str, Any]:
    rows = slice(int(runs.starts[run]), int(runs.starts[run + 1]))
    words = np.stack([runs.register[rows], runs.value[rows]], axis=1)
    return {"vcpu": words_of_run(runs, run), "words": words.astype("<u8", copy=False).tobytes()}


def digest_of(*parts: bytes) -> bytes:
    """Give a short name for what tells a class from others, the same on every machine."""
    return hashlib.blake2b(b"".join(parts), digest_size=16).digest()


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
    if vmm == OWN:
        raise ArgumentError("batches are judged by one VMM; name it")
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
