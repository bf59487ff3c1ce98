"""What a guest may have written itself: of an inventory nobody knows it, so a derived set has what asks most of a host.

Which registers and bits these are the core knows (`rules/guests.rs`); all others are what KVM and the VMM made of them.
"""

from __future__ import annotations

from collections.abc import Mapping

from kvmfw import _native

__all__ = ["as_written_most", "is_known_of"]

_WORD = (1 << 64) - 1


def is_known_of(register: int) -> bool:
    """Tell whether KVM looks at a register and no guest writes it, so that its value has to be known."""
    return not _native.is_guests(register) and _native.looked_at([register])[0]


def as_written_most(values: Mapping[int, int], *, pmu: bool) -> dict[int, int]:
    """Give registers with everything that a guest can have set in them.

    Parameters
    ----------
    values : mapping of int to int
        The registers as KVM made them.
    pmu : bool
        Whether the vCPU has a PMU that the guest can write to.

    Examples
    --------
    >>> from kvmfw.registers import named
    >>> control = named("CNTV_CTL_EL0")
    >>> as_written_most({control: 0}, pmu=False)[control]
    7
    """
    bits = _native.bits_of_guest([*values], [value & _WORD for value in values.values()], pmu)
    return {register: value | most for (register, value), most in zip(values.items(), bits, strict=True)}
