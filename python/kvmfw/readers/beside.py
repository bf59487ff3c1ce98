"""What stands beside the registers of a vCPU in saved state: of the interrupt controller and of steal time (docs/arrival.md).

Nothing is assumed: what a file does not tell is left out, and is not judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kvmfw.registers import named

__all__ = [
    "NO_STEAL_TIME",
    "QEMU_STEAL_TIME",
    "address_bits_of_qemu",
    "beside",
    "controls_of_icc",
    "of_qemu_gicv3",
    "of_qemu_its",
    "page_size_of_qemu",
]

NO_STEAL_TIME: Final = (1 << 64) - 1
"""In place of an address where the VM has no steal time; KVM keeps the same (``INVALID_GPA``)."""
QEMU_STEAL_TIME: Final = 0x090A0000, 64
"""Where QEMU's machine `virt` has steal time, and how much each vCPU takes (`hw/arm/virt.c`)."""

# The RAM of QEMU's machine `virt`, and where it starts (`hw/arm/virt.c`); fewer bits than these no VM has.
_QEMU_RAM, _QEMU_RAM_START, _FEWEST_BITS = "mach-virt.ram", 1 << 30, 32
# What is shorter than a page in a block of its own, which QEMU rounds up to pages of the host (`qemu_ram_alloc_internal`).
_ONE_PAGE = "/rom@etc/acpi/rsdp"
# `vmstate_gicv3` and `vmstate_gicv3_cpu`, version 1 (`hw/intc/arm_gicv3_common.c`, read in 7.2 to 10.0): the distributor; then
# for each vCPU its redistributor, of which the non-secure ICC_CTLR_EL1 is the second of two, and its subsections.
_GIC_VERSION, _ITS_VERSION = 1, 0
_DISTRIBUTOR, _REDISTRIBUTOR, _ICC_CTLR = 10344, 272, 104
_SUBSECTIONS: Final = {b"arm_gicv3_cpu/virt": 240, b"arm_gicv3_cpu/sre_el1": 8}
_SUBSECTION: Final = 5
# `vmstate_its` (`arm_gicv3_its_common.c`): GITS_CTLR, then GITS_IIDR.
_ITS_IIDR, _ITS_SIZE = 4, 96


def beside(**found: int | None) -> dict[int, int]:
    """Give what was found, by the names of the catalogue, as a part of a register set.

    >>> {hex(id_): hex(value) for id_, value in beside(ICC_CTLR_EL1=0x400, GITS_IIDR=None).items()}
    {'0xf03000070006c664': '0x400'}
    """
    return {named(name): value for name, value in found.items() if value is not None}


def of_qemu_gicv3(version: int, data: bytes, vcpus: int) -> list[int] | None:
    """Give ICC_CTLR_EL1 of each vCPU in QEMU's state of a GICv3; None where the state has another layout.

    A version that is not known, or bytes left over, may be of a QEMU that writes something else: then nothing is told.
    """
    found = []
    at = _DISTRIBUTOR
    for _ in range(vcpus):
        found.append(int.from_bytes(data[at + _ICC_CTLR : at + _ICC_CTLR + 8], "big"))
        at = _behind_subsections(data, at + _REDISTRIBUTOR)
    rest = data[at : at + 2]
    is_whole = at == len(data) or (at < len(data) and rest[0] == _SUBSECTION)
    return found if version == _GIC_VERSION and is_whole else None


def address_bits_of_qemu(blocks: Mapping[str, int]) -> int | None:
    """Give how many bits addresses of a VM have at least, by the sizes of its blocks of RAM; None where they do not tell.

    What may be plugged in later (`maxmem`) and windows of PCI lie above, and no stream tells of them.

    >>> address_bits_of_qemu({"mach-virt.ram": 63 << 30}), address_bits_of_qemu({"mach-virt.ram": 64 << 30})
    (36, 37)
    """
    size = blocks.get(_QEMU_RAM)
    return None if not size else max(_FEWEST_BITS, (_QEMU_RAM_START + size - 1).bit_length())


def page_size_of_qemu(blocks: Mapping[str, int]) -> int | None:
    """Give the bytes of a page of the host that saved, by a block of RAM that is one page long; None where there is none.

    >>> page_size_of_qemu({"mach-virt.ram": 63 << 30, "/rom@etc/acpi/rsdp": 0x4000})
    16384
    """
    return blocks.get(_ONE_PAGE)


def _behind_subsections(data: bytes, at: int) -> int:
    while True:
        size = data[at + 1] if at + 2 < len(data) and data[at] == _SUBSECTION else 0
        length = _SUBSECTIONS.get(data[at + 2 : at + 2 + size])
        if not size or length is None:
            return at
        at += 2 + size + 4 + length


def controls_of_icc(words: list[int], vcpus: int) -> list[int] | None:
    """Give ICC_CTLR_EL1 of each vCPU in what cloud-hypervisor saves of CPU interfaces; None where that does not fit.

    SRE, CTLR and five others; then active priorities, more of them with more priority bits (`icc_regs.rs`, read in 53.0).

    >>> controls_of_icc([7, 0x8C00, 0, 0, 0, 2, 3, 0, 0], 1)
    [35840]
    """
    found = []
    at = 0
    for _ in range(vcpus):
        if at + 1 >= len(words):
            return None
        found.append(words[at + 1])
        priority_bits = (words[at + 1] >> 8 & 7) + 1
        at += 7 + 2 * (1 + (priority_bits >= 6) + 2 * (priority_bits == 7))
    return found if at == len(words) else None


def of_qemu_its(version: int, data: bytes) -> int | None:
    """Give GITS_IIDR in QEMU's state of an ITS; None where the state has another layout, or none was saved."""
    if version != _ITS_VERSION or len(data) != _ITS_SIZE:
        return None
    return int.from_bytes(data[_ITS_IIDR : _ITS_IIDR + 4], "big") or None
