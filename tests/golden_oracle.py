"""The golden vectors, judged by the independent oracle: its answers in the words of a verdict."""

from __future__ import annotations

from tests import golden
from tests.golden import Case, Expected, TargetHost, Vcpu
from tests.oracle import Facts, Vm, vmm
from tests.oracle.facts import CAP_MTE, CAP_WRITABLE_IMP_ID_REGS
from tests.oracle.making import made
from tests.oracle.vmm import SVE_VLS, Outcome, Restore

FEATURES = (
    "power_off",
    "el1_32bit",
    "psci_0_2",
    "pmu_v3",
    "sve",
    "ptrauth_address",
    "ptrauth_generic",
    "has_el2",
    "has_el2_e2h0",
    "pmu_v3_strict",
)
ENABLED = {"mte": CAP_MTE, "writable_imp_id_regs": CAP_WRITABLE_IMP_ID_REGS}
LEVELS = {golden.register_id(f"SMCCC_ARCH_WORKAROUND_{n}") for n in (1, 2, 3)}
REFUSED_KINDS = ("refused", "list", "unsaveable")


def feature_word(features: tuple[str, ...]) -> int:
    return sum(1 << FEATURES.index(name) for name in features)


def facts_of(host: TargetHost, vcpu: Vcpu, *, vgic: bool) -> Facts:
    registers = dict(host.registers)
    if not vgic and host.vcpu.vgic and host.without_vgic is not None:
        registers |= host.without_vgic
    return Facts(
        release=host.kernel,
        features=feature_word(vcpu.features),
        vgic=vgic,
        registers=registers,
        masks=host.masks,
        caps=frozenset(ENABLED[name] for name in vcpu.enabled),
        vulnerabilities=host.vulnerabilities,
    )


def same_making(one: Vcpu, other: Vcpu) -> bool:
    return (one.features, one.enabled) == (other.features, other.enabled)


def target_vcpu(case: Case) -> Vcpu:
    """How the VMM makes the target's vCPU: as saved, or by what the target's KVM can do."""
    can = case.host.capabilities
    features = ["psci_0_2"]
    if case.vmm == "cloud-hypervisor":
        features += ["pmu_v3"] * ("126" in can) + ["sve"] * ("170" in can)
    elif case.vmm == "crosvm" and "sve" not in case.vcpu.features:
        features += ["pmu_v3"] * ("126" in can)
        features += ["ptrauth_address", "ptrauth_generic"] * ("171" in can and "172" in can)
    else:
        return case.vcpu
    return Vcpu(tuple(features), case.vcpu.vgic, case.vcpu.enabled)


def judge(case: Case) -> tuple[str, tuple[Expected, ...]]:
    """The outcome and the findings that the oracle gives."""
    host, vcpu = case.host, target_vcpu(case)
    if case.vmm == "firecracker" and "pmu_v3" in vcpu.features:
        return "REFUSE", (Expected(None, "refused"),)  # an error of its own, before any vCPU is made
    if not same_making(host.vcpu, vcpu):
        refused = {refused.features: errno for refused, errno in host.refuses if same_making(refused, vcpu)}
        errno = refused.get(vcpu.features) or made(
            host.kernel, {int(number) for number in host.capabilities}, feature_word(vcpu.features)
        )
        if errno is None:
            return "UNKNOWN", (Expected(None, "unknown"),)
        return "REFUSE", (Expected(None, "refused", errno),)
    facts = facts_of(host, vcpu, vgic=vcpu.vgic and case.vmm not in vmm.VGIC_COMES_AFTER)
    vm = Vm(facts, finalized="sve" not in vcpu.features or case.state != "fresh")
    if case.state != "fresh":
        vm.run(refused="pmu_v3" in vcpu.features and host.pmu_initialised is False)
    aborting = {
        "firecracker": vmm.firecracker,
        "cloud-hypervisor": vmm.cloud_hypervisor,
        "crosvm": vmm.crosvm,
    }
    if case.vmm in aborting:
        restore = aborting[case.vmm](case.registers, facts.registers, vm, go_on=True)
    else:
        restore = vmm.restore(case.vmm, case.registers, facts.registers, vm)
    return restore.outcome.name, in_words(restore, facts)


def in_words(restore: Restore, facts: Facts) -> tuple[Expected, ...]:
    """The oracle's findings in the words of a verdict.

    First the list test with what it drops, then the writes in their order, then what the VMM did not save,
    then defaults.
    """
    written = {register: at for at, (register, _) in reversed(list(enumerate(restore.writes)))}
    last = len(restore.writes)

    def order(finding: vmm.Finding) -> tuple[int, int]:
        register = finding.register or 0
        match finding.kind:
            case "list" | "unsaveable":
                return -1, register
            case "dropped":
                return -1 if restore.passes else last, register  # QEMU drops while it merges the lists
            case "defaulted":
                return last + 1, register
        return written.get(register, last), register

    return tuple(word(finding, facts) for finding in sorted(restore.findings, key=order))


def word(finding: vmm.Finding, facts: Facts) -> Expected:
    register, now = finding.register, finding.now
    if finding.kind in REFUSED_KINDS:
        return Expected(register, "refused", finding.errno)
    if finding.kind != "changed" or register is None or finding.value is None or now is None:
        return Expected(register, finding.kind, None, now)
    level = register in LEVELS and now & 0xF > finding.value & 0xF
    if level:
        return Expected(register, "raised", None, now)
    return Expected(register, "dropped" if now == facts.registers.get(register) else "rewritten", None, now)


__all__ = ["SVE_VLS", "Outcome", "judge"]
