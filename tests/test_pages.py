"""Row groups that the native module reads are those that `pyarrow` reads, whatever writers do."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmfw.readers.pages import batches_of


def read(path: Path, rows: int) -> list[pa.RecordBatch]:
    with pq.ParquetFile(path, read_dictionary=["vm", "host"], pre_buffer=False) as file:
        return list(batches_of(path, file, rows))


def plain(batches: list[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    table = pa.Table.from_batches(batches, None if batches else schema)
    return table.cast(schema)


@st.composite
def columns(draw: st.DrawFn, nulls: bool) -> dict[str, pa.Array]:
    """Columns in which entries go on for some rows, as those of VMs do."""
    none = st.none() if nulls else st.nothing()
    runs = draw(st.lists(st.integers(1, 40), min_size=1, max_size=30))
    names = draw(st.lists(st.text(max_size=3) | none, min_size=1, max_size=6))
    words = draw(st.lists(st.integers(0, (1 << 64) - 1) | none, min_size=1, max_size=40))
    vms = [draw(st.sampled_from(names)) for count in runs for _ in range(count)]
    rows = len(vms)
    return {
        "vm": pa.array(vms, pa.string()),
        "register": pa.array((words * rows)[:rows], pa.uint64()),
        "value": pa.array([draw(st.sampled_from(words)) for _ in range(rows)], pa.uint64()).view(pa.int64()),
        "host": pa.array((names * rows)[:rows], pa.string()),
    }


def writings() -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "compression": st.sampled_from(["none", "snappy", "zstd"]),
            "use_dictionary": st.booleans() | st.just(["vm"]),
            "data_page_version": st.sampled_from(["1.0", "2.0"]),
            "row_group_size": st.integers(1, 500),
            "data_page_size": st.integers(1, 300),
            "dictionary_pagesize_limit": st.integers(1, 300),
            "write_batch_size": st.integers(1, 64),
            "store_schema": st.booleans(),
        }
    )


@given(st.data(), writings(), st.integers(1, 200), st.booleans())
def test_the_native_module_and_pyarrow_read_the_same(
    data: st.DataObject, options: dict[str, Any], rows: int, nulls: bool
) -> None:
    table = pa.table(data.draw(columns(nulls)))
    if not nulls and data.draw(st.booleans()):
        # Columns that say that nothing is null have no levels.
        table = table.cast(pa.schema([field.with_nullable(False) for field in table.schema]))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "vms.parquet"
        pq.write_table(table, path, **options)
        found = read(path, rows)
        assert plain(found, table.schema).equals(pq.read_table(path, schema=table.schema))
        for batch in found:
            batch.validate(full=True)


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("dictionary", [False, True])
def test_what_writers_write_by_default_is_read_by_the_native_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str, version: str, dictionary: bool
) -> None:
    names = [f"vm-{row // 40}" for row in range(40_000)]
    words = pa.array(range(40_000), pa.uint64())
    table = pa.table({"vm": names, "register": words, "value": words, "host": names})
    path = tmp_path / "vms.parquet"
    pq.write_table(
        table,
        path,
        compression=compression,
        data_page_version=version,
        use_dictionary=dictionary,
        dictionary_pagesize_limit=1 << 14,
        row_group_size=15_000,
    )

    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("pyarrow was asked")

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", refused)
    assert plain(read(path, 9_000), table.schema).equals(table)


def test_a_name_that_a_dictionary_has_twice_is_one_name(tmp_path: Path) -> None:
    """No writer does this; it would tear a VM apart."""
    table = pa.table({"vm": ["aa", "bb"] * 3, "register": pa.array(range(6), pa.uint64())})
    path = tmp_path / "vms.parquet"
    pq.write_table(table, path, compression="none", write_statistics=False, store_schema=False)
    data = path.read_bytes()
    page = b"\x02\0\0\0aa\x02\0\0\0bb"
    assert data.count(page) == 1
    path.write_bytes(data.replace(page, b"\x02\0\0\0aa\x02\0\0\0aa"))
    with pq.ParquetFile(path, read_dictionary=["vm"], pre_buffer=False) as file:
        (batch,) = batches_of(path, file, 100)
    assert len(set(batch.column("vm").indices.to_pylist())) == 1
