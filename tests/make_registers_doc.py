"""`python -m tests.make_registers_doc` writes docs/registers.md from the catalogue."""

from __future__ import annotations

from pathlib import Path

import kvmfw

TARGET = Path(__file__).parents[1] / "docs" / "registers.md"

# What KVM does with a write, by the kind of the catalogue (the part in front of a bracket).
TREATMENT = {
    "PsciVersion": "one of the versions that the kernel knows; without the `psci_0_2` feature only 0x1",
    "Level": "any level up to the host's; nothing is stored, the guest sees the host's level",
    "Workaround2": "levels 0 to 3 and a flag; from 6.12 on the VM's own SSBS field decides",
    "Bitmap": "any bits of the mask; once the VM has run only the current value",
    "Identification": "the host's own value up to 6.4, then field by field under the writable mask",
    "Implementation": "the host's own value; any from 6.15 on if the VM has `writable_imp_id_regs` enabled",
    "CacheType": "the host's own value up to 6.11, then field by field",
    "CacheLevels": "the host's own value up to 6.2, then any that fits the host's CTR_EL0",
    "OsLockStatus": "the host's own value, but for the lock bit",
    "ProcessorState": "a mode that the vCPU has; all bits are stored",
    "TimerControl": "anything; whether the timer has expired is not stored",
    "VectorLengths": "the host's own set, up to a greatest length",
    "PmuControl": "anything; from 6.7 on a number of counters that cannot be is ignored",
    "PmuMachine": "0 or the host's own number of slots",
    "PmuIncrement": "anything; from 6.1 on it reads 0",
    "PmuCounter": "anything; from 6.1 on only 32 bits are kept unless the VM has PMUv3p5",
    "PmuBits": "anything; from 6.7 on bits of counters that the VM lacks are dropped",
    "Masked": "anything; the first run of a nested VM takes reserved bits away",
    "Gated": "anything while an ID field of the VM shows the register, else it is not there",
}

HEAD = """# Registers

Generated from the catalogue (`rust/kvmfw-core/src/catalog.rs`) by `python -m tests.make_registers_doc`;
a test fails when it is not current.

These are the registers whose values KVM looks at. All others that a host lists are stored as written, with three
exceptions. CCSIDR: up to 6.2 the caches that exist take their own values only, from 6.3 on all 14 take any line that is
long enough. X0 to X30 and the PC lose their upper halves while the vCPU is in an AArch32 mode; Z, P and FFR lose what
is beyond the vCPU's longest vector. A register that the host does not list is refused.

| register | id | what it is | what KVM takes |
|---|---|---|---|
"""


def treatment(kind: str) -> str:
    """The sentence of a kind, with what its bracket says."""
    name, _, bracket = kind.partition("(")
    sentence = TREATMENT[name]
    if name == "Bitmap":
        sentence = sentence.replace("the mask", f"the mask {int(bracket.rstrip(')')):#x}")
    if name == "Gated":
        register = bracket.partition("register: ")[2].partition(",")[0]
        field = bracket.partition('field: "')[2].partition('"')[0]
        least = int(bracket.partition("least: ")[2].partition(" ")[0].rstrip(",)}"))
        shown = f"{kvmfw.register_name(int(register, 16))}.{field}"
        sentence = sentence.replace(
            "an ID field of the VM shows the register",
            f"{shown} of the VM is {least} or more" if least > 1 else f"{shown} of the VM is not 0",
        )
    return sentence


def document() -> str:
    """The text of docs/registers.md."""
    rows = [
        f"| {one.name} | `{one.id:#x}` | {one.meaning} | {treatment(one.kind)} |" for one in kvmfw.registers()
    ]
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    TARGET.write_text(document())
