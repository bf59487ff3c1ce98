"""What stands beside registers when a VM arrives: the interrupt controller, steal time, the counter (semantics, section 7).

Both sides are given by name: what was saved as numbers, what the host has as a number or as the errno with which it says that
there is none. What only one side knows is not judged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

NONE: Final = 2**64 - 1


@dataclass(frozen=True)
class Arrival:
    """What comes of one: refused (by KVM with an errno, by the VMM without one), or read otherwise, or nobody knows."""

    name: str
    refused: bool = False
    errno: str | None = None
    reads: int | None = None
    unknown: bool = False


Judge = Callable[[int, int], Arrival | None]


def cpu_interface(saved: int, own: int) -> Arrival | None:
    """ICC_CTLR_EL1: a guest that counts on more bits, or on other kinds of interrupts, cannot be served."""

    def bits(word: int, low: int, width: int) -> int:
        return word >> low & (1 << width) - 1

    for low in (8, 11):  # PRIbits, IDbits
        if bits(saved, low, 3) > bits(own, low, 3):
            return Arrival("ICC_CTLR_EL1", refused=True, errno="EINVAL")
    for low in (14, 15):  # SEIS, A3V
        if bits(saved, low, 1) != bits(own, low, 1):
            return Arrival("ICC_CTLR_EL1", refused=True, errno="EINVAL")
    # CBPR, EOImode, PRIbits, IDbits, SEIS and A3V are read back; nothing else is stored.
    reads = sum(saved & 1 << bit for bit in (0, 1, 8, 9, 10, 11, 12, 13, 14, 15))
    return None if reads == saved else Arrival("ICC_CTLR_EL1", reads=reads)


def its_tables(saved: int, own: int) -> Arrival | None:
    """GITS_IIDR: the revision is that of the tables in guest memory, of which there is one; the rest is the kernel's."""
    if saved // 0x1000 % 16 != 0:
        return Arrival("GITS_IIDR", refused=True, errno="EINVAL")
    return None if saved == own else Arrival("GITS_IIDR", reads=own)


def steal_time(saved: int, _own: int) -> Arrival | None:
    """An address, of which the kernel wants multiples of 64."""
    if saved != NONE and saved % 64:
        return Arrival("PVTIME_IPA", refused=True, errno="EINVAL")
    return None


def judged_by_kvm(name: str, saved: int, own: int | str, *, release_known: bool) -> Arrival | None:
    if isinstance(own, str):  # the host has none
        if name == "PVTIME_IPA" and saved == NONE:
            return None
        return Arrival(name, refused=True, errno=own)
    judges: dict[str, Judge] = {
        "ICC_CTLR_EL1": cpu_interface,
        "GITS_IIDR": its_tables,
        "PVTIME_IPA": steal_time,
    }
    if name not in judges:
        return None
    if not release_known:
        return None if saved == own else Arrival(name, unknown=True)
    return judges[name](saved, own)


KVM_TAKES: Final = ("ICC_CTLR_EL1", "GITS_IIDR", "PVTIME_IPA", "VGIC_V2")
WRITES: Final[dict[str, tuple[str, ...]]] = {
    "kvm": KVM_TAKES,
    "qemu": KVM_TAKES,
    "firecracker": ("ICC_CTLR_EL1", "GITS_IIDR", "PVTIME_IPA"),
    "cloud-hypervisor": ("ICC_CTLR_EL1", "GITS_IIDR"),
    "crosvm": ("ICC_CTLR_EL1",),
}
"""What each VMM hands to KVM (sources of August 2026)."""
COMPARES_THE_COUNTER: Final = ("cloud-hypervisor-53",)


def arrive(
    policy: str, saved: Mapping[str, int], host: Mapping[str, int | str], *, release_known: bool = True
) -> list[Arrival]:
    """What does not arrive as it was saved, under the rule of one release of a VMM."""
    vmm = next(name for name in WRITES if policy == name or policy.startswith(name + "-"))
    found = []
    for name, value in saved.items():
        if name not in host:
            continue
        own = host[name]
        if name == "CNTFRQ_EL0":
            if own != value and policy in COMPARES_THE_COUNTER:
                found.append(Arrival(name, refused=True))
            elif own != value and isinstance(own, int):
                found.append(Arrival(name, reads=own))
        elif name in WRITES[vmm]:
            one = judged_by_kvm(name, value, own, release_known=release_known)
            found += [] if one is None else [one]
    return found
