"""Fleets as sparse matrices and as tables: for solvers and for databases."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kvmfw import _native
from kvmfw.errors import CopyError
from kvmfw.members import Members, members_of
from kvmfw.names import arrow_texts
from kvmfw.questions import class_table_of

__all__ = ["Arcs", "Tables", "arcs_of", "tables_of"]

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, repr=False)
class Arcs:
    """Which VM classes may go to which host classes (CSR), of one generation.

    Attributes
    ----------
    generation : int
        The generation of all of this.
    vm_classes, host_classes : array of uint32
        The number of each class that has members; rows and columns of the matrix.
    vms, hosts : array of uint64
        How many members each of them has.
    starts : array of int64, shape (VM classes + 1,)
        Where the targets of each VM class start, and where those of the last one end.
    targets : array of uint32
        Places in ``host_classes``; for each VM class the preferred ones first: ACCEPT, then CHANGE, then UNKNOWN.
    outcomes : array of uint8
        The outcome of each target.
    """

    generation: int
    vm_classes: npt.NDArray[np.uint32]
    host_classes: npt.NDArray[np.uint32]
    vms: npt.NDArray[np.uint64]
    hosts: npt.NDArray[np.uint64]
    starts: Rows
    targets: npt.NDArray[np.uint32]
    outcomes: npt.NDArray[np.uint8]
    _native: _native.Snapshot
    _words: tuple[str, str]

    @cached_property
    def vm_members(self) -> tuple[Rows, Rows]:
        """The rows of the VMs of each class: where those of each start, with the end of the last one, and all of them."""
        return _members(self._native.vm_classes(), self.vms)

    @cached_property
    def host_members(self) -> tuple[Rows, Rows]:
        """The rows of the hosts of each class, in the same form."""
        return _members(self._native.host_classes(), self.hosts)

    def expand(self, vms: Members | None = None) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint32]]:
        """Give the matrix of VM rows and host rows (CSR): where the hosts of each VM start, and all of them.

        Parameters
        ----------
        vms : array_like of int, or iterable of row, name or handle, optional
            The VMs, of the generation of this matrix; all by default. A VM's own host is one of its hosts, where it takes it.
        """
        now = self._native
        rows = np.arange(now.sizes()[0]) if vms is None else members_of(vms, "vms", now.vm_row)
        return now.candidates_of(rows.astype(np.int64), *self._words, "include")

    def __repr__(self) -> str:
        return (
            f"<Arcs: {len(self.targets)} from {len(self.vm_classes)} VM classes to {len(self.host_classes)} host classes, "
            f"change counts as {self._words[0]}, unknown as {self._words[1]}, generation {self.generation}>"
        )

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise CopyError("a matrix of classes cannot be copied or pickled; send its arrays")


def _members(classes: npt.NDArray[np.uint32], counts: npt.NDArray[np.uint64]) -> tuple[Rows, Rows]:
    starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    return starts, np.argsort(classes, kind="stable").astype(np.int64)


def arcs_of(native: _native.Snapshot, change: str, unknown: str) -> Arcs:
    """Make the matrix of a snapshot."""
    ((vm_classes, vms), (host_classes, hosts)), (starts, targets, outcomes) = native.arcs(change, unknown)
    generation, words = native.generation(), (change, unknown)
    return Arcs(generation, vm_classes, host_classes, vms, hosts, starts, targets, outcomes, native, words)


class Tables(NamedTuple):
    """A fleet as three Arrow tables.

    Attributes
    ----------
    vms : pyarrow.Table
        ``vm`` (row), ``vm_handle``, ``vm_name``, ``vm_class``, ``home`` (row of a host; null where not known).
    hosts : pyarrow.Table
        ``host`` (row), ``host_handle``, ``host_name``, ``host_class``.
    cells : pyarrow.Table
        ``vm_class``, ``host_class``, ``outcome``: every pair of classes that have members.
    """

    vms: pa.Table
    hosts: pa.Table
    cells: pa.Table


def tables_of(native: _native.Snapshot) -> Tables:
    """Make the tables of a snapshot."""
    homes = native.homes()
    sides = [
        {
            side: np.arange(native.sizes()[of_hosts], dtype=np.int64),
            f"{side}_handle": native.handles(of_hosts),
            f"{side}_name": arrow_texts(native.names(of_hosts, 0, native.sizes()[of_hosts])),
            f"{side}_class": native.host_classes() if of_hosts else native.vm_classes(),
        }
        for side, of_hosts in (("vm", False), ("host", True))
    ]
    vms, hosts = (pa.table(columns) for columns in sides)
    vm_classes, host_classes = native.members(False)[0], native.members(True)[0]
    table = class_table_of(native)[np.ix_(vm_classes, host_classes)]
    cells = {
        "vm_class": np.repeat(vm_classes, len(host_classes)),
        "host_class": np.tile(host_classes, len(vm_classes)),
        "outcome": table.reshape(-1),
    }
    return Tables(vms.append_column("home", pa.array(homes, mask=homes < 0)), hosts, pa.table(cells))
