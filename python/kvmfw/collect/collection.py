"""Collects captures: hosts at once, a full probe for each kind, what is there already is not asked again."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kvmfw.collect.inventory import Place
from kvmfw.collect.kinds import kind_name, kind_of
from kvmfw.collect.remote import Remote, UnreachableError
from kvmfw.files import write_whole
from kvmfw.readers.source import whole

__all__ = ["Collected", "Failure", "collect"]

CAPTURES, HOSTS = "captures", "hosts.csv"
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Failure:
    """A host of which there is no capture, and why."""

    host: str
    why: str


@dataclass(frozen=True, slots=True)
class Collected:
    """What was collected.

    Attributes
    ----------
    hosts : mapping of str to str
        For each host the name of the capture of its kind; also those of earlier calls.
    asked, known : int
        How many hosts were asked now, and how many were known from earlier calls.
    probed : sequence of str
        The captures that were made now.
    failures : sequence of Failure
        The hosts of which there is none.
    """

    hosts: Mapping[str, str]
    asked: int
    known: int
    probed: Sequence[str]
    failures: Sequence[Failure]


def collect(
    places: Sequence[Place],
    folder: Path,
    remote: Remote,
    *,
    jobs: int = 16,
    quick_limit: float = 60,
    full_limit: float = 600,
    again: bool = False,
    tell: Tell | None = None,
) -> Collected:
    """Collect captures of hosts into a folder that every verb opens: ``captures/`` and ``hosts.csv``.

    Parameters
    ----------
    places : sequence of Place
        The hosts.
    folder : Path
        Made if it is not there. After each probe it is whole: a call that was interrupted goes on where it was.
    remote : Remote
        How hosts are reached.
    jobs : int
        How many hosts are asked at once.
    quick_limit, full_limit : float
        Seconds that a quick and a full probe may take.
    again : bool
        Whether hosts that are known already are asked again (after reboots into other kernels).
    tell : callable, optional
        Called with a word, how many are done, and of how many.
    """
    known = {} if again else _known(folder)
    hosts = {place.host: known[place.host] for place in places if place.host in known}
    asked = [place for place in places if place.host not in hosts]
    failures: list[Failure] = []
    kinds: dict[str, list[Place]] = {}
    documents: dict[str, Mapping[str, Any]] = {}
    with ThreadPoolExecutor(max(jobs, 1)) as pool:
        quick = {pool.submit(remote.probe, place, quick=True, limit=quick_limit): place for place in asked}
        for done, future in enumerate(as_completed(quick), start=1):
            place = quick[future]
            try:
                document = future.result()
            except UnreachableError as error:
                failures.append(Failure(place.host, error.problem))
            else:
                kind = kind_of(document)
                kinds.setdefault(kind, []).append(place)
                documents.setdefault(kind, document)
            if tell is not None:
                tell("kinds of hosts", done, len(asked))
        made = {kind: _made(folder, kind_name(documents[kind], kind)) for kind in kinds}
        full = {
            pool.submit(_full_probe, remote, kind, members, full_limit): kind
            for kind, members in kinds.items()
            if not made[kind]
        }
        probed: list[str] = []
        for done, future in enumerate(as_completed(full), start=1):
            kind = full[future]
            document, why = future.result()
            if document is None:
                failures += [
                    Failure(place.host, f"its kind was not probed: {why}") for place in kinds.pop(kind)
                ]
            else:
                probed.append(_write_capture(folder, kind_name(documents[kind], kind), document))
            if tell is not None:
                tell("full probes", done, len(full))
    for kind, members in kinds.items():
        hosts |= dict.fromkeys((place.host for place in members), kind_name(documents[kind], kind))
    ordered = {place.host: hosts[place.host] for place in places if place.host in hosts}
    elsewhere = {
        host: capture for host, capture in _known(folder).items() if host not in {p.host for p in places}
    }
    _write_hosts(folder, elsewhere | ordered)
    position = {place.host: at for at, place in enumerate(places)}
    failures.sort(key=lambda failure: position[failure.host])
    return Collected(ordered, len(asked), len(places) - len(asked), sorted(probed), failures)


def _full_probe(
    remote: Remote, kind: str, members: Iterable[Place], limit: float
) -> tuple[Mapping[str, Any] | None, str]:
    """Probe the first host of a kind that can be; one that is of another kind by now does not count."""
    why = ""
    for place in members:
        try:
            document = remote.probe(place, quick=False, limit=limit)
        except UnreachableError as error:
            why = f"{place.host}: {error.problem}"
            continue
        if kind_of(document) == kind:
            return document, ""
        why = f"{place.host}: it is another kind of host now"
    return None, why


def _made(folder: Path, name: str) -> bool:
    return (folder / CAPTURES / f"{name}.json").is_file()


def _write_capture(folder: Path, name: str, document: Mapping[str, Any]) -> str:
    (folder / CAPTURES).mkdir(parents=True, exist_ok=True)
    named = {**document, "host": {**document["host"], "name": name}}
    write_whole(folder / CAPTURES / f"{name}.json", json.dumps(named, indent=1) + "\n")
    return name


def _known(folder: Path) -> dict[str, str]:
    path = folder / HOSTS
    if not path.is_file():
        return {}
    rows = csv.DictReader(io.StringIO(whole(path).decode()))
    return {row["host"]: row["capture"] for row in rows if _made(folder, row["capture"])}


def _write_hosts(folder: Path, hosts: Mapping[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("host", "capture"))
    writer.writerows(hosts.items())
    write_whole(folder / HOSTS, text.getvalue())
