"""Cures as ready text: settings for VMMs, traits and labels for schedulers."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from kvmfw.analysis import Frame
from kvmfw.analysis.baseline import Baseline, BaselineRegister
from kvmfw.analysis.fields import fields_of
from kvmfw.registers import register_name
from kvmfw.sets import RegisterSet

__all__ = ["firecracker", "kubernetes", "openstack", "qemu"]

PSCI = 0x6030000000140000
FIRMWARE, BITMAP, SYSTEM = 0x14, 0x16, 0x13


def _group(register: int) -> int:
    return register >> 16 & 0xFFF


def _lowered(made: Baseline) -> list[tuple[BaselineRegister, int]]:
    """Give the registers that a VM must start with lower than some host's own value."""
    return [(one, one.value) for one in made.registers if one.value is not None and one.value != one.greatest]


def qemu(made: Baseline, vms: Sequence[RegisterSet]) -> str:
    """Give QEMU's settings: registers to hide, registers that may be missing, ID and firmware values."""
    absent = [one for one in made.registers if one.absent_on]
    lines = [f"# QEMU settings so that VMs go to {len(made.covered)} hosts"]
    if absent:
        lines += [
            "",
            "# Registers that only some hosts have. Hidden, they are neither saved nor compared;",
            "# the guest sees the values of the host that it runs on.",
            '{ TYPE_ARM_CPU, "x-mig-hidden-regs",',
            *_ids(one.register for one in absent),
        ]
        lines += _safe_missing(absent, vms)
    system = [(one, value) for one, value in _lowered(made) if _group(one.register) == SYSTEM]
    properties = [
        f"SYSREG_{one.name}_{field.name}={field.of(value):#x}"
        for one, value in system
        for field in fields_of(one.name)
        if field.of(value) != field.of(one.greatest)
    ]
    if properties:
        lines += ["", "# Fields of ID registers", "-cpu host," + ",".join(properties)]
    firmware = [(one, value) for one, value in _lowered(made) if _group(one.register) in (FIRMWARE, BITMAP)]
    if firmware:
        lines += ["", "# Firmware registers: written before the VM first runs"]
        lines += [
            f"# {one.name} ({one.register:#x}) = {value:#x}{_psci(one, value)}" for one, value in firmware
        ]
    disputed = [one.name for one in made.registers if one.value is None and not one.absent_on]
    if disputed:
        lines += ["", f"# No value is taken by all: {', '.join(disputed)}"]
    return "\n".join(lines) + "\n"


def _psci(one: BaselineRegister, value: int) -> str:
    return f": PSCI {value >> 16}.{value & 0xFFFF}" if one.register == PSCI else ""


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


def firecracker(made: Baseline) -> str:
    """Give a Firecracker CPU template (JSON) that lowers registers to the baseline."""
    modifiers = []
    for one, value in _lowered(made):
        size = 1 << (one.register >> 52 & 0xF)
        if size > 16 or _group(one.register) not in (SYSTEM, FIRMWARE, BITMAP):
            continue
        modifiers.append({"addr": f"{one.register:#x}", "bitmap": _bitmap(value, one.greatest, size * 8)})
    return json.dumps({"reg_modifiers": modifiers}, indent=2) + "\n"


def _bitmap(value: int, greatest: int, bits: int) -> str:
    """Set the groups of 4 bits that differ, and leave the others (x) to the host."""
    groups = []
    for shift in range(bits - 4, -1, -4):
        ours, theirs = value >> shift & 0xF, greatest >> shift & 0xF
        groups.append("xxxx" if ours == theirs else f"{ours:04b}")
    return "0b" + "_".join(groups)


def _class_names(frame: Frame, captures: Sequence[str]) -> dict[int, str]:
    """Name the host classes by the captures in them: the names stay when hosts come and go."""
    members: dict[int, set[str]] = {}
    for row in frame.host_rows.tolist():
        members.setdefault(int(frame.host_class[row]), set()).add(captures[row])
    return {
        number: hashlib.sha256("\0".join(sorted(names)).encode()).hexdigest()[:10].upper()
        for number, names in members.items()
    }


def _takers(frame: Frame, names: Mapping[int, str]) -> dict[tuple[str, ...], list[int]]:
    """Give for each set of host classes the VM rows that exactly these take."""
    found: dict[tuple[str, ...], list[int]] = {}
    by_class = {
        number: tuple(
            sorted(names[host] for host in np.flatnonzero(frame.taken[number]).tolist() if host in names)
        )
        for number in np.unique(frame.vm_class[frame.vm_rows]).tolist()
    }
    for row in frame.vm_rows.tolist():
        found.setdefault(by_class[int(frame.vm_class[row])], []).append(row)
    return found


def openstack(frame: Frame, captures: Sequence[str]) -> str:
    """Give placement traits: one for each host class, and what each VM may ask for."""
    names = _class_names(frame, captures)
    lines = ["# Traits of host classes"]
    lines += [
        f"openstack --os-placement-api-version 1.6 trait create CUSTOM_KVMFW_{name}"
        for name in sorted(names.values())
    ]
    lines += ["", "# Hosts (resource provider, trait)"]
    hosts = frame.fleet.host_names
    lines += [
        f"{hosts[row]} CUSTOM_KVMFW_{names[int(frame.host_class[row])]}" for row in frame.host_rows.tolist()
    ]
    for takers, rows in _takers(frame, names).items():
        lines += ["", f"# {_some(frame, rows)}"]
        if takers:
            lines.append("required=in:" + ",".join(f"CUSTOM_KVMFW_{name}" for name in takers))
        else:
            lines.append("# no host takes them")
    return "\n".join(lines) + "\n"


def kubernetes(frame: Frame, captures: Sequence[str]) -> str:
    """Give node labels, one for each host class, and the affinity that each VM may have."""
    names = _class_names(frame, captures)
    hosts = frame.fleet.host_names
    lines = ["# Labels of nodes"]
    lines += [
        f"# kubectl label node {hosts[row]} kvmfw/host-class={names[int(frame.host_class[row])].lower()}"
        for row in frame.host_rows.tolist()
    ]
    for takers, rows in _takers(frame, names).items():
        lines += ["---", f"# {_some(frame, rows)}"]
        if not takers:
            lines.append("# no host takes them")
            continue
        lines += [
            "affinity:",
            "  nodeAffinity:",
            "    requiredDuringSchedulingIgnoredDuringExecution:",
            "      nodeSelectorTerms:",
            "      - matchExpressions:",
            "        - key: kvmfw/host-class",
            "          operator: In",
            f"          values: [{', '.join(json.dumps(name.lower()) for name in takers)}]",
        ]
    return "\n".join(lines) + "\n"


def _some(frame: Frame, rows: Sequence[int]) -> str:
    names = [frame.fleet.vm_names[row] for row in rows[:5]]
    return ", ".join(names) + (f" and {len(rows) - 5:,} more" if len(rows) > 5 else "")
