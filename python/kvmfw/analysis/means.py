"""What VMMs can do about the registers that a VM starts with; what each can set the core's table of VMMs knows."""

from __future__ import annotations

from dataclasses import dataclass

from kvmfw.telling.knobs import KNOBS_OF_QEMU, settable

__all__ = ["MEANS", "Means", "any_means"]


@dataclass(frozen=True, slots=True)
class Means:
    """What a VMM can do about the registers that a VM starts with.

    Attributes
    ----------
    vmm : str
        The restore policy that judges.
    sets : str or None
        The VMM whose settings there are; None is one that can set every register.
    hides : bool
        Whether it can hide registers, so that they are neither saved nor restored.
    """

    vmm: str
    sets: str | None
    hides: bool

    def starts_with(self, register: int, fresh: int, wanted: int) -> int:
        """Give the value that a VM starts with, of one on a fresh vCPU and one that is wanted."""
        bits = -1 if self.sets is None else settable(self.sets, register)
        return fresh & ~bits | wanted & bits


MEANS = {
    "qemu": Means(KNOBS_OF_QEMU, KNOBS_OF_QEMU, hides=True),
    "firecracker": Means("firecracker", "firecracker", hides=False),
}
"""What each VMM can do that settings are printed for, and the policy by which they are judged."""


def any_means(vmm: str) -> Means:
    """Give the means of a VMM that can set every register and hide every register."""
    return Means(vmm, None, hides=True)
