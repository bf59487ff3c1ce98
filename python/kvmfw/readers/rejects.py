"""What happens to rows that cannot be used: raised, or set aside with their reason. Counts always add up."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TextIO

from kvmfw.errors import ArgumentError, FormatError, InputError, RowError

__all__ = ["MISSING", "Intake", "OnError", "Reject", "named_twice", "twice"]

OnError = Literal["raise", "collect"]
MISSING = "the register id or the value is missing or not a 64-bit number"
_KEPT = 1000


def named_twice(vm: object) -> str:
    """Say that a VM whose register set is whole is there already."""
    return f"the VM `{vm}` occurs twice"


def twice(vm: object, vcpu: int | None = None) -> str:
    """Say that a VM, or a vCPU of it, is there already."""
    which = "" if vcpu is None else f" (vCPU {vcpu})"
    return f"the VM `{vm}`{which} occurs twice; its rows must be together"


@dataclass(frozen=True, slots=True)
class Reject:
    """One row that could not be used.

    Attributes
    ----------
    source : str
        The file.
    row : int
        The row in it: of a table from 0, of lines from 1; -1 where the source as a whole is meant.
    reason : str
        What was found, and what was expected.
    """

    source: str
    row: int
    reason: str


@dataclass(slots=True)
class Intake:
    """Counts rows while they are taken in, and keeps or writes down those that cannot be used.

    Attributes
    ----------
    on_error : {"raise", "collect"}
        Raise at the first row that cannot be used, or go on without it.
    rows, used, rejected : int
        How many rows came in, and what became of them: ``rows == used + rejected``.
    rejects : list of Reject
        The first 1000 of the rejected rows; all of them are in the rejects file.
    inferred : int
        Of how many vCPUs no words say how they are made, so that their ID registers were asked.

    Examples
    --------
    >>> intake = Intake("collect")
    >>> intake.use(2)
    >>> intake.reject("vms.csv", 2, "the value is missing")
    >>> intake.rows, intake.used, intake.rejected
    (3, 2, 1)
    """

    on_error: OnError = "raise"
    rows: int = 0
    used: int = 0
    rejected: int = 0
    rejects: list[Reject] = field(default_factory=list)
    inferred: int = 0
    _file: TextIO | None = None
    _writer: Any = None

    def __post_init__(self) -> None:
        if self.on_error not in ("raise", "collect"):
            raise ArgumentError(f"`on_error` is `{self.on_error}`; expected `raise` or `collect`")

    def write_to(self, path: Path) -> None:
        """Write every rejected row to a CSV file: source, row, reason."""
        try:
            self._file = path.open("w", newline="", encoding="utf-8")
        except OSError as error:
            raise InputError(error.strerror or "cannot be written", file=str(path)) from error
        self._writer = csv.writer(self._file)
        self._writer.writerow(("source", "row", "reason"))

    def close(self) -> None:
        """Finish the rejects file."""
        if self._file is not None:
            self._file.close()

    def use(self, rows: int) -> None:
        """Count rows that were used."""
        self.rows += rows
        self.used += rows

    def reject(self, source: str, row: int, reason: str) -> None:
        """Set one row aside; raises it instead where that was asked for."""
        if self.on_error == "raise":
            raise RowError(reason, row, file=source)
        self.rows += 1
        self.rejected += 1
        reason = " ".join(reason.split())
        if len(self.rejects) < _KEPT:
            self.rejects.append(Reject(source, row, reason))
        if self._writer is not None:
            self._writer.writerow((source, row, reason))

    def reject_rows(self, source: str, rows: Iterable[int], reason: str) -> None:
        """Set many rows aside for one reason."""
        for row in rows:
            self.reject(source, row, reason)

    def reject_source(self, source: str, error: InputError) -> None:
        """Set a whole source aside; raises `error` instead where that was asked for."""
        if self.on_error == "raise":
            raise error
        place = error.place if isinstance(error, FormatError) else ""
        self.reject(source, -1, f"{place}: {error.problem}" if place else error.problem)
