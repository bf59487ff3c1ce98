"""The words inside of messages: errors, ids and registers as each speaker writes them."""

from __future__ import annotations

import os
import re

from kvmfw import _native
from kvmfw.ids import DEMUX, FIRMWARE, FIRMWARE_BITMAP, SYSTEM, is_arm64, make_id
from kvmfw.readers.symbols import encoding_of, register_of
from kvmfw.registers import find_register

__all__ = ["ENCODING", "called", "errno_of", "hexadecimal", "id_of", "qemu_register"]

_NUMBERS = {number: name for name, number in _native.errnos()}
_SENTENCES = {os.strerror(number): name for number, name in _NUMBERS.items()}
ENCODING = r"\W{1,4}".join(
    rf"{part}\W{{1,3}}\d+" for part in ("[Oo]p0", "[Oo]p1", "[Cc][Rr][Nn]", "[Cc][Rr][Mm]", "[Oo]p2")
)
"""The encoding of a system register, as QEMU (`op0:3 op1:0 ...`) and KVM's log (`Op0( 3), Op1( 0), ...`) write it."""
_BASES = {
    "fw reg": make_id(FIRMWARE, 0),
    "fw feat reg": make_id(FIRMWARE_BITMAP, 0),
    "demuxed reg": make_id(DEMUX, 0, 4),
}


def errno_of(text: str) -> str | None:
    """Give the error that a text names: as a name, a number, or the C library's sentence.

    >>> errno_of("Invalid argument (os error 22)"), errno_of("errno=16"), errno_of("ENOENT"), errno_of("no")
    ('EINVAL', 'EBUSY', 'ENOENT', None)
    """
    if match := re.search(rf"\b(?:{'|'.join(_NUMBERS.values())})\b", text):
        return match[0]
    if match := re.search(r"(?:os error |errno\W{1,3}|Error\(|\bcode: )(\d{1,3})\b", text, re.ASCII):
        return _NUMBERS.get(int(match[1]))
    return next((name for sentence, name in _SENTENCES.items() if sentence in text), None)


def hexadecimal(text: str) -> int | None:
    """Give a number in hexadecimal, with or without 0x; None for no text."""
    return int(text, 16) if text else None


def id_of(text: str) -> int | None:
    """Give the register of an id in hexadecimal with 0x, or in decimal; None where it is none of arm64.

    >>> hex(id_of("6931039826524504064")), id_of("0x1")
    ('0x6030000000140000', None)
    """
    number = int(text, 16) if text.startswith("0x") else int(text)
    return number if is_arm64(number) else None


def called(text: str) -> int | None:
    """Give the register that people, headers, logs or assemblers call so.

    >>> hex(called("SYS_ID_AA64PFR0_EL1")), hex(called("Op0( 3), Op1( 0), CRn( 0), CRm( 4), Op2( 0"))
    ('0x603000000013c020', '0x603000000013c020')
    >>> hex(called("KVM_REG_ARM_PSCI_VERSION")), hex(called("0x6030_0000_0014_0003")), called("the cat")
    ('0x6030000000140000', '0x6030000000140003', None)
    """
    if re.fullmatch(ENCODING, text, re.ASCII):
        text = "op0:{} op1:{} crn:{} crm:{} op2:{}".format(*re.findall(r"\W(\d+)", text, re.ASCII))
    if re.fullmatch(r"(?:0[xX])?[0-9a-fA-F_]{16,20}", text) and "_" in text:
        text = text.replace("_", "")
    found = qemu_register(text.lower()) or register_of(text)
    if found is None and text.isdecimal() and text.isascii():
        return id_of(text) if len(text) < 21 else None
    return found or find_register(re.sub(r"^(?:SYS|KVM_REG_ARM(?:64)?)_", "", text))


def qemu_register(text: str) -> int | None:
    """Give the register that QEMU calls so (kvm_print_register_name, target/arm/kvm.c, 10.2 and 11.1; run).

    >>> hex(qemu_register("system register op0:3 op1:0 crn:0 crm:4 op2:0")), hex(qemu_register("fw feat reg 3"))
    ('0x603000000013c020', '0x6030000000160003')
    """
    text = text.removeprefix("system register ")
    if match := re.fullmatch(
        r"op0:(\d{1,5}) op1:(\d{1,5}) crn:(\d{1,5}) crm:(\d{1,5}) op2:(\d{1,5})", text, re.ASCII
    ):
        encoded = encoding_of(match.groups())
        return None if encoded is None else make_id(SYSTEM, encoded)
    if match := re.fullmatch(r"(fw reg|fw feat reg) (\d{1,5})", text, re.ASCII):
        return _BASES[match[1]] | int(match[2]) & 0xFFFF
    if match := re.fullmatch(r"(demuxed reg) ([0-9a-f]+)", text):
        number = int(match[2], 16)
        return number if is_arm64(number) else _BASES[match[1]] | number & 0xFFFF
    return id_of(f"0x{text.removeprefix('0x')}") if re.fullmatch(r"(?:0x)?[0-9a-f]{16}", text) else None
