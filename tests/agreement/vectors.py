"""The engine against the kernels' own functions, compiled and executed in user space."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kvmfw import _native
from tests.agreement.hosts import host_of
from tests.oracle.facts import PSCI_0_2, Facts
from tests.oracle.firmware import ID_AA64PFR1
from tests.oracle.vectors import SSBS, number


def firmware(folder: Path) -> tuple[int, list[str]]:
    """fw-vectors.json: how many values were compared, and what disagrees."""
    compared, wrong = 0, []
    for kernel, rows in load(folder / "fw-vectors.json")["kernels"].items():
        for row in rows:
            register = int(row["id"], 16)
            wanted: dict[int, str | None] = {int(v, 16): None for v in row["accept"]}
            wanted |= {int(v, 16): errno for errno, values in row["reject"].items() for v in values}
            now = {int(k, 16): int(v, 16) for k, v in row.get("get_after_accept", {}).items()}
            state = "ran" if row["host"] == "ran=1" else "fresh"
            values = list(wanted)
            said = host_of(facts(kernel, row)).ask("vm", register, values, state=state)
            for value, (effect, errno, reads) in zip(values, said, strict=True):
                compared += 1
                expected = wanted[value]
                read_back = now.get(value, number(row["get"]))
                ok = errno == expected and (effect == "refused") == (expected is not None)
                if ok and expected is None:
                    ok = (value if effect == "kept" else reads) == read_back
                if not ok:
                    wrong.append(
                        f"{kernel} {row['id']} {row['host']} <- {value:#x}: engine {effect} {errno} {reads}, "
                        f"kernel {expected or read_back}"
                    )
    return compared, wrong


def facts(kernel: str, row: dict[str, Any]) -> Facts:
    """What is known of the host of one row."""
    registers = {}
    if row["host"].endswith(",SSBS"):
        registers[ID_AA64PFR1] = SSBS
    if (fresh := number(row["get"])) is not None:
        registers[int(row["id"], 16)] = fresh
    return Facts(kernel, 0 if row["host"] == "psci02=0" else PSCI_0_2, vgic=False, registers=registers)


def identification(folder: Path) -> tuple[int, list[str]]:
    """id-vectors.json: how many values were compared, and what disagrees."""
    compared, wrong = 0, []
    tables = {
        kernel: {row["name"]: (int(row["id"], 16), int(row["writable_mask"], 16)) for row in rows}
        for kernel, rows in load(folder / "id-registers.json")["kernels"].items()
    }
    for kernel, name, _, limit, _, value, result in load(folder / "id-vectors.json")["rows"]:
        register, mask = tables[kernel][name]
        said = _native.check_features(kernel, register, int(limit, 16), int(value, 16), mask)
        compared += 1
        if said is not (result == "OK"):
            wrong.append(f"{kernel} {name} limit {limit} <- {value}: engine {said}, kernel {result}")
    return compared, wrong


def load(path: Path) -> dict[str, Any]:
    """Read one file of vectors."""
    document: dict[str, Any] = json.loads(path.read_text())
    return document
