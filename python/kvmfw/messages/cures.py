"""What to do about a message, by what it is about and by the rule that speaks."""

from __future__ import annotations

from kvmfw.messages.forms import About
from kvmfw.messages.told import Told
from kvmfw.rules import Rule

__all__ = ["cure_of"]

_NO_TARGET = "choose a target with the same CPU, or restart the VM where it shall go"
_BY_RULE = {
    "KVMFW-PSCI-VERSION": (
        "start VMs with an older version: QEMU `-cpu host,kvm-psci-version=1.1`, a Firecracker CPU template "
        "for the register; running VMs go to kernels that have their version"
    ),
    "KVMFW-WA1-LEVEL": (
        "choose a target with the same mitigations (firmware, kernel, `mitigations=`); running VMs keep their"
        " level"
    ),
    "KVMFW-WA2-LEVEL": "choose a target with the same mitigations (firmware, kernel, `ssbd=`); running VMs keep their level",
    "KVMFW-WA3-LEVEL": (
        "choose a target with the same mitigations (firmware, kernel, `mitigations=`), or start VMs with the "
        "lower level by a CPU template"
    ),
    "KVMFW-BITMAP": (
        "write the bitmap before the VM's first run, as VMMs do on restore; VMs with bits that the target "
        "lacks go to newer kernels"
    ),
    "KVMFW-ID-REGISTER": (
        "start VMs with what all hosts take: `kvmfw emit FLEET qemu|firecracker` prints the settings; on "
        "kernels up to 6.4 the value must be the host's own"
    ),
    "KVMFW-IMPLEMENTATION": (
        "the target has another CPU: choose one with the same, or kernels from 6.15 on and a VMM that enables"
        " writable implementation registers (`kvmfw vmms`)"
    ),
    "KVMFW-CACHE": (
        "choose a target with the same caches; on machines whose cores differ, pin the VM to cores of one "
        "kind"
    ),
    "KVMFW-OS-LOCK": "nothing that a VMM can set: choose another target",
    "KVMFW-SVE-VLS": "start VMs with vector lengths that all hosts have (QEMU `-cpu host,sve256=on,sve512=off`)",
    "KVMFW-SVE-STATE": "choose a target with the same vector lengths, or start VMs without SVE",
    "KVMFW-MODE": "the vCPU is in a mode that the target's CPU does not have (AArch32): choose a target that has it",
    "KVMFW-PMU": "choose a target with the same PMU, or start VMs without one",
    "KVMFW-HIDDEN": (
        "the VM's ID registers hide it on this kernel: QEMU 11.1 lets it be missing (`x-mig-safe-missing-"
        "regs`); else choose a kernel that lists it"
    ),
    "KVMFW-LIST-MISSING": (
        "choose a kernel that lists it; QEMU 11.1 drops it where `x-mig-safe-missing-regs` names it, which is"
        " right only while its value says nothing"
    ),
    "KVMFW-LIST-EXTRA": (
        "nothing: the guest sees the target's default; `x-mig-hidden-regs` of QEMU 11.1 hides it from the "
        "list"
    ),
    "KVMFW-QEMU-COUNT": (
        "up to QEMU 10.2 a VM goes only where as many registers are listed: choose a target whose kernel is "
        "not older; QEMU 11.1 says which registers are too many"
    ),
    "KVMFW-VCPU": (
        "the target's KVM cannot make such a vCPU (PMU, SVE, pointer authentication, AArch32): choose another"
        " target or start VMs without the feature"
    ),
}


def cure_of(told: Told, rule: Rule | None) -> str:
    """Give what to do, in one sentence."""
    if told.about is About.PASSED:
        return "nothing: the test passed"
    if told.about is About.MACHINE:
        return "give both ends the same machine type; no register was looked at"
    if rule is None:
        return (
            "the message does not say which register: judge the VM against the host's capture, "
            "`kvmfw validate VM HOST`; QEMU names it from 10.2 on, Firecracker always"
        )
    if told.errno == "EBUSY":
        return "the register is fixed once the VM has run: write it before the first run"
    return _BY_RULE.get(rule.id, _NO_TARGET)
