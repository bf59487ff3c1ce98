"""Ray: files of VMs are classified or counted by many workers, classes are decided once.

Needs the extra ``kvmfw[ray]``. Tasks keep nothing, so Ray repeats those of a worker that dies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import ray
import ray.data

from kvmfw.distributed.batches import OUTCOMES, classify_batch, classify_batches, decide, validate_batch
from kvmfw.errors import InputError
from kvmfw.readers.folders import files_of
from kvmfw.readers.formats import TABLES, detect
from kvmfw.readers.tables import open_table

__all__ = ["run", "validate", "validate_dataset"]

T = TypeVar("T")
U = TypeVar("U")

_TRIES = 8
"""So often is a task begun anew whose worker died."""
_AHEAD = 2
"""Tasks for each core that are handed out before the first has come back: results do not pile up."""


def run(function: Callable[[T], U], items: Sequence[T]) -> Iterator[tuple[int, U]]:
    """Run a function on items; give the number of each item with its result, as they come in.

    Where nobody did it before, Ray is begun: the cluster of ``RAY_ADDRESS``, else one on this machine.
    """
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    task, shared = ray.remote(max_retries=_TRIES)(_called), ray.put(function)
    waiting: dict[Any, int] = {}
    most = _AHEAD * max(int(ray.cluster_resources().get("CPU", 1)), 1)
    left = iter(enumerate(items))
    while True:
        for at, item in islice(left, most - len(waiting)):
            waiting[task.remote(shared, item)] = at
        if not waiting:
            return
        done, _ = ray.wait(list(waiting), num_returns=1)
        for one in done:
            yield waiting.pop(one), ray.get(one)


def _called(function: Callable[[T], U], item: T) -> U:
    return function(item)


def validate(
    sources: Sequence[str | Path], hosts: Any, *, vmm: str = "kvm", scheme: str = "kvm"
) -> ray.data.Dataset:
    """Give for each VM of many table files on how many hosts it has which outcome.

    Parameters
    ----------
    sources : sequence of path
        Parquet, Arrow or CSV files, or folders of them, that every worker can read. One task reads one file;
        the rows of a VM must be together in one file.
    hosts, vmm, scheme
        As for `kvmfw.Fleet`.

    Returns
    -------
    ray.data.Dataset
        Columns and types of `kvmfw.distributed.batches.OUTCOMES`, in the order of the files.

    Raises
    ------
    InputError
        When a source cannot be used, or holds no table.
    """
    files = [str(file.absolute()) for source in sources for file in files_of(Path(source), "tables of VMs")]
    for file in files:
        if (kind := detect(Path(file))) not in TABLES:
            raise InputError(f"a file of format {kind} is no table; expected {', '.join(TABLES)}", file=file)
    listed = ray.data.from_items([{"file": file} for file in files], override_num_blocks=len(files))
    classified = listed.map_batches(_classify_files, batch_size=1, batch_format="pyarrow")
    return _joined(classified, hosts, vmm, scheme)


def validate_dataset(
    vms: ray.data.Dataset, hosts: Any, *, vmm: str = "kvm", scheme: str = "kvm"
) -> ray.data.Dataset:
    """Do the same for a dataset of VMs in nested form: one row for each VM, with lists of registers and values.

    Parameters
    ----------
    vms : ray.data.Dataset
        The VMs, with the columns that `kvmfw.distributed.batches.classify_batch` takes.
    hosts, vmm, scheme
        As for `kvmfw.Fleet`.

    Returns
    -------
    ray.data.Dataset
        As for `validate`.
    """
    classified = vms.map_batches(_classify_table, batch_format="pyarrow", zero_copy_batch=True)
    return _joined(classified, hosts, vmm, scheme)


def _joined(classified: ray.data.Dataset, hosts: Any, vmm: str, scheme: str) -> ray.data.Dataset:
    kept = classified.materialize()
    distinct = (
        batch
        for table in kept.map_batches(_with_members, batch_format="pyarrow").iter_batches(
            batch_format="pyarrow"
        )
        for batch in table.to_batches()
    )
    tables = decide(distinct, hosts, vmm=vmm, scheme=scheme).to_pybytes()
    return kept.map_batches(_validate_table, fn_args=(tables,), batch_format="pyarrow", zero_copy_batch=True)


def _classify_files(batch: pa.Table) -> Iterator[pa.Table]:
    for file in batch.column("file").to_pylist():
        reader = open_table(Path(file), detect(Path(file)))
        for part in classify_batches(reader):
            yield pa.Table.from_batches([part])


def _classify_table(table: pa.Table) -> pa.Table:
    return pa.Table.from_batches([classify_batch(batch) for batch in table.combine_chunks().to_batches()])


def _with_members(table: pa.Table) -> pa.Table:
    return table.filter(table.column("members").is_valid()).select(["class", "members"])


def _validate_table(table: pa.Table, tables: bytes) -> pa.Table:
    parts = [validate_batch(batch, tables) for batch in table.to_batches()]
    return pa.Table.from_batches(parts, OUTCOMES)
