"""The forms of messages, each with who prints it. A new one is one row of `FORMS`; what is tried first stands first.

Sources: QEMU target/arm/kvm.c and machine.c (5.2 to 11.1), Firecracker arch/aarch64/vcpu.rs (1.0 to 1.16), cloud-hypervisor
hypervisor/src/cpu.rs (v37 to v53), gem5 arch/arm/kvm, kernel tools/testing/selftests/kvm: read; those of QEMU 10.0 and 11.1,
Firecracker 1.12 and 1.16, cloud-hypervisor 53.0: run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from kvmfw import numerals
from kvmfw.ids import is_arm64
from kvmfw.messages.words import errno_of, hexadecimal, id_of, qemu_register
from kvmfw.readers.symbols import register_of
from kvmfw.registers import fields_of, find_register

__all__ = ["FORMS", "About", "Form"]


class About(Enum):
    """What a message is about."""

    VALUE = "a register refuses its value"
    ABSENT = "a saved register is not on the target"
    EXTRA = "the target has a register that was not saved"
    COUNT = "more registers were saved than the target lists"
    VCPU = "the vCPU could not be made"
    MACHINE = "the two ends are not the same machine"
    WHOLE = "some register was refused, which is not said"
    PASSED = "nothing was refused"


Found = Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Form:
    """A form of message.

    Attributes
    ----------
    speaker : str
        Who prints it.
    about : About
        What it is about.
    pattern : re.Pattern
        The message itself; what stands around it in a line does not matter.
    read : callable
        Takes a match apart into attributes of `Told`; None where it is no such message after all.
    """

    speaker: str
    about: About
    pattern: re.Pattern[str]
    read: Callable[[re.Match[str]], Found]


def _group(match: re.Match[str], name: str) -> str:
    return match.groupdict().get(name) or ""


def _qemu(match: re.Match[str]) -> Found:
    register = qemu_register(match["register"])
    if register is None:
        return None
    saved = hexadecimal(_group(match, "saved"))
    errno = "EINVAL" if saved is not None else errno_of(_group(match, "why"))
    return {"register": register, "saved": saved, "own": hexadecimal(_group(match, "own")), "errno": errno}


def _qemu_unknown(match: re.Match[str]) -> Found:
    found = _qemu(match)
    return None if found is None else {**found, "errno": "ENOENT"}


def _by_id(match: re.Match[str]) -> Found:
    register = id_of(match["register"])
    if register is None:
        return None
    saved = _group(match, "saved")
    return {
        "register": register,
        "saved": numerals.number(saved),
        "errno": errno_of(_group(match, "why")),
    }


def _by_id_unknown(match: re.Match[str]) -> Found:
    found = _by_id(match)
    return None if found is None else {**found, "errno": "ENOENT"}


def _by_symbol(match: re.Match[str]) -> Found:
    register = register_of(match["register"])
    return None if register is None else {"register": register, "errno": errno_of(_group(match, "why"))}


def _count(match: re.Match[str]) -> Found:
    saved, own = numerals.decimal(match["saved"]), numerals.decimal(match["own"])
    return None if saved is None or own is None else {"counts": (saved, own)}


def _errno_only(match: re.Match[str]) -> Found:
    return {"errno": errno_of(_group(match, "why"))}


def _test_case(match: re.Match[str]) -> Found:
    """Read the name of a case of set_id_regs: that of a register and of one of its fields."""
    register = find_register(match["register"])
    known = [] if register is None else [one.name for one in fields_of(register)]
    return {"register": register, "field": match["field"]} if match["field"] in known else None


def _typed(match: re.Match[str]) -> Found:
    """Read a register as people type it, by encoding, macro, name or id, with its value and error where they have them."""
    text = match["register"]
    register = qemu_register(text) or register_of(text) or find_register(text)
    if register is None or not is_arm64(register):
        return None
    return {
        "register": register,
        "saved": hexadecimal(_group(match, "saved")),
        "errno": errno_of(_group(match, "why")),
    }


_ENCODING = r"op0:\d+ op1:\d+ crn:\d+ crm:\d+ op2:\d+"
_QEMU = rf"(?P<register>(?:system register )?{_ENCODING}|fw (?:feat )?reg \d+|demuxed reg [0-9a-f]+|(?:0x)?[0-9a-f]{{16}})"
_ID = r"(?P<register>0x[0-9a-fA-F]{15,16}|\d{18,20})"
_MACRO = r"ARM64_SYS_REG\([\d, ]+\)|KVM_REG_ARM64 \|[^,\n]*(?:\([^)\n]*\))?[^,\n]*|KVM_REG_ARM\w*_REG\(\w+\)"
_VALUE = r"(?P<saved>0x[0-9a-fA-F]+|\d+)"
_WHY = r"(?P<why>[^\n]*)"

_ROWS: tuple[tuple[str, About, str, Callable[[re.Match[str]], Found]], ...] = (
    ("QEMU", About.ABSENT, rf"Could not set register {_QEMU}: unknown to KVM", _qemu_unknown),
    (
        "QEMU",
        About.VALUE,
        rf"Could not set register {_QEMU} to (?P<saved>[0-9a-f]+)(?: \(is (?P<own>[0-9a-f]+)\))?",
        _qemu,
    ),
    ("QEMU", About.VALUE, rf"Could not set register {_QEMU}: {_WHY}", _qemu),
    ("QEMU", About.ABSENT, rf"{_QEMU} in the incoming stream but unknown on the destination[^\n]*", _qemu),
    (
        "QEMU",
        About.EXTRA,
        rf"{_QEMU} expected by the destination but not in the incoming stream[^\n]*",
        _qemu,
    ),
    (
        "QEMU",
        About.ABSENT,
        rf"[Uu]nexpected register in input stream: (?:v=)?\d+ (?:index=)?{_ID}[^\n]*",
        _by_id,
    ),
    ("QEMU", About.EXTRA, rf"[Mm]issing register in input stream: (?:i=)?\d+ (?:index=)?{_ID}[^\n]*", _by_id),
    ("QEMU", About.COUNT, r"Invalid value (?P<saved>\d+) expecting positive value <= (?P<own>\d+)", _count),
    ("QEMU", About.COUNT, r"[Ff]ailed to load cpu:cpreg_vmstate_array_len", lambda _: {}),
    ("QEMU", About.MACHINE, r"Machine type received is '[^'\n]*' and local is '[^'\n]*'", lambda _: {}),
    ("QEMU", About.WHOLE, rf"Failed to put registers after init: {_WHY}", _errno_only),
    ("QEMU", About.WHOLE, r"error while loading state for instance \w+ of device 'cpu'", lambda _: {}),
    ("Firecracker", About.VALUE, rf"Failed to set register {_ID} to value {_VALUE}: {_WHY}", _by_id),
    (
        "Firecracker",
        About.VALUE,
        rf'SetOneReg\({_ID}(?:, \\?"?{_VALUE}\\?"?)?, (?P<why>Error\(\d+\))\)',
        _by_id,
    ),
    ("gem5", About.VALUE, rf"Failed to set register \({_ID}\){_WHY}", _by_id),
    ("Firecracker", About.VALUE, rf"Failed to set register {_ID}: {_WHY}", _by_id),
    (
        "Firecracker",
        About.VCPU,
        rf"Error initializing the vcpu: {_WHY}",
        _errno_only,
    ),
    ("cloud-hypervisor", About.WHOLE, r"Failed to set extended register\W+(?P<why>[^\"\n]*)", _errno_only),
    (
        "cloud-hypervisor",
        About.WHOLE,
        r"(?:Set(?:AarchCore|Sys|ExtendedSys)Register)\((?P<why>[^\n]*?)\)\)",
        _errno_only,
    ),
    ("cloud-hypervisor", About.WHOLE, rf"Failed to set (?:aarch64 core|system) register{_WHY}", _errno_only),
    ("unidbg", About.ABSENT, rf"invalid register ID, or no such register: reg={_ID}", _by_id_unknown),
    ("a KVM log", About.VALUE, rf"write {_ID}\({_VALUE}\) to kvm failed{_WHY}", _by_id),
    ("strace", About.VALUE, rf"KVM_SET_ONE_REG, \{{id={_ID}[^\n]*?\}}\)\s*=\s*-1 (?P<why>E\w+)", _by_id),
    (
        "get-reg-list",
        About.VALUE,
        rf"Failed to (?:set|get|reject)[^\n]*?(?P<why>errno=\d+)\)?\s*(?P<register>{_MACRO}),?",
        _by_symbol,
    ),
    ("set_id_regs", About.VALUE, r"\bnot ok \d+ (?P<register>\w+?_EL[01])_(?P<field>\w+)", _test_case),
    ("set_id_regs", About.PASSED, r"\bok \d+ (?P<register>\w+?_EL[01])_(?P<field>\w+)", _test_case),
    ("get-reg-list", About.ABSENT, rf"^\s*(?P<register>{_MACRO}),\s*$", _by_symbol),
    (
        "what was typed",
        About.VALUE,
        rf"^\s*(?P<register>{_ENCODING}|fw (?:feat )?reg \d+|{_MACRO}|0x6[0-9a-fA-F]{{15}}|[A-Za-z]\w+)"
        r"(?:\s*[\s=:,]\s*(?P<saved>0x[0-9a-fA-F]+))?(?:\s*[\s:,]\s*(?P<why>E[A-Z0-9]+))?\s*$",
        _typed,
    ),
)
FORMS = tuple(
    Form(speaker, about, re.compile(pattern, re.ASCII), read) for speaker, about, pattern, read in _ROWS
)
