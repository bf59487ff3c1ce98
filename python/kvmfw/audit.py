"""Audits: which VMs are stranded, which hosts are one-way traps, which registers block most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

if TYPE_CHECKING:
    from kvmfw.fleet import Fleet

__all__ = ["Audit"]


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
        ``outcome``, ``pairs``.
    stranded : pyarrow.Table
        VMs that no other host takes: ``vm``, ``host`` (null where not known).
    traps : pyarrow.Table
        Hosts that take VMs of other hosts, while no other host takes any VM that runs on them:
        ``host``, ``entrants`` (VMs that could come), ``residents`` (VMs that could not leave).
    blockers : pyarrow.Table
        What refuses most: ``unit``, ``pairs`` (that it refuses), ``sole`` (that nothing else refuses).
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
        fleet: Fleet,
        *,
        homes: npt.NDArray[np.int64],
        outcomes: list[int],
        targets: npt.NDArray[np.uint64],
        entrants: npt.NDArray[np.uint64],
        blocked: list[tuple[int, int]],
    ) -> Audit:
        """Make the tables from counts by row."""
        names = ("ACCEPT", "CHANGE", "UNKNOWN", "REFUSE")
        totals = pa.table({"outcome": names, "pairs": pa.array(outcomes, pa.uint64())})
        stranded_rows = np.flatnonzero(targets == 0).tolist()
        hosts = fleet.host_names
        stranded = pa.table(
            {
                "vm": pa.array([fleet.vm_names[row] for row in stranded_rows], pa.string()),
                "host": pa.array(
                    [hosts[int(homes[row])] if homes[row] >= 0 else None for row in stranded_rows],
                    pa.string(),
                ),
            }
        )
        known = homes >= 0
        residents = np.bincount(homes[known], minlength=len(hosts))
        stuck = np.bincount(homes[known & (targets == 0)], minlength=len(hosts))
        trap_rows = np.flatnonzero((entrants > 0) & (residents > 0) & (residents == stuck))
        traps = pa.table(
            {
                "host": pa.array([hosts[row] for row in trap_rows.tolist()], pa.string()),
                "entrants": pa.array(entrants[trap_rows], pa.uint64()),
                "residents": pa.array(residents[trap_rows].astype(np.uint64), pa.uint64()),
            }
        ).sort_by([("entrants", "descending"), ("host", "ascending")])
        refusing = [(unit, *counts) for unit, counts in zip(fleet.units, blocked, strict=True) if counts[0]]
        blockers = pa.table(
            {
                "unit": pa.array([row[0] for row in refusing], pa.string()),
                "pairs": pa.array([row[1] for row in refusing], pa.uint64()),
                "sole": pa.array([row[2] for row in refusing], pa.uint64()),
            }
        ).sort_by([("pairs", "descending"), ("sole", "descending"), ("unit", "ascending")])
        return cls(
            fleet.shape,
            fleet.class_shape,
            fleet.vmm,
            fleet.scheme,
            int((~known).sum()),
            totals,
            stranded,
            traps,
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
