"""The best next upgrades: which hosts to bring to another capture of the fleet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kvmfw import _native
from kvmfw.analysis.frame import Frame, Groups, Ints, Tell, native_groups
from kvmfw.analysis.keys import counted
from kvmfw.analysis.security import Comparison, Protection, Security, compare_security
from kvmfw.published.changes import UpgradeDocument

__all__ = ["Upgrade", "best_upgrades"]

# Of how many upgrades the security is compared at first; most often one of them may be proposed.
BATCH = 64


@dataclass(frozen=True, slots=True)
class Upgrade:
    """All hosts of one capture become hosts of another.

    Attributes
    ----------
    capture, becomes : str
        The captures' names.
    hosts : int
        How many hosts change.
    freed, newly_stranded : int
        VMs that find a target again, and VMs that find none any more, against the step before.
    stranded : int
        VMs that are stranded after it.
    security : Security
        How the hosts protect after it, beside what they were.
    reasons : tuple of str
        Why, where it is not the same.
    """

    capture: str
    becomes: str
    hosts: int
    freed: int
    newly_stranded: int
    stranded: int
    security: Security
    reasons: tuple[str, ...]

    def to_dict(self) -> UpgradeDocument:
        """Give it as JSON-ready data."""
        return {
            "capture": self.capture,
            "becomes": self.becomes,
            "hosts": self.hosts,
            "freed": self.freed,
            "newly_stranded": self.newly_stranded,
            "stranded": self.stranded,
            "security": self.security.value,
            "reasons": list(self.reasons),
        }


def best_upgrades(
    frame: Frame,
    columns: Mapping[str, Sequence[str]],
    *,
    steps: int = 5,
    protection: Mapping[str, Protection] | None = None,
    weaker: bool = False,
) -> list[Upgrade]:
    """Choose upgrades one after another: each time the one after which fewest VMs are stranded.

    Hosts can only become what another host with the same CPU, the same or a newer kernel and no weaker security
    is. VMs keep what they have saved.

    Parameters
    ----------
    frame : Frame
        The fleet.
    columns : mapping of str to sequence of str
        ``capture``, ``cpu`` and ``kernel`` of each host, by row.
    steps : int
        How many upgrades to choose at most.
    protection : mapping of str to Protection, optional
        How the hosts of each capture protect; where it is not given, security is unknown.
    weaker : bool
        Whether hosts may become what protects less.
    """
    rows = frame.host_rows.tolist()
    names = sorted({columns["capture"][row] for row in rows})
    number = {name: at for at, name in enumerate(names)}
    of = np.array([number[columns["capture"][row]] for row in rows], dtype=np.int64)
    first = frame.host_rows[np.unique(of, return_index=True)[1]].tolist()
    hosts = np.bincount(of, minlength=len(names)).tolist()
    cpus = {name: at for at, name in enumerate(sorted({columns["cpu"][row] for row in first}))}
    # One whose text tells no release comes first: nothing is known to be older.
    releases = [_native.release(columns["kernel"][row]) or () for row in first]
    ages = {release: at for at, release in enumerate(sorted(set(releases)))}
    captures = (
        hosts,
        frame.host_class[first].tolist(),
        [cpus[columns["cpu"][row]] for row in first],
        [ages[release] for release in releases],
    )
    state = _native.Upgrades(frame.takers, captures, _groups(frame, of))
    security = _Securities([(protection or {}).get(name, Protection()) for name in names])
    # What the hosts of each capture are by now: an earlier step may have changed them.
    become = list(range(len(names)))
    plan: list[Upgrade] = []
    for _ in range(steps):
        chosen = _best(state, security, become, weaker, frame.tell)
        if chosen is None:
            break
        before, (after, lost, old, new) = chosen
        compared = security.compared(become[old], new)
        freed = before - after + lost
        security_words = (compared.security, compared.reasons)
        plan.append(Upgrade(names[old], names[new], hosts[old], freed, lost, after, *security_words))
        state.take(old, new)
        become[old] = new
    return plan


_Found = tuple[int, int, int, int]


def _best(
    state: _native.Upgrades, security: _Securities, become: Sequence[int], weaker: bool, tell: Tell | None
) -> tuple[int, _Found] | None:
    """Give the VMs stranded before, and the best upgrade that may be proposed; the security of the best ones is asked first."""
    skipped, most = 0, BATCH
    while True:
        found, before = state.best(skipped, most, tell)
        for one in found:
            if weaker or security.compared(become[one[2]], one[3]).security is not Security.WEAKER:
                return before, one
        if len(found) < most:
            return None
        skipped, most = skipped + most, 4 * most


class _Securities:
    """How each capture protects beside others: equal ones are compared once."""

    def __init__(self, protections: Sequence[Protection]) -> None:
        distinct: list[Protection] = []
        places: dict[str, int] = {}
        self._of = []
        for one in protections:
            place = places.setdefault(repr(one), len(distinct))
            if place == len(distinct):
                distinct.append(one)
            self._of.append(place)
        self._distinct = distinct
        self._known: dict[tuple[int, int], Comparison] = {}

    def compared(self, before: int, after: int) -> Comparison:
        """Compare two captures by their numbers."""
        key = self._of[before], self._of[after]
        if key not in self._known:
            self._known[key] = compare_security(self._distinct[key[0]], self._distinct[key[1]])
        return self._known[key]


def _groups(frame: Frame, of: Ints) -> Groups:
    """Group kept VMs by class and capture of their home."""
    number = np.full(len(frame.host_class), -1, dtype=np.int64)
    number[frame.host_rows] = of
    width = int(of.max(initial=0)) + 2
    keys, vms = counted(frame.vm_class[frame.vm_rows] * width + frame.home_value(number) + 1, frame.weight)
    return native_groups(keys // width, keys % width - 1, vms)
