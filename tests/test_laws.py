"""Laws that hold for every set and host; agreement with the oracle is one of them."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import kvmfw
from kvmfw import Outcome
from kvmfw.registers import schemes_of
from tests.oracle import Vm, restoring, vmm
from tests.oracle.core import size
from tests.oracle.other_registers import GATES
from tests.oracle.pmu import PAIRS, PMCR
from tests.support import golden_oracle, pool
from tests.support.golden import Expected, register_id
from tests.support.pool import Target, any_target, mutated, pairs

Registers = dict[int, int]


def is_core(register: int) -> bool:
    return register >> 16 & 0xFFF == pool.CORE


PFR1, WA2 = register_id("ID_AA64PFR1_EL1"), register_id("SMCCC_ARCH_WORKAROUND_2")
ICH_HCR = register_id("ICH_HCR_EL2")
HOLDERS = {register: holder for register, (holder, *_) in GATES.items()} | {WA2: PFR1}
BITMAP_GROUP = 0x16


def example_pairs() -> st.SearchStrategy[tuple[Target, Registers]]:
    return pairs(st.sampled_from(pool.example_targets()))


# --- the oracle -----------------------------------------------------------------------------------


def untold(oracle: list[Expected]) -> set[int | None]:
    """Registers of which the oracle says nothing: what it does not know it does not judge."""
    return {finding.register for finding in oracle if finding.effect == "unknown"}


def torn_pairs(target: Target, registers: Registers) -> set[int | None]:
    """Set and clear names of one PMU register where the engine is coarser than the order of the writes.

    KVM reads one value by both names: with two values the engine says UNKNOWN, the oracle what the last write
    leaves. A recording that wrote the first before it read the second is torn too;
    and which bits exist depends on the number of counters that PMCR_EL0 sets in between.
    """
    other_counters = registers.get(PMCR) != target.fresh.get(PMCR)
    torn: set[int | None] = set()
    for one, other in PAIRS.items():
        saved, own = ({values.get(one), values.get(other)} for values in (registers, target.fresh))
        if other_counters or len(saved) > 1 or len(own) > 1:
            torn |= {one, other}
    return torn


def by_oracle(target: Target, registers: Registers) -> list[Expected]:
    vm = Vm(target.facts, finalized="sve" not in target.vcpu.features)
    restore = vmm.restore("kvm", registers, target.fresh, vm)
    restore.run(registers, vm.first_run(target.vcpu.vgic))
    return list(golden_oracle.in_words(restore, target.facts))


def by_engine(verdict: kvmfw.Verdict) -> list[Expected]:
    return [Expected(f.register, f.effect, f.errno, f.reads) for f in verdict.findings]


def comparable(target: Target, finding: Expected) -> tuple[Any, ...]:
    """A finding without what the sources leave open."""
    group = (finding.register or 0) >> 16 & 0xFFF
    if target.facts.version[:2] < (5, 3) and group == BITMAP_GROUP:
        return finding.register, finding.effect  # ENOENT by the group, EINVAL by the function that judges it
    return finding.register, finding.effect, finding.errno, finding.reads


@given(pairs())
def test_oracle_and_engine_agree(pair: tuple[Target, Registers]) -> None:
    target, registers = pair
    oracle = by_oracle(target, registers)
    engine = by_engine(target.verdict(registers, derive_only=True))
    left_out = untold(oracle) | torn_pairs(target, registers)
    said = [comparable(target, finding) for finding in engine if finding.register not in left_out]
    wanted = [comparable(target, finding) for finding in oracle if finding.register not in left_out]
    assert said == wanted


@given(any_target(), st.data())
def test_nothing_is_said_of_two_values_of_one_pmu_register(target: Target, data: st.DataObject) -> None:
    names = [pair for pair in PAIRS.items() if set(pair) <= target.fresh.keys()]
    assume(names)
    pair = data.draw(st.sampled_from(names))
    words = data.draw(st.lists(st.integers(0, (1 << 64) - 1), min_size=2, max_size=2, unique=True))
    registers = target.fresh | dict(zip(pair, words, strict=True))
    verdict = target.verdict(registers)
    assert {one.effect for one in by_engine(verdict) if one.register in pair} == {"unknown"}
    explained = kvmfw.Fleet([target.register_set(registers)], [target.host], vmm="kvm").explain(0, 0)
    assert by_engine(explained) == [in_fleet(one) for one in by_engine(verdict)]


# --- the engine by itself -------------------------------------------------------------------------


def refused(verdict: kvmfw.Verdict) -> set[int | None]:
    return {finding.register for finding in verdict.findings if finding.outcome is Outcome.REFUSE}


# fields that are writable, unsigned and "lower is safe" in every kernel that reports masks
WIDENED_FIELDS = [
    ("ID_AA64PFR0_EL1", 48),
    ("ID_AA64ISAR0_EL1", 60),
    ("ID_AA64ISAR1_EL1", 52),
    ("ID_AA64MMFR1_EL1", 20),
]
NEWER = {"PSCI_VERSION": 0x10003, "SMCCC_ARCH_WORKAROUND_1": 2, "SMCCC_ARCH_WORKAROUND_3": 2}


@st.composite
def widened(draw: st.DrawFn) -> tuple[Target, Target, Registers]:
    """A target, the same with more to offer, and a set."""
    target = draw(any_target().filter(lambda target: target.facts.masks is not None))
    wider = dict(target.fresh)
    for name, newest in NEWER.items():
        register = register_id(name)
        if wider.get(register, 0) > 1 or (name != "PSCI_VERSION" and register in wider):
            wider[register] = draw(st.sampled_from((wider[register], newest)))
    for name, shift in WIDENED_FIELDS:
        register = register_id(name)
        writable = (target.facts.masks or {}).get(register, 0) >> shift & 0xF == 0xF
        limit = wider.get(register, 0) >> shift & 0xF
        if writable and register in wider and limit < 0xF:
            wider[register] += draw(st.integers(0, 0xF - limit)) << shift
    ids = [f"{register:#x}" for register in wider]
    vcpu = {"name": "wider", "features": list(target.vcpu.features), "vgic": target.vcpu.vgic}
    vcpu |= {"enabled": list(target.vcpu.enabled), "values": [f"{value:#x}" for value in wider.values()]}
    masks = {f"{register:#x}": f"{mask:#x}" for register, mask in (target.facts.masks or {}).items()}
    document = target.document | {
        "registers": ids,
        "vcpus": [vcpu],
        "answers": [],
        "absent": [],
        "sweeps": {},
        "writable_masks": [{"vcpus": ["wider"], "masks": masks}],
    }
    (more,) = pool.targets_of(document, "wider")
    return target, more, draw(mutated(target))


@given(widened())
def test_widening_a_host_never_adds_a_refusal(hosts: tuple[Target, Target, Registers]) -> None:
    target, wider, registers = hosts
    before = target.verdict(registers, derive_only=True)
    after = wider.verdict(registers, derive_only=True)
    assert refused(after) <= refused(before)


@given(pairs(), st.randoms(use_true_random=False))
def test_judging_ignores_register_order(pair: tuple[Target, Registers], shuffle: random.Random) -> None:
    target, registers = pair
    rows = list(registers.items())
    shuffle.shuffle(rows)
    assert target.verdict(dict(rows)) == target.verdict(registers)
    order = list(range(len(target.document["registers"])))
    shuffle.shuffle(order)
    vcpus = [
        vcpu | {"values": [vcpu["values"][at] for at in order]} if "values" in vcpu else vcpu
        for vcpu in target.document["vcpus"]
    ]
    ids = [target.document["registers"][at] for at in order]
    other = target.with_document(registers=ids, vcpus=vcpus)
    assert other.verdict(registers) == target.verdict(registers)


# A capture whose KVM refuses the own value of another register is not read.
JUDGED = {one.id for one in kvmfw.registers()}


@given(any_target(), st.data())
def test_a_host_is_judged_even_on_what_it_saved_itself(target: Target, data: st.DataObject) -> None:
    own = target.verdict(target.fresh)
    # a probe asks after KVM_ARM_VCPU_FINALIZE, when vector lengths are fixed; a restore writes them before
    assert refused(own) == target.same_value_refused - {restoring.SVE_VLS}
    listed = sorted(set(target.fresh) & JUDGED - {restoring.SVE_VLS})
    assume(listed)
    picked = data.draw(st.lists(st.sampled_from(listed), min_size=1, max_size=3, unique=True))
    refusals = {f"{register:#x}": "EINVAL" for register in picked}
    vcpus = [
        vcpu | {"same_value_refused": refusals} if "values" in vcpu else vcpu
        for vcpu in target.document["vcpus"]
    ]
    answers: list[Any] = []
    stubborn = target.with_document(vcpus=vcpus, answers=answers)
    assert refused(stubborn.verdict(target.fresh)) == set(picked)


# Of counters and pairs of the PMU, which run, a fleet keeps only what decides the outcome: explain cannot say the values.
REDUCED = {one.id for one in kvmfw.registers() if one.kind in ("PmuIncrement", "PmuBits")}
REDUCED |= set(range(0x603000000013DF40, 0x603000000013DF5F))  # PMEVCNTR0 to 30


def in_fleet(finding: Expected) -> Expected:
    changed = finding.register in REDUCED and finding.effect in ("raised", "dropped", "rewritten")
    return replace(finding, effect="rewritten", reads=None) if changed else finding


@given(pairs())
def test_explain_names_exactly_the_refusing_registers(pair: tuple[Target, Registers]) -> None:
    target, registers = pair
    verdict = target.verdict(registers)
    fleet = kvmfw.Fleet([target.register_set(registers)], [target.host], vmm="kvm")
    explained = fleet.explain(0, 0)
    assert explained.outcome == verdict.outcome
    blocking = refused(verdict)
    # VMs whose vectors fit their own lengths are one class: what is left of them where these are refused is not told.
    is_untold = golden_oracle.is_sve_state if restoring.SVE_VLS in blocking else set().__contains__
    by_both = (map(in_fleet, by_engine(found)) for found in (explained, verdict))
    told, said = ([one for one in by_one if not is_untold(one)] for by_one in by_both)
    assert told == said
    assert (verdict.outcome is Outcome.REFUSE) == bool(blocking)
    gates = {
        holder for register, holder in HOLDERS.items() if register in registers or register in target.fresh
    }
    assume(not blocking & gates)
    cured = {register: value for register, value in registers.items() if register not in blocking}
    assert not refused(target.verdict(cured))
    for register in blocking:
        assert register is not None
        assert refused(target.verdict(cured | {register: registers[register]})) == {register}


PSTATE, USER = 0x6030000000100042, 0x10
STATE = {0x6030000000100000: "X0", 0x603000000013DF11: "CNTP_CTL", 0x6080000000150000: "Z0"}
STATE |= {0x6050000000150400: "P0", 0x603000000013DF19: "CNTV_CTL"}


def test_a_fleet_tells_what_reads_back_of_core_sve_and_timer_state() -> None:
    seen: set[tuple[str, str]] = set()
    for target in (*pool.vector_targets(), *pool.example_targets()):
        for register in STATE.keys() & target.fresh.keys():
            ones = (1 << (8 << (register >> pool.SIZE_SHIFT & 0xF))) - 1
            mode = {PSTATE: USER} if STATE[register] == "X0" else {}
            registers = target.fresh | mode | {register: ones}
            verdict = by_engine(target.verdict(registers))
            said = [one for one in verdict if one.register == register]
            if not said or (STATE[register], said[0].effect) in seen:
                continue
            seen.add((STATE[register], said[0].effect))
            fleet = kvmfw.Fleet([target.register_set(registers)], [target.host], vmm="kvm")
            assert by_engine(fleet.explain(0, 0)) == [in_fleet(one) for one in verdict]
    assert {name for name, _ in seen} >= {"CNTP_CTL", "CNTV_CTL"}, seen
    if pool.EXAMPLES.exists():
        assert {name for name, _ in seen} == set(STATE.values()), seen


@given(pairs(), st.sampled_from(pool.STRANGERS))
def test_adding_a_finding_never_lowers_the_outcome(pair: tuple[Target, Registers], stranger: int) -> None:
    target, registers = pair
    assume(stranger not in registers)
    before, after = target.verdict(registers), target.verdict(registers | {stranger: 0})
    assert before.outcome == max((f.outcome for f in before.findings), default=Outcome.ACCEPT)
    if stranger not in target.fresh:
        assert refused(after) == refused(before) | {stranger}
        assert {f.register for f in before.findings} <= {f.register for f in after.findings}
    assert after.outcome >= before.outcome or stranger in target.fresh


@given(pairs())
def test_equality_refuses_every_difference_of_the_machine_and_none_of_what_the_guest_left(
    pair: tuple[Target, Registers],
) -> None:
    target, registers = pair
    said = {f.register: f.outcome for f in target.verdict(registers, scheme="equal").findings}
    by_kvm = {f.register: f.outcome for f in target.verdict(registers).findings}
    for register in registers.keys() | target.fresh.keys():
        outcome = said.get(register, Outcome.ACCEPT)
        if register not in registers:
            left_out = is_core(register) and not any(map(is_core, registers))  # a dump of other registers
            assert outcome is (Outcome.ACCEPT if left_out else Outcome.REFUSE)
        elif "equal" in schemes_of(register):
            same = registers[register] == target.fresh.get(register)
            assert outcome is (Outcome.ACCEPT if same else Outcome.REFUSE)
        elif all(
            registers.get(one) == value for one, value in target.fresh.items() if "equal" in schemes_of(one)
        ):
            assert outcome is by_kvm.get(register, Outcome.ACCEPT)


def test_equality_leaves_the_first_run_to_kvm_for_registers_that_the_guest_sets() -> None:
    target = next(one for one in pool.vector_targets() if "6.16 shows HFGRTR_EL2" in one.label)
    registers = target.fresh | {ICH_HCR: 1 << 46}
    said, by_kvm = (target.verdict(registers, scheme=scheme).outcome for scheme in ("equal", "kvm"))
    assert said is by_kvm is Outcome.UNKNOWN


# Registers of a vCPU with SVE, and ids that no kernel has.
VECTORS = (0x6080000000150000, 0x6050000000150400, 0x6050000000150600, 0x606000000015FFFF, 0x6040000000100054)
RESTORING = ("kvm", "qemu-7.2", "qemu-10.0", "qemu-11.1", "crosvm", "firecracker-1.16", "cloud-hypervisor-53")


@given(pairs(), st.sampled_from(RESTORING), st.sampled_from(["kvm", "signed4", "equal"]), st.data())
def test_fleets_say_under_every_vmm_and_scheme_what_is_said_of_one_pair(
    pair: tuple[Target, Registers], restoring_vmm: str, scheme: str, data: st.DataObject
) -> None:
    target, registers = pair
    assume(registers)
    some = data.draw(st.lists(st.sampled_from(sorted(registers)), max_size=6, unique=True))
    strangers = data.draw(st.lists(st.sampled_from((*pool.STRANGERS, *VECTORS)), max_size=2, unique=True))
    drawn = {one: data.draw(st.integers(0, (1 << 8 * size(one)) - 1)) for one in (*some, *strangers)}
    vm = target.register_set(registers | drawn)
    fleet = kvmfw.Fleet([vm], [target.host], scheme=scheme, vmm=restoring_vmm)
    said = kvmfw.validate(vm, target.host, scheme=scheme, vmm=restoring_vmm)
    assert fleet.validate_pairs([0], [0])[0] == said.outcome == fleet.explain(0, 0).outcome


@given(example_pairs(), st.sampled_from(RESTORING), st.booleans())
def test_where_a_pmu_is_unsure_only_what_both_vcpus_have_in_common_is_said(
    pair: tuple[Target, Registers], restoring_vmm: str, by_fleet: bool
) -> None:
    target, registers = pair
    assume(registers)
    other = [feature for feature in target.vcpu.features if feature not in ("pmu_v3", "pmu_v3_strict")]

    def outcome(*features: str, enabled: tuple[str, ...] = ()) -> Outcome:
        vm = kvmfw.RegisterSet.from_mapping(
            registers,
            features=[*other, *features],
            vgic=target.vcpu.vgic,
            enabled=[*target.vcpu.enabled, *enabled],
        )
        if by_fleet:
            said = kvmfw.Fleet([vm], [target.host], vmm=restoring_vmm).validate_pairs([0], [0])[0]
        else:
            said = kvmfw.validate(vm, target.host, vmm=restoring_vmm).outcome
        return Outcome(said)

    both = {outcome("pmu_v3"), outcome()}
    unsure = outcome("pmu_v3", enabled=("pmu_v3_unsure",))
    assert unsure == Outcome.UNKNOWN or {unsure} == both
    assert unsure == outcome(enabled=("pmu_v3_unsure",)), "whichever was inferred"
    assert outcome("power_off") == outcome(), "how a vCPU starts says nothing of its registers"


@given(example_pairs())
def test_hiding_answers_never_turns_a_refusal_into_an_accept_or_back(pair: tuple[Target, Registers]) -> None:
    target, registers = pair
    measured, derived = target.verdict(registers), target.verdict(registers, derive_only=True)
    unknown = {
        f.register
        for verdict in (measured, derived)
        for f in verdict.findings
        if f.outcome is Outcome.UNKNOWN
    }
    assert refused(measured) - unknown == refused(derived) - unknown


def test_the_laws_have_something_to_look_at() -> None:
    assert len(pool.vector_targets()) > 200
    assert len({register for target in pool.vector_targets() for register in target.fresh}) > 60
    if pool.EXAMPLES.exists():
        assert pool.example_targets()
        assert any(target.document.get("answers") for target in pool.example_targets())


# --- what is not known ----------------------------------------------------------------------------

CERTAIN = (Outcome.ACCEPT, Outcome.CHANGE, Outcome.REFUSE)


@pytest.mark.parametrize("vmm", ["cloud-hypervisor-53", "crosvm", "kvm"])
@given(target=st.sampled_from(pool.example_targets()))
def test_taking_capabilities_away_never_makes_another_certain_outcome(vmm: str, target: Target) -> None:
    host = target.document["host"]
    bare = target.with_document(host={key: value for key, value in host.items() if key != "capabilities"})
    before, after = (one.verdict(target.fresh, vmm=vmm).outcome for one in (target, bare))
    assert after in (before, Outcome.UNKNOWN)
    vm = target.register_set(target.fresh)
    assert kvmfw.Fleet([vm], [bare.host], vmm=vmm).validate_pairs([0], [0])[0] == after


@pytest.mark.parametrize("name", ["linux", "v7.4.0", "custom-7.4"])
@given(target=st.sampled_from(pool.example_targets()), data=st.data())
def test_a_kernel_without_a_release_is_never_told_otherwise_than_a_vendors(
    name: str, target: Target, data: st.DataObject
) -> None:
    register = data.draw(st.sampled_from(sorted(target.fresh)))
    value = data.draw(st.integers(0, (1 << 8 * size(register)) - 1))
    named, vendors = (
        target.with_document(host=target.document["host"] | {"kernel": kernel}).host.ask(
            target.label.rsplit(" ", 1)[1], register, [value], derive_only=True
        )[0]
        for kernel in (name, "7.4.0-1.amzn2023")
    )
    assert named[0] in (vendors[0], "unknown") or vendors[0] == "unknown"
