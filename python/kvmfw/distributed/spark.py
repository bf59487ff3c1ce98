"""Spark: executors classify a data frame of VMs, or count files of VMs; classes are decided once.

Needs the extra ``kvmfw[spark]``. Spark has no unsigned integers: 64-bit words with the highest bit set are
negative numbers there, and are taken as the words that they are.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa
from pyspark.sql import SparkSession
from pyspark.sql import functions as sql
from pyspark.sql.types import ArrayType, MapType

from kvmfw.distributed.batches import CLASSIFIED, classify_batches, decide, validate_batch
from kvmfw.errors import ArgumentError
from kvmfw.readers.tables import columns_of, left_out

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["nested", "run", "validate"]

T = TypeVar("T")
U = TypeVar("U")

_CLASSIFIED = "vm string, class binary, problem string, members array<struct<vcpu:string, words:binary>>"
_OUTCOMES = "vm string, class binary, problem string, accept int, change int, unknown int, refuse int"


def run(function: Callable[[T], U], items: Sequence[T]) -> Iterator[tuple[int, U]]:
    """Run a function on items; give the number of each item with its result.

    Where there is no session, one is begun: that of ``spark-submit``, else on this machine.
    """
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    context = SparkSession.builder.getOrCreate().sparkContext
    numbered = context.parallelize(list(enumerate(items)), max(len(items), 1))
    yield from numbered.map(partial(_called, function)).collect()


def _called(function: Callable[[T], U], numbered: tuple[int, T]) -> tuple[int, U]:
    at, item = numbered
    return at, function(item)


def nested(vms: DataFrame) -> DataFrame:
    """Bring the rows of each VM together, where a data frame has one row for each register.

    Parameters
    ----------
    vms : pyspark.sql.DataFrame
        In long form (vm, register, value, and vcpu, vcpu_index, host where there are such columns) or nested form.

    Returns
    -------
    pyspark.sql.DataFrame
        In nested form; given back as it is where it is so already.
    """
    if any(isinstance(field.dataType, ArrayType | MapType) for field in vms.schema.fields):
        return vms
    found = columns_of(vms.columns)
    if missing := [name for name in ("vm", "register", "value") if name not in found]:
        raise ArgumentError(f"there is no column `{missing[0]}`; there are {', '.join(vms.columns)}")
    # An integer column vcpu is a number of a vCPU; as words it says how the vCPU is made.
    kinds, vm = dict(vms.dtypes), found["vm"]
    numbers = [found[name] for name in ("index", "vcpu") if name in found]
    keys = [vm, *(name for name in numbers if name == found.get("index") or kinds[name] != "string")]
    pair = [sql.col(f"`{found[name]}`").alias(name) for name in ("register", "value")]
    others = {*keys, found["register"], found["value"], *left_out(vms.columns)}
    facts = [name for name in vms.columns if name not in others]
    registers = sql.collect_list(sql.struct(*pair)).alias("registers")
    grouped = vms.groupBy(*keys).agg(registers, *(sql.first(name).alias(name) for name in facts))
    # The vCPUs of a VM are judged together.
    return grouped if len(keys) == 1 else grouped.repartition(vm).sortWithinPartitions(*keys)


def validate(vms: DataFrame, hosts: Any, *, vmm: str = "kvm", scheme: str = "kvm") -> DataFrame:
    """Give for each VM on how many hosts it has which outcome.

    Parameters
    ----------
    vms : pyspark.sql.DataFrame
        VMs in long or nested form: see `nested`.
    hosts, vmm, scheme
        As for `kvmfw.Fleet`.

    Returns
    -------
    pyspark.sql.DataFrame
        The columns of `kvmfw.distributed.batches.OUTCOMES`; rows in no order.
    """
    classified = nested(vms).mapInArrow(_classify, _CLASSIFIED).persist()
    rows = (
        classified.where("members is not null").select("class", "members").dropDuplicates(["class"]).collect()
    )
    distinct = [{"class": row["class"], "members": [one.asDict() for one in row["members"]]} for row in rows]
    tables = decide([pa.RecordBatch.from_pylist(distinct, schema=CLASSIFIED)], hosts, vmm=vmm, scheme=scheme)
    return classified.mapInArrow(_validating(tables.to_pybytes()), _OUTCOMES)


def _classify(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield from classify_batches(batches)


def _validating(tables: bytes) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    return partial(_validate, tables)


def _validate(tables: bytes, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield validate_batch(batch, tables)
