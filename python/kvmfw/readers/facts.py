"""Facts about a host that are less than a capture: which registers it lists, which fields it offers.

They can refuse, and they can leave open; they never accept, as only what KVM was asked could. What they refuse the core
says: only what is refused on every host of which they can have been told, whichever way its vCPU was made.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kvmfw import _native
from kvmfw.documents import parsed_json
from kvmfw.errors import FormatError
from kvmfw.readers.format import Format
from kvmfw.readers.source import whole
from kvmfw.readers.symbols import register_of
from kvmfw.registers import fields_of, find_register, register_name
from kvmfw.rules import find_rule
from kvmfw.sets import RegisterSet
from kvmfw.verdict import Finding, Outcome, Verdict

__all__ = ["PROPERTIES", "REGISTER_LIST", "HostFacts", "read_facts"]

_PROPERTY = re.compile(r"SYSREG_(\w+?_EL[0-3])_(\w+)")


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
        registers = vm.to_mapping()
        listed = self.listed
        unlisted = {} if listed is None else _unlisted(listed, [*registers])
        for register, saved in registers.items():
            if register in unlisted:
                says = ": this host does not list it"
                findings.append(_finding(register, saved, "FACTS-LIST", says, unlisted[register]))
            for name, (shift, width, lowest, highest) in self.ranges.get(register, {}).items():
                if _native.range_refuses(vm._native, register, (shift, width), (lowest, highest)):
                    has = saved >> shift & (1 << width) - 1
                    offers = " to ".join(dict.fromkeys(map(_native.field_number, (lowest, highest))))
                    says = f".{name}: saved {_native.field_number(has)}, this host offers {offers}"
                    findings.append(_finding(register, saved, "FACTS-FIELD", says, "EINVAL"))
        if not findings:
            says = ": nothing that is known of this host rules the VM out; ask its KVM (kvmfw probe)"
            findings.append(_finding(None, None, "FACTS-OPEN", says, None))
        return Verdict(max(finding.outcome for finding in findings), tuple(findings), "kvm", "kvm")


def _unlisted(listed: frozenset[int], registers: list[int]) -> dict[int, str]:
    """Give the registers that no vCPU of a host has, by the list of one of them, with KVM's error."""
    refused = _native.list_refuses([*listed], registers)
    return {register: errno for register, errno in zip(registers, refused, strict=True) if errno is not None}


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
        register = register_of(line)
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
