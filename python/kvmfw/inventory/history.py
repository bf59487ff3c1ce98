"""Which capture spoke for a host at which time: ``history.csv`` beside ``hosts.csv``."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from kvmfw.errors import FormatError
from kvmfw.files import write_whole
from kvmfw.inventory.told import moment
from kvmfw.readers.csvs import csv_rows
from kvmfw.readers.homes import nearest

__all__ = ["HISTORY", "History", "Period", "read_history", "seen", "write_history"]

HISTORY = "history.csv"
_COLUMNS = ("host", "capture", "from", "until")
_TIME = "%Y-%m-%dT%H:%M:%S%z"


@dataclass(frozen=True, slots=True)
class Period:
    """From one time until another a capture spoke for a host: at both it was seen to."""

    host: str
    capture: str
    since: datetime
    until: datetime


def read_history(path: Path) -> list[Period]:
    """Read ``history.csv``: host, capture, and the first and the last time at which it was seen to speak for the host.

    Raises
    ------
    FormatError
        When a column is missing, or a time is none.
    """
    found = []
    for line, row in csv_rows(path, _COLUMNS):
        if isinstance(row, str):
            raise FormatError(row, f"line {line}", file=str(path))
        try:
            since, until = (moment(row[name], f"line {line}") for name in _COLUMNS[2:])
        except FormatError as error:
            error.file = str(path)
            raise
        found.append(Period(row["host"], row["capture"], since, until))
    return found


def write_history(path: Path, periods: Iterable[Period]) -> None:
    """Write ``history.csv``."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for one in periods:
        writer.writerow((one.host, one.capture, f"{one.since:{_TIME}}", f"{one.until:{_TIME}}"))
    write_whole(path, text.getvalue())


def seen(periods: Iterable[Period], captures: Mapping[str, str], when: datetime) -> list[Period]:
    """Add which capture was seen to speak for each of some hosts at a time: a period goes on, or another begins."""
    found = list(periods)
    last = {one.host: at for at, one in enumerate(found)}
    for host, capture in captures.items():
        at = last.get(host)
        if at is not None and found[at].capture == capture:
            found[at] = replace(found[at], until=when)
        else:
            found.append(Period(host, capture, when, when))
    return found


@dataclass(slots=True)
class History:
    """Which capture speaks for which host, now and before. Captures are told by any key; hosts and captures have names.

    Parameters
    ----------
    hosts : mapping of str to str
        For each host the key of the capture that speaks for it now.
    captures : mapping of str to str
        For the name of each capture its key.
    periods : list of Period
        What spoke for hosts before, in any order.
    """

    hosts: Mapping[str, str]
    captures: Mapping[str, str]
    periods: list[Period] = field(default_factory=list)

    def now(self, name: str) -> str:
        """Give the capture that speaks for a host now, or that is called so.

        Raises
        ------
        FormatError
            When there is none.
        """
        found = self.hosts.get(name) or self.captures.get(name)
        if found is None:
            near = nearest(name, [*self.hosts])
            hint = f"; the nearest host is `{near}`" if near else ""
            raise FormatError(f"there is no host and no capture called `{name}`{hint}")
        return found

    def at(self, name: str, when: datetime | None) -> str:
        """Give the capture that spoke for a host at a time, or that is called so.

        Raises
        ------
        FormatError
            When that is not known: a host that a VM has left may have booted another kernel since.
        """
        now = self.now(name)
        known = [one for one in self.periods if one.host == name]
        if not known and self.captures.get(name) == now:
            return now
        if when is not None:
            known = [one for one in known if one.since <= when <= one.until]
        if known and len(spoke := {self.now(one.capture) for one in known}) == 1:
            return spoke.pop()
        at = "" if when is None else f" on {when:%Y-%m-%d %H:%M} UTC"
        problem = f"nothing says which capture spoke for `{name}`{at}, when the VM was there"
        raise FormatError(
            f"{problem}: `{HISTORY}` (host, capture, from, until) does, and `kvmfw collect` writes it"
        )
