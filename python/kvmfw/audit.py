"""Audits: which VMs are stranded, which hosts are one-way traps, which registers block most (docs/glossary.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kvmfw.names import Names
from kvmfw.verdict import Outcome

__all__ = ["Audit"]


class Audited(Protocol):
    """What the tables of an audit need of a fleet."""

    vmm: str
    scheme: str

    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def class_shape(self) -> tuple[int, int]: ...
    @property
    def vm_names(self) -> Names: ...
    @property
    def host_names(self) -> Names: ...
    @property
    def vm_classes(self) -> npt.NDArray[np.uint32]: ...
    @property
    def host_classes(self) -> npt.NDArray[np.uint32]: ...
    @property
    def units(self) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class Audit:
    """The tables of an audit, over all pairs of a VM and a host that is not its own.

    Attributes
    ----------
    shape, class_shape : tuple of int
        VMs and hosts; VM classes and host classes.
    vmm, scheme : str
        The restore policy and the scheme that the numbers hold for.
    homeless : int
        VMs whose home is not known. Their own host counts as a target, and they are part of no trap.
    totals : pyarrow.Table
        ``outcome``, ``pairs``, ``share``.
    stranded : pyarrow.Table
        VMs that no other host takes: ``vm``, ``host`` (null where not known), ``vm_class``, ``targets`` (0).
    traps : pyarrow.Table
        Circles of host classes that can be entered but not left: ``classes``, ``names`` (of all their hosts),
        ``hosts``, ``entrants`` (VMs that could come), ``residents`` (VMs that could not leave).
    blockers : pyarrow.Table
        Units in the way: ``unit``, ``pairs`` (on which it stands in the way), ``sole_pairs`` (on which nothing
        else does).
    """

    shape: tuple[int, int]
    class_shape: tuple[int, int]
    vmm: str
    scheme: str
    homeless: int
    totals: pa.Table
    stranded: pa.Table
    traps: pa.Table
    blockers: pa.Table

    @classmethod
    def of(
        cls,
        fleet: Audited,
        *,
        homes: npt.NDArray[np.int64],
        outcomes: list[int],
        targets: npt.NDArray[np.uint64],
        traps: list[tuple[list[int], int, int, int]],
        blocked: list[tuple[int, int]],
    ) -> Audit:
        """Make the tables from counts by row."""
        names = [outcome.name for outcome in Outcome]
        every = sum(outcomes) or 1
        totals = pa.table(
            {
                "outcome": names,
                "pairs": pa.array(outcomes, pa.uint64()),
                "share": pa.array([round(pairs / every, 6) for pairs in outcomes], pa.float64()),
            }
        )
        stranded_rows = np.flatnonzero(targets == 0)
        hosts = fleet.host_names.to_arrow()
        homes_of = homes[stranded_rows]
        stranded = pa.table(
            {
                "vm": pa.array(fleet.vm_names.take(stranded_rows), pa.string()),
                "host": hosts.take(pa.array(homes_of, mask=homes_of < 0)).cast(pa.string()),
                "vm_class": pa.array(fleet.vm_classes[stranded_rows], pa.uint32()),
                "targets": pa.array(targets[stranded_rows], pa.uint64()),
            }
        )
        classes = fleet.host_classes
        members = [np.flatnonzero(np.isin(classes, trap[0])) for trap in traps]
        trapped = pa.table(
            {
                "classes": pa.array([trap[0] for trap in traps], pa.list_(pa.uint32())),
                "names": pa.array([hosts.take(rows).to_pylist() for rows in members], pa.list_(pa.string())),
                "hosts": pa.array([trap[1] for trap in traps], pa.uint64()),
                "entrants": pa.array([trap[2] for trap in traps], pa.uint64()),
                "residents": pa.array([trap[3] for trap in traps], pa.uint64()),
            }
        )
        blocking = [(unit, *counts) for unit, counts in zip(fleet.units, blocked, strict=True) if counts[0]]
        blockers = pa.table(
            {
                "unit": pa.array([row[0] for row in blocking], pa.string()),
                "pairs": pa.array([row[1] for row in blocking], pa.uint64()),
                "sole_pairs": pa.array([row[2] for row in blocking], pa.uint64()),
            }
        ).sort_by([("pairs", "descending"), ("sole_pairs", "descending"), ("unit", "ascending")])
        return cls(
            fleet.shape,
            fleet.class_shape,
            fleet.vmm,
            fleet.scheme,
            int((homes < 0).sum()),
            totals,
            stranded,
            trapped,
            blockers,
        )

    def to_dict(self) -> dict[str, Any]:
        """Give the audit as JSON-ready data, with the same numbers as the tables."""
        return {
            "vmm": self.vmm,
            "scheme": self.scheme,
            "vms": self.shape[0],
            "hosts": self.shape[1],
            "vm_classes": self.class_shape[0],
            "host_classes": self.class_shape[1],
            "homeless": self.homeless,
            "totals": {row["outcome"]: row["pairs"] for row in self.totals.to_pylist()},
            "stranded": self.stranded.to_pylist(),
            "traps": self.traps.to_pylist(),
            "blockers": self.blockers.to_pylist(),
        }
