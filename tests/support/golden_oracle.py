"""The golden vectors, judged by the independent oracle: its answers in the words of a verdict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tests.oracle import Facts, Vm, restoring, vmm
from tests.oracle.arrival import arrive
from tests.oracle.facts import CAP_MTE, CAP_WRITABLE_IMP_ID_REGS
from tests.oracle.making import made, makes_gicv3
from tests.oracle.restoring import SVE_VLS, Outcome, Restore
from tests.support import golden
from tests.support.golden import Case, Expected, TargetHost, Vcpu
from tests.support.unsure import likenesses

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
IMPLEMENTATION = {golden.register_id(name) for name in ("MIDR_EL1", "REVIDR_EL1", "AIDR_EL1")}
COUNTER = golden.register_id("CNTFRQ_EL0")
REFUSED_KINDS = ("refused", "list", "unsaveable")
NEWEST = (7, 3)  # no kernel after it was read
WORST = {
    "refused": Outcome.REFUSE,
    "unknown": Outcome.UNKNOWN,
    "dropped": Outcome.CHANGE,
    "rewritten": Outcome.CHANGE,
}
AFTER_THE_RUN = {"run": "rewritten", "gone": "dropped", "doubt": "unknown"}


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
        hardware=host.hardware,
    )


def same_making(one: Vcpu, other: Vcpu) -> bool:
    return (one.features, one.enabled) == (other.features, other.enabled)


def target_vcpu(case: Case, policy: str) -> Vcpu:
    """How the VMM makes the target's vCPU: as saved, or by what the target's KVM can do."""
    can = case.host.capabilities
    features = ["psci_0_2"]
    enabled = case.vcpu.enabled
    if policy in vmm.ENABLES:
        words = {number: word for word, number in ENABLED.items()}
        enabled = tuple(words[number] for number in sorted(vmm.ENABLES[policy]) if str(number) in can)
    if policy.startswith("cloud-hypervisor"):
        features += ["pmu_v3"] * ("126" in can) + ["sve"] * ("170" in can)
    elif policy == "crosvm" and "sve" not in case.vcpu.features:
        features += ["pmu_v3"] * ("126" in can)
        features += ["ptrauth_address", "ptrauth_generic"] * ("171" in can and "172" in can)
        features += ["has_el2"] * ("has_el2" in case.vcpu.features)
    else:
        features = list(case.vcpu.features)
    return Vcpu(tuple(features), case.vcpu.vgic, enabled)


def judge(case: Case) -> tuple[str, tuple[Expected, ...]]:
    """The outcome and the findings that the oracle gives; of a host that may be several what all of them say."""
    said = [judge_known(replace(case, host=host)) for host in likenesses(case.host, case.registers)]
    if len(said) == 1:
        return said[0]
    outcomes = {outcome for outcome, _ in said}
    spoken = dict.fromkeys(one.register for _, findings in said for one in findings)
    joined = [one for register in spoken for one in agreed(register, [findings for _, findings in said])]
    if len(outcomes) == 1 and all(one.effect != "unknown" for one in joined):
        return outcomes.pop(), tuple(joined)
    return max(WORST.get(one.effect, Outcome.CHANGE) for one in joined).name, tuple(joined)


def agreed(register: int | None, said: list[tuple[Expected, ...]]) -> list[Expected]:
    """What is said of a register by each host that it may be: that, or that it is unknown."""
    each = [[one for one in findings if one.register == register] for findings in said]
    if all(one == each[0] for one in each):
        return each[0]
    words = [[(one.effect, one.errno) for one in findings] for findings in each]
    if all(one == words[0] for one in words):
        return [replace(one, reads=None) for one in each[0]]
    return [Expected(register, "unknown")]


def judge_known(case: Case) -> tuple[str, tuple[Expected, ...]]:
    """The same of a host of which all is known; unknown where the releases of a VMM differ."""
    enabled = frozenset(ENABLED[name] for name in case.vcpu.enabled)
    said = [judge_as(case, policy) for policy in vmm.releases(case.vmm, enabled)]
    if all(one == said[0] for one in said):
        return said[0]
    # Releases differ in registers that some of them make writable, and else in the vCPU or the list as a whole.
    common = [one for one in said[0][1] if all(one in findings for _, findings in said)]
    differing: list[int | None] = []
    for _, findings in said:
        for one in findings:
            register = one.register if one.register in IMPLEMENTATION or one.register == COUNTER else None
            if one not in common and register not in differing:
                differing.append(register)
    outcome = "REFUSE" if any(one.effect == "refused" for one in common) else "UNKNOWN"
    return outcome, (*common, *(Expected(register, "unknown") for register in differing))


def judge_as(case: Case, policy: str) -> tuple[str, tuple[Expected, ...]]:
    """The same under the rule of one release."""
    host, vcpu = case.host, target_vcpu(case, policy)
    if policy.startswith("firecracker") and "pmu_v3" in vcpu.features:
        return "REFUSE", (Expected(None, "refused"),)  # an error of its own, before any vCPU is made
    if policy.startswith("qemu") and vmm.qemu_makes_none(policy, case.vcpu.features, case.vcpu.enabled):
        return "REFUSE", (Expected(None, "refused"),)  # blocked, or never made
    if policy == "cloud-hypervisor-52" and "sve" in case.vcpu.features:
        return "REFUSE", (Expected(None, "refused"),)  # never saved
    if case.vcpu.vgic and not host.vcpu.vgic:
        makes = makes_gicv3(host.registers)
        if makes is False:
            return "REFUSE", (Expected(None, "refused", "ENODEV"),)
        if makes is None and policy not in vmm.VGIC_COMES_AFTER:
            return "UNKNOWN", (Expected(None, "unknown"),)
    # The capability makes MIDR, REVIDR and AIDR writable and nothing else: a vCPU that was asked without it stands in.
    stands_in = (
        vcpu.enabled == ("writable_imp_id_regs",)
        and str(CAP_WRITABLE_IMP_ID_REGS) in host.capabilities
        and same_making(host.vcpu, replace(vcpu, enabled=()))
    )
    if not stands_in and not same_making(host.vcpu, vcpu):
        refused = {refused.features: errno for refused, errno in host.refuses if same_making(refused, vcpu)}
        enabled = frozenset(ENABLED[name] for name in vcpu.enabled)
        errno = refused.get(vcpu.features) or made(
            host.kernel, {int(number) for number in host.capabilities}, feature_word(vcpu.features), enabled
        )
        if errno is None:
            return "UNKNOWN", (Expected(None, "unknown"),)
        return "REFUSE", (Expected(None, "refused", errno),)
    facts = facts_of(host, vcpu, vgic=vcpu.vgic and policy not in vmm.VGIC_COMES_AFTER)
    vm = Vm(facts, finalized="sve" not in vcpu.features or case.state != "fresh")
    if case.state != "fresh":
        vm.run(refused="pmu_v3" in vcpu.features and host.pmu_initialised is False)
    aborting = {
        "firecracker": vmm.firecracker,
        "cloud-hypervisor": vmm.cloud_hypervisor,
        "crosvm": vmm.crosvm,
    }
    going_on = aborting.get(policy.rpartition("-")[0] or policy)
    if going_on is not None:
        restore = going_on(case.registers, facts.registers, vm, go_on=True)
    else:
        restore = vmm.restore(policy, case.registers, facts.registers, vm)
    if case.state == "fresh":
        late = policy in vmm.VGIC_COMES_AFTER
        v2 = case.surroundings.get("VGIC_V2", 0) != 0
        restore.run(case.registers, vm.first_run(vcpu.vgic, late=late, v2=v2))
    beside = tuple(of_arrival(case, policy))
    outcomes = [restore.outcome, *(WORST[one.effect] for one in beside)]
    return max(outcomes).name, in_words(restore, facts) + beside


def is_sve_state(finding: Expected) -> bool:
    """Is it about Z, P or FFR, and not about the vector lengths?"""
    return finding.register != SVE_VLS and (finding.register or 0) >> 16 & 0xFFF == 0x15


def of_arrival(case: Case, policy: str) -> Iterator[Expected]:
    """What does not arrive beside registers."""
    own = {
        name: int(said["value"], 16) if "value" in said else said["errno"]
        for name, said in case.host.surroundings.items()
    }
    known = Facts(case.host.kernel, 0, vgic=False, registers={}).version[:2] <= NEWEST
    for one in arrive(policy, case.surroundings, own, kernel=case.host.kernel, release_known=known):
        register = golden.register_id(one.name)
        if one.refused or one.unknown:
            yield Expected(register, "refused" if one.refused else "unknown", one.errno)
        else:
            yield Expected(
                register, "dropped" if one.reads in (None, own[one.name]) else "rewritten", None, one.reads
            )


def in_words(restore: Restore, facts: Facts) -> tuple[Expected, ...]:
    """The oracle's findings in the words of a verdict.

    First the list test with what it drops, then the writes in their order, then what the VMM did not save,
    then defaults.
    """
    written = {register: at for at, (register, _) in reversed(list(enumerate(restore.writes)))}
    last = len(restore.writes)

    def order(finding: restoring.Finding) -> tuple[int, int]:
        register = finding.register or 0
        match finding.kind:
            case "list" | "unsaveable":
                return -1, register
            case "dropped":
                return -1 if restore.passes else last, register  # QEMU drops while it merges the lists
            case "defaulted":
                return last + 1, register
            case "run" | "gone" | "doubt":
                return last, 1 << 64 | register  # after all writes
        return written.get(register, last), register

    return tuple(word(finding, facts) for finding in sorted(restore.findings, key=order))


def word(finding: restoring.Finding, facts: Facts) -> Expected:
    register, now = finding.register, finding.now
    if finding.kind in REFUSED_KINDS:
        return Expected(register, "refused", finding.errno)
    if finding.kind in AFTER_THE_RUN:
        return Expected(register, AFTER_THE_RUN[finding.kind], None, now)
    if finding.kind != "changed" or register is None or finding.value is None:
        return Expected(register, finding.kind, None, now)
    if now is None:
        return Expected(register, "rewritten")
    level = register in LEVELS and now & 0xF > finding.value & 0xF
    if level:
        return Expected(register, "raised", None, now)
    return Expected(register, "dropped" if now == facts.registers.get(register) else "rewritten", None, now)


__all__ = ["SVE_VLS", "Outcome", "judge"]
