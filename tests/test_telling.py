"""What people are told of verdicts: equal findings in one line, the heaviest first, what to do, why a register is not there."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import kvmfw
from kvmfw import readers
from kvmfw.cli import main
from kvmfw.cpus import cpu_name, cpu_with_revision
from kvmfw.rules import rules
from kvmfw.telling import WEIGHTS, Weight, fold, overview, weight_of, what_to_do
from kvmfw.telling.folds import names_of
from kvmfw.telling.knobs import knob_of
from kvmfw.testing import tiny_host, tiny_set
from kvmfw.verdict import Outcome
from tests.support import golden

EXAMPLES = Path(__file__).parents[1] / "examples"
CAPTURES = EXAMPLES / "captures"
NEWER = CAPTURES / "6.12.117+deb13-arm64__neoverse-n1__default.json"


def run(*arguments: str | Path, width: int = 160) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments], env={"COLUMNS": str(width)})


@pytest.fixture(scope="module")
def fleet() -> kvmfw.Fleet:
    return kvmfw.Fleet.load(EXAMPLES)


@pytest.fixture(scope="module")
def sides() -> tuple[dict[str, kvmfw.RegisterSet], dict[str, kvmfw.Host]]:
    vms, hosts = readers.fleet_folder(EXAMPLES)
    return {vm.name: vm for vm in vms}, {host.name: host for host in hosts}


# --- many pairs -----------------------------------------------------------------------------------


def test_many_pairs_are_an_overview_first() -> None:
    result = run("validate", EXAMPLES / "vms.jsonl", NEWER, width=80)
    lines = result.stdout.splitlines()
    assert len(lines) < 200
    assert lines[0].startswith("167 VMs on 1 host: ")
    numbers = Counter(verdict.outcome.name for _, verdict in judged_on(NEWER))
    for name, count in numbers.items():
        assert f"{count:,} {name}" in lines[0]
    assert result.exit_code == 2
    assert max(map(len, (line for line in lines if "KVMFW-" not in line))) <= 80


def judged_on(capture: Path) -> list[tuple[tuple[str, str], kvmfw.Verdict]]:
    host = kvmfw.Host.load(capture)
    vms = readers.register_sets(EXAMPLES / "vms.jsonl")
    return [((vm.name, host.name), kvmfw.validate(vm, host)) for vm in vms]


def test_an_overview_counts_what_the_verdicts_say() -> None:
    judged = judged_on(NEWER)
    found = overview(judged)
    assert sum(found.outcomes.values()) == len(judged) == sum(len(one.pairs) for one in found.alike)
    for reason in found.reasons:
        speaks = [
            pair
            for pair, verdict in judged
            if any((one.outcome, one.rule) == (reason.outcome, reason.rule) for one in verdict.findings)
        ]
        assert 0 < reason.pairs <= len(speaks)
    said = {(one.outcome, one.rule) for _, verdict in judged for one in verdict.findings}
    assert {(one.outcome, one.rule) for one in found.reasons} == said
    orders = [(-one.outcome, -(one.weight or 0), -one.pairs) for one in found.reasons]
    assert orders == sorted(orders)


def test_all_prints_every_verdict_in_full() -> None:
    result = run("validate", EXAMPLES / "vms.jsonl", NEWER, "--all")
    assert len(re.findall(r"^\w+  \S+ on \S+  \(vmm", result.stdout, re.MULTILINE)) == 167


# --- one pair -------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [80, 100, 160])
@pytest.mark.parametrize(
    ("vm", "host"), [("v1-73-a.full.fresh", "v1-612-a"), ("n1-612-a.gic3.fresh", "n1-73-a")]
)
def test_rule_evidence_and_cure_stand_at_every_width(
    fleet: kvmfw.Fleet, vm: str, host: str, width: int
) -> None:
    text = run("explain", EXAMPLES, vm, host, width=width).stdout
    for finding in fleet.explain(vm, host).findings:
        assert re.search(rf"{finding.rule},? +{finding.evidence}", text)
        if finding.outcome is Outcome.REFUSE:
            assert f"{finding.rule}: {what_to_do(finding.rule)}" in " ".join(text.split())


def test_folds_hold_every_finding_once_and_the_heaviest_first(fleet: kvmfw.Fleet) -> None:
    for vm in range(0, len(fleet.vm_names), 20):
        for host in range(len(fleet.host_names)):
            findings = fleet.explain(vm, host).findings
            folds = fold(findings)
            told = [one for made in folds for one in made.findings]
            assert sorted(map(id, told)) == sorted(map(id, findings))
            order = [(made.outcome, made.weight or 0) for made in folds]
            assert order == sorted(order, reverse=True)
            for made in folds:
                assert len({(one.outcome, one.rule, one.evidence) for one in made.findings}) == 1
            assert len(fold(findings, every=True)) == len(findings)


def test_qemu_folds_its_list_as_kvm_does() -> None:
    """65 rows said one after another that QEMU refuses the list."""
    vms, hosts = readers.fleet_folder(EXAMPLES)
    verdict = kvmfw.validate(vms[0], hosts[4], vmm="qemu-7.2")
    listed = [one for one in verdict.findings if one.rule == "KVMFW-QEMU-LIST"]
    assert len(listed) > 60
    assert sum(made.rule == "KVMFW-QEMU-LIST" for made in fold(verdict.findings)) <= 2


def test_a_register_that_is_not_there_is_explained_by_what_hides_it(
    fleet: kvmfw.Fleet, sides: tuple[dict[str, kvmfw.RegisterSet], dict[str, kvmfw.Host]]
) -> None:
    def told(vm: str, host: str) -> str:
        findings = fleet.explain(vm, host).findings
        return "\n".join(made.sentence for made in fold(findings, sides[0][vm], sides[1][host]))

    assert "this host lists it for vCPUs with pmu_v3; this VM was made without" in told(
        "n1-510-a.gic3.fresh", "n1-612-a"
    )
    hidden = told("n1-612-a.gic3.fresh", "n1-73-a")
    assert "ID_AA64MMFR3_EL1.TCRX of the VM is not 0" in hidden
    assert "ID_AA64MMFR3_EL1.S1PIE of the VM is not 0" in hidden
    assert "listed by 6.15 and later" in told("v1-73-a.full.fresh", "v1-612-a")


def test_other_cpus_are_named(fleet: kvmfw.Fleet) -> None:
    findings = fleet.explain("n1-510-a.gic3.fresh", "v1-612-a").findings
    said = "\n".join(made.sentence for made in fold(findings))
    assert "The VM has run on Neoverse N1 r4p1, this host is Neoverse V1 r1p2" in said


# --- the tables -----------------------------------------------------------------------------------


def test_every_rule_of_verdicts_has_a_cure() -> None:
    speaking = {rule.id for rule in rules() if rule.units}
    for rule in speaking:
        assert what_to_do(rule)
    with pytest.raises(KeyError):
        what_to_do("KVMFW-TRAP")


def test_every_rule_that_changes_something_has_a_weight() -> None:
    assert set(WEIGHTS) <= {rule.id for rule in rules() if rule.units}
    seen: set[Weight] = set()
    vms, hosts = readers.fleet_folder(EXAMPLES)
    for vmm in ("kvm", "qemu-7.2", "qemu-11.1", "firecracker", "crosvm", "cloud-hypervisor"):
        for vm in vms[::12]:
            for host in hosts[::4]:
                for one in kvmfw.validate(vm, host, vmm=vmm).findings:
                    weight = weight_of(one)
                    assert (weight is None) == (one.outcome is not Outcome.CHANGE)
                    seen |= {weight} - {None}  # type: ignore[arg-type]
    for case in golden.cases():
        for one in kvmfw.validate(
            case.register_set(), case.target(), vmm=case.vmm, state=case.state
        ).findings:
            assert (weight_of(one) is None) == (one.outcome is not Outcome.CHANGE), case.name
    assert seen == set(Weight)


def test_a_lost_vector_length_weighs_more_than_a_default() -> None:
    assert WEIGHTS["KVMFW-SVE-VLS"][0] > WEIGHTS["KVMFW-ID-REGISTER"][0] > WEIGHTS["KVMFW-LIST-EXTRA"][0]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["A"], "A"),
        (["R0", "R1"], "R0, R1"),
        (["R0", "R1", "R2", "R4"], "R0 to R2, R4"),
        (["S3_3_C14_C12_6", "S3_3_C14_C12_7", "S3_3_C14_C13_0"], "S3_3_C14_C12_6 to S3_3_C14_C13_0"),
        (["ID_ISAR1_EL1", "ID_ISAR1_EL2", "ID_ISAR2_EL1"], "ID_ISAR1_EL1, ID_ISAR1_EL2, ID_ISAR2_EL1"),
        ([], ""),
    ],
)
def test_names_in_a_row_are_named_by_their_ends(names: list[str], told: str) -> None:
    assert names_of(names) == told


def test_knobs_lower_what_the_vmm_can_set(fleet: kvmfw.Fleet) -> None:
    findings = fleet.explain("v1-73-a.gic3.fresh", "v1-612-a").findings
    psci = next(one for one in findings if one.name == "PSCI_VERSION")
    assert knob_of(psci, "qemu-11.1") == "QEMU 11.1: -cpu host,kvm-psci-version=1.1"
    assert knob_of(psci, "qemu-7.2") is None
    assert "0x6030000000140000" in (knob_of(psci, "firecracker") or "")
    raised = next(one for one in fleet.explain("v1-73-a.full.fresh", "v1-612-a").findings if one.fields)
    assert raised.fields[0].own > raised.fields[0].saved
    assert knob_of(raised, "qemu-11.1") is None


def test_cpus_have_names_and_unknown_ones_their_numbers() -> None:
    names = {cpu_name(kvmfw.Host.load(path).midr) for path in CAPTURES.glob("*.json")}
    assert names == {"Cortex-A57", "Cortex-A76", "Neoverse N1", "Neoverse V1", "QEMU max"}
    assert cpu_with_revision(0x7A2F1234) == "CPU 0x7a/0x123 r2p4"


def test_every_rule_that_can_change_something_has_a_weight() -> None:
    """Rules that only refuse, or only say that it is not known, are named here."""
    lists, facts = (
        {"KVMFW-QEMU-COUNT", "KVMFW-QEMU-LIST"},
        {"KVMFW-FACTS-FIELD", "KVMFW-FACTS-OPEN", "KVMFW-FACTS-LIST"},
    )
    audits = {"KVMFW-TRAP", "KVMFW-HOMELESS", "KVMFW-STRANDED", "KVMFW-DRAIN", "KVMFW-FEW-TARGETS"}
    vcpus = {"KVMFW-VCPU", "KVMFW-VMM", "KVMFW-VMM-RELEASE", "KVMFW-UNUSABLE"}
    beside = {"KVMFW-ADDRESS-BITS", "KVMFW-PAGE-SIZE"}
    assert {rule.id for rule in rules()} - WEIGHTS.keys() == lists | facts | audits | vcpus | beside


def test_a_verdict_shows_itself_in_words() -> None:
    vm, host = tiny_set(workaround_3=2, name="a"), tiny_host(workaround_3=1, name="h")
    verdict = kvmfw.validate(vm, host)
    (finding,) = verdict.findings
    assert repr(finding) == f"<Finding REFUSE KVMFW-WA3-LEVEL, {finding.evidence}: {finding.sentence}>"
    assert str(finding.register) not in repr(verdict)
    odd = dataclasses.replace(finding, sentence="<b>a\u202e")
    page = dataclasses.replace(verdict, findings=(finding, odd), vmm="<kvm>")._repr_html_()
    assert page.count("<tr>") == 3
    assert finding.sentence in page
    assert "KVMFW-WA3-LEVEL" in page
    assert "&lt;b&gt;a" in page
    assert "\u202e" not in page
    assert "vmm &lt;kvm&gt;" in page
