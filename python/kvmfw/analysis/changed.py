"""Captures and VMs as they would be: another level, a hidden register."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from kvmfw.captures import listed_registers
from kvmfw.errors import ArgumentError
from kvmfw.registers import register_name
from kvmfw.sets import Host, RegisterSet

__all__ = ["hide_register", "set_level", "without_register"]

Document = dict[str, Any]


def _same(text: str, register: int) -> bool:
    return int(text, 16) == register


def _without_answers(document: Document, register: int) -> Document:
    """Leave out what was answered for a register: it no longer speaks for the host."""
    changed = dict(document)
    changed["answers"] = [
        answer for answer in document.get("answers", []) if not _same(answer["register"], register)
    ]
    changed["vcpus"] = [
        vcpu | {"same_value_refused": _pick(vcpu["same_value_refused"], register)}
        if vcpu.get("same_value_refused") is not None
        else vcpu
        for vcpu in document["vcpus"]
    ]
    return changed


def _pick(members: Mapping[str, Any] | None, register: int) -> dict[str, Any] | None:
    if members is None:
        return None
    return {key: value for key, value in members.items() if not _same(key, register)}


def _place(document: Document, register: int) -> int:
    listed = listed_registers(document)
    if register in listed:
        return listed.index(register)
    name = document["host"]["name"]
    raise ArgumentError(f"the capture `{name}` does not list {register_name(register)}")


def set_level(document: Document, register: int, value: int) -> Document:
    """Give a capture document in which fresh vCPUs have `value` in a register.

    Its answers are left out, so that the rule of the kernel judges it: what a boot option or new
    firmware would do.

    Raises
    ------
    ArgumentError
        When the capture does not list the register.
    """
    place = _place(document, register)
    changed = _without_answers(document, register)
    changed["vcpus"] = [_with_value(_as_known(vcpu, register), place, value) for vcpu in changed["vcpus"]]
    return changed


def _as_known(vcpu: Document, register: int) -> Document:
    """Take a register out of what is not known of a vCPU."""
    unknown = vcpu.get("unknown")
    if unknown is None:
        return vcpu
    return vcpu | {
        "unknown": {
            "listed": [text for text in unknown.get("listed", []) if not _same(text, register)],
            "bits": _pick(unknown.get("bits", {}), register),
            "hardware": _pick(unknown.get("hardware", {}), register),
        }
    }


def _with_value(vcpu: Document, place: int, value: int) -> Document:
    values = vcpu.get("values")
    if values is None or values[place] is None:
        return vcpu
    return vcpu | {"values": [*values[:place], f"{value:#x}", *values[place + 1 :]]}


def hide_register(document: Document, register: int) -> Document:
    """Give a capture document of a host on which the VMM hides a register."""
    try:
        place = _place(document, register)
    except ArgumentError:
        return document | {"vcpus": [_as_known(vcpu, register) for vcpu in document["vcpus"]]}
    changed = _without_answers(document, register)
    changed["registers"] = [*document["registers"][:place], *document["registers"][place + 1 :]]
    vcpus = []
    for vcpu in changed["vcpus"]:
        if vcpu.get("values") is None:
            vcpus.append(vcpu)
            continue
        values = vcpu["values"]
        vcpus.append(_as_known(vcpu, register) | {"values": [*values[:place], *values[place + 1 :]]})
    changed["vcpus"] = vcpus
    changed["writable_masks"] = [
        group | {"masks": _pick(group["masks"], register)} for group in document.get("writable_masks", [])
    ]
    return changed


def without_register(vms: Iterable[RegisterSet], registers: Iterable[int]) -> list[RegisterSet]:
    """Give the VMs as they would be had their VMM hidden some registers."""
    hidden = dict.fromkeys(registers)
    return [vm.changed(hidden) for vm in vms]


def host_of(document: Document) -> Host:
    """Make a host of a capture document."""
    return Host.from_json(json.dumps(document))
