"""``hosts.csv``: which capture speaks for which host, and what else people say of their hosts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kvmfw import numerals
from kvmfw.errors import FormatError
from kvmfw.readers.csvs import csv_rows

__all__ = ["CAPACITY", "VMM", "HostRow", "HostRows", "read_hosts_table"]

CAPACITY = "capacity"
VMM = "vmm"
_MOST_VMS = 1 << 32


@dataclass(frozen=True, slots=True)
class HostRow:
    """A row.

    Attributes
    ----------
    line : int
        Where it ends.
    cells : dict of str to str
        All of it, by column.
    """

    line: int
    cells: dict[str, str]

    @property
    def host(self) -> str:
        """The host."""
        return self.cells["host"]

    @property
    def capture(self) -> str:
        """The capture that speaks for it."""
        return self.cells["capture"]


class HostRows:
    """What holds for every table of hosts, wherever it stands; rows are looked at one after the other.

    >>> rows = HostRows()
    >>> rows.problem({"host": "a", "capture": "c"}), rows.problem({"host": "a", "capture": "c"})
    (None, 'the host `a` occurs twice')
    >>> rows.problem({"host": "b", "capture": "c", "capacity": "many"})
    'capacity is `many`; expected how many VMs the host can hold'
    """

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def problem(self, cells: Mapping[str, str]) -> str | None:
        """Say what is wrong with a row."""
        for column in ("host", "capture"):
            if not cells[column]:
                return f"the {column} has no name"
        if cells["host"] in self._seen:
            return f"the host `{cells['host']}` occurs twice"
        capacity = cells.get(CAPACITY)
        if capacity is not None and not _is_count(capacity):
            return f"capacity is `{capacity[:64]}`; expected how many VMs the host can hold"
        self._seen.add(cells["host"])
        return None


def _is_count(text: str) -> bool:
    count = numerals.decimal(text)
    return count is not None and count < _MOST_VMS


def read_hosts_table(path: Path, set_aside: Callable[[int, str], None] | None = None) -> list[HostRow]:
    """Read ``hosts.csv``: columns ``host`` and ``capture``, and any others.

    Parameters
    ----------
    path : Path
        The file.
    set_aside : callable, optional
        Told line and reason of each row that cannot be used; without it the first one is raised.

    Raises
    ------
    FormatError
        When a column is missing, the text is not UTF-8, or a row cannot be used.
    """
    rows, found = HostRows(), []
    for line, row in csv_rows(path, ("host", "capture"), (CAPACITY, VMM)):
        cells = row if isinstance(row, str) else {name: cell.strip() for name, cell in row.items()}
        problem = cells if isinstance(cells, str) else rows.problem(cells)
        if problem is None and not isinstance(cells, str):
            found.append(HostRow(line, cells))
        elif set_aside is None:
            raise FormatError(str(problem), f"line {line}", file=str(path))
        else:
            set_aside(line, str(problem))
    return found
