"""Generations of names: what a scheduler was told last, and what to change so that it knows what is true now."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from kvmfw.errors import FormatError, InputError
from kvmfw.files import write_whole
from kvmfw.planners.accept_sets import AcceptSets
from kvmfw.questions import Treat

__all__ = ["Difference", "Generation", "generation_of", "read_generation", "write_generation"]

_FORMAT = "kvmfw-accept-sets"


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """What a scheduler was told of accept sets.

    Attributes
    ----------
    vmm, scheme, unknown
        How the fleet was judged.
    kinds : dict of str to str
        Digest of what VMs have saved -> name of the set.
    hosts : dict of str to tuple of str
        Host -> names of the sets that it belongs to.
    """

    format: Literal["kvmfw-accept-sets"] = "kvmfw-accept-sets"
    version: Literal[1] = 1
    vmm: str
    scheme: str
    unknown: Treat
    kinds: dict[str, str] = {}
    hosts: dict[str, tuple[str, ...]] = {}

    @property
    def names(self) -> set[str]:
        """The names of all sets."""
        return set(self.kinds.values())


class Difference(msgspec.Struct, frozen=True):
    """What to change; in the order in which it is to be done, so that no VM is without its hosts in between.

    Attributes
    ----------
    create : list of str
        Names to make known.
    add : dict of str to list of str
        Host -> names that it gets.
    moved : dict of str to tuple of str
        Kind of VM -> the name that it asked for, and that it asks for now.
    remove : dict of str to list of str
        Host -> names that it loses.
    delete : list of str
        Names that nobody asks for any more.
    """

    create: list[str]
    add: dict[str, list[str]]
    moved: dict[str, tuple[str, str]]
    remove: dict[str, list[str]]
    delete: list[str]

    @classmethod
    def between(cls, old: Generation, new: Generation) -> Difference:
        """Compare two generations."""
        lost = old.names - new.names
        add, remove = {}, {}
        for host in sorted({*old.hosts, *new.hosts}):
            before, after = set(old.hosts.get(host, ())), set(new.hosts.get(host, ()))
            if after - before:
                add[host] = sorted(after - before)
            if before - after:
                remove[host] = sorted(before - after)
        moved = {
            kind: (old.kinds[kind], name)
            for kind, name in new.kinds.items()
            if old.kinds.get(kind, name) != name
        }
        return cls(sorted(new.names - old.names), add, moved, remove, sorted(lost))


def generation_of(sets: AcceptSets) -> Generation:
    """Give what a scheduler is to be told."""
    now = sets.snapshot
    return Generation(
        vmm=now.vmm, scheme=now.scheme, unknown=sets.unknown, kinds=sets.known(), hosts=sets.names_of_hosts()
    )


def read_generation(path: Path | None, *, vmm: str, scheme: str, unknown: Treat) -> Generation:
    """Read the last generation; an empty one where there is none.

    Raises
    ------
    InputError
        When the file is something else, or was made for another VMM or another meaning of UNKNOWN: its names mean something else.
    """
    empty = Generation(vmm=vmm, scheme=scheme, unknown=unknown)
    if path is None or not path.exists():
        return empty
    try:
        last = msgspec.json.decode(path.read_bytes(), type=Generation)
    except msgspec.DecodeError as error:
        raise FormatError(f"this is not a document `{_FORMAT}`: {error}", file=str(path)) from None
    for name in ("vmm", "scheme", "unknown"):
        was, wanted = getattr(last, name), getattr(empty, name)
        if was != wanted:
            problem = f"it was made with {name} `{was}`, not `{wanted}`; its names mean something else"
            raise InputError(problem, file=str(path))
    return last


def write_generation(path: Path, generation: Generation) -> None:
    """Write a generation; the file appears whole or not at all."""
    write_whole(path, msgspec.json.format(msgspec.json.encode(generation, order="sorted"), indent=1).decode())
