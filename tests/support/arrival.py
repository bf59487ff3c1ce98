"""Hosts and VMs that differ in what stands beside registers."""

from __future__ import annotations

import json
from typing import Any

import kvmfw

CAPTURE = json.dumps(
    {
        "format": "kvmfw-capture",
        "version": 3,
        "host": {"name": "host", "kernel": "6.12.117", "midr": "0x413fd0c1", "capabilities": {"3": 1}},
        "registers": [],
        "vcpus": [{"name": "bare", "features": ["psci_0_2"], "vgic": False, "values": []}],
    }
)
"""A host that was asked for a vCPU without an interrupt controller, and for nothing else."""


def id_of(name: str) -> int:
    found = kvmfw.find_register(name)
    assert found is not None
    return found


def host_with(beside: dict[str, Any], name: str = "host") -> kvmfw.Host:
    with_vgic: dict[str, Any] = {"name": "vm", "features": ["psci_0_2"], "vgic": True}
    makes_one = beside.get("ICC_CTLR_EL1", {}).get("errno") != "ENODEV"
    made: dict[str, Any] = {"values": []} if makes_one else {"refused": "ENODEV"}
    vcpus = [
        with_vgic | made,
        {"name": "bare", "features": ["psci_0_2"], "vgic": False, "values": []},
    ]
    facts = {"name": name, "kernel": "6.12.117", "midr": "0x413fd0c1", "capabilities": {"3": 1}}
    document = {"format": "kvmfw-capture", "version": 3, "host": facts, "registers": [], "vcpus": vcpus}
    return kvmfw.Host.from_json(json.dumps(document | {"surroundings": beside}))


def vm_with(beside: dict[str, int], name: str = "vm", *, vgic: bool = True) -> kvmfw.RegisterSet:
    registers = {id_of(key): value for key, value in beside.items()}
    return kvmfw.RegisterSet.from_mapping(registers, name=name, vgic=vgic)
