"""Small tables that people write in CSV: hosts and inventories. Every row is looked at where it is read."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kvmfw.errors import FormatError
from kvmfw.readers.source import head_of, whole

__all__ = ["columns_of_csv", "csv_rows"]

Row = tuple[int, dict[str, str] | str]
"""The line on which a row ends, and its cells by column, or what is wrong with it."""


def csv_rows(path: Path, needed: Sequence[str], known: Sequence[str] = ()) -> Iterator[Row]:
    """Read the rows of a table in CSV whose first line names the columns: those that are needed or known in letters of any case.

    Raises
    ------
    FormatError
        When the text is not UTF-8, or a column is missing or there twice.
    """
    try:
        text = whole(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problem = f"the text is not UTF-8: {error.reason}"
        raise FormatError(problem, f"byte {error.start}", file=str(path)) from error
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows = _rows(lines)
    _, columns = next(rows, (1, []))
    if isinstance(columns, str):
        raise FormatError(columns, "line 1", file=str(path))
    own = {*needed, *known}
    columns = [name if (word := name.strip().lower()) not in own else word for name in columns]
    if not set(needed) <= set(columns):
        problem = f"expected the column{'s' if len(needed) > 1 else ''} {' and '.join(needed)}"
        raise FormatError(problem, "line 1", file=str(path))
    for column in columns:
        if columns.count(column) > 1:
            raise FormatError(f"the column `{column[:64]}` stands twice", "line 1", file=str(path))
    for line, cells in rows:
        if isinstance(cells, str):
            yield line, cells
        elif len(cells) != len(columns):
            yield line, f"the row has {len(cells)} cells; there are {len(columns)} columns"
        else:
            yield line, dict(zip(columns, cells, strict=True))


def columns_of_csv(path: Path) -> list[str]:
    """Give the names of the columns of a table in CSV; none where it cannot be read."""
    first = head_of(path).decode("utf-8-sig", "replace").partition("\n")[0]
    _, columns = next(_rows(csv.reader([first], strict=True)), (1, []))
    return columns if isinstance(columns, list) else []


def _rows(lines: Any) -> Iterator[tuple[int, list[str] | str]]:
    while True:
        try:
            cells = next(lines)
        except StopIteration:
            return
        except csv.Error as error:
            yield lines.line_num, f"this is not CSV that is read: {error}"
            continue
        if cells:
            yield lines.line_num, cells
