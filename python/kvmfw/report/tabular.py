"""CSV and Parquet: one file for each table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from kvmfw.analysis import TABLES
from kvmfw.files import whole_files
from kvmfw.quoting import csv_cell

__all__ = ["write_tables"]


def write_tables(tables: Mapping[str, Sequence[Mapping[str, Any]]], folder: Path, form: str) -> list[Path]:
    """Write tables into a folder, each as one file of its name; all of them, or none.

    Parameters
    ----------
    tables : mapping of str to sequence of dict
        The tables.
    folder : Path
        Made if it is not there.
    form : {"csv", "parquet"}
        In CSV, lists are written with semicolons between, and text that begins like a formula after an apostrophe.
    """
    folder.mkdir(parents=True, exist_ok=True)
    keys = {table.name: table.keys for table in TABLES}
    paths = [folder / f"{name}.{form}" for name in tables]
    with whole_files(paths) as drafts:
        for draft, (name, rows) in zip(drafts, tables.items(), strict=True):
            table = _table(rows, keys.get(name, ()), flat=form == "csv")
            if form == "csv":
                pa.csv.write_csv(table, draft)
            else:
                pa.parquet.write_table(table, draft)
    return paths


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, flat: bool) -> pa.Table:
    if not rows:
        return pa.table({column: pa.array([], pa.string()) for column in columns})
    return pa.Table.from_pylist([_flat(row) for row in rows] if flat else list(rows))


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _cell(value) for key, value in row.items()}


def _cell(value: Any) -> Any:
    text = ";".join(map(str, value)) if isinstance(value, list) else value
    return csv_cell(text) if isinstance(text, str) else text
