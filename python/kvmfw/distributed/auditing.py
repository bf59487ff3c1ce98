"""Audits beyond one machine: workers count VMs by class and home, the driver audits classes.

An audit needs nothing of VMs but the classes, how many of each live where, and the names of those that it lists. Workers read the
files twice at most: for the counts, and the names of VMs that are listed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kvmfw.analysis.opened import OpenedFleet, read_columns, with_kinds
from kvmfw.analysis.survey import Survey
from kvmfw.distributed.engines import Run, attempted
from kvmfw.distributed.names import Span, apart
from kvmfw.distributed.tally import (
    HOME_BITS,
    Member,
    Tally,
    Wanted,
    hashes,
    joined_counts,
    named,
    names_with,
    tally,
)
from kvmfw.errors import ArgumentError, InputError
from kvmfw.fleet import Fleet
from kvmfw.readers import fleet_sources
from kvmfw.readers.rejects import twice
from kvmfw.readers.saved import set_of_words
from kvmfw.sets import RegisterSet
from kvmfw.vmms import OWN

__all__ = ["survey_fleet"]

_Ints = npt.NDArray[np.int64]
_HASHES = 1 << 25
"""So many hashes of names are compared at a time."""
_HOME = (1 << HOME_BITS) - 1
_ROWS = 1 << 22
"""So many groups of tallies wait before they are added up."""


def survey_fleet(
    folder: str | Path, run: Run, *, vmm: str = "kvm", scheme: str = "kvm"
) -> tuple[OpenedFleet, Survey]:
    """Open a fleet folder of which workers read the VMs.

    Parameters
    ----------
    folder : path
        A fleet folder (docs/formats.md) that every worker can read under this name.
    run : Run
        Who runs the workers; see `kvmfw.distributed.engines.engine`.
    vmm, scheme : str
        As for `Fleet`.

    Returns
    -------
    OpenedFleet, Survey
        A fleet with one VM of each class, and how many there are of each and where: `make_frame` takes both.

    Raises
    ------
    InputError
        When something cannot be used; of several such things, whichever is found first.
    """
    folder = Path(folder)
    if vmm == OWN:
        raise ArgumentError("workers judge all pairs by one VMM; name it, or audit on one machine")
    files, hosts = fleet_sources(folder)
    paths = [str(file.absolute()) for file in files]
    joined = _Joined({host.name: row for row, host in enumerate(hosts)})
    for at, one in attempted(run, tally, paths):
        joined.add(at, one)
    if not joined.vms:
        raise InputError("the fleet has no VM: there is nothing to judge", file=str(folder))
    if not apart(joined.names.values()):
        _compare_names(run, paths, joined.vms)
    return joined.opened(folder, hosts, run, paths, vmm=vmm, scheme=scheme)


@dataclass
class _Joined:
    """Tallies of all files, in whatever order they come in."""

    hosts: Mapping[str, int]
    vms: int = 0
    names: dict[int, Span] = field(default_factory=dict)
    numbers: dict[bytes, int] = field(default_factory=dict)
    firsts: list[tuple[int, int]] = field(default_factory=list)
    members: list[Member] = field(default_factory=list)
    strangers: dict[str, int] = field(default_factory=dict)
    keys: list[_Ints] = field(default_factory=list)
    counts: list[_Ints] = field(default_factory=list)

    def add(self, at: int, one: Tally) -> None:
        """Add the tally of the file of this number."""
        self.vms += one.vms
        self.names[at] = one.names
        numbers = np.empty(len(one.classes), dtype=np.int64)
        for place, (digest, first, member) in enumerate(
            zip(one.classes, one.firsts.tolist(), one.members, strict=True)
        ):
            number = numbers[place] = self.numbers.setdefault(digest, len(self.numbers))
            if number == len(self.members):
                self.members.append(member)
                self.firsts.append((at, first))
            elif (at, first) < self.firsts[number]:
                self.members[number], self.firsts[number] = member, (at, first)
        # 0: nobody says where; what follows are the hosts of the fleet, of the others it is not known either.
        homes = np.array([0, *(self.hosts.get(name, -1) + 1 for name in one.homes)], dtype=np.int64)
        home = homes[one.groups & _HOME]
        astray = (home == 0) & (one.groups & _HOME > 0)
        for place, count in zip(
            (one.groups[astray] & _HOME).tolist(), one.counts[astray].tolist(), strict=True
        ):
            name = one.homes[place - 1]
            self.strangers[name] = self.strangers.get(name, 0) + count
        self.keys.append(numbers[one.groups >> HOME_BITS] << HOME_BITS | home)
        self.counts.append(one.counts)
        if sum(map(len, self.keys[1:])) > max(_ROWS, len(self.keys[0])):
            self._add_up()

    def _add_up(self) -> None:
        keys, counts = joined_counts(self.keys, self.counts)
        self.keys, self.counts = [keys], [counts]

    def opened(
        self, folder: Path, hosts: Sequence[Any], run: Run, paths: Sequence[str], *, vmm: str, scheme: str
    ) -> tuple[OpenedFleet, Survey]:
        """Make a fleet of the first VM of each class, in the order in which one machine would have met them."""
        self._add_up()
        order = sorted(range(len(self.members)), key=self.firsts.__getitem__)
        row_of = np.empty(len(order), dtype=np.int64)
        row_of[order] = np.arange(len(order))
        (keys,), (counts,) = self.keys, self.counts
        digests = list(self.numbers)
        rows, homes = row_of[keys >> HOME_BITS], (keys & _HOME) - 1
        names: list[str | None] = [*self.hosts, None]

        def listed(asked: _Ints) -> list[tuple[int, str]]:
            places = zip(rows[asked].tolist(), homes[asked].tolist(), asked.tolist(), strict=True)
            of = {(digests[order[row]], names[home]): number for row, home, number in places}
            return _named(run, paths, of, self.strangers)

        strangers = dict(sorted(self.strangers.items(), key=lambda item: (-item[1], item[0])))
        survey = Survey(rows, homes, counts, strangers, listed)
        vms = _representatives([self.members[number] for number in order])
        fleet = Fleet(vms, hosts, vmm=vmm, scheme=scheme)
        columns = with_kinds(read_columns(folder, [*self.hosts]), hosts)
        return OpenedFleet(fleet, hosts, vms, columns), survey


def _representatives(members: Sequence[Member]) -> Any:
    """Give the first VM of each class: as a table, and as register sets where some have registers that no column holds."""
    if any(one.wide for one in members):
        return [_set_of(one) for one in members]
    starts = pa.array(np.cumsum([0, *(len(one.register) for one in members)]), pa.int64())
    lists = [
        pa.LargeListArray.from_arrays(
            starts, pa.array(np.concatenate([getattr(one, name) for one in members]))
        )
        for name in ("register", "value")
    ]
    names = pa.array([one.name for one in members], pa.string())
    words = pa.array([one.words for one in members], pa.string())
    return pa.table({"vm": names, "vcpu": words, "register": lists[0], "value": lists[1]})


def _set_of(one: Member) -> RegisterSet:
    mapping = dict(zip(one.register.tolist(), one.value.tolist(), strict=True))
    mapping |= {register: int.from_bytes(value, "little") for register, value in one.wide}
    return set_of_words(mapping, one.words, one.name)


def _named(
    run: Run, paths: Sequence[str], of: Mapping[tuple[bytes, str | None], int], strangers: Iterable[str]
) -> list[tuple[int, str]]:
    """Look for the VMs of some classes and homes where they were read; give each as the number of these and its name."""
    if not of:
        return []
    homes: dict[bytes, set[str]] = {}
    for digest, home in of:
        if home is not None:
            homes.setdefault(digest, set()).add(home)
    wanted = Wanted(
        {digest: frozenset(found) for digest, found in homes.items()},
        frozenset(digest for digest, home in of if home is None),
        frozenset(strangers),
    )
    every = sorted((at, *one) for at, found in attempted(run, named, paths, wanted) for one in found)
    return [(of[digest, home], name) for _, _, digest, home, name in every]


def _compare_names(run: Run, paths: Sequence[str], vms: int) -> None:
    """Raise when two files have a VM of one name: hashes are compared first, and the names of those that are alike."""
    shares = -(-vms // _HASHES)
    for share in range(shares):
        parts = [found for _, found in attempted(run, hashes, paths, share, shares)]
        every = np.sort(np.concatenate(parts))
        again = np.unique(every[1:][every[1:] == every[:-1]])
        if not len(again):
            continue
        seen: set[str] = set()
        for at, found in sorted(attempted(run, names_with, paths, again)):
            for name in found:
                if name in seen:
                    raise InputError(twice(name), file=paths[at])
                seen.add(name)
