"""Captures made of facts alone: what public dumps and other tools know of a host."""

from __future__ import annotations

import json
from typing import Any

import kvmfw
from kvmfw import _native
from tests.oracle.facts import Facts

FEATURES = {1 << bit: name for bit, name in enumerate(_native.vcpu_words()[0])}
ENABLED = {239: "writable_imp_id_regs", 205: "mte"}
MASKS_CAPABILITY = "230"


def features_of(facts: Facts) -> list[str]:
    """Name the vCPU features of these facts."""
    return [name for bit, name in FEATURES.items() if facts.features & bit]


def host_of(facts: Facts, name: str = "host") -> kvmfw.Host:
    """Make the engine's host of what the oracle would know: no answers, one vCPU."""
    vcpu: dict[str, Any] = {
        "name": "vm",
        "features": features_of(facts),
        "vgic": facts.vgic,
        "enabled": [ENABLED[cap] for cap in facts.caps],
        "values": [f"{value:#x}" for value in facts.registers.values()],
    }
    host: dict[str, Any] = {"name": name, "kernel": facts.release, "midr": "0x0"}
    host["vulnerabilities"] = facts.vulnerabilities
    capture = {
        "format": "kvmfw-capture",
        "version": 1,
        "host": host,
        "registers": [f"{register:#x}" for register in facts.registers],
        "vcpus": [vcpu],
    }
    if facts.masks is not None:
        masks = {f"{register:#x}": f"{mask:#x}" for register, mask in facts.masks.items()}
        capture["writable_masks"] = [{"vcpus": ["vm"], "masks": masks}]
    return kvmfw.Host.from_json(json.dumps(capture))
