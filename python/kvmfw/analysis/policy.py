"""What a VMM's restore policy refuses although KVM would take it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kvmfw.analysis.frame import Frame, Ints
from kvmfw.analysis.keys import numbered
from kvmfw.errors import ArgumentError
from kvmfw.fleet import Fleet
from kvmfw.verdict import Outcome

__all__ = ["policy_refusals"]


def policy_refusals(frame: Frame, plain: Fleet) -> dict[str, int]:
    """Count the pairs that only the restore policy refuses, by the first unit that refuses.

    Parameters
    ----------
    frame : Frame
        The fleet under the policy.
    plain : Fleet
        The same VMs and hosts under the policy ``kvm``.

    Raises
    ------
    ArgumentError
        When the two are not of the same VMs and hosts.
    """
    if plain.shape != frame.fleet.shape:
        raise ArgumentError(f"the fleets differ: {frame.fleet.shape} and {plain.shape} VMs and hosts")
    of_plain = plain.vm_classes if frame.survey is None else plain.vm_classes[frame.survey.rows]
    here = _Side.of(frame.vm_class, of_plain, frame.vm_rows, frame.weight)
    there = _Side.of(frame.host_class, plain.host_classes, frame.host_rows)
    weight = np.outer(here.count, there.count)
    homes = frame.homes[frame.vm_rows]
    known = homes >= 0
    home_number = np.full(len(frame.host_class), -1, dtype=np.int64)
    home_number[frame.host_rows] = there.number
    at_home = home_number[homes[known]]
    vms = 1 if frame.weight is None else frame.weight[known][at_home >= 0]
    np.subtract.at(weight, (here.number[known][at_home >= 0], at_home[at_home >= 0]), vms)
    places = np.ix_(here.left, there.left)
    deciding = frame.deciding[places]
    by_kvm = plain.class_table()[np.ix_(here.right, there.right)]
    only = (frame.outcomes[places] == Outcome.REFUSE) & (by_kvm < Outcome.UNKNOWN)
    names = frame.fleet.units
    pairs = np.bincount(deciding[only], weight[only], minlength=len(names))
    return {names[unit]: int(pairs[unit]) for unit in np.argsort(-pairs, kind="stable") if pairs[unit]}


@dataclass(frozen=True, slots=True)
class _Side:
    """Rows by the classes of two fleets at once, which need not agree."""

    left: Ints
    right: Ints
    count: Ints
    number: Ints

    @classmethod
    def of(cls, left: Ints, right: npt.NDArray[np.uint32], rows: Ints, weight: Ints | None = None) -> _Side:
        width = int(right.max(initial=0)) + 1
        keys, count, number = numbered(left[rows] * width + right[rows].astype(np.int64), weight)
        return cls(keys // width, keys % width, count, number)
