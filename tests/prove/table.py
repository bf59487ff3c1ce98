"""The table by which the core knows which rules were proved of which kernels: rust/kvmfw-core/src/rules/proved.txt.

A rule is there for a kernel where all that was asked of its register is proved, and nothing of it only in part.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any


def proved(kernel: dict[str, Any]) -> dict[tuple[str, str], str]:
    """Give the formulas of rules that were proved of a kernel, as (id, digest), with the register's name."""
    doubtful = {row["id"] for row in kernel["rows"] if row["result"] != "proved" or "silent" in row}
    return {
        (row["id"], digest): row["register"]
        for row in kernel["rows"]
        for digest in row["formulas"]
        if row["id"] not in doubtful
    }


def text(kernels: list[dict[str, Any]]) -> str:
    """The table."""
    kernels = sorted(kernels, key=lambda one: (one["release"], one["build"]))
    where: dict[tuple[str, str], int] = defaultdict(int)
    for place, kernel in enumerate(kernels):
        for rule in proved(kernel):
            where[rule] |= 1 << place
    registers: dict[tuple[str, int], list[str]] = defaultdict(list)
    for (register, digest), places in sorted(where.items()):
        registers[digest, places].append(register)
    lines = [
        "# Made by `make prove` with docs/proofs.md: kernels, and digests of formulas that were proved of them."
    ]
    lines += [f"kernel\t{kernel['release']}\t{kernel['build']}" for kernel in kernels]
    lines += [
        f"rule\t{digest}\t{places:x}\t{' '.join(ids)}" for (digest, places), ids in sorted(registers.items())
    ]
    return "\n".join(lines) + "\n"
