"""JSON that QEMU's ``analyze-migration.py`` prints of a stream."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from kvmfw.documents import parsed_json
from kvmfw.errors import FormatError
from kvmfw.readers.beside import beside
from kvmfw.readers.format import Format
from kvmfw.readers.qemu_cpu import GICS
from kvmfw.readers.saved import SavedVcpu, hexadecimal, register_set
from kvmfw.readers.source import whole

__all__ = ["FORMAT", "analyzed_vcpus"]

SECTION = re.compile(r"cpu \(([0-9]{1,10})\)")


def analyzed_vcpus(document: Mapping[str, Any], name: str) -> list[SavedVcpu]:
    """Read all vCPUs; they are numbered in the order of their sections."""
    sections = sorted((int(match[1]), key) for key in document if (match := SECTION.fullmatch(key)))
    gics = (GICS[device] for key in document if (device := key.partition(" ")[0]) in GICS)
    vgic = next(gics, None)
    found = []
    for number, (_, key) in enumerate(sections):
        own = name if len(sections) == 1 else f"{name}/vcpu{number}"
        registers = _registers(document[key], key) | _beside(document, number)
        found.append(SavedVcpu(name, number, register_set(registers, own, place=key, vgic=vgic)))
    return found


def _beside(document: Mapping[str, Any], number: int) -> dict[int, int]:
    devices = {key.partition(" ")[0]: state for key, state in document.items()}
    gic, its = devices.get("arm_gicv3"), devices.get("arm_gicv3_its")
    # One vCPU is printed as itself, several as a list.
    vcpus = gic.get("cpu") if isinstance(gic, dict) else None
    vcpu = vcpus[number] if isinstance(vcpus, list) and number < len(vcpus) else vcpus
    controls = vcpu.get("icc_ctlr_el1") if isinstance(vcpu, dict) else None
    control = controls[1] if isinstance(controls, list) and len(controls) == 2 else None
    iidr = its.get("iidr") if isinstance(its, dict) else None
    return beside(
        ICC_CTLR_EL1=hexadecimal(_word(control), "arm_gicv3") if control is not None else None,
        GITS_IIDR=hexadecimal(_word(iidr), "arm_gicv3_its") or None if iidr is not None else None,
        VGIC_V2=1 if "arm_gic" in devices else None,
    )


def _registers(section: Any, place: str) -> dict[int, int]:
    ids = _numbers(section, "cpreg_vmstate_indexes", place)
    values = _numbers(section, "cpreg_vmstate_values", place)
    if len(ids) != len(values):
        raise FormatError(f"there are {len(ids)} indexes but {len(values)} values", place)
    said = hexadecimal(_word(section.get("cpreg_vmstate_array_len")), f"{place}.cpreg_vmstate_array_len")
    if said != len(ids):
        raise FormatError(f"cpreg_vmstate_array_len says {said}, but there are {len(ids)} indexes", place)
    for before, after in pairwise(ids):
        if before >= after:
            raise FormatError(f"register {after:#x} follows {before:#x}; expected ascending ids", place)
    return dict(zip(ids, values, strict=True))


def _numbers(section: Any, key: str, place: str) -> list[int]:
    listed = section.get(key) if isinstance(section, dict) else None
    if isinstance(listed, str):
        listed = [listed]  # an array of one element is printed as a plain number
    if not isinstance(listed, list):
        raise FormatError(f"`{key}` is missing", place)
    numbers = [hexadecimal(_word(text), f"{place}.{key}[{at}]") for at, text in enumerate(listed)]
    for at, number in enumerate(numbers):
        if number >> 64:
            raise FormatError(f"`{listed[at]}` has more than 64 bits", f"{place}.{key}[{at}]")
    return numbers


def _word(text: Any) -> Any:
    # Negative numbers are followed by their decimal form in parentheses.
    return text.partition(" ")[0] if isinstance(text, str) else text


FORMAT = Format(
    "qemu-analyze",
    "JSON of QEMU's analyze-migration.py",
    lambda head: any(SECTION.fullmatch(key) for key in head.keys),
    vcpus=lambda path, name, limits: analyzed_vcpus(parsed_json(whole(path, limits), path), name),
)
