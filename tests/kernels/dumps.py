"""Predicted captures against public dumps of one machine under two kernels of its vendor (Graviton, by Firecracker's project)."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path
from typing import Any

import kvmfw
from kvmfw.kernels import Foretold, Target
from kvmfw.readers.firecracker import fingerprint_capture
from kvmfw.registers import named
from tests.kernels.answers import Compared, compare_vcpu

# Firecracker writes the cache levels of its VMs itself where it may (6.3 and later), and where the guest begins: a dump does not
# show the kernel's.
WRITTEN = ("PC", "X0", "CLIDR_EL1", *(f"CCSIDR {number}" for number in range(14)))


def captures(folder: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """The dumps of a folder: CPU -> kernel -> capture."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for path in sorted(folder.glob("*.json")):
        cpu = path.name.removeprefix("NEOVERSE_").partition("_")[0]
        capture = fingerprint_capture(json.loads(path.read_text()), path.stem)
        found.setdefault(cpu, {})[capture["host"]["kernel"]] = capture
    return found


def compare(folder: Path) -> Compared:
    """Predict every dump from every other of its machine, by the release."""
    compared = Compared()
    left_out = {named(name) for name in WRITTEN}
    for kernels in captures(folder).values():
        # Kernels before 5.10 are refused.
        known = [capture for kernel, capture in kernels.items() if not kernel.startswith("4.")]
        for old, new in permutations(known, 2):
            compared.pairs += 1
            host = kvmfw.Host.from_json(json.dumps(old))
            foretold = Foretold(old, host, Target.of(new["host"]["kernel"])).document()
            told = kvmfw.Host.from_json(json.dumps(foretold))
            recorded = {
                int(register, 16): int(value, 16)
                for register, value in zip(new["registers"], new["vcpus"][0]["values"], strict=True)
                if value is not None
            }
            pair = f"{old['host']['name']} -> {new['host']['name']}"
            compare_vcpu(
                pair, told, told.vcpus[0][0] if told.vcpus else None, recorded, compared, left_out=left_out
            )
    return compared
