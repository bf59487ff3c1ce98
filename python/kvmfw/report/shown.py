"""Which classes a page shows: all where they fit, else those with most VMs and hosts, with like ones in one row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kvmfw.analysis import Report
from kvmfw.analysis.frame import Ints

__all__ = ["Classes", "shown_classes"]

MOST_ROWS, MOST_HOSTS = 500, 200
# Of so many VM classes, those with most VMs, it is looked at which are alike.
MOST_LOOKED_AT = 5_000
# As many classes of a row are found by their numbers.
MOST_ALIKE = 50


@dataclass(frozen=True, slots=True)
class Classes:
    """The rows and columns of a page.

    Attributes
    ----------
    vms, hosts : array of int64
        VM classes and host classes: like stands by like.
    cells : array of uint8, shape (VM classes, host classes)
        Their outcomes.
    alike : list of list of int
        For each row the VM classes that it stands for, its own first: those with the same outcomes on these hosts.
    vms_left_out, hosts_left_out : int
        VM classes and host classes that are not shown.
    """

    vms: Ints
    hosts: Ints
    cells: npt.NDArray[np.uint8]
    alike: list[list[int]]
    vms_left_out: int
    hosts_left_out: int


def shown_classes(report: Report) -> Classes:
    """Choose the classes that a page shows, and order them: hosts by CPU and kernel, VMs by who takes them."""
    frame = report.frame
    rows = {row["class"]: row for row in report.tables["host_classes"]}
    most = sorted(rows, key=lambda one: (-rows[one]["hosts"], one))[:MOST_HOSTS]
    hosts = sorted(most, key=lambda one: (rows[one].get("cpu", []), rows[one].get("kernel", []), one))
    living = np.flatnonzero(frame.class_vms)
    looked_at = living[np.argsort(-frame.class_vms[living], kind="stable")][:MOST_LOOKED_AT]
    cells = frame.outcome_rows(looked_at)[:, hosts]
    groups: dict[object, list[int]] = {}
    fits = len(living) <= MOST_ROWS
    for at, row in enumerate(cells):
        groups.setdefault(at if fits else row.tobytes(), []).append(at)
    weight = frame.class_vms[looked_at]
    kept = sorted(groups.values(), key=lambda group: (-int(weight[group].sum()), group[0]))[:MOST_ROWS]
    taken = frame.counts_as_taken[cells]
    first = np.where(taken.any(axis=1), taken.argmax(axis=1), len(hosts)) if hosts else np.zeros(len(cells))
    order = sorted(
        kept, key=lambda group: (int(first[group[0]]), cells[group[0]].tobytes(), looked_at[group[0]])
    )
    alike = [looked_at[group].tolist() for group in order]
    return Classes(
        np.array([group[0] for group in alike], dtype=np.int64),
        np.array(hosts, dtype=np.int64),
        cells[[group[0] for group in order]],
        alike,
        len(living) - sum(map(len, alike)),
        len(rows) - len(hosts),
    )
