"""What adapters say in the same words."""

from __future__ import annotations

from kvmfw.planners.accept_sets import AcceptSets
from kvmfw.quoting import printable

__all__ = ["some_vms"]

_SHOWN = 5


def some_vms(sets: AcceptSets, place: int) -> str:
    """Name some VMs of an accept set, and say how many more it has."""
    rows = sets.vms_of(place).tolist()
    names = [printable(sets.snapshot.vm_names[row]) for row in rows[:_SHOWN]]
    return ", ".join(names) + (f" and {len(rows) - _SHOWN:,} more" if len(rows) > _SHOWN else "")
