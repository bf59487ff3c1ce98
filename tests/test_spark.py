"""Local Spark gives what one fleet on one machine gives, also when a worker dies."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kvmfw.analysis import open_fleet
from kvmfw.distributed import auditing
from kvmfw.distributed.auditing import survey_fleet
from kvmfw.distributed.engines import engine
from kvmfw.errors import ArgumentError
from tests.support.slow_audit import random_fleet
from tests.test_arrow import EXAMPLES, flat, nested_examples, single_machine
from tests.test_audit_beyond import audited, tally_or_die, written

pyspark = pytest.importorskip("pyspark.sql", reason="the extra kvmfw[spark] is not installed")
sql = pytest.importorskip("pyspark.sql.functions", reason="the extra kvmfw[spark] is not installed")
adapter = pytest.importorskip("kvmfw.distributed.spark", reason="the extra kvmfw[spark] is not installed")
pytestmark = [
    pytest.mark.spark,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java, and there is none"),
]


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    os.environ["PYSPARK_PYTHON"] = sys.executable
    # Two tries for each task, as on a cluster; a local master has one.
    session = (
        pyspark.SparkSession.builder.master("local[2, 2]")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "4")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("OFF")
    yield session
    session.stop()


def signed(table: pa.Table) -> pa.Table:
    """Make 64-bit words signed, as engines without unsigned ones have them."""
    for name in ("register", "value"):
        column = table.column(name).combine_chunks()
        words = np.asarray(column.values).view(np.int64)
        made = pa.ListArray.from_arrays(column.offsets, pa.array(words))
        table = table.set_column(table.column_names.index(name), name, made)
    return table


def result(frame: Any) -> list[tuple[str, ...]]:
    rows = [row.asDict() for row in frame.collect()]
    return flat(pa.Table.from_pylist(rows))


def test_nested_and_long_frames_give_what_one_fleet_gives(spark: Any, tmp_path: Path) -> None:
    table, vms = nested_examples()
    pq.write_table(signed(table), tmp_path / "vms.parquet")
    nested = spark.read.parquet(str(tmp_path / "vms.parquet")).repartition(3)
    assert result(adapter.validate(nested, EXAMPLES / "captures")) == single_machine(vms)
    zipped = nested.select("vm", "vcpu", sql.explode(sql.arrays_zip("register", "value")).alias("one"))
    long = zipped.select("vm", "vcpu", "one.register", "one.value")
    assert result(adapter.validate(long, EXAMPLES / "captures")) == single_machine(vms)
    named = long.toDF("VM_ID", "Features", "Reg_ID", "Val")
    assert result(adapter.validate(named, EXAMPLES / "captures")) == single_machine(vms)
    # Beside an integer column vcpu, which is a number, the words stand in `features`.
    numbered = long.select(
        "vm", sql.lit(0).alias("vcpu"), sql.col("vcpu").alias("features"), "register", "value"
    )
    assert adapter.nested(numbered).columns == ["vm", "vcpu", "registers", "features"]
    assert result(adapter.validate(numbered, EXAMPLES / "captures")) == single_machine(vms)
    with pytest.raises(ArgumentError, match="there is no column `value`; there are vm, vcpu, register"):
        adapter.nested(long.drop("value"))


def die_once(marker: str, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        if not Path(marker).exists():
            Path(marker).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        yield batch


def test_nothing_is_lost_when_a_worker_dies(spark: Any, tmp_path: Path) -> None:
    table, vms = nested_examples()
    pq.write_table(signed(table), tmp_path / "vms.parquet")
    marker = tmp_path / "marker"
    read = spark.read.parquet(str(tmp_path / "vms.parquet")).repartition(3)
    frame = read.mapInArrow(partial(die_once, str(marker)), read.schema)
    assert result(adapter.validate(frame, EXAMPLES / "captures")) == single_machine(vms)
    assert marker.exists()


@pytest.mark.usefixtures("spark")
def test_an_audit_by_workers_is_that_of_one_machine_and_loses_nothing_when_one_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = written(random_fleet(3), tmp_path / "fleet", 3)
    marker = tmp_path / "marker"
    monkeypatch.setattr(auditing, "tally", partial(tally_or_die, marker))
    found = audited(*survey_fleet(folder, engine("spark")), few=3)[1]
    assert marker.exists()
    assert found.to_dict() == audited(open_fleet(folder), None, few=3)[1].to_dict()
    assert found.tables["stranded"]
