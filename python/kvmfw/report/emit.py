"""Settings as ready text for VMMs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence

from kvmfw.analysis.baseline import BaselineRegister
from kvmfw.analysis.settings import Settings
from kvmfw.quoting import printable
from kvmfw.registers import register_name
from kvmfw.sets import RegisterSet
from kvmfw.telling.knobs import qemu_properties, template_modifier

__all__ = ["firecracker", "qemu"]


def qemu(made: Settings, vms: Sequence[RegisterSet]) -> str:
    """Give QEMU's settings: registers to hide, registers that may be missing, ID fields and the PSCI version."""
    absent = [one for one in made.baseline.registers if one.register in made.hidden]
    covered = len(made.baseline.covered)
    lines = [f"# QEMU settings so that VMs go to {covered} hosts"]
    if made.remains:
        lines = [f"# QEMU settings with which VMs do NOT go to all {made.hosts} hosts. What remains:"]
        lines += [f"# {printable(', '.join(one.names))}: {printable(one.sentence)}" for one in made.remains]
    if absent:
        lines += [
            "",
            "# Registers that only some hosts have. Hidden, they are neither saved nor compared;",
            "# the guest sees the values of the host that it runs on.",
            '{ TYPE_ARM_CPU, "x-mig-hidden-regs",',
            *_ids(one.register for one in absent),
        ]
        lines += _safe_missing(absent, vms)
    properties = [*qemu_properties(made.values, made.changed)]
    if properties:
        lines += ["", "# What VMs start with", "-cpu host," + ",".join(properties)]
    if len(lines) == 1:
        lines.append("# None is needed: they do so with the defaults.")
    return "\n".join(lines) + "\n"


def _ids(registers: Iterable[int]) -> list[str]:
    listed = [f"{register:#x}" for register in registers]
    lines = [
        f'  "{",".join(listed[at : at + 4])}{"," if at + 4 < len(listed) else ""}"'
        for at in range(0, len(listed), 4)
    ]
    lines[-1] += " },"
    return lines


def _safe_missing(absent: Sequence[BaselineRegister], vms: Sequence[RegisterSet]) -> list[str]:
    """List what VMs hold and hosts lack: it may be missing only where its value says nothing."""
    held: Counter[int] = Counter()
    zero: Counter[int] = Counter()
    wanted = {one.register for one in absent}
    for vm in vms:
        for register, value in vm.to_mapping().items():
            if register in wanted:
                held[register] += 1
                zero[register] += value == 0
    safe = [one.register for one in absent if held[one.register] and held[one.register] == zero[one.register]]
    lines = []
    if safe:
        lines += [
            "",
            "# Running VMs have saved these, always with value 0: their loss changes nothing for the guest.",
            "# Take this back when a VM holds another value.",
            '{ TYPE_ARM_CPU, "x-mig-safe-missing-regs",',
            *_ids(safe),
        ]
    unsafe = [register for register in held if register not in set(safe)]
    if unsafe:
        lines += ["", "# Not safe to miss: running VMs hold values in them that the guest may have seen."]
        for register in sorted(unsafe):
            count = f"{held[register] - zero[register]} of {held[register]} VMs"
            lines.append(f"# {register:#x} {register_name(register)}: {count}")
    return lines


def firecracker(made: Settings) -> str:
    """Give a Firecracker CPU template (JSON) with which VMs start with the values."""
    modifiers = [
        template_modifier(register, value, made.changed[register]) for register, value in made.values.items()
    ]
    return json.dumps({"reg_modifiers": modifiers}, indent=2) + "\n"
