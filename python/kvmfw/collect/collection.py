"""Collects captures: hosts at once, a full probe for each kind, what is there already is not asked again."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kvmfw.collect.inventory import Place
from kvmfw.collect.kinds import kind_name, kind_of
from kvmfw.collect.remote import Remote, UnreachableError, read_capture
from kvmfw.errors import FormatError
from kvmfw.files import write_whole
from kvmfw.inventory.history import HISTORY, read_history, seen, write_history
from kvmfw.readers.hosts_table import read_hosts_table

__all__ = ["Collected", "Failure", "assemble", "collect"]

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
    wanted : sequence of str
        Of each kind without a capture one host, where probes are made by other means: a full probe of it is all that is missing.
    """

    hosts: Mapping[str, str]
    asked: int
    known: int
    probed: Sequence[str]
    failures: Sequence[Failure]
    wanted: Sequence[str]


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
    known = {} if again else {row["host"]: row["capture"] for row in _rows(folder)}
    hosts = {place.host: known[place.host] for place in places if place.host in known}
    asked = [place for place in places if place.host not in hosts]
    with ThreadPoolExecutor(max(jobs, 1)) as pool:
        call = _Call(pool, folder, remote, tell)
        kinds = call.kinds(asked, quick_limit)
        missing = [kind for kind in kinds if not _made(folder, kind.name)]
        probed = call.captures(missing, full_limit)
    for kind in kinds:
        if kind not in missing or kind.name in probed:
            hosts |= dict.fromkeys((place.host for place in kind.members), kind.name)
    position = {place.host: at for at, place in enumerate(places)}
    ordered = {host: hosts[host] for host in position if host in hosts}
    _write(folder, ordered, list(position), {place.host for place in asked})
    failures = sorted(call.failures, key=lambda failure: position[failure.host])
    return Collected(ordered, len(asked), len(places) - len(asked), sorted(probed), failures, wanted=())


def assemble(probes: Path, folder: Path) -> Collected:
    """Assemble the same folder from probes that were made by other means (Ansible, pods): a file for each host.

    Parameters
    ----------
    probes : Path
        A folder with what each host's probe printed, quick or full, as ``HOST.json``.
    folder : Path
        Made if it is not there.
    """
    kinds: dict[str, _Kind] = {}
    full: dict[str, Mapping[str, Any]] = {}
    failures = []
    files = sorted(probes.glob("*.json"))
    if not files:
        raise FormatError("the folder holds no HOST.json: no host's probe", file=str(probes))
    for file in files:
        try:
            document = read_capture(file.read_bytes())
        except FormatError as error:
            failures.append(Failure(file.stem, f"what its probe printed is no capture: {error}"))
            continue
        digest = kind_of(document)
        kind = kinds.setdefault(digest, _Kind(digest, kind_name(document, digest), []))
        kind.members.append(Place(file.stem, file.stem))
        if document.get("answers"):
            full.setdefault(digest, document)
    probed, wanted = [], []
    hosts: dict[str, str] = {}
    for kind in kinds.values():
        if kind.digest in full:
            _write_capture(folder, kind.name, full[kind.digest])
            probed.append(kind.name)
        elif not _made(folder, kind.name):
            wanted.append(kind.members[0].host)
            continue
        hosts |= dict.fromkeys((place.host for place in kind.members), kind.name)
    ordered = dict(sorted(hosts.items()))
    _write(folder, ordered, [file.stem for file in files], set(ordered))
    return Collected(ordered, len(files), 0, sorted(probed), failures, wanted)


def _write(folder: Path, hosts: Mapping[str, str], told: Sequence[str], asked: AbstractSet[str]) -> None:
    """Write which capture speaks for which host, now and as it was seen before; rows of hosts that were not told stay."""
    rows = {row["host"]: row for row in _rows(folder)}
    elsewhere = [row for host, row in rows.items() if host not in set(told)]
    here = [{**rows.get(host, {}), "host": host, "capture": capture} for host, capture in hosts.items()]
    _write_hosts(folder, [*elsewhere, *here])
    asked_now = {host: capture for host, capture in hosts.items() if host in asked}
    past = folder / HISTORY
    write_history(past, seen(read_history(past) if past.exists() else (), asked_now, datetime.now(UTC)))


@dataclass(frozen=True, slots=True)
class _Kind:
    """Hosts of one kind, by its digest."""

    digest: str
    name: str
    members: list[Place]


@dataclass(frozen=True, slots=True)
class _Call:
    """One call of `collect`: what both of its rounds need."""

    pool: ThreadPoolExecutor
    folder: Path
    remote: Remote
    tell: Tell | None
    failures: list[Failure] = field(default_factory=list)

    def kinds(self, places: Sequence[Place], limit: float) -> list[_Kind]:
        """Ask all hosts by quick probes at once; those that do not answer are failures."""
        asked = {
            self.pool.submit(self.remote.probe, place, quick=True, limit=limit): place for place in places
        }
        kinds: dict[str, _Kind] = {}
        for done, future in enumerate(as_completed(asked), start=1):
            place = asked[future]
            try:
                document = future.result()
            except UnreachableError as error:
                self.failures.append(Failure(place.host, error.problem))
            else:
                digest = kind_of(document)
                kind = kinds.setdefault(digest, _Kind(digest, kind_name(document, digest), []))
                kind.members.append(place)
            if self.tell is not None:
                self.tell("kinds of hosts", done, len(asked))
        return list(kinds.values())

    def captures(self, kinds: Sequence[_Kind], limit: float) -> list[str]:
        """Probe one host of each kind; a capture is on the disk as soon as it came."""
        asked = {self.pool.submit(_full_probe, self.remote, kind, limit): kind for kind in kinds}
        probed = []
        for done, future in enumerate(as_completed(asked), start=1):
            kind = asked[future]
            document, why = future.result()
            if document is None:
                sentence = f"its kind was not probed: {why}"
                self.failures.extend(Failure(place.host, sentence) for place in kind.members)
            else:
                _write_capture(self.folder, kind.name, document)
                probed.append(kind.name)
            if self.tell is not None:
                self.tell("full probes", done, len(asked))
        return probed


def _full_probe(remote: Remote, kind: _Kind, limit: float) -> tuple[Mapping[str, Any] | None, str]:
    """Probe the first host of a kind that can be; one that is of another kind by now does not count."""
    why = ""
    for place in kind.members:
        try:
            document = remote.probe(place, quick=False, limit=limit)
        except UnreachableError as error:
            why = f"{place.host}: {error.problem}"
            continue
        if kind_of(document) == kind.digest:
            return document, ""
        why = f"{place.host}: it is another kind of host now"
    return None, why


def _made(folder: Path, name: str) -> bool:
    return (folder / CAPTURES / f"{name}.json").is_file()


def _write_capture(folder: Path, name: str, document: Mapping[str, Any]) -> None:
    (folder / CAPTURES).mkdir(parents=True, exist_ok=True)
    named = {**document, "host": {**document["host"], "name": name}}
    write_whole(folder / CAPTURES / f"{name}.json", json.dumps(named, indent=1) + "\n")


def _rows(folder: Path) -> list[dict[str, str]]:
    """Give the hosts of earlier calls whose captures are there, with the columns that people added."""
    path = folder / HOSTS
    made: dict[str, bool] = {}
    rows = [row.cells for row in read_hosts_table(path)] if path.is_file() else []
    for row in rows:
        made.setdefault(row["capture"], _made(folder, row["capture"]))
    return [row for row in rows if made[row["capture"]]]


def _write_hosts(folder: Path, rows: Sequence[Mapping[str, str]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    columns = dict.fromkeys(("host", "capture")) | dict.fromkeys(
        column for row in rows for column in row if column
    )
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(folder / HOSTS, text.getvalue())
