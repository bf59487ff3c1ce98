"""Facts that are less than a capture refuse only what the captures that fit them refuse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmfw import Host, Outcome, RegisterSet, validate
from kvmfw.readers import HostFacts
from kvmfw.registers import Field, fields_of, find_register, named

CAPTURES = sorted((Path(__file__).parents[1] / "examples" / "captures").glob("*.json"))
NESTED = Path(__file__).parent / "data" / "field" / "nested-vm-that-ran" / "host.json.gz"
HOSTS = {path.stem: Host.load(path) for path in CAPTURES} | {"nested": Host.load(NESTED)}
Made = tuple[list[str], bool, list[str]]


def made(host: Host) -> Iterator[tuple[str, Made, dict[int, int]]]:
    """Give the vCPUs that a host made, with their registers."""
    for name, features, vgic, enabled in host._native.vcpus():
        registers = host._native.registers(features, vgic, enabled)
        if registers is not None:
            yield name, (features, vgic, enabled), dict(registers)


def a_set(how: Made, registers: dict[int, int]) -> RegisterSet:
    features, vgic, enabled = how
    return RegisterSet.from_mapping(registers, features=features, vgic=vgic, enabled=enabled)


def refused(host: Host, vm: RegisterSet) -> set[int | None]:
    findings = validate(vm, host).findings
    return {finding.register for finding in findings if finding.outcome is Outcome.REFUSE}


def spoken(facts: HostFacts, vm: RegisterSet) -> set[int | None]:
    verdict = facts.judge(vm)
    assert verdict.outcome in (Outcome.REFUSE, Outcome.UNKNOWN)
    return {finding.register for finding in verdict.findings if finding.outcome is Outcome.REFUSE}


def test_a_list_refuses_only_what_every_vcpu_of_the_host_refuses() -> None:
    vms = [(how, registers) for host in HOSTS.values() for _, how, registers in made(host)]
    vms = list({(str(how), tuple(registers)): (how, registers) for how, registers in vms}.values())
    certain = open_ = 0
    for host in HOSTS.values():
        vcpus = list(made(host))
        lists = {frozenset(registers) for *_, registers in vcpus}
        for how, registers in vms:
            if how not in [how for _, how, _ in vcpus]:
                continue
            vm = a_set(how, registers)
            by_kvm = refused(host, vm)
            for listed in lists:
                by_facts = spoken(HostFacts("host", listed), vm)
                assert by_facts <= by_kvm, (host.name, how, len(by_facts - by_kvm))
                certain += len(by_facts)
                open_ += len(registers.keys() - listed - by_facts)
    assert certain > 1000
    assert open_ > 1000


@pytest.mark.parametrize(
    "words",
    [
        ("pmu_v3",),
        ("sve",),
        ("ptrauth_address", "ptrauth_generic"),
        ("has_el2",),
    ],
)
def test_a_list_without_a_feature_says_nothing_of_its_registers(words: tuple[str, ...]) -> None:
    seen = 0
    for host in HOSTS.values():
        for _, how, registers in made(host):
            if not set(words) <= set(how[0]):
                continue
            plain = [other for _, (features, *_), other in made(host) if not set(words) & set(features)]
            for other in plain:
                verdict = HostFacts("host", frozenset(other)).judge(a_set(how, registers))
                assert verdict.outcome is Outcome.UNKNOWN, (host.name, words, verdict.findings[0])
                seen += registers.keys() != other.keys()
    assert seen


def test_what_get_reg_list_does_not_print_is_open() -> None:
    host = next(host for host in HOSTS.values() if host.kernel.startswith("7.3"))
    _, how, registers = next(made(host))
    printed = frozenset(register for register in registers if register >> 16 & 0xFFF != 0x11)
    assert len(registers) - len(printed) == 14
    assert HostFacts("host", printed).judge(a_set(how, registers)).outcome is Outcome.UNKNOWN


def test_a_list_with_the_feature_tells_of_its_registers() -> None:
    listed = frozenset({named("PMCR_EL0"), named("ZCR_EL1"), named("HCR_EL2")})
    facts = HostFacts("host", listed)
    unnamed = 0x603000000013C096
    for name, outcome in [
        ("PMMIR_EL1", Outcome.REFUSE),
        ("SVE_VLS", Outcome.REFUSE),
        ("TCR2_EL2", Outcome.REFUSE),
        ("ZCR_EL2", Outcome.REFUSE),
        ("TCR2_EL1", Outcome.REFUSE),
        ("PSCI_VERSION", Outcome.REFUSE),
        ("VNCR_EL2", Outcome.UNKNOWN),
        ("CNTHV_CTL_EL2", Outcome.UNKNOWN),
        ("TFSR_EL1", Outcome.UNKNOWN),
        ("DACR32_EL2", Outcome.UNKNOWN),
        (f"{unnamed:#x}", Outcome.UNKNOWN),
    ]:
        register = find_register(name)
        assert register is not None
        assert facts.judge(RegisterSet.from_mapping({register: 0})).outcome is outcome, name


def words_of(own: int, field: Field) -> list[int]:
    """Give a register with every number in one of its fields."""
    mask = ((1 << field.width) - 1) << field.shift
    return [own & ~mask | number << field.shift for number in range(1 << field.width)]


def offered(effects: list[str], own: int) -> tuple[int, int]:
    """Give the numbers of a field around the host's own that it keeps."""
    lowest = highest = own
    while lowest > 0 and effects[lowest - 1] == "kept":
        lowest -= 1
    while highest + 1 < len(effects) and effects[highest + 1] == "kept":
        highest += 1
    return lowest, highest


@pytest.mark.parametrize("name", HOSTS)
def test_a_range_refuses_only_what_every_vcpu_of_the_host_refuses(name: str) -> None:
    host = HOSTS[name]
    vcpus = [(vcpu, how) for vcpu, how, _ in made(host)]
    _, _, registers = next(made(host))
    seen = 0
    for register, own in registers.items():
        for field in fields_of(register):
            if field.width > 4:
                continue
            words = words_of(own, field)
            effects = {vcpu: [said[0] for said in host.ask(vcpu, register, words)] for vcpu, _ in vcpus}
            range_ = offered(effects[vcpus[0][0]], field.of(own))
            facts = HostFacts("host", ranges={register: {field.name: (field.shift, field.width, *range_)}})
            for number in {0, range_[0] - 1, range_[1] + 1, len(words) - 1} - set(
                range(range_[0], range_[1] + 1)
            ):
                if not 0 <= number < len(words):
                    continue
                for vcpu, how in vcpus:
                    if spoken(facts, a_set(how, {register: words[number]})):
                        assert effects[vcpu][number] == "refused", (vcpu, field, number, range_)
                        seen += 1
    assert seen > 50


@pytest.mark.parametrize(
    ("register", "field", "has", "range_"),
    [
        ("ID_AA64DFR0_EL1", "PMUVer", 15, (0, 6)),
        ("ID_AA64DFR0_EL1", "PMUVer", 6, (0, 0)),
        ("ID_AA64MMFR2_EL1", "NV", 2, (0, 0)),
        ("ID_AA64PFR0_EL1", "MPAM", 1, (0, 0)),
        ("ID_AA64PFR0_EL1", "SVE", 1, (0, 0)),
        ("ID_AA64PFR0_EL1", "GIC", 1, (0, 0)),
        ("ID_AA64PFR1_EL1", "MTE", 2, (0, 0)),
        ("ID_AA64ISAR1_EL1", "APA", 1, (0, 0)),
        ("ID_AA64ZFR0_EL1", "AES", 2, (0, 0)),
        ("ID_AA64MMFR0_EL1", "TGRAN4", 15, (0, 0)),
        ("ID_AA64MMFR1_EL1", "SpecSEI", 3, (1, 2)),
        ("ID_DFR0_EL1", "PerfMon", 3, (0, 0)),
        ("ID_ISAR0_EL1", "Divide", 3, (0, 0)),
    ],
)
def test_what_kvm_may_take_beyond_a_range_is_open(
    register: str, field: str, has: int, range_: tuple[int, int]
) -> None:
    id_ = named(register)
    found = next(one for one in fields_of(id_) if one.name == field)
    facts = HostFacts("host", ranges={id_: {field: (found.shift, found.width, *range_)}})
    vm = RegisterSet.from_mapping({id_: has << found.shift | (6 if register == "ID_AA64DFR0_EL1" else 0)})
    assert facts.judge(vm).outcome is Outcome.UNKNOWN
