"""The public dumps of Graviton 2, 3 and 4 under three kernels: who takes whose registers, and why not."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import kvmfw
from tests.agreement.hosts import host_of
from tests.oracle.facts import PSCI_0_2, Facts

KERNELS = {"5.10": "5.10.255", "6.1": "6.1.172", "6.18": "6.18.30"}
POLICIES = ("kvm", "qemu-10.2", "firecracker")


def load(path: Path) -> dict[str, Facts]:
    """Read the facts of every dump; masks are not among them."""
    document: dict[str, Any] = json.loads(path.read_text())
    hosts = {}
    for column, name in enumerate(document["columns"]):
        values = {int(r, 16): row[column] for r, row in document["values"].items()}
        registers = {register: int(value, 16) for register, value in values.items() if value is not None}
        hosts[name] = Facts(f"{KERNELS[name.split()[1]]}-amzn", PSCI_0_2, vgic=True, registers=registers)
    return hosts


def section(path: Path) -> list[str]:
    """Give the matrices as Markdown: rows are where a VM was saved, columns where it goes."""
    facts = load(path)
    hosts = {name: host_of(known, name) for name, known in facts.items()}
    lines = [
        "## Graviton 2, 3 and 4 (public dumps)",
        "",
        "Rows: where a VM was saved; columns: where it goes. A cell says the outcome and how many registers refuse or are"
        " unknown. Evidence is derived: the dumps hold lists and fresh values, no answers and no writable masks, so what the ID"
        " registers of 6.18 take is unknown where the values differ.",
        "",
    ]
    for vmm in POLICIES:
        lines += [
            f"### `{vmm}`",
            "",
            "| saved \\ target | " + " | ".join(hosts) + " |",
            "|---" * (len(hosts) + 1) + "|",
        ]
        reasons: Counter[str] = Counter()
        for source, known in facts.items():
            vm = kvmfw.RegisterSet.from_mapping(known.registers, features=["psci_0_2"], vgic=True)
            cells = []
            for host in hosts.values():
                verdict = kvmfw.validate(vm, host, vmm=vmm)
                worst = [f for f in verdict.findings if f.outcome == verdict.outcome]
                cells.append(verdict.outcome.name + (f" {len(worst)}" if verdict.outcome > 1 else ""))
                reasons.update({f"{f.name} ({f.errno or f.effect})" for f in worst if verdict.outcome > 1})
            lines.append(f"| {source} | " + " | ".join(cells) + " |")
        first = sorted(reasons.items(), key=lambda reason: (-reason[1], reason[0]))[:12]
        most = ", ".join(f"{name} {count}" for name, count in first)
        lines += ["", f"Registers that decide most, in pairs: {most}.", ""]
    return lines
