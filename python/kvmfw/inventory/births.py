"""A table of births: where VMs were started and how, in people's own words."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from kvmfw.errors import FormatError
from kvmfw.inventory.making import Making, making_of_cpu, making_of_words
from kvmfw.inventory.told import Told, moment
from kvmfw.readers.csvs import csv_rows
from kvmfw.readers.format import Format, Head
from kvmfw.readers.source import Limits

__all__ = ["COLUMNS", "FORMAT", "births_of"]

_VM: Final = ("vm", "vm_id", "id")
_COLUMNS: Final = frozenset({*_VM, "host", "born", "since", "path", "vcpu", "cpu", "vmm"})
COLUMNS: Final = tuple(sorted(_COLUMNS))
"""The columns that are read."""
_TELLING: Final = frozenset({"born", "path", "cpu", "since"})


def births_of(path: Path, columns: Mapping[str, str] = MappingProxyType({})) -> list[Told]:
    """Read a table of births: the columns vm and, where known, host, born, since, path, vcpu (or cpu), vmm.

    `columns` names those that are called otherwise.

    Raises
    ------
    FormatError
        When a column is not known, or a cell is none of what its column holds.
    """
    found = []
    makings: dict[str, Making | FormatError] = {}
    for line, row in csv_rows(path, ()):
        place = f"line {line}"
        if isinstance(row, str):
            raise FormatError(row, place)
        named = [(own_name(name, columns), cell.strip()) for name, cell in row.items()]
        cells = dict(named)
        if len(cells) < len(named):
            names = [name for name, _ in named]
            again = next(name for name in names if names.count(name) > 1)
            raise FormatError(f"the column `{again[:40]}` stands twice", "line 1")
        if strange := [name for name in cells if name not in _COLUMNS]:
            raise FormatError(
                f"the column `{strange[0][:40]}` is not known; expected {', '.join(sorted(_COLUMNS))}",
                "line 1",
            )
        name = next(cells[name] for name in _VM if name in cells)
        found.append(_told(cells, name, str(path), place, makings))
    return found


def own_name(name: str, columns: Mapping[str, str]) -> str:
    """Give what a column is, whatever it is called.

    >>> own_name(" Host", {}), own_name("Hypervisor", {"host": "Hypervisor"})
    ('host', 'host')
    """
    return next((own for own, given in columns.items() if given == name), name.strip().lower())


def _told(
    row: Mapping[str, str], name: str, source: str, place: str, makings: dict[str, Making | FormatError]
) -> Told:
    if not name:
        raise FormatError("the VM has no name", place)
    problem, making = "", None
    key = row.get("cpu") or row.get("vcpu") or ""
    if key:
        if key not in makings:
            makings[key] = _making(row.get("cpu", ""), row.get("vcpu", ""))
        said = makings[key]
        making, problem = (None, said.problem) if isinstance(said, FormatError) else (said, "")
    return Told(
        name,
        source,
        int(place.removeprefix("line ")),
        host=row.get("host") or None,
        born=row.get("born") or None,
        since=moment(row["since"], place) if row.get("since") else None,
        path=tuple(filter(None, (host.strip() for host in row.get("path", "").split(">")))),
        making=making,
        vmm=row.get("vmm") or None,
        problem=problem,
    )


def _making(cpu: str, words: str) -> Making | FormatError:
    try:
        return making_of_cpu(cpu) if cpu else making_of_words(words)
    except FormatError as error:
        return error


def _is_it(head: Head) -> bool:
    line = head.text.partition(b"\n")[0].decode("utf-8", "replace")
    try:
        given = next(csv.reader([line]), []) if "," in line else []
    except csv.Error:
        return False
    names = {own_name(name.rstrip("\r"), head.columns) for name in given}
    return bool(names.intersection(_VM)) and bool(names & _TELLING) and not names & {"register", "value"}


def _read(path: Path, name: str, limits: Limits) -> list[Told]:
    del name, limits
    return births_of(path)


FORMAT = Format(
    "births", "table of VMs, where they were started and how (CSV)", _is_it, told=_read, suffixes=(".csv",)
)
