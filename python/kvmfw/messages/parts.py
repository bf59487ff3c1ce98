"""Takes matches of forms apart: which register, which value, which error; None where it is no such message after all."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from kvmfw import numerals
from kvmfw.ids import is_arm64, is_surrounding
from kvmfw.messages.words import called, errno_of, hexadecimal, id_of, qemu_register
from kvmfw.readers.symbols import register_of
from kvmfw.registers import fields_of, find_register, registers

__all__ = [
    "addresses",
    "beside",
    "by_id",
    "by_id_unknown",
    "by_symbol",
    "count",
    "error",
    "frequency",
    "interrupt_controller",
    "named",
    "nothing",
    "pages",
    "qemu",
    "qemu_unknown",
    "refused",
    "test_case",
    "typed",
]

Found = Mapping[str, Any] | None
_NEAR: Final = 160
_NAMED: Final = {one.name: one.id for one in registers() if is_surrounding(one.id)}
_BESIDE: Final = {id_ & 0xFFFF_FFFF: id_ for id_ in _NAMED.values()}
_PAGES: Final = {0x1000, 0x4000, 0x10000}


def _group(match: re.Match[str], name: str) -> str:
    return match.groupdict().get(name) or ""


def nothing(_: re.Match[str]) -> Found:
    """Read a message that tells no more than its form."""
    return {}


def error(match: re.Match[str]) -> Found:
    """Read an error."""
    return {"errno": errno_of(_group(match, "why"))}


def count(match: re.Match[str]) -> Found:
    """Read how many registers were saved, and how many there are."""
    saved, own = numerals.decimal(match["saved"]), numerals.decimal(match["own"])
    return None if saved is None or own is None else {"counts": (saved, own)}


def qemu(match: re.Match[str]) -> Found:
    """Read a register as QEMU calls it; its values are hexadecimal."""
    register = qemu_register(match["register"])
    if register is None:
        return None
    saved = hexadecimal(_group(match, "saved"))
    errno = "EINVAL" if saved is not None else errno_of(_group(match, "why"))
    return {"register": register, "saved": saved, "own": hexadecimal(_group(match, "own")), "errno": errno}


def qemu_unknown(match: re.Match[str]) -> Found:
    """Read a register that KVM does not know."""
    found = qemu(match)
    return None if found is None else {**found, "errno": "ENOENT"}


def by_id(match: re.Match[str]) -> Found:
    """Read a register by its id."""
    register = id_of(match["register"])
    if register is None:
        return None
    return {
        "register": register,
        "saved": numerals.number(_group(match, "saved")),
        "errno": errno_of(_group(match, "why")),
    }


def by_id_unknown(match: re.Match[str]) -> Found:
    """Read the id of a register that KVM does not know."""
    found = by_id(match)
    return None if found is None else {**found, "errno": "ENOENT"}


def by_symbol(match: re.Match[str]) -> Found:
    """Read a register by a macro of the kernel's headers."""
    register = register_of(match["register"])
    return None if register is None else {"register": register, "errno": errno_of(_group(match, "why"))}


def interrupt_controller(match: re.Match[str]) -> Found:
    """Read a device attribute: a register of the interrupt controller, where kvmfw knows it."""
    number = int(match["group"][:5]) << 16 | int(match["attr"], 16) & 0xFFFF
    return {"register": _BESIDE.get(number), "errno": errno_of(match["why"])}


def beside(name: str) -> Callable[[re.Match[str]], Found]:
    """Give the reader of a message about this one thing beside registers."""

    def read(match: re.Match[str]) -> Found:
        return {"register": _NAMED[name], "errno": errno_of(_group(match, "why"))}

    return read


def addresses(match: re.Match[str]) -> Found:
    """Read how many bits of guest addresses a VM needs, and how many the host has."""
    own = int(match["own"][:3])
    more = numerals.decimal(_group(match, "more"))
    saved = numerals.decimal(_group(match, "saved")) if more is None else ((1 << own) + more - 1).bit_length()
    return {"register": _NAMED["IPA_BITS"], "saved": saved, "own": own}


def pages(match: re.Match[str]) -> Found:
    """Read the lengths of a block of RAM of one page, which is the page of the host; other lengths are of other machines."""
    saved, own = hexadecimal(match["saved"]), hexadecimal(match["own"])
    both = {"register": _NAMED["PAGE_SIZE"], "saved": saved, "own": own}
    return both if {saved, own} <= _PAGES else None


def frequency(match: re.Match[str]) -> Found:
    """Read the frequencies of two counters."""
    saved, own = numerals.decimal(match["saved"]), numerals.decimal(match["own"])
    return {"register": _NAMED["CNTFRQ_EL0"], "saved": saved, "own": own}


def test_case(match: re.Match[str]) -> Found:
    """Read the name of a case of set_id_regs: that of a register and of one of its fields."""
    register = find_register(match["register"])
    known = [] if register is None else [one.name for one in fields_of(register)]
    return {"register": register, "field": match["field"]} if match["field"] in known else None


def typed(match: re.Match[str]) -> Found:
    """Read a register as people type it, by encoding, macro, name or id, with its values and error where they have them."""
    register = called(match["register"])
    if register is None or not is_arm64(register):
        return None
    field = match["field"]
    if field and (field := _field(register, field)) is None:
        return None
    saved, own = (_value(_group(match, name)) for name in ("saved", "own"))
    if field and saved is not None:  # the value of a field is none of the register
        saved = own = None
    return {
        "register": register,
        "field": field,
        "saved": saved,
        "own": own,
        "errno": errno_of(_group(match, "why")),
    }


def _field(register: int, name: str) -> str | None:
    return next((one.name for one in fields_of(register) if one.name.lower() == name.lower()), None)


def _value(text: str) -> int | None:
    """Read a value: hexadecimal with 0x, or with as many digits as 64 bits have; else decimal."""
    return hexadecimal(text) if len(text) == 16 else numerals.number(text)


def named(match: re.Match[str]) -> Found:
    """Read a register that a line names in a way that nothing else is written, with the error that the line tells."""
    register = called(match["register"])
    if register is None or not is_arm64(register):
        return None
    around = match.string[max(match.start() - _NEAR, 0) : match.end() + _NEAR]
    return {"register": register, "saved": numerals.number(_group(match, "saved")), "errno": errno_of(around)}


def refused(match: re.Match[str]) -> Found:
    """Read a register that a line names where it also tells of an error of KVM."""
    found = named(match)
    return None if found is None or found["errno"] is None else found
