"""Registers as the kernel's own tests print them: macros of its headers (tools/testing/selftests/kvm/arm64/get-reg-list.c)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from kvmfw.ids import CORE, DEMUX, FIRMWARE, FIRMWARE_BITMAP, SVE, SYSTEM, make_id, system_number

__all__ = ["encoding_of", "register_of"]

_SIZES = {f"U{8 << power}": 1 << power for power in range(9)}
_SYSTEM = re.compile(
    r"(?:ARM64_SYS_REG|sys_reg)\((\d{1,5}), *(\d{1,5}), *(\d{1,5}), *(\d{1,5}), *(\d{1,5})\)", re.ASCII
)
_FIRMWARE = re.compile(r"KVM_REG_ARM_FW(_FEAT_BMAP)?_REG\((\d{1,5})\)", re.ASCII)
_SVE = re.compile(r"KVM_REG_ARM64_SVE_(?:VLS|(Z|P)REG\((\d{1,5}), *(\d{1,5})\)|FFR\((\d{1,5})\))", re.ASCII)
_CORE = re.compile(r"KVM_REG_ARM_CORE_REG\(([a-z_]+)(?:\.([a-z_]+))?(?:\[(\d{1,5})\])?\)", re.ASCII)
_DEMUX = re.compile(r"KVM_REG_ARM_DEMUX_ID_CCSIDR \| (\d{1,5})", re.ASCII)
_NUMBER = re.compile(r"0x[0-9a-fA-F]{9,16}")
_CORE_OFFSETS = {
    ("regs", "regs"): (0, 2),
    ("regs", "sp"): (62, 0),
    ("regs", "pc"): (64, 0),
    ("regs", "pstate"): (66, 0),
    ("sp_el1", None): (68, 0),
    ("elr_el1", None): (70, 0),
    ("spsr", None): (72, 2),
    ("fp_regs", "vregs"): (84, 4),
    ("fp_regs", "fpsr"): (212, 0),
    ("fp_regs", "fpcr"): (213, 0),
}


def register_of(line: str) -> int | None:
    """Give the register that a line names; None where it names none.

    >>> hex(register_of("ARM64_SYS_REG(3, 0, 0, 4, 0),"))
    '0x603000000013c020'
    """
    size = next((_SIZES[word] for word in _SIZES if f"KVM_REG_SIZE_{word} " in f"{line} "), 8)
    if match := _SYSTEM.search(line):
        encoded = encoding_of(match.groups())
        return None if encoded is None else make_id(SYSTEM, encoded, size)
    if match := _FIRMWARE.search(line):
        return _within(FIRMWARE_BITMAP if match[1] else FIRMWARE, int(match[2]), size)
    if match := _SVE.search(line):
        return _sve(match)
    if match := _CORE.search(line):
        kind, part, index = match.groups()
        if (kind, part) not in _CORE_OFFSETS:
            return None
        offset, stride = _CORE_OFFSETS[kind, part]
        return _within(CORE, offset + stride * int(index or 0), size)
    if match := _DEMUX.search(line):
        return _within(DEMUX, int(match[1]), size)
    if match := _NUMBER.fullmatch(line):
        return int(line, 16)
    return None


def encoding_of(words: Iterable[str]) -> int | None:
    """Give the low bits of a system register's id from op0, op1, CRn, CRm and op2; None where one is too large.

    >>> hex(encoding_of(["3", "0", "0", "4", "0"]))
    '0xc020'
    """
    op0, op1, crn, crm, op2 = map(int, words)
    if op0 > 3 or op1 > 7 or crn > 15 or crm > 15 or op2 > 7:
        return None
    return system_number(op0, op1, crn, crm, op2)


def _within(group: int, number: int, size: int) -> int | None:
    """Give the id of the register with a number of its coprocessor; None where the number has more than 16 bits."""
    return make_id(group, number, size) if number < 1 << 16 else None


def _sve(match: re.Match[str]) -> int | None:
    kind, number, piece, ffr = match.groups()
    if int(piece or ffr or 0) > 31 or int(number or 0) > (15 if kind == "P" else 31):
        return None
    if kind == "Z":
        return make_id(SVE, int(number) << 5 | int(piece), 256)
    if kind == "P":
        return make_id(SVE, 0x400 | int(number) << 5 | int(piece), 32)
    if ffr is not None:
        return make_id(SVE, 0x600 | int(ffr), 32)
    return make_id(SVE, 0xFFFF, 64)
