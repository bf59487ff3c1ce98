"""Facts about a host that are less than a capture: which registers it lists, which fields it offers.

They can refuse, and they can leave open; they never accept, as only what KVM was asked could.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kvmfw.documents import parsed_json
from kvmfw.errors import FormatError
from kvmfw.readers.format import Format
from kvmfw.readers.source import whole
from kvmfw.registers import fields_of, find_register, register_name
from kvmfw.rules import find_rule
from kvmfw.sets import RegisterSet
from kvmfw.verdict import Finding, Outcome, Verdict

__all__ = ["PROPERTIES", "REGISTER_LIST", "HostFacts", "read_facts"]

_ARM64 = 0x6 << 60
_SIZES = {"U8": 0, "U16": 1, "U32": 2, "U64": 3, "U128": 4, "U256": 5, "U512": 6, "U1024": 7, "U2048": 8}
_SYSTEM = re.compile(r"ARM64_SYS_REG\((\d+), *(\d+), *(\d+), *(\d+), *(\d+)\)")
_FIRMWARE = re.compile(r"KVM_REG_ARM_FW(_FEAT_BMAP)?_REG\((\d+)\)")
_SVE = re.compile(r"KVM_REG_ARM64_SVE_(?:VLS|(Z|P)REG\((\d+), *(\d+)\)|FFR\((\d+)\))")
_CORE = re.compile(r"KVM_REG_ARM_CORE_REG\(([a-z_]+)(?:\.([a-z_]+))?(?:\[(\d+)\])?\)")
_DEMUX = re.compile(r"KVM_REG_ARM_DEMUX_ID_CCSIDR \| (\d+)")
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
_PROPERTY = re.compile(r"SYSREG_(ID_\w+?_EL1|CTR_EL0|CLIDR_EL1)_(\w+)")


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What is known of a host without a capture.

    Attributes
    ----------
    name : str
        The host's name.
    listed : frozenset of int or None
        The registers that its KVM lists; None where that is not known.
    ranges : mapping of int to mapping of str to (shift, width, lowest, highest)
        For ID registers, what values of which fields it can be set to.
    """

    name: str
    listed: frozenset[int] | None = None
    ranges: Mapping[int, Mapping[str, tuple[int, int, int, int]]] = field(default_factory=dict)

    def judge(self, vm: RegisterSet) -> Verdict:
        """Tell what the facts say of a VM: refused where they rule it out, otherwise unknown.

        Examples
        --------
        >>> vm = RegisterSet.from_mapping({0x6030000000140003: 2})
        >>> HostFacts("host", frozenset()).judge(vm).outcome
        <Outcome.REFUSE: 3>
        """
        findings = []
        for register, saved in vm.to_mapping().items():
            if self.listed is not None and register not in self.listed:
                findings.append(
                    _finding(register, saved, "FACTS-LIST", ": this host does not list it", "ENOENT")
                )
            for name, (shift, width, lowest, highest) in self.ranges.get(register, {}).items():
                has = saved >> shift & (1 << width) - 1
                if not lowest <= has <= highest:
                    offers = str(lowest) if lowest == highest else f"{lowest} to {highest}"
                    says = f".{name}: saved {has}, this host offers {offers}"
                    findings.append(_finding(register, saved, "FACTS-FIELD", says, "EINVAL"))
        if not findings:
            says = ": nothing that is known of this host rules the VM out; ask its KVM (kvmfw probe)"
            findings.append(_finding(None, None, "FACTS-OPEN", says, None))
        return Verdict(max(finding.outcome for finding in findings), tuple(findings), "kvm", "kvm")


def _finding(register: int | None, saved: int | None, rule: str, says: str, errno: str | None) -> Finding:
    name = "vCPU" if register is None else register_name(register)
    refused = errno is not None
    sentence = f"{name}{says}" + (f"; KVM refuses it ({errno})" if refused else "")
    return Finding(
        register=register,
        name=name,
        unit="vcpu" if register is None else "register",
        saved=saved,
        own=None,
        outcome=Outcome.REFUSE if refused else Outcome.UNKNOWN,
        effect="refused" if refused else "unknown",
        errno=errno,
        reads=None,
        needs=None if refused else "ask its KVM (kvmfw probe)",
        rule=find_rule(f"KVMFW-{rule}").id,
        evidence="derived" if refused else "none",
        fields=(),
        offers="",
        sentence=sentence,
    )


def is_register_list(head: bytes) -> bool:
    """Tell whether this is what the kernel's ``get-reg-list --list`` prints."""
    return b"ARM64_SYS_REG(" in head or b"KVM_REG_ARM64 |" in head or b"KVM_REG_ARM_FW_REG(" in head


def _register_list(text: str) -> frozenset[int]:
    found: dict[int, int] = {}
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.partition("/*")[0].strip().rstrip(",")
        if not line or line.endswith(":") or line.startswith(("#", "//", "Testing", "1..", "ok")):
            continue
        register = _listed_register(line)
        if register is None:
            raise FormatError(f"`{line[:60]}` is not a register", f"line {number}")
        if register in found:
            raise FormatError(
                f"{register:#x} occurs twice (first in line {found[register]})", f"line {number}"
            )
        found[register] = number
    if not found:
        raise FormatError("there is no register in it")
    return frozenset(found)


def _listed_register(line: str) -> int | None:
    size = next((_SIZES[word] for word in _SIZES if f"KVM_REG_SIZE_{word} " in f"{line} "), 3)
    base = _ARM64 | size << 52
    if match := _SYSTEM.search(line):
        op0, op1, crn, crm, op2 = map(int, match.groups())
        if op0 > 3 or op1 > 7 or crn > 15 or crm > 15 or op2 > 7:
            return None
        return base | 0x13 << 16 | op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2
    if match := _FIRMWARE.search(line):
        return base | (0x16 if match[1] else 0x14) << 16 | int(match[2])
    if match := _SVE.search(line):
        return _sve(match)
    if match := _CORE.search(line):
        kind, part, index = match.groups()
        if (kind, part) not in _CORE_OFFSETS:
            return None
        offset, stride = _CORE_OFFSETS[kind, part]
        return base | 0x10 << 16 | offset + stride * int(index or 0)
    if match := _DEMUX.search(line):
        return base | 0x11 << 16 | int(match[1])
    if match := _NUMBER.fullmatch(line):
        return int(line, 16)
    return None


def _sve(match: re.Match[str]) -> int:
    base = _ARM64 | 0x15 << 16
    kind, number, piece, ffr = match.groups()
    if kind == "Z":
        return base | 8 << 52 | int(number) << 5 | int(piece)
    if kind == "P":
        return base | 5 << 52 | 0x400 | int(number) << 5 | int(piece)
    if ffr is not None:
        return base | 5 << 52 | 0x600 | int(ffr)
    return base | 6 << 52 | 0xFFFF


def _properties(document: Any) -> dict[int, dict[str, tuple[int, int, int, int]]]:
    ranges: dict[int, dict[str, tuple[int, int, int, int]]] = {}
    for place, name, told in _told(document):
        match = _PROPERTY.fullmatch(name)
        if match is None:
            continue
        register = find_register(match[1])
        known = {} if register is None else {one.name: one for one in fields_of(register)}
        found = known.get(match[2])
        if register is None or found is None:
            raise FormatError(f"`{name}` names no field of an ID register that kvmfw knows", place)
        lowest, highest = _range(told, found.width, place)
        ranges.setdefault(register, {})[found.name] = found.shift, found.width, lowest, highest
    if not ranges:
        raise FormatError("there is no property of an ID register (SYSREG_...) in it")
    return ranges


def _told(document: Any) -> list[tuple[str, str, Any]]:
    if isinstance(document, dict) and "return" in document:
        document = document["return"]
    if isinstance(document, dict) and isinstance(document.get("props"), dict | list):
        document = document["props"]
    if isinstance(document, dict):
        return [(name, name, told) for name, told in document.items()]
    if isinstance(document, list) and all(isinstance(part, dict) and "name" in part for part in document):
        return [(f"[{at}]", str(part["name"]), part) for at, part in enumerate(document)]
    raise FormatError("expected the properties of a CPU: an object, or a list of objects with a name")


def _range(told: Any, width: int, place: str) -> tuple[int, int]:
    most = (1 << width) - 1
    if isinstance(told, dict) and isinstance(told.get("value"), bool):
        told = told["value"]
    if isinstance(told, bool):
        return 0, int(told)
    if isinstance(told, dict) and all(isinstance(told.get(key), int) for key in ("min", "max")):
        if 0 <= told["min"] <= told["max"] <= most:
            return told["min"], told["max"]
        raise FormatError(f"{told['min']} to {told['max']} does not fit a field of {width} bits", place)
    raise FormatError("expected a bool, or min and max", place)


def read_facts(path: str | Path) -> HostFacts:
    """Read what ``get-reg-list --list`` printed, or QEMU's answer to ``query-cpu-props-info``.

    Raises
    ------
    FormatError
        When it is neither; it names the line or the property.
    """
    path = Path(path)
    data = whole(path)
    try:
        if data.lstrip()[:1] in (b"{", b"["):
            return HostFacts(path.stem, ranges=_properties(parsed_json(data)))
        try:
            return HostFacts(path.stem, listed=_register_list(data.decode()))
        except UnicodeDecodeError as error:
            raise FormatError(f"the text is not UTF-8: {error.reason}", f"byte {error.start}") from error
    except FormatError as error:
        error.file = str(path)
        raise


REGISTER_LIST = Format(
    "get-reg-list",
    "register list of the kernel's get-reg-list --list (facts about a host)",
    lambda head: is_register_list(head.text),
)
PROPERTIES = Format(
    "qemu-props",
    "QEMU's answer to query-cpu-props-info (facts about a host)",
    lambda head: head.document is not None and "SYSREG_" in json.dumps(head.document),
)
