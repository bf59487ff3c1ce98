"""Firecracker: fingerprints and CPU templates of ``cpu-template-helper``.

A fingerprint is what a fresh microVM saved on a host, so it gives a register set, and a capture as well:
list and fresh values, no answers. Outcomes on such a host are derived by rules.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from kvmfw.cpus import MIDR
from kvmfw.documents import parsed_json, typed
from kvmfw.errors import FormatError
from kvmfw.ids import CORE, make_id, size_of
from kvmfw.readers.format import Format
from kvmfw.readers.saved import SavedVcpu, hexadecimal, register_set
from kvmfw.readers.source import whole
from kvmfw.readers.vcpu import FEATURES
from kvmfw.registers import named
from kvmfw.sets import Host, RegisterSet

__all__ = [
    "FINGERPRINT",
    "TEMPLATE",
    "CpuTemplate",
    "fingerprint_capture",
    "fingerprint_host",
    "fingerprint_vcpus",
    "template_vcpus",
]

_BITMAP = re.compile(r"0b[01x_]{1,4096}", re.ASCII)
_PSCI_0_2 = FEATURES.index("psci_0_2")
_LEFT_OUT = {
    make_id(CORE, 64): make_id(CORE, 0),  # the PC, X0
    named("TIMER_CNT"): named("CNTV_CTL_EL0"),
    named("CNTPCT_EL0"): named("CNTP_CTL_EL0"),
}
"""Registers that a fingerprint leaves out on purpose (``REG_EXCLUSION_LIST``, 1.16.1), each with one that is there
wherever it is: no kernel lists the one without the other."""
_Index = Annotated[int, msgspec.Meta(ge=0, lt=7)]
"""Which word of `kvm_vcpu_init.features` (`include/uapi/asm/kvm.h`: seven)."""


@dataclass(frozen=True, slots=True)
class CpuTemplate:
    """What a CPU template sets.

    Attributes
    ----------
    registers : mapping of int to (mask, value)
        For each register, which bits the template sets and to what; the other bits are the host's.
    features : mapping of int to int
        vCPU feature bits that the template sets (bit -> 0 or 1).
    """

    registers: Mapping[int, tuple[int, int]]
    features: Mapping[int, int]

    @classmethod
    def of_document(cls, document: Any) -> CpuTemplate:
        """Read a template document."""
        parts = _members(document, {"kvm_capabilities", "vcpu_features", "reg_modifiers"}, "")
        registers = {}
        for place, part in _listed(parts, "reg_modifiers"):
            found = _members(part, {"addr", "bitmap"}, place)
            register = hexadecimal(found.get("addr"), f"{place}.addr")
            if register in registers:
                raise FormatError(f"register {register:#x} occurs twice", place)
            registers[register] = _bitmap(found.get("bitmap"), register, f"{place}.bitmap")
        features: dict[int, int] = {}
        for place, part in _listed(parts, "vcpu_features"):
            found = _members(part, {"index", "bitmap"}, place)
            mask, value = _bitmap(found.get("bitmap"), None, f"{place}.bitmap")
            first = 32 * typed(found.get("index", 0), _Index, f"{place}.index")
            features |= {first + bit: value >> bit & 1 for bit in range(32) if mask >> bit & 1}
        return cls(registers, features)

    @classmethod
    def load(cls, path: str | Path) -> CpuTemplate:
        """Read a template file."""
        try:
            return cls.of_document(parsed_json(whole(Path(path))))
        except FormatError as error:
            error.file = str(path)
            raise

    def feature_names(self) -> list[str]:
        """Name the features of a vCPU made with this template; Firecracker itself sets ``psci_0_2``."""
        bits = {_PSCI_0_2: 1} | dict(self.features)
        return [name for bit, name in enumerate(FEATURES) if bits.get(bit)]

    def apply(self, vm: RegisterSet) -> RegisterSet:
        """Give what a VM made with this template saves, where one made without it saves `vm`.

        Examples
        --------
        >>> vm = RegisterSet.from_mapping({0x6030000000140003: 2})
        >>> CpuTemplate({0x6030000000140003: (0b11, 0b01)}, {}).apply(vm)[0x6030000000140003]
        1
        """
        saved = vm.to_mapping()
        return vm.changed(
            {
                register: saved.get(register, 0) & ~mask | value
                for register, (mask, value) in self.registers.items()
            }
        )


def _members(document: Any, known: set[str], place: str) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise FormatError(f"expected an object, found {type(document).__name__}", place)
    for name in document:
        if name not in known:
            raise FormatError(f"`{name}` is not known; expected {', '.join(sorted(known))}", place)
    return document


def _listed(document: Mapping[str, Any], name: str) -> Iterator[tuple[str, Any]]:
    listed = document.get(name, [])
    if not isinstance(listed, list):
        raise FormatError(f"expected a list, found {type(listed).__name__}", name)
    for at, part in enumerate(listed):
        yield f"{name}[{at}]", part


def _bitmap(text: Any, register: int | None, place: str) -> tuple[int, int]:
    if not isinstance(text, str) or not _BITMAP.fullmatch(text):
        raise FormatError(f"`{str(text)[:40]}` is not a bitmap: expected 0b and digits 0, 1 and x", place)
    digits = text[2:].replace("_", "")
    mask = int(digits.replace("0", "1").replace("x", "0"), 2)
    value = int(digits.replace("x", "0"), 2)
    if register is not None and mask.bit_length() > (width := 8 * size_of(register)):
        # The digits say nothing of the width: fingerprints write 128 of them for every register.
        if value.bit_length() > width:
            raise FormatError(f"the value is wider than the register {register:#x} ({width} bits)", place)
        mask &= (1 << width) - 1
    return mask, value


def _fingerprint(document: Any) -> tuple[dict[str, Any], CpuTemplate, dict[int, int]]:
    known = {
        "firecracker_version",
        "kernel_version",
        "microcode_version",
        "bios_version",
        "bios_revision",
        "guest_cpu_config",
    }
    facts = _members(document, known, "")
    try:
        template = CpuTemplate.of_document(facts.get("guest_cpu_config"))
    except FormatError as error:
        error.place = f"guest_cpu_config.{error.place}".rstrip(".")
        raise
    return facts, template, _complete(template, "guest_cpu_config.reg_modifiers")


def _complete(template: CpuTemplate, place: str) -> dict[int, int]:
    if not template.registers:
        raise FormatError("there is no register in it", place)
    values = {}
    for register, (mask, value) in template.registers.items():
        if mask != (1 << (8 * size_of(register))) - 1:
            problem = f"register {register:#x} has bits that it leaves to the host (x); apply the template to a host's"
            raise FormatError(f"{problem} register set: `CpuTemplate.apply`", place)
        values[register] = value
    return values


def _with_left_out(values: Mapping[int, int]) -> dict[int, int]:
    """Add what a fingerprint leaves out as 0: no kernel looks at these values, only at whether the registers are there."""
    missing = [register for register, twin in _LEFT_OUT.items() if twin in values and register not in values]
    return dict(values) | dict.fromkeys(missing, 0)


def fingerprint_vcpus(document: Any, name: str) -> list[SavedVcpu]:
    """Give what a fresh microVM saved; it runs on the host of the fingerprint.

    Raises
    ------
    FormatError
        Also when the vCPU has SVE: registers wider than 16 bytes are left out, among them the vector lengths.
    """
    _, template, values = _fingerprint(document)
    features = template.feature_names()
    if "sve" in features:
        problem = "the fingerprint of a vCPU with SVE lacks its vector lengths; as a VM, take its snapshot"
        raise FormatError(problem, "guest_cpu_config.vcpu_features")
    made = register_set(_with_left_out(values), name, features=features)
    home = RegisterSet.from_mapping(
        made.to_mapping(), features=features, vgic=made.vgic, name=name, host=name
    )
    return [SavedVcpu(name, 0, home)]


def template_vcpus(document: Any, name: str) -> list[SavedVcpu]:
    """Give the registers of a template that leaves no bit to the host, such as ``template dump`` writes."""
    template = CpuTemplate.of_document(document)
    made = register_set(_complete(template, "reg_modifiers"), name, features=template.feature_names())
    return [SavedVcpu(name, 0, made)]


def fingerprint_host(document: Any, name: str) -> Host:
    """Give the host of a fingerprint."""
    return Host.from_json(json.dumps(fingerprint_capture(document, name)))


def fingerprint_capture(document: Any, name: str) -> dict[str, Any]:
    """Give the capture of a fingerprint: list and fresh values of one vCPU, no answers.

    Of a vCPU with SVE there is none: its vector lengths are left out, so that such a host is not known.
    """
    facts, template, values = _fingerprint(document)
    vgic = register_set(values, name, features=template.feature_names()).vgic
    kernel = facts.get("kernel_version")
    if not isinstance(kernel, str) or not kernel:
        raise FormatError("the kernel release is missing", "kernel_version")
    if MIDR not in values:
        raise FormatError(f"register {MIDR:#x} (MIDR_EL1) is missing", "guest_cpu_config.reg_modifiers")
    values = _with_left_out(values)
    vcpu = {
        "name": "firecracker",
        "features": template.feature_names(),
        "vgic": vgic,
        "values": [f"{value:#x}" for value in values.values()],
    }
    return {
        "format": "kvmfw-capture",
        "version": 1,
        "host": {"name": name, "kernel": kernel, "midr": f"{values[MIDR]:#x}"},
        "registers": [f"{register:#x}" for register in values],
        "vcpus": [] if "sve" in template.feature_names() else [vcpu],
    }


FINGERPRINT = Format(
    "firecracker-fingerprint",
    "fingerprint of Firecracker's cpu-template-helper",
    lambda head: "guest_cpu_config" in head.keys,
    vcpus=lambda path, name, limits: fingerprint_vcpus(parsed_json(whole(path, limits), path), name),
    host=lambda path, name, limits: fingerprint_host(parsed_json(whole(path, limits), path), name),
)
TEMPLATE = Format(
    "firecracker-template",
    "CPU template of Firecracker",
    lambda head: bool(head.keys & {"reg_modifiers", "vcpu_features"}),
    vcpus=lambda path, name, limits: template_vcpus(parsed_json(whole(path, limits), path), name),
)
