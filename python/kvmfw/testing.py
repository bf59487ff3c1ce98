"""Small hosts and sets for examples and tests: made by hand, not captured."""

from __future__ import annotations

import json
from collections.abc import Sequence

from kvmfw.registers import named
from kvmfw.sets import Host, RegisterSet

__all__ = ["capture_document", "tiny_host", "tiny_set"]

_WORKAROUND_1 = named("SMCCC_ARCH_WORKAROUND_1")
_WORKAROUND_3 = named("SMCCC_ARCH_WORKAROUND_3")


def capture_document(
    registers: dict[int, int],
    *,
    name: str = "tiny",
    kernel: str = "6.12.0-tiny",
    features: Sequence[str] = ("psci_0_2",),
) -> dict[str, object]:
    """Make a capture document with one vCPU that has ``features`` and lists ``registers``, and no answers."""
    return {
        "format": "kvmfw-capture",
        "version": 1,
        "host": {"name": name, "kernel": kernel, "midr": "0x410fd4f1"},
        "registers": [f"{register:#x}" for register in registers],
        "vcpus": [
            {
                "name": "vm",
                "features": [*features],
                "vgic": True,
                "values": [f"{value:#x}" for value in registers.values()],
            }
        ],
    }


def tiny_host(*, workaround_1: int = 2, workaround_3: int = 1, name: str = "tiny") -> Host:
    """Make a host that knows two firmware registers, at these levels."""
    levels = {_WORKAROUND_1: workaround_1, _WORKAROUND_3: workaround_3}
    return Host.from_json(json.dumps(capture_document(levels, name=name)))


def tiny_set(*, workaround_1: int = 2, workaround_3: int = 1, name: str = "vm") -> RegisterSet:
    """Make a register set of the same two registers."""
    return RegisterSet.from_mapping({_WORKAROUND_1: workaround_1, _WORKAROUND_3: workaround_3}, name=name)
