"""Which hosts there are: a list, a table with a column `host`, or what `ansible-inventory --list` prints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kvmfw.documents import parsed_json
from kvmfw.errors import FormatError
from kvmfw.readers.csvs import csv_rows
from kvmfw.readers.source import whole

__all__ = ["Place", "read_inventory"]


@dataclass(frozen=True, slots=True)
class Place:
    """A host, and how ssh reaches it.

    Attributes
    ----------
    host : str
        What the fleet calls it.
    destination : str
        What ssh calls it: a name, an address, `user@host`, `ssh://user@host:port`, an alias of its config.
    """

    host: str
    destination: str


def read_inventory(path: Path) -> list[Place]:
    """Read an inventory.

    Parameters
    ----------
    path : Path
        A text with a host in each line (and after it, where ssh calls it otherwise, its destination), a CSV table with
        the column ``host`` (and ``ssh``), or the JSON of ``ansible-inventory --list``.

    Raises
    ------
    FormatError
        When it names no host, names one twice, or holds what ssh would take for an option.
    """
    text = whole(path).decode("utf-8", "replace")
    if text.lstrip().startswith("{"):
        places = list(_ansible(parsed_json(text, path)))
    elif "," in text.partition("\n")[0]:
        places = list(_table(path))
    else:
        places = list(_lines(text, path))
    return _checked(places, path)


def _lines(text: str, path: Path) -> Iterator[Place]:
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split()
        if len(words) > 2:
            raise FormatError(
                "expected a host, and after it its ssh destination", f"line {number}", file=str(path)
            )
        if words:
            yield Place(words[0], words[-1])


def _table(path: Path) -> Iterator[Place]:
    for line, row in csv_rows(path, ("host",)):
        if isinstance(row, str):
            raise FormatError(row, f"line {line}", file=str(path))
        if row["host"]:
            yield Place(row["host"], row.get("ssh") or row["host"])


def _ansible(document: Any) -> Iterator[Place]:
    """Read groups, which have their hosts under ``hosts``, and what is known of each under ``_meta.hostvars``."""
    known = document.get("_meta", {}).get("hostvars", {}) if isinstance(document, dict) else {}
    found = dict.fromkeys(known)
    for name, group in document.items():
        if name != "_meta" and isinstance(group, dict):
            found |= dict.fromkeys(group.get("hosts", ()))
    for host in found:
        facts = known.get(host, {})
        address, user, port = (
            facts.get(f"ansible_{word}") or facts.get(f"ansible_ssh_{word}")
            for word in ("host", "user", "port")
        )
        at = f"{user}@{address or host}" if user else str(address or host)
        yield Place(host, f"ssh://{at}:{port}" if port else at)


def _checked(places: list[Place], path: Path) -> list[Place]:
    if not places:
        raise FormatError("it names no host", file=str(path))
    seen: set[str] = set()
    for place in places:
        if place.host in seen:
            raise FormatError(f"the host `{place.host}` occurs twice", file=str(path))
        if place.destination.startswith("-"):
            raise FormatError(f"ssh would take `{place.destination}` for an option", file=str(path))
        seen.add(place.host)
    return places
