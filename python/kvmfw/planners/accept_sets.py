"""Accept sets: VMs that the same hosts take. One word for each is enough for a scheduler that knows nothing of registers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import numpy as np
import numpy.typing as npt

from kvmfw.questions import Treat
from kvmfw.roster import Vm
from kvmfw.snapshot import Snapshot, View

__all__ = ["AcceptSets", "accept_sets"]

Ints = npt.NDArray[np.int64]
# Of 20,000 VM classes two share a name of so many hexadecimal digits with a probability of 10^-11.
_DIGITS = 16


@dataclass(frozen=True)
class AcceptSets:
    """The distinct sets of host classes that take a VM of a fleet, each with a name.

    A name is the digest of what one VM class of its set has saved, so a host has a name where it takes that. One more capture
    changes no name; where it tells VMs of one set apart, the set keeps its name and a new one gets another.

    Attributes
    ----------
    snapshot : Snapshot
        Whose answers these are.
    unknown : {"accept", "refuse"}
        What UNKNOWN counts as.
    names : tuple of str
        The name of each set, ascending.
    kinds : tuple of dict of int to str
        For each set its VM classes, with the digest of what VMs of that class have saved.
    takers : array of bool, shape (sets, host classes)
        Which host classes each set has.
    vm_rows, host_rows : array of int64
        The VMs and hosts that are looked at.
    """

    snapshot: Snapshot
    unknown: Treat
    names: tuple[str, ...]
    kinds: tuple[Mapping[int, str], ...]
    takers: npt.NDArray[np.bool_]
    vm_rows: Ints
    host_rows: Ints

    @cached_property
    def of_class(self) -> dict[int, int]:
        """VM class -> place of its set."""
        return {number: place for place, kinds in enumerate(self.kinds) for number in kinds}

    @cached_property
    def _vm_classes(self) -> npt.NDArray[np.uint32]:
        return self.snapshot.vm_classes

    @cached_property
    def _places(self) -> Ints:
        of_class = np.full(self.snapshot.class_shape[0], -1, dtype=np.int64)
        of_class[list(self.of_class)] = list(self.of_class.values())
        return np.asarray(of_class[self._vm_classes[self.vm_rows]])

    def name_of(self, vm: Vm) -> str:
        """Give the name of the set of a VM."""
        return self.names[self.of_class[int(self._vm_classes[self.snapshot.vm_row(vm)])]]

    def vms_of(self, place: int) -> Ints:
        """Give the rows of the VMs of a set, ascending."""
        return np.asarray(self.vm_rows[self._places == place])

    @property
    def unplaced(self) -> Ints:
        """The rows of the VMs that no host takes."""
        nobody: npt.NDArray[np.bool_] = np.logical_not(self.takers.any(axis=1))
        return np.asarray(self.vm_rows[nobody[self._places]])

    def names_of_hosts(self) -> dict[str, tuple[str, ...]]:
        """Give for each host, by name, the names of the sets that it belongs to; hosts that share a name have what all have."""
        by_class: dict[int, tuple[str, ...]] = {}
        found: dict[str, tuple[str, ...]] = {}
        classes, names = self.snapshot.host_classes, self.snapshot.host_names
        for row in self.host_rows.tolist():
            number = int(classes[row])
            if number not in by_class:
                by_class[number] = tuple(self.names[at] for at in np.flatnonzero(self.takers[:, number]))
            before = found.setdefault(names[row], by_class[number])
            if before is not by_class[number]:
                found[names[row]] = tuple(name for name in before if name in by_class[number])
        return found

    def known(self) -> dict[str, str]:
        """Give the name of the set of each kind of VM, for the next generation."""
        return {
            digest: name
            for name, kinds in zip(self.names, self.kinds, strict=True)
            for digest in kinds.values()
        }


def accept_sets(
    view: View,
    *,
    unknown: Treat,
    change: Treat,
    vm_rows: Ints | None = None,
    host_rows: Ints | None = None,
    known: Mapping[str, str] | None = None,
) -> AcceptSets:
    """Find the accept sets of a fleet.

    Parameters
    ----------
    view : Fleet or Snapshot
        The fleet.
    unknown, change : {"accept", "refuse"}
        What these outcomes count as; both must be chosen.
    vm_rows, host_rows : array of int64, optional
        The VMs and hosts to look at; all by default.
    known : mapping of str to str, optional
        `AcceptSets.known` of the last generation: sets keep their names when VMs come and go.

    Examples
    --------
    >>> from kvmfw import Fleet
    >>> from kvmfw.testing import tiny_host, tiny_set
    >>> vms = [tiny_set(workaround_3=0, name="any"), tiny_set(workaround_3=1, name="new")]
    >>> fleet = Fleet(vms, [tiny_host(workaround_3=0, name="a"), tiny_host(workaround_3=1, name="b")])
    >>> sets = accept_sets(fleet, unknown="refuse", change="accept")
    >>> [len(names) for names in sets.names_of_hosts().values()]
    [1, 2]
    """
    now = view.snapshot()
    vm_rows = np.arange(now.shape[0]) if vm_rows is None else vm_rows
    host_rows = np.arange(now.shape[1]) if host_rows is None else host_rows
    present = np.zeros(now.class_shape[1], dtype=np.bool_)
    present[now.host_classes[host_rows]] = True
    rows: dict[bytes, npt.NDArray[np.bool_]] = {}
    members: dict[bytes, dict[int, str]] = {}
    rule = f"{now.vmm}\0{now.scheme}\0{change}\0{unknown}\0".encode()
    for number in np.unique(now.vm_classes[vm_rows]).tolist():
        row = now.class_candidates(number, unknown=unknown, change=change) & present
        key = np.packbits(row).tobytes()
        rows[key] = row
        saved = now._native.class_key(number) or b""
        members.setdefault(key, {})[number] = sha256(rule + saved).hexdigest()[:_DIGITS]
    names = _named([set(kinds.values()) for kinds in members.values()], known or {})
    order = sorted(range(len(names)), key=names.__getitem__)
    keys = list(members)
    takers = np.array([rows[keys[at]] for at in order], dtype=np.bool_).reshape(len(order), len(present))
    kinds = tuple(members[keys[at]] for at in order)
    return AcceptSets(now, unknown, tuple(names[at] for at in order), kinds, takers, vm_rows, host_rows)


def _named(digests: Sequence[set[str]], known: Mapping[str, str]) -> list[str]:
    """Name sets by the digests of their kinds: by a name that is in use where one may be kept."""
    used = set(known.values())
    # Whoever has the very kind that a name is the digest of keeps it.
    names = [min(kinds & used, default="") for kinds in digests]
    taken = set().union(*digests) & used
    for place in sorted(range(len(digests)), key=lambda at: min(digests[at])):
        if not names[place]:
            of_kinds = {known[kind] for kind in digests[place] if kind in known}
            names[place] = min(of_kinds - taken, default="") or min(digests[place])
            taken.add(names[place])
    return names
