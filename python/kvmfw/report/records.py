"""Audits over time: a Parquet file with a row for each, and what changed from one to the next."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kvmfw.analysis import Report
from kvmfw.errors import FormatError
from kvmfw.files import alone_in, whole_file
from kvmfw.provenance import Provenance
from kvmfw.report.metrics import NUMBERS, numbers_of

__all__ = ["Change", "add_record", "changes", "read_records"]

Row = dict[str, Any]

_QUESTION = ("vmm", "scheme", "where", "change", "unknown_as", "few")
SCHEMA = pa.schema(
    [
        ("made", pa.string()),
        ("kvmfw", pa.string()),
        ("fleet", pa.string()),
        ("sha256", pa.string()),
        ("vmm", pa.string()),
        ("scheme", pa.string()),
        ("where", pa.string()),
        ("change", pa.bool_()),
        ("unknown_as", pa.bool_()),
        ("few", pa.int64()),
        *((f"n_{name}", pa.int64()) for name in NUMBERS),
        ("stranded_vms", pa.list_(pa.string())),
        ("blockers", pa.list_(pa.string())),
    ]
)


def add_record(path: Path, report: Report, made: Provenance) -> None:
    """Add an audit to the file, which is made if it is not there; it appears whole or stays as it was.

    Raises
    ------
    FormatError
        When the file is none of audits.
    """
    facts, tables = report.facts, report.tables
    source = made.inputs[0] if made.inputs else None
    row = {
        "made": made.made,
        "kvmfw": made.kvmfw,
        "fleet": source.name if source else None,
        "sha256": source.sha256 if source else None,
        "vmm": facts["vmm"],
        "scheme": facts["scheme"],
        "where": ", ".join(f"{name}={value}" for name, value in sorted(facts.get("where", {}).items())),
        "change": facts["change_counts_as_taken"],
        "unknown_as": facts["unknown_counts_as_taken"],
        "few": facts["few"],
        **{f"n_{name}": number for name, number in numbers_of(report).items()},
        "stranded_vms": _names(tables.get("stranded"), "vm"),
        "blockers": _names([row for row in tables.get("blockers", []) if row["freed"]], "unit"),
    }
    added = pa.Table.from_pylist([row], schema=SCHEMA)
    # Of two audits that add to one file at once each sees what the other added.
    with alone_in(path.parent), whole_file(path) as draft:
        whole = pa.concat_tables([_read(path), added]) if path.exists() else added
        pq.write_table(whole, draft, compression="zstd")


def _names(rows: list[Row] | None, key: str) -> list[str] | None:
    return None if rows is None else sorted(row[key] for row in rows)


def read_records(path: Path) -> list[Row]:
    """Read the audits of a file, the oldest first.

    Raises
    ------
    FormatError
        When the file is none of audits.
    """
    rows: list[Row] = _read(path).to_pylist()
    return sorted(rows, key=lambda row: str(row["made"]))


def _read(path: Path) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise FormatError("expected a Parquet file of `kvmfw audit --record`", file=str(path)) from error
    if table.schema.names != SCHEMA.names:
        raise FormatError("its columns are not those of `kvmfw audit --record`", file=str(path))
    return table.cast(SCHEMA)


@dataclass(frozen=True, slots=True)
class Change:
    """What changed between the last two audits that asked the same.

    Attributes
    ----------
    before, after : dict
        The two audits.
    numbers : dict of str to (int, int)
        Numbers that differ: before and after.
    stranded, freed : tuple of str
        VMs that are stranded now and were not, and the other way round (or that are gone).
    blockers : tuple of str
        Registers that hold VMs by themselves now and did not.
    """

    before: Row
    after: Row
    numbers: dict[str, tuple[int, int]]
    stranded: tuple[str, ...]
    freed: tuple[str, ...]
    blockers: tuple[str, ...]


def changes(records: list[Row]) -> Change | None:
    """Say what changed since the last audit that asked the same question; None where there is no such one."""
    if not records:
        return None
    after = records[-1]
    same = [row for row in records[:-1] if all(row[key] == after[key] for key in _QUESTION)]
    if not same:
        return None
    before = same[-1]
    keys = [key for name in NUMBERS if None not in (before[key := f"n_{name}"], after[key])]
    old, new = (set(row["stranded_vms"] or ()) for row in (before, after))
    judged = before["stranded_vms"] is not None and after["stranded_vms"] is not None
    return Change(
        before,
        after,
        {key[2:]: (before[key], after[key]) for key in keys if before[key] != after[key]},
        tuple(sorted(new - old)) if judged else (),
        tuple(sorted(old - new)) if judged else (),
        tuple(sorted(set(after["blockers"] or ()) - set(before["blockers"] or ()))),
    )
