"""Snapshots: fleets as they were at one moment, in the shapes that solvers and databases take."""

from __future__ import annotations

from typing import NoReturn

from kvmfw import _native
from kvmfw.arcs import Arcs, Tables, arcs_of, tables_of
from kvmfw.audit import Audit
from kvmfw.errors import CopyError
from kvmfw.questions import Questions, Treat, taken_as

__all__ = ["Snapshot", "View"]


class View(Questions):
    """A fleet, or a snapshot of one."""

    def snapshot(self) -> Snapshot:
        """Give the fleet as it is now: names, rows and answers that stay, whatever becomes of the fleet.

        Takes no time and no memory of its own, however large the fleet is; what only it has is freed with it.

        Examples
        --------
        >>> from kvmfw import Fleet
        >>> from kvmfw.testing import tiny_host, tiny_set
        >>> fleet = Fleet([tiny_set(name="a")], [tiny_host(name="h")])
        >>> before = fleet.snapshot()
        >>> fleet.remove_vms(["a"])
        >>> before.shape, fleet.shape
        ((1, 1), (0, 1))
        """
        return Snapshot(self._now(), self.vmm, self.scheme)

    def arcs(self, *, unknown: Treat, change: Treat) -> Arcs:
        """Give which VM classes may go to which host classes, as a sparse matrix with preference, for solvers.

        Parameters
        ----------
        unknown, change : {"accept", "refuse"}
            What these outcomes count as; both must be chosen.

        Examples
        --------
        >>> from kvmfw import Fleet
        >>> from kvmfw.testing import tiny_host, tiny_set
        >>> hosts = [tiny_host(workaround_3=2), tiny_host(workaround_3=1)]
        >>> arcs = Fleet([tiny_set(workaround_3=1)] * 3, hosts).arcs(unknown="refuse", change="accept")
        >>> arcs.vms, arcs.starts, arcs.targets, arcs.outcomes
        (array([3], dtype=uint64), array([0, 2]), array([1, 0], dtype=uint32), array([0, 1], dtype=uint8))
        """
        return arcs_of(self._now(), change, unknown)

    def tables(self) -> Tables:
        """Give three Arrow tables, ``vms``, ``hosts`` and ``cells``, for any engine of SQL.

        A pair's outcome is the cell of its classes: ``vms JOIN cells USING (vm_class) JOIN hosts USING (host_class)``.
        """
        return tables_of(self._now())

    def audit(self, *, unknown: Treat, change: Treat) -> Audit:
        """Count all pairs of a VM and a host that is not its own: the tables of the report.

        Parameters
        ----------
        unknown, change : {"accept", "refuse"}
            What these outcomes count as where a host either takes a VM or does not; both must be chosen.
        """
        now = self.snapshot()
        homes = now.vm_homes
        outcomes, targets, traps, blocked = now._native.audit(homes, *taken_as(change, unknown))
        return Audit.of(now, homes=homes, outcomes=outcomes, targets=targets, traps=traps, blocked=blocked)


class Snapshot(View):
    """A fleet as it was at one moment; `Fleet.snapshot` gives it. It takes no part in changes and can be read by any thread."""

    def __init__(self, native: _native.Snapshot, vmm: str, scheme: str) -> None:
        self._native = self._asked = native
        self.vmm = vmm
        self.scheme = scheme

    def _now(self) -> _native.Snapshot:
        return self._native

    def snapshot(self) -> Snapshot:
        """Give this snapshot."""
        return self

    def __copy__(self) -> Snapshot:
        return self

    def __deepcopy__(self, memo: object) -> Snapshot:
        # It does not change: a copy would be the same.
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise CopyError("a snapshot cannot be pickled; write the fleet with `kvmfw ingest` and open it again")
