"""Tallies: one file of VMs, counted by class and home. A worker makes one and keeps nothing.

Whoever reads the same file gets the same tally, so an engine may repeat what a worker did that died.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kvmfw import _native
from kvmfw.distributed.batches import digest_of
from kvmfw.distributed.names import Span, hashes_of, span_of
from kvmfw.errors import InternalError
from kvmfw.fleet import Fleet
from kvmfw.readers.blocks import block_of_sets
from kvmfw.readers.classes import Classes, one_of_each_kind, words_of_run
from kvmfw.readers.folders import parts_of_files
from kvmfw.readers.rejects import Intake
from kvmfw.readers.runs import Runs
from kvmfw.readers.saved import SavedVcpu
from kvmfw.sets import RegisterSet

__all__ = [
    "HOME_BITS",
    "Member",
    "Named",
    "Tally",
    "Wanted",
    "hashes",
    "joined_counts",
    "named",
    "names_with",
    "tally",
]

_Ints = npt.NDArray[np.int64]
_Words = npt.NDArray[np.uint64]
HOME_BITS = 32
"""So many bits of a group are its home."""


@dataclass(frozen=True, slots=True)
class Member:
    """The first VM of a class in a file: what was saved of it.

    Attributes
    ----------
    name : str
        Its name.
    words : str
        How its vCPU is made.
    register, value : array of uint64
        Ids and values; for registers wider than 8 bytes the lowest 8.
    wide : list of (int, bytes)
        Registers with more than 8 bytes that are not 0.
    """

    name: str
    words: str
    register: _Words
    value: _Words
    wide: list[tuple[int, bytes]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Tally:
    """The VMs of one file.

    Attributes
    ----------
    vms : int
        How many there are; one for each kind of vCPU where a VM has several.
    classes : list of bytes
        The digest of each class, in the order of their first VMs.
    firsts : array of int64
        Which of the file's VMs is the first of each.
    members : list of Member
        That VM.
    homes : list of str
        Hosts that VMs name.
    groups : array of int64
        Number of a class, and of a home plus 1 in the lower 32 bits (0: none named), ascending.
    counts : array of int64
        How many VMs are of each group.
    names : Span
        The first and the last name of the file.
    """

    vms: int
    classes: list[bytes]
    firsts: _Ints
    members: list[Member]
    homes: list[str]
    groups: _Ints
    counts: _Ints
    names: Span


@dataclass(frozen=True, slots=True)
class _Part:
    """Some VMs of a file that follow each other, one for each kind of vCPU."""

    source: Runs | list[RegisterSet]
    classes: Classes
    names: pa.Array
    homes: pa.Array

    @classmethod
    def of(cls, part: Runs | list[RegisterSet], file: str, kinds: _native.Kinds) -> _Part:
        if not isinstance(part, Runs):
            names = pa.array([one.name for one in part], pa.string())
            return cls(part, Classes(part, kinds), names, pa.array([one.host for one in part], pa.string()))
        runs, bad = part, False
        if runs.index is not None:
            runs, found, _ = one_of_each_kind(runs)
            bad = bool(found)
        classes = Classes(runs, kinds)
        if bad or classes.bad:
            _refuse(file)
        homes = pa.nulls(len(runs), pa.string()) if runs.homes is None else runs.homes
        return cls(runs, classes, runs.names.cast(pa.string()), homes)

    def digests(self) -> dict[int, bytes]:
        """Give the digest of each class that occurs."""
        return {one: digest_of(self.classes.key(one)) for one in np.unique(self.classes.of).tolist()}

    def member(self, at: int) -> Member:
        if isinstance(self.source, Runs):
            rows = slice(int(self.source.starts[at]), int(self.source.starts[at + 1]))
            register, value = self.source.register[rows].copy(), self.source.value[rows].copy()
            return Member(self.names[at].as_py(), words_of_run(self.source, at), register, value)
        one = self.source[at]
        block = block_of_sets([(0, [SavedVcpu(one.name, 0, one)])])
        (words,) = block.words.values()
        return Member(one.name, words, block.register, block.value, block.wide.get(0, []))


def _read(file: str) -> Iterator[Runs | list[RegisterSet]]:
    for _, part in parts_of_files([Path(file)], _native.Fleet("kvm", "kvm", 1), Intake("raise")):
        if len(part):
            yield part


def _whole(part: Runs | list[RegisterSet]) -> pa.Array:
    """Give the names of VMs, each once, however many vCPUs it has."""
    if isinstance(part, Runs):
        return part.names.take(pa.array(np.flatnonzero(np.diff(part.vms(), prepend=-1)))).cast(pa.string())
    return pa.array([one.name for one in part], pa.string())


def _refuse(file: str) -> None:
    """Raise what a fleet of one machine says of a file that cannot be used."""
    Fleet(file, [])
    raise InternalError(f"the VMs of {file} cannot be counted, and a fleet takes them")


def tally(file: str) -> Tally:
    """Count the VMs of one file by class and home.

    Raises
    ------
    InputError
        When the file, or a row of it, cannot be used.
    """
    known: dict[bytes, int] = {}
    homes: list[pa.Array] = []
    classes_of: list[_Ints] = []
    firsts: list[int] = []
    members: list[Member] = []
    spans: list[Span] = []
    vms = 0
    kinds = _native.Kinds(1)
    for source in _read(file):
        part = _Part.of(source, file, kinds)
        classes, first = np.unique(part.classes.of, return_index=True)
        numbers = np.empty(int(classes.max()) + 1, dtype=np.int64)
        digests = part.digests()
        for at in np.argsort(first).tolist():
            number = known.setdefault(digests[int(classes[at])], len(known))
            if number == len(members):
                members.append(part.member(int(first[at])))
                firsts.append(vms + int(first[at]))
            numbers[classes[at]] = number
        homes.append(part.homes)
        classes_of.append(numbers[part.classes.of])
        spans.append(span_of(_whole(source)))
        vms += len(part.names)
    names = Span.join(spans)
    if not names.ascends and len(np.unique(every := hashes(file))) < len(every):
        # Two names of one hash are not yet one name twice.
        Fleet(file, [])
    places = pa.chunked_array(homes, pa.string()).combine_chunks().dictionary_encode()
    home = places.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64) + 1
    every = np.concatenate([*classes_of, np.zeros(0, np.int64)])
    counted = np.unique(every << HOME_BITS | home, return_counts=True)
    first = np.array(firsts, dtype=np.int64)
    return Tally(vms, list(known), first, members, places.dictionary.to_pylist(), *counted, names)


def joined_counts(keys: Sequence[_Ints], counts: Sequence[_Ints]) -> tuple[_Ints, _Ints]:
    """Add up counts by key; keys come out ascending."""
    every, weight = (np.concatenate([*arrays, np.zeros(0, np.int64)]) for arrays in (keys, counts))
    order = np.argsort(every, kind="stable")
    every, weight = every[order], weight[order]
    starts = np.flatnonzero(np.diff(every, prepend=every[:1] - 1))
    sums = np.add.reduceat(weight, starts) if len(starts) else weight
    return every[starts], sums.astype(np.int64)


@dataclass(frozen=True, slots=True)
class Wanted:
    """VMs whose names are asked for.

    Attributes
    ----------
    homes : mapping of bytes to frozenset of str
        The digest of a class -> hosts whose VMs of that class are wanted.
    homeless : frozenset of bytes
        Classes of which those are wanted that name no host of the fleet.
    strangers : frozenset of str
        Names of hosts that VMs name and the fleet does not have.
    """

    homes: Mapping[bytes, frozenset[str]]
    homeless: frozenset[bytes]
    strangers: frozenset[str]


Named = tuple[int, bytes, str | None, str]
"""The place of a VM in its file, its class, the host of the fleet that it runs on, its name."""


def named(file: str, wanted: Wanted) -> list[Named]:
    """Look for VMs in a file; they are in the order in which they stand there."""
    found: list[Named] = []
    start = 0
    kinds = _native.Kinds(1)
    for source in _read(file):
        part = _Part.of(source, file, kinds)
        digests = part.digests()
        asked = {one for one, name in digests.items() if name in wanted.homes or name in wanted.homeless}
        rows = np.flatnonzero(np.isin(part.classes.of, list(asked)))
        names, homes = (column.take(pa.array(rows)).to_pylist() for column in (part.names, part.homes))
        of = part.classes.of[rows].tolist()
        for at, class_, said, name in zip(rows.tolist(), of, homes, names, strict=True):
            digest, home = digests[class_], None if said in wanted.strangers else said
            if digest in wanted.homeless if home is None else home in wanted.homes.get(digest, ()):
                found.append((start + at, digest, home, name))
        start += len(part.names)
    return found


def hashes(file: str, share: int = 0, shares: int = 1) -> npt.NDArray[np.uint64]:
    """Give the hashes of the names of a file's VMs, of one share of all hashes."""
    found = [hashes_of(_whole(part)) for part in _read(file)]
    every: _Words = np.concatenate([*found, np.zeros(0, np.uint64)])
    own: _Words = every[every % np.uint64(shares) == share]
    return own


def names_with(file: str, wanted: npt.NDArray[np.uint64]) -> list[str]:
    """Give the names of a file's VMs that have one of these hashes."""
    found: list[str] = []
    for part in _read(file):
        names = _whole(part)
        found += names.filter(pa.array(np.isin(hashes_of(names), wanted))).to_pylist()
    return found
