"""What stands beside registers when a VM arrives: the interrupt controller, steal time, the counter (semantics, section 7).

Both sides are given by name: what was saved as numbers, what the host has as a number or as the errno with which it says that
there is none. What only one side knows is not judged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from tests.oracle.facts import Facts

NONE: Final = 2**64 - 1
NEVER: Final = 10**6


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


def distributor(saved: int, own: int, kernel: str) -> Arrival | None:
    """GICD_IIDR: nobody changes whose it is; of other revisions kernels have done three things (semantics 7.6)."""
    name = "GICD_IIDR"
    refused = Arrival(name, refused=True, errno="EINVAL")
    if (saved ^ own) >> 16 or (saved ^ own) & 0xFFF:
        return refused
    if saved == own:
        return None
    facts = Facts(kernel, 0, vgic=True, registers={})
    if not facts.at_least(5, 19):
        return refused
    series, fixed = facts.version[:2], None
    # Of each stable series: the last release seen without the fix, the first with it.
    seen = {(6, 1): (0, 192), (6, 6): (0, NEVER), (6, 12): (86, 88), (6, 18): (15, NEVER)}
    seen |= {(6, 19): (14, NEVER), (7, 0): (0, 13)}
    if series not in seen:
        fixed = facts.at_least(7, 1)
    elif series == (6, 1) and facts.has_fix((6, 1, 192)):
        fixed = True
    elif (point := facts.version[2]) is not None:
        without, with_fix = seen[series]
        fixed = True if point >= with_fix else False if point <= without and without else None
    if fixed is None:
        return Arrival(name, unknown=True)
    if not fixed:
        return Arrival(name, reads=own)
    return None if saved >> 12 & 15 in {2, 3} else refused


def distributor_features(saved: int, own: int, kernel: str) -> Arrival | None:
    """GICD_TYPER2: as it is, once the interrupt controller is there."""
    if saved == own:
        return None
    busy = Facts(kernel, 0, vgic=True, registers={}).between((6, 16, NEVER), (6, 17, 8))
    errno = None if busy is None else "EBUSY" if busy else "EINVAL"
    return Arrival("GICD_TYPER2", refused=True, errno=errno)


def addresses(saved: int, own: int) -> Arrival | None:
    """IPA_BITS: a VM is made with 32 bits or more, as far as the host goes."""
    return None if saved in range(32, own + 1) else Arrival("IPA_BITS", refused=True, errno="EINVAL")


def steal_time(saved: int, _own: int) -> Arrival | None:
    """An address, of which the kernel wants multiples of 64."""
    if saved != NONE and saved % 64:
        return Arrival("PVTIME_IPA", refused=True, errno="EINVAL")
    return None


def judged_by_kvm(
    name: str, saved: int, own: int | str, kernel: str, *, release_known: bool
) -> Arrival | None:
    if isinstance(own, str):  # the host has none
        if name == "PVTIME_IPA" and saved == NONE:
            return None
        return Arrival(name, refused=True, errno=own)
    judges: dict[str, Judge] = {
        "ICC_CTLR_EL1": cpu_interface,
        "GITS_IIDR": its_tables,
        "PVTIME_IPA": steal_time,
    }
    if name == "IPA_BITS":
        return addresses(saved, own)
    by_kernel = {"GICD_IIDR": distributor, "GICD_TYPER2": distributor_features}
    if name not in judges | by_kernel:
        return None
    if not release_known:
        return None if saved == own else Arrival(name, unknown=True)
    return judges[name](saved, own) if name in judges else by_kernel[name](saved, own, kernel)


BY_BOTH: Final = ("ICC_CTLR_EL1", "GITS_IIDR", "PVTIME_IPA", "VGIC_V2", "IPA_BITS")
DISTRIBUTOR: Final = ("GICD_IIDR", "GICD_TYPER2")
WRITES: Final[dict[str, tuple[str, ...]]] = {
    "kvm": (*BY_BOTH, *DISTRIBUTOR),
    "qemu": BY_BOTH,
    "firecracker": ("ICC_CTLR_EL1", "GITS_IIDR", "PVTIME_IPA"),
    "cloud-hypervisor": ("ICC_CTLR_EL1", "GITS_IIDR"),
    "crosvm": ("ICC_CTLR_EL1",),
}
"""What each VMM hands to KVM (sources of August 2026)."""
COMPARES_THE_COUNTER: Final = ("cloud-hypervisor-53",)


def arrive(
    policy: str,
    saved: Mapping[str, int],
    host: Mapping[str, int | str],
    *,
    kernel: str = "6.12.117",
    release_known: bool = True,
    makes_v3: bool | None = True,
) -> list[Arrival]:
    """What does not arrive as it was saved, under the rule of one release of a VMM.

    `makes_v3` says whether the host makes a GICv3 for VMs, where it was not asked for its ICC_CTLR_EL1.
    """
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
        elif name == "VGIC_V2" and vmm == "firecracker":
            # It makes a GICv3 where it can, into which this state does not go.
            asked = host.get("ICC_CTLR_EL1")
            has_v3 = makes_v3 if asked is None else not isinstance(asked, str)
            if has_v3:
                found.append(Arrival(name, refused=True))
            elif isinstance(own, str):
                found.append(Arrival(name, refused=True, errno=own))
            elif has_v3 is None:
                found.append(Arrival(name, unknown=True))
        elif name == "PAGE_SIZE":
            # QEMU alone keeps blocks of memory that are as long as a page.
            if vmm == "qemu" and isinstance(own, int) and value > own:
                found.append(Arrival(name, refused=True))
        elif name in DISTRIBUTOR and vmm != "kvm":
            if own != value:
                found.append(Arrival(name, reads=own if isinstance(own, int) else None))
        elif name in WRITES[vmm]:
            one = judged_by_kvm(name, value, own, kernel, release_known=release_known)
            found += [] if one is None else [one]
    return found
