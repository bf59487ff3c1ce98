"""What the core knows is not known again elsewhere: who needs it asks, and where a border forces a copy these laws compare."""

from __future__ import annotations

import ast
import gzip
import os
import shutil
from pathlib import Path

import pytest

from kvmfw import Host, RegisterSet, _native, probe, rules
from kvmfw.analysis.changed import without_register
from kvmfw.analysis.means import MEANS
from kvmfw.analysis.opened import protections
from kvmfw.errors import ArgumentError
from kvmfw.ids import is_arm64, is_surrounding
from kvmfw.inventory.guest import as_written_most, is_known_of
from kvmfw.inventory.making import making_of_cpu
from kvmfw.messages.words import errno_of
from kvmfw.psci import VERSIONS
from kvmfw.readers.facts import _properties
from kvmfw.readers.firecracker import CpuTemplate
from kvmfw.readers.folders import hosts
from kvmfw.readers.saved import SavedVcpu, register_set, set_of_words
from kvmfw.readers.vcpu import ENABLED, FEATURES
from kvmfw.readers.vcpus import distinct_vcpus
from kvmfw.registers import fields_of, find_register, listed_by, named, register_name, registers
from kvmfw.report.issues import KINDS
from kvmfw.telling.knobs import KNOBS_OF_QEMU, PSCI, qemu_properties, settable
from tests.support.command import EXAMPLES, run

PACKAGE = Path(__file__).parents[1] / "python" / "kvmfw"
WORD = (1 << 64) - 1
PFR0 = named("ID_AA64PFR0_EL1")


# --- captures of a folder -------------------------------------------------------------------------


def test_the_captures_of_a_fleet_are_its_protections_wherever_they_lie(tmp_path: Path) -> None:
    examples = Path(__file__).parents[1] / "examples" / "captures"
    (tmp_path / "captures" / "rack 1").mkdir(parents=True)
    flat, below, packed = sorted(examples.glob("*.json"))[:3]
    shutil.copy(flat, tmp_path / "captures")
    shutil.copy(below, tmp_path / "captures" / "rack 1")
    (tmp_path / "captures" / "packed.json.gz").write_bytes(gzip.compress(packed.read_bytes()))
    found, _, _ = hosts(tmp_path / "captures")
    assert set(protections(tmp_path)) == {one.name for one in found}
    assert len(found) == 3


# --- releases -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("6.1.150", "6.1.0-56-arm64"),
        ("6.1.0-43-arm64", "6.1.0-44-arm64"),
        ("5.10.0-32-arm64", "5.10.230"),
        ("6.9.12", "6.12.8"),
        ("6.12.8", "6.12.117+deb13-arm64"),
        ("6.18.30-61.116.amzn2023.aarch64", "7.3.4"),
    ],
)
def test_releases_are_ordered_as_the_core_reads_them(older: str, newer: str) -> None:
    releases = [_native.release(text) for text in (older, newer)]
    assert None not in releases
    assert (releases[0] or ()) < (releases[1] or ())


# --- errors ---------------------------------------------------------------------------------------


def test_every_error_of_kvm_is_understood_in_messages() -> None:
    known = dict(_native.errnos())
    assert len(known) > 10
    for name, number in known.items():
        assert getattr(__import__("errno"), name) == number
        for text in (f"write: {name}", f"{os.strerror(number)} (os error {number})", f"errno={number}"):
            assert errno_of(text) == name, text


# --- settings -------------------------------------------------------------------------------------


def test_what_qemu_can_set_is_what_its_properties_say() -> None:
    seen = 0
    for one in registers():
        bits = settable(KNOBS_OF_QEMU, one.id)
        printed = [*qemu_properties({one.id: WORD}, {one.id: WORD})]
        if one.name == "PSCI_VERSION":
            assert bits == WORD
            continue
        assert bool(bits) == bool(printed), one.name
        said = {text.partition("=")[0].removeprefix(f"SYSREG_{one.name}_") for text in printed}
        fields = [field for field in fields_of(one.id) if field.name in said]
        assert bits == sum(((1 << field.width) - 1) << field.shift for field in fields), one.name
        seen += len(fields)
    assert seen > 150
    assert not settable(KNOBS_OF_QEMU, named("MIDR_EL1"))


@pytest.mark.parametrize("vmm", MEANS)
def test_a_vm_starts_with_what_is_wanted_in_bits_that_can_be_set(vmm: str) -> None:
    means = MEANS[vmm]
    for one in registers():
        bits = settable(means.vmm, one.id)
        assert means.starts_with(one.id, 0, WORD) == bits & WORD, one.name
        assert means.starts_with(one.id, WORD, 0) == WORD & ~bits, one.name


# --- the guest and its vCPU -----------------------------------------------------------------------


def test_what_guests_write_is_told_by_the_core() -> None:
    control = {"PMCR_EL0": 6 << 11, "ID_AA64DFR0_EL1": 6 << 8, "PMCNTENSET_EL0": 0, "CNTV_CTL_EL0": 0}
    values = {named(name): value for name, value in control.items()}
    counter = next(one for one in range(0x603000000013DF40, 0x603000000013DF48))
    assert register_name(counter) == "PMEVCNTR0_EL0"
    values[counter] = 0
    host = Host.load("examples/captures/6.12.117+deb13-arm64__neoverse-n1__default.json")
    most = as_written_most(values, host, pmu=True)
    assert most[named("PMCNTENSET_EL0")] == 1 << 31 | 0x3F
    assert most[counter] == WORD
    assert most[named("CNTV_CTL_EL0")] == 7
    assert as_written_most(values | {named("ID_AA64DFR0_EL1"): 5 << 8}, host, pmu=True)[counter] == 0xFFFFFFFF
    assert as_written_most(values, host, pmu=False) == values | {named("CNTV_CTL_EL0"): 7}
    unknown = {named("PMCR_EL0"), named("PMCNTENSET_EL0"), named("CNTV_CTL_EL0"), counter}
    assert not any(map(is_known_of, unknown))
    assert is_known_of(PFR0)


def test_the_probe_writes_only_errors_that_the_core_reads() -> None:
    names = {name for name, _ in _native.errnos()}
    assert names == probe.CAPTURED
    assert {probe.captured_errno(number) for number in range(1, 600)} == names | {"EOTHER"}


def test_the_probe_knows_what_time_changes() -> None:
    changing = {one.id for one in registers() if one.kind == "TimerControl"}
    assert len(changing) >= 4
    assert changing | {named("TIMER_CNT"), named("CNTPCT_EL0")} == probe.COUNTERS


def test_every_property_that_is_printed_for_qemu_is_read() -> None:
    read = 0
    for one in registers():
        for field in fields_of(one.id) if settable(KNOBS_OF_QEMU, one.id) else ():
            (text,) = qemu_properties({one.id: 0}, {one.id: 1 << field.shift})
            told = {"min": 0, "max": 0}
            assert field.name in _properties({text.split("=")[0]: told})[one.id]
            read += 1
    assert read > 100


@pytest.mark.parametrize(
    ("pfr0", "vgic"), [(0x11, False), (0x01000011, True), (0x03000011, True), (None, True)]
)
def test_a_gic_is_told_in_one_way(pfr0: int | None, vgic: bool) -> None:
    saved = {named("ID_AA64DFR0_EL1"): 0x600} | ({} if pfr0 is None else {PFR0: pfr0})
    assert register_set(saved, "vm").vgic is vgic
    assert _native.inferred_vcpu([*saved], [*saved.values()])[1] is vgic


# --- the probe, which is one file -----------------------------------------------------------------


def test_the_probe_knows_the_capabilities_and_words_of_the_core() -> None:
    for word, number in _native.capabilities():
        assert getattr(probe, f"CAP_ARM_{word.upper().removeprefix('HAS_')}") == number, word
    assert tuple(probe.FEATURES) == FEATURES
    assert {*probe.ENABLED, "pmu_v3_unsure"} == set(ENABLED)


def test_the_probe_has_the_cores_registers_that_are_listed_first() -> None:
    assert list(probe.LISTED_FIRST) == _native.listed_first()


@pytest.mark.parametrize(("register", "field"), [("MMFR3", "S1PIE"), ("MMFR3", "TCRX"), ("ISAR2", "ATS1A")])
def test_the_probe_clears_the_cores_fields_before_a_first_run(register: str, field: str) -> None:
    of_core = named(f"ID_AA64{register}_EL1")
    assert getattr(probe, register) == of_core
    (known,) = (one for one in fields_of(of_core) if one.name == field)
    assert getattr(probe, field) == ((1 << known.width) - 1) << known.shift


def texts(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    constants = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {value for value in constants if isinstance(value, str)}


def test_no_other_file_has_numbers_of_capabilities() -> None:
    """Captures have them as texts."""
    own = {str(number) for _, number in _native.capabilities()}
    found = {path.name: sorted(texts(path) & own) for path in PACKAGE.rglob("*.py")}
    assert {name: numbers for name, numbers in found.items() if numbers} == {}


def test_no_other_file_takes_an_id_of_a_register_apart() -> None:
    cuts = (">> 52 & 0xF", ">> 16 & 0xFFF", ">> 60 == 6", "<< 60 |")
    found = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if any(cut in path.read_text() for cut in cuts)
    }
    assert found == {"ids.py", "probe.py"}


def test_no_other_file_has_ids_of_registers() -> None:
    found = set()
    for path in PACKAGE.rglob("*.py"):
        constants = (
            one.value for one in ast.walk(ast.parse(path.read_text())) if isinstance(one, ast.Constant)
        )
        if any(isinstance(one, int) and is_arm64(one) for one in constants):
            found.add(str(path.relative_to(PACKAGE)))
    assert found == {"probe.py"}


def test_only_what_stands_beside_registers_is_left_out_of_them() -> None:
    strange = (1 << 64) - 1
    vm = RegisterSet.from_mapping({strange: 1, 0xF0300007_0006C664: 2})
    assert vm.to_mapping() == {strange: 1}
    assert not is_surrounding(strange)


def test_the_rules_of_absent_registers_are_those_that_speak_of_them() -> None:
    absent = {rule.id for rule in rules() if rule.absence}
    assert {"KVMFW-LIST-MISSING", "KVMFW-HIDDEN"} < absent
    assert "KVMFW-LIST-EXTRA" not in absent


def test_a_version_of_psci_that_is_printed_is_read() -> None:
    for name, value in VERSIONS.items():
        (printed,) = qemu_properties({PSCI: value}, {PSCI: 0})
        assert printed == f"kvm-psci-version={name}"
        assert making_of_cpu(f"host,{printed}").psci == value
    assert [*qemu_properties({PSCI: 1}, {PSCI: 0})] == [], "0.1 is a vCPU without psci_0_2"


ICC_CTLR = 0xF0300007_0006C664
LATER, EARLIER = 0x6030000000160002, 0x6030000000140001


def test_whatever_is_changed_of_a_set_its_order_and_what_stands_beside_it_stay() -> None:
    vm = RegisterSet.from_mapping({LATER: 3, EARLIER: 1, ICC_CTLR: 0x400}, name="vm")
    hidden = without_register([vm], [0x6030000000140003])[0]
    templated = CpuTemplate({EARLIER: (1, 0)}, {}).apply(vm)
    (alone,) = distinct_vcpus([SavedVcpu("vm", 0, vm), SavedVcpu("vm", 1, vm)])
    for one in (hidden, templated, alone):
        document = one.to_document()
        assert [*document["registers"]] == [hex(LATER), hex(EARLIER)]  # type: ignore[misc]
        assert document["surroundings"] == {"ICC_CTLR_EL1": "0x400"}


def test_words_of_a_vcpu_have_one_reader() -> None:
    spaced, close = (
        set_of_words({EARLIER: 1}, words, "vm") for words in ("psci_0_2, mte, vgic", "psci_0_2,mte,vgic")
    )
    assert spaced.to_document() == close.to_document()
    assert (close.features, close.enabled, close.vgic) == (["psci_0_2"], ["mte"], True)
    with pytest.raises(ArgumentError, match="`wings` says nothing about a vCPU"):
        set_of_words({EARLIER: 1}, "psci_0_2,wings", "vm")


def test_a_register_of_the_pmu_is_listed_by_the_kernels_of_its_part() -> None:
    for name in ("PMCR_EL0", "PMCCNTR_EL0", "PMSELR_EL0", "PMUSERENR_EL0"):
        assert listed_by(find_register(name) or 0) == "up to 5.10 always, from 5.11 on with a PMU", name


def test_the_kinds_of_issues_are_the_words_of_an_audit() -> None:
    told = " ".join(run("audit", EXAMPLES, "--fail-on", "?").output.split())
    words = told.partition("expected ")[2].partition(" or none")[0]
    assert {*words.split(", ")} == {*KINDS}
