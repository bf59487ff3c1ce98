"""What to do about a rule that speaks: the only place with these sentences."""

from __future__ import annotations

__all__ = ["what_to_do"]

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
        "start VMs with what all hosts take: `kvmfw emit FLEET qemu|firecracker` prints the settings; kernels up to "
        "6.4 take hardly any value but the host's own"
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
    "KVMFW-QEMU-LIST": (
        "choose a kernel that lists it; QEMU 11.1 hides it from saves (`x-mig-hidden-regs`) or lets it be missing"
        " (`x-mig-safe-missing-regs`), which is right only while its value says nothing"
    ),
    "KVMFW-VMM": "a limit of the VMM: restart the VM where it shall go, or use another VMM or release (`kvmfw vmms`)",
    "KVMFW-VMM-RELEASE": "name the release with --vmm; `kvmfw vmms` lists them",
    "KVMFW-VMM-UNWRITTEN": "choose a target that has the same value by itself: this VMM does not carry it",
    "KVMFW-QEMU-DROP": "choose a kernel that lists it: QEMU drops it without a word",
    "KVMFW-AARCH32": "move the VM while its vCPUs are in AArch64 mode",
    "KVMFW-TIMER": "nothing: the guest sets its timers anew",
    "KVMFW-REGISTER": _NO_TARGET,
    "KVMFW-FIRST-RUN": "choose a target whose kernel keeps it: `kvmfw validate --state ran` tells of others",
    "KVMFW-COUNTER-OFFSET": "let the VMM write the offset after the counter, or not at all",
    "KVMFW-UNUSABLE": "read the rejected rows (`kvmfw ingest` names them) and save the VM anew",
    "KVMFW-FACTS-LIST": "capture the host (`kvmfw probe`): a list of registers says less than a capture",
    "KVMFW-FACTS-FIELD": "capture the host (`kvmfw probe`): a list of properties says less than a capture",
    "KVMFW-FACTS-OPEN": "capture the host (`kvmfw probe`): this much cannot be said of it by facts that are less",
    "KVMFW-VGIC": (
        "choose a target that makes the same interrupt controller for VMs: GICv2 or GICv3, as many priority and ID bits,"
        " the same SEIS and A3V"
    ),
    "KVMFW-ADDRESS-BITS": (
        "choose a target whose guest addresses have as many bits, or start VMs that need fewer (QEMU: less"
        " `maxmem`, `highmem=off`)"
    ),
    "KVMFW-PAGE-SIZE": "choose a target whose kernel has pages as large, or restart the VM where it shall go",
    "KVMFW-STEAL-TIME": "choose a target with steal time, or start VMs without it",
    "KVMFW-CLOCK": "choose a target whose counter has the same frequency",
    "KVMFW-VCPU": (
        "the target's KVM cannot make such a vCPU (PMU, SVE, pointer authentication, AArch32): choose another"
        " target or start VMs without the feature; where it is unsure how the vCPU was made, say so (`vcpu`)"
    ),
}


def what_to_do(rule: str) -> str:
    """Say in one sentence what to do about what a rule refuses.

    >>> what_to_do("KVMFW-OS-LOCK")
    'nothing that a VMM can set: choose another target'

    Raises
    ------
    KeyError
        When it is no rule of verdicts.
    """
    return _BY_RULE[rule]
