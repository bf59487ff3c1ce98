"""The same rules against the kernels' own functions, executed in user space.

    python -m tests.oracle.vectors FOLDER

fw-vectors.json: get/set of the firmware registers of 11 kernels.  id-vectors.json: arm64_check_features of 4
kernels on real register values (the wrappers are not part of it, so only the field check is asked).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from . import firmware, id_registers
from .facts import PSCI_0_2, Answer, Facts
from .fields import FIELDS
from .state import State

SSBS = 0x10


def firmware_vectors(folder: Path) -> tuple[int, list[str]]:
    """How many values were compared, and what disagreed or is unknown."""
    compared, wrong = 0, []
    for kernel, rows in load(folder / "fw-vectors.json")["kernels"].items():
        for row in rows:
            wanted = {int(v, 16): None for v in row["accept"]}
            wanted |= {int(v, 16): errno for errno, values in row["reject"].items() for v in values}
            now = {int(k, 16): int(v, 16) for k, v in row.get("get_after_accept", {}).items()}
            for value, errno in wanted.items():
                answer = ask(kernel, row, value)
                expected = Answer(errno) if errno else Answer(read_back=now.get(value, number(row["get"])))
                compared += 1
                if answer != expected:
                    wrong.append(
                        f"{kernel} {row['id']} {row['host']} <- {value:#x}: {answer}, was {expected}"
                    )
    return compared, wrong


def ask(kernel: str, row: dict[str, Any], value: int) -> Answer:
    register, host = int(row["id"], 16), row["host"]
    registers = {}
    if (fresh := number(row["get"])) is not None:
        registers[register] = fresh
    if host.endswith(",SSBS"):
        registers[firmware.ID_AA64PFR1] = SSBS
    features = 0 if host == "psci02=0" else PSCI_0_2
    facts = Facts(kernel, features, vgic=False, registers=registers)
    state = State(facts)
    state.has_run = host == "ran=1"
    return firmware.write(facts, state, register, value)


def id_vectors(folder: Path) -> tuple[int, list[str]]:
    compared, wrong = 0, []
    tables = {
        kernel: {r["name"]: (int(r["id"], 16), int(r["writable_mask"], 16)) for r in rows}
        for kernel, rows in load(folder / "id-registers.json")["kernels"].items()
    }
    for kernel, name, _, limit, _, value, result in load(folder / "id-vectors.json")["rows"]:
        register, mask = tables[kernel][name]
        facts = Facts(
            kernel, PSCI_0_2, vgic=False, registers={register: int(limit, 16)}, masks={register: mask}
        )
        # hidden registers without a field table: the bare function refuses them, while KVM asks "reads as
        # zero?" before it and takes zero (semantics 3.3, steps 1 and 2)
        allowed = register in FIELDS and id_registers.fields_allow(facts, mask, register, int(value, 16))
        compared += 1
        if allowed is None or allowed != (result == "OK"):
            wrong.append(f"{kernel} {name} limit {limit} <- {value}: {allowed}, was {result}")
    return compared, wrong


def number(text: str) -> int | None:
    return int(text, 16) if text.startswith("0x") else None


def load(path: Path) -> dict[str, Any]:
    with path.open() as stream:
        loaded: dict[str, Any] = json.load(stream)
    return loaded


def main() -> int:
    failed = False
    for name, check in (("firmware", firmware_vectors), ("id", id_vectors)):
        compared, wrong = check(Path(sys.argv[1]))
        failed = failed or bool(wrong)
        print(f"{name} vectors: {compared} compared, {len(wrong)} disagreed or unknown")
        for line in wrong[:20]:
            print(" ", line)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
