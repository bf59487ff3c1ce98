"""Why a host does not have a register: what its capture and the catalogue say, and nothing beyond."""

from __future__ import annotations

from kvmfw.registers import listed_by, takes
from kvmfw.rules import rule_of
from kvmfw.sets import Host, RegisterSet

__all__ = ["why_absent"]


def why_absent(register: int, vm: RegisterSet, host: Host) -> str:
    """Say why a host does not list a register for a vCPU such as the VM's; empty where nothing tells.

    A host that lists it for another vCPU tells which feature it goes with; else the kernels that list it are named, and
    the field of an ID register that shows or hides it.
    """
    own = {*vm.features, *vm.enabled}
    further = []
    for _, features, vgic, enabled in host.vcpus:
        listed = host.fresh_set(features=features, vgic=vgic, enabled=enabled)
        if listed is not None and register in listed.to_mapping():
            further.append(sorted({*features, *enabled} - own))
    least = min(further, key=len, default=[])
    if least:
        return f"this host lists it for vCPUs with {', '.join(least)}; this VM was made without"
    kernels = listed_by(register)
    gate = f"; KVM takes {takes(register)}" if rule_of(register).id == "KVMFW-HIDDEN" else ""
    return "" if kernels is None else f"listed by {kernels}{gate}"
