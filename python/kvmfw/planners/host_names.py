"""One VM against many hosts by name, as planners ask: one call for all hosts of a decision."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from kvmfw.errors import MissingError
from kvmfw.questions import Treat, counted_as_taken, taken_as
from kvmfw.roster import Vm
from kvmfw.snapshot import Snapshot
from kvmfw.verdict import Outcome

__all__ = ["PREFERENCE", "HostNames"]

PREFERENCE = {Outcome.ACCEPT: 1.0, Outcome.CHANGE: 0.5, Outcome.UNKNOWN: 0.0, Outcome.REFUSE: 0.0}
"""What hosts weigh: ACCEPT comes before CHANGE, and both before what nobody knows."""

Key = TypeVar("Key")
Made = TypeVar("Made")

_NO_UNIT = 0xFFFF
# So many sets of hosts are kept: VMs of one accept set share theirs.
_KEPT = 4096


class HostNames:
    """The hosts of a snapshot by name. A host that the fleet does not have is UNKNOWN; of several with one name the worst counts.

    Parameters
    ----------
    snapshot : Snapshot
        The fleet.
    unknown, change : {"accept", "refuse"}
        What these outcomes count as; both must be chosen.

    Examples
    --------
    >>> from kvmfw import Fleet
    >>> from kvmfw.testing import tiny_host, tiny_set
    >>> hosts = [tiny_host(workaround_3=0, name="old"), tiny_host(workaround_3=1, name="new")]
    >>> names = HostNames(Fleet([tiny_set(name="a")], hosts).snapshot(), unknown="refuse", change="accept")
    >>> names.passing("a", ["old", "new", "other"])
    ['new']
    >>> names.reasons("a", ["old", "other"])
    {'old': 'REFUSE SMCCC_ARCH_WORKAROUND_3', 'other': 'UNKNOWN no capture'}
    """

    def __init__(self, snapshot: Snapshot, *, unknown: Treat, change: Treat) -> None:
        self.snapshot = snapshot
        self._taken = counted_as_taken(*taken_as(change, unknown))
        self._lets_strangers_in = unknown == "accept"
        self._names = list(snapshot.host_names)
        self._classes = snapshot.host_classes
        self._used = np.zeros(snapshot.class_shape[1], dtype=np.bool_)
        self._used[self._classes] = True
        self._rows: dict[str, int] = {}
        self._shared: dict[str, list[int]] = {}
        for row, name in enumerate(self._names):
            first = self._rows.setdefault(name, row)
            if first != row:
                self._shared.setdefault(name, [first]).append(row)
        self._sets: dict[bytes, frozenset[str]] = {}
        self._summaries: dict[bytes, tuple[tuple[str, list[str]], ...]] = {}
        self._takers: dict[frozenset[str], list[str]] = {}
        self._numbers: dict[bytes, list[int]] = {}
        self._units: list[str] | None = None

    def has(self, vm: Vm) -> bool:
        """Tell whether the fleet holds registers of a VM."""
        try:
            self.snapshot.vm(vm)
        except MissingError:
            return False
        return True

    def outcomes(self, vm: Vm, hosts: Iterable[str]) -> list[Outcome]:
        """Give the outcome of a VM on each of these hosts."""
        said = self.snapshot.class_row(vm)
        return [self._outcome(said, host) for host in hosts]

    def listed(self, vm: Vm) -> tuple[frozenset[str], bool]:
        """Give names of hosts, and whether a host passes that is among them, or one that is not.

        For whoever has thousands of hosts to ask about: ``(host in names) is passes``.
        """
        said = self._taken[self.snapshot.class_row(vm)]
        key = said.tobytes()
        return _kept(self._sets, key, lambda: self._names_of(said)), not self._lets_strangers_in

    def passing(self, vm: Vm, hosts: Iterable[str]) -> list[str]:
        """Give those of the hosts that take a VM, in their order."""
        names, passes = self.listed(vm)
        return [host for host in hosts if (host in names) is passes]

    def takers(self, vm: Vm) -> list[str]:
        """Give the hosts of the fleet that take a VM, by name."""
        names, passes = self.listed(vm)
        return _kept(self._takers, names, lambda: [name for name in self._rows if (name in names) is passes])

    def taking_classes(self, vm: Vm) -> list[int]:
        """Give the numbers of the host classes that take a VM."""
        said = self.snapshot.class_row(vm)
        return _kept(
            self._numbers, said.tobytes(), lambda: np.flatnonzero(self._taken[said] & self._used).tolist()
        )

    def reasons(self, vm: Vm, hosts: Iterable[str]) -> dict[str, str]:
        """Say for each host what decides: outcome and unit, without values, so that few reasons are different."""
        said = self.snapshot.class_row(vm)
        by_class: dict[int, str] = {}
        told = {}
        for host in hosts:
            row = self._worst(said, host)
            if row is None:
                told[host] = "UNKNOWN no capture"
                continue
            number = int(self._classes[row])
            if number not in by_class:
                by_class[number] = self._reason(vm, row)
            told[host] = by_class[number]
        return told

    def summary(self, vm: Vm) -> tuple[tuple[str, list[str]], ...]:
        """Give each reason for which hosts of the fleet do not take a VM, with these hosts; kept for VMs of its class."""
        said = self.snapshot.class_row(vm)

        def made() -> tuple[tuple[str, list[str]], ...]:
            names = [name for name, row in self._rows.items() if not self._taken[said[self._classes[row]]]]
            found: dict[str, list[str]] = {}
            for name, reason in self.reasons(vm, names).items():
                found.setdefault(reason, []).append(name)
            return tuple(found.items())

        return _kept(self._summaries, said.tobytes(), made)

    def _outcome(self, said: npt.NDArray[np.uint8], host: str) -> Outcome:
        row = self._worst(said, host)
        return Outcome.UNKNOWN if row is None else Outcome(int(said[self._classes[row]]))

    def _worst(self, said: npt.NDArray[np.uint8], host: str) -> int | None:
        if host in self._shared:
            return max(self._shared[host], key=lambda row: int(said[self._classes[row]]))
        return self._rows.get(host)

    def _names_of(self, said: npt.NDArray[np.bool_]) -> frozenset[str]:
        """Give the hosts that pass, or where strangers pass those that do not: where names are shared, not one may refuse."""
        taken = said[self._classes]
        refused = frozenset(self._names[row] for row in np.flatnonzero(~taken).tolist())
        if self._lets_strangers_in:
            return refused
        return frozenset(self._names[row] for row in np.flatnonzero(taken).tolist()) - refused

    def _reason(self, vm: Vm, row: int) -> str:
        units = np.full(1, _NO_UNIT, dtype=np.uint16)
        (outcome,) = self.snapshot.validate_pairs([self.snapshot.vm_row(vm)], [row], units=units).tolist()
        if self._units is None:
            self._units = self.snapshot.units
        unit = f" {self._units[units[0]]}" if units[0] != _NO_UNIT else ""
        return f"{Outcome(outcome).name}{unit}"


def _kept(cache: dict[Key, Made], key: Key, make: Callable[[], Made]) -> Made:
    """Give what is kept, or make it; a full cache begins anew."""
    found = cache.get(key)
    if found is None:
        if len(cache) >= _KEPT:
            cache.clear()
        found = cache[key] = make()
    return found
