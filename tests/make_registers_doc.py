"""`python -m tests.make_registers_doc` writes docs/registers.md from the catalogue."""

from __future__ import annotations

from pathlib import Path

import kvmfw
from kvmfw.registers import listed_by, takes

TARGET = Path(__file__).parents[1] / "docs" / "registers.md"

HEAD = """# Registers

Generated from the catalogue (`rust/kvmfw-core/src/catalog.rs`) by `python -m tests.make_registers_doc`;
a test fails when it is not current.

These are the registers whose values KVM looks at. All others that a host lists are stored as written, with three
exceptions. CCSIDR: up to 6.2 the caches that exist take their own values only, from 6.3 on all 14 take any line that is
long enough. X0 to X30 and the PC lose their upper halves while the vCPU is in an AArch32 mode; Z, P and FFR lose what
is beyond the vCPU's longest vector. A register that the host does not list is refused.

| register | id | what it is | what KVM takes | listed by |
|---|---|---|---|---|
"""


def document() -> str:
    """The text of docs/registers.md."""
    rows = [
        f"| {one.name} | `{one.id:#x}` | {one.meaning} | {takes(one.id)} | {listed_by(one.id) or ''} |"
        for one in kvmfw.registers()
    ]
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    TARGET.write_text(document())
