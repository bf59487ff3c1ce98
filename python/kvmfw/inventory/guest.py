"""What a guest may have written itself: of an inventory nobody knows it, so a derived set has what asks most of a host.

Which registers and bits these are the core knows (`rules/guests.rs`); all others are what KVM and the VMM made of them.
"""

from __future__ import annotations

from collections.abc import Mapping

from kvmfw import _native
from kvmfw.sets import Host

__all__ = ["as_written_most", "is_known_of"]

_WORD = (1 << 64) - 1


def is_known_of(register: int) -> bool:
    """Tell whether KVM looks at a register and no guest writes it, so that its value has to be known."""
    return not _native.is_guests(register) and _native.looked_at([register])[0]


def as_written_most(values: Mapping[int, int], host: Host, *, pmu: bool) -> dict[int, int]:
    """Give registers with what asks most of other hosts, of all that they can hold once a guest has run on `host`.

    Parameters
    ----------
    values : mapping of int to int
        The registers as KVM made them.
    host : Host
        The host on which the guest ran: its kernel may keep what a guest writes, or not.
    pmu : bool
        Whether the vCPU has a PMU that the guest can write to.

    Examples
    --------
    >>> from kvmfw.registers import named
    >>> host = Host.load("examples/captures/6.1.0-56-arm64__neoverse-n1__default.json")
    >>> control = named("CNTV_CTL_EL0")
    >>> as_written_most({control: 0}, host, pmu=False)[control]
    7
    """
    words = [value & _WORD for value in values.values()]
    left = host._native.left_by_guest([*values], words, pmu)
    wide = (value & ~_WORD for value in values.values())
    return {register: high | low for register, high, low in zip(values, wide, left, strict=True)}
