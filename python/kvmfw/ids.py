"""How KVM makes the id of a register (Documentation/virt/kvm/api.rst): the only place in Python that takes one apart."""

from __future__ import annotations

from typing import Final

from kvmfw import _native

__all__ = [
    "CORE",
    "DEMUX",
    "FIRMWARE",
    "FIRMWARE_BITMAP",
    "SVE",
    "SYSTEM",
    "group_of",
    "is_arm64",
    "is_surrounding",
    "make_id",
    "size_of",
    "system_number",
]

CORE: Final = 0x10
DEMUX: Final = 0x11
SYSTEM: Final = 0x13
FIRMWARE: Final = 0x14
SVE: Final = 0x15
FIRMWARE_BITMAP: Final = 0x16
_ARM64: Final = 0x6


def make_id(group: int, number: int, size: int = 8) -> int:
    """Give the id of a register of so many bytes by its group and its number there.

    >>> hex(make_id(FIRMWARE, 3)), hex(make_id(DEMUX, 0, 4))
    ('0x6030000000140003', '0x6020000000110000')
    """
    return _ARM64 << 60 | (size.bit_length() - 1) << 52 | group << 16 | number


def system_number(op0: int, op1: int, crn: int, crm: int, op2: int) -> int:
    """Give the number of a system register in its group.

    >>> hex(system_number(3, 0, 0, 4, 0))
    '0xc020'
    """
    return op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2


def group_of(register: int) -> int:
    """Give the group of a register, which KVM's headers call its coprocessor.

    >>> group_of(0x6030000000140003) == FIRMWARE
    True
    """
    return register >> 16 & 0xFFF


def size_of(register: int) -> int:
    """Give the size of a register in bytes.

    >>> size_of(0x606000000015FFFF)
    64
    """
    return 1 << (register >> 52 & 0xF)


def is_arm64(register: int) -> bool:
    """Tell whether this is the id of a register of arm64.

    >>> is_arm64(0x6030000000140003), is_arm64(0x4030000000140003), is_arm64(0x6030000100140003)
    (True, False, False)
    """
    return register < 1 << 64 and _native.is_arm64(register)


def is_surrounding(register: int) -> bool:
    """Tell whether this is no register of a vCPU, but stands for something beside them.

    >>> is_surrounding(0xF0300007_0006C664), is_surrounding(0xFFFFFFFF_FFFFFFFF)
    (True, False)
    """
    return _native.is_surrounding(register)
