"""Settings as ready text: for VMMs, traits and labels for schedulers."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from kvmfw.analysis import Frame
from kvmfw.analysis.baseline import BaselineRegister
from kvmfw.analysis.means import PSCI
from kvmfw.analysis.settings import Settings
from kvmfw.quoting import printable, shell_word
from kvmfw.registers import fields_of, register_name
from kvmfw.sets import RegisterSet

__all__ = ["firecracker", "kubernetes", "openstack", "qemu", "unplaced"]


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
    properties = [
        f"SYSREG_{register_name(register)}_{field.name}={field.of(value):#x}"
        for register, value in made.values.items()
        for field in fields_of(register)
        if field.of(made.changed[register])
    ]
    if PSCI in made.values:
        version = made.values[PSCI]
        properties.append(f"kvm-psci-version={version >> 16}.{version & 0xFFFF}")
    if properties:
        lines += ["", "# What VMs start with", "-cpu host," + ",".join(properties)]
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
        {"addr": f"{register:#x}", "bitmap": _bitmap(value, made.changed[register], _bits(register))}
        for register, value in made.values.items()
    ]
    return json.dumps({"reg_modifiers": modifiers}, indent=2) + "\n"


def _bits(register: int) -> int:
    return 8 << (register >> 52 & 0xF)


def _bitmap(value: int, changed: int, bits: int) -> str:
    """Set the groups of 4 bits that change on some host, and leave the others (x) to the host."""
    groups = [
        f"{value >> shift & 0xF:04b}" if changed >> shift & 0xF else "xxxx"
        for shift in range(bits - 4, -1, -4)
    ]
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


def unplaced(frame: Frame) -> list[str]:
    """Name the VMs that no host takes, their own included: no label places them."""
    taken = np.asarray(frame.taken[:, frame.host_weight > 0].any(axis=1), dtype=np.bool_)
    return frame.vm_names(frame.vm_rows[~taken[frame.vm_class[frame.vm_rows]]])


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
        f"{shell_word(hosts[row])} CUSTOM_KVMFW_{names[int(frame.host_class[row])]}"
        for row in frame.host_rows.tolist()
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
        f"# kubectl label node {shell_word(hosts[row])} kvmfw/host-class={names[int(frame.host_class[row])].lower()}"
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
    names = [printable(frame.fleet.vm_names[row]) for row in rows[:5]]
    return ", ".join(names) + (f" and {len(rows) - 5:,} more" if len(rows) > 5 else "")
