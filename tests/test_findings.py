"""Findings, their units and their rules: nothing that a verdict says gets lost on the way to a report."""

from __future__ import annotations

import json
import re
import shutil
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

import kvmfw
from kvmfw import Outcome
from kvmfw.analysis import Report, examine, make_frame
from kvmfw.cli import main
from kvmfw.report import Issue, issues
from kvmfw.testing import tiny_host, tiny_set
from tests.support import pool
from tests.support.pool import Target, mutated
from tests.support.slow_audit import random_fleet
from tests.support.traps import without_kinds
from tests.support.units import unit_of

EXAMPLES = Path(__file__).parents[1] / "examples"
HIDING = EXAMPLES / "captures" / "6.18.15+deb13-arm64__max__default.json"
TCR2 = 0x603000000013C103
MMFR3 = kvmfw.find_register("ID_AA64MMFR3_EL1") or 0


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], env={"COLUMNS": "160"})


# --- a unit for each finding ----------------------------------------------------------------------


def hidden_fleet(folder: Path, *, with_other: bool) -> Path:
    """A VM without TCR2_EL1 whose ID registers hide it, and an unrelated VM that has it."""
    (folder / "captures").mkdir(parents=True)
    shutil.copy(HIDING, folder / "captures" / HIDING.name)
    capture = json.loads(HIDING.read_text())["host"]["name"]
    (folder / "hosts.csv").write_text(f"host,capture\nh1,{capture}\n")
    saved = kvmfw.Host.load(HIDING).fresh_set(features=("psci_0_2",))
    assert saved is not None
    fresh = saved.to_mapping()
    hides = {register: value for register, value in fresh.items() if register != TCR2} | {MMFR3: 0x110}
    vms = [kvmfw.RegisterSet.from_mapping(hides, name="hides")]
    if with_other:
        vms.append(kvmfw.RegisterSet.from_mapping(fresh, name="shows"))
    (folder / "vms.jsonl").write_text("\n".join(json.dumps(vm.to_document()) for vm in vms) + "\n")
    return folder


@pytest.mark.parametrize("with_other", [False, True])
def test_an_unrelated_vm_takes_no_issue_away(tmp_path: Path, with_other: bool) -> None:
    folder = hidden_fleet(tmp_path / "fleet", with_other=with_other)
    how = ("audit", folder, "--vmm", "qemu-11.1", "--fail-on", "refuse")
    verdict = kvmfw.Fleet.load(folder, vmm="qemu-11.1").explain(0, 0)
    assert verdict.outcome is Outcome.REFUSE
    assert [(one.rule, one.unit) for one in verdict.findings if one.outcome is Outcome.REFUSE] == [
        ("KVMFW-HIDDEN", "list")
    ]
    sarif = run(*how, "--format", "sarif")
    assert sarif.exit_code == 2
    results = json.loads(sarif.stdout)["runs"][0]["results"]
    told = {result["ruleId"]: result["properties"]["what"] for result in results}
    others = {"KVMFW-HOMELESS": "homeless"} | ({"KVMFW-FEW-TARGETS": "few"} if with_other else {})
    assert told == {"KVMFW-HIDDEN": "refuse", "KVMFW-STRANDED": "stranded"} | others
    root = ElementTree.fromstring(run(*how, "--format", "junit").stdout)
    assert root.get("failures") == "1"


def test_units_of_findings_are_words_of_the_verdict() -> None:
    finding = kvmfw.validate(tiny_set(workaround_3=2), tiny_host(workaround_3=1)).findings[0]
    assert (finding.unit, finding.name) == ("register", "SMCCC_ARCH_WORKAROUND_3")
    other = kvmfw.RegisterSet.from_mapping({}, features=("psci_0_2", "sve"))
    (finding,) = kvmfw.validate(other, tiny_host()).findings
    assert (finding.unit, finding.name, finding.register) == ("vcpu", "vCPU", None)
    longer = kvmfw.RegisterSet.from_mapping({0x6030000000138002 + n: 0 for n in range(4)})
    lists = [
        one for one in kvmfw.validate(longer, tiny_host(), vmm="qemu-7.2").findings if one.register is None
    ]
    assert [(one.rule, one.unit, one.name) for one in lists] == [
        ("KVMFW-QEMU-COUNT", "list", "register list")
    ]


def unusable_fleet() -> kvmfw.Fleet:
    """A fleet with a VM that says two things of one register."""
    columns = {"vm": ["good", "bad", "bad"], "register": [0x6030000000140003] * 3, "value": [0, 0, 1]}
    table = pa.table(
        {
            "vm": columns["vm"],
            "register": pa.array(columns["register"], pa.uint64()),
            "value": pa.array(columns["value"], pa.uint64()),
        }
    )
    return kvmfw.Fleet(table, [tiny_host(name="h")], on_error="collect")


def test_vms_whose_rows_could_not_be_used_are_issues_too() -> None:
    fleet = unusable_fleet()
    (finding,) = fleet.explain(1, 0).findings
    assert (finding.outcome, finding.rule, finding.unit) == (Outcome.UNKNOWN, "KVMFW-UNUSABLE", "list")
    found = [issue for issue in issues(examine(make_frame(fleet))) if issue.word == "unknown"]
    assert [issue.rule for issue in found] == ["KVMFW-UNUSABLE"]


# --- fields have names ----------------------------------------------------------------------------


def refusing(register: str, shift: int) -> tuple[Target, dict[int, int]]:
    """A real host and what it would save, with one field above what it offers."""
    number = kvmfw.find_register(register)
    for target in pool.example_targets():
        fresh = target.fresh
        if number in fresh and fresh[number] >> shift & 0xF == 0:
            changed = fresh | {number: fresh[number] | 1 << shift}
            if target.verdict(changed).outcome is Outcome.REFUSE:
                return target, changed
    raise AssertionError(register)


def test_sentences_name_fields_as_people_do() -> None:
    target, registers = refusing("ID_AA64ISAR0_EL1", 60)
    (finding,) = [one for one in target.verdict(registers).findings if one.outcome is Outcome.REFUSE]
    assert finding.sentence == "ID_AA64ISAR0_EL1.RNDR: saved 1, this host offers 0; KVM refuses it (EINVAL)"
    assert [(field.name, field.high, field.low, field.saved, field.own) for field in finding.fields] == [
        ("RNDR", 63, 60, 1, 0)
    ]
    assert finding.offers == "only 0 in RNDR"


def test_bits_in_no_field_keep_their_numbers() -> None:
    target, registers = refusing("ID_AA64ISAR0_EL1", 24)
    (finding,) = [one for one in target.verdict(registers).findings if one.outcome is Outcome.REFUSE]
    assert finding.sentence.startswith("ID_AA64ISAR0_EL1 bits 27:24: saved 1, this host offers 0; ")


def test_reports_name_fields() -> None:
    target, registers = refusing("ID_AA64ISAR0_EL1", 60)
    fleet = kvmfw.Fleet([target.register_set(registers)], [target.host])
    report = examine(make_frame(fleet))
    assert report.tables["blockers"][0]["fields"] == ["RNDR"]
    assert report.tables["cures"][0]["fields"] == ["ID_AA64ISAR0_EL1.RNDR"]
    assert any("ID_AA64ISAR0_EL1.RNDR: saved 1" in issue.message for issue in issues(report))


def test_fields_are_those_of_the_core() -> None:
    ctr = {field.name: (field.shift, field.width) for field in kvmfw.fields_of(0x603000000013D801)}
    assert ctr["L1Ip"] == (14, 2)
    assert ctr["DIC"] == (29, 1)
    assert kvmfw.fields_of(0x6030000000140000) == []


def test_field_tables_stand_in_the_core_alone() -> None:
    for path in sorted((EXAMPLES.parent / "python").rglob("*.py")):
        assert "TGRAN64_2" not in path.read_text(), path


# --- rule ids -------------------------------------------------------------------------------------


def test_a_rule_is_explained_with_its_source() -> None:
    told = run("rule", "KVMFW-WA3-LEVEL").stdout
    assert "WORKAROUND_3 (Spectre BHB)" in told
    assert "docs/semantics.md, 1.5" in told
    listed = json.loads(run("rule", "--format", "json").stdout)["rules"]
    assert [row["id"] for row in listed] == [rule.id for rule in kvmfw.rules()]
    assert "KVMFW-HIDDEN" in run("rule").stdout
    nothing = run("rule", "KVMFW-NOTHING")
    assert (nothing.exit_code, nothing.stderr.count("\n")) == (1, 1)


def test_sources_of_rules_lead_to_sections_that_there_are() -> None:
    folder = EXAMPLES.parent
    semantics = (folder / "docs" / "semantics.md").read_text()
    checked = 0
    for rule in kvmfw.rules():
        for document in re.findall(r"docs/[a-z]+\.md", rule.source):
            assert (folder / document).exists(), rule
        for section in re.findall(
            r"\b(?:[1-9]|12)\.\d+\b(?= |\.$|,|:|;| to)", rule.source.partition("semantics.md")[2]
        ):
            assert re.search(rf"(^#+ |\*\*|^- |\b){re.escape(section)}\b", semantics, re.MULTILINE), (
                rule.id,
                section,
            )
            checked += 1
    assert checked > 10


# --- numbers from outside -------------------------------------------------------------------------


@pytest.mark.parametrize("number", [9999, 99, -1, 0.7, "0", None])
@pytest.mark.parametrize("filled", [False, True])
def test_classes_from_outside_are_checked(number: Any, filled: bool) -> None:
    fleet = kvmfw.Fleet([tiny_set(workaround_3=level) for level in range(3)], [tiny_host()])
    if filled:
        fleet.validate_pairs([0], [0])
    with pytest.raises(kvmfw.ArgumentError):
        fleet.class_candidates(number, unknown="refuse", change="accept")


@pytest.mark.parametrize(
    ("number", "error"), [(3, kvmfw.RowError), (-1, kvmfw.RowError), (0.7, kvmfw.ArgumentError)]
)
def test_rows_from_outside_are_checked(number: Any, error: type[Exception]) -> None:
    fleet = kvmfw.Fleet([tiny_set(workaround_3=level) for level in range(3)], [tiny_host()] * 3)
    with pytest.raises(error):
        fleet.class_row(number)
    with pytest.raises(error):
        fleet.candidates(number, unknown="refuse", change="accept")
    for rows in ((number, 0), (0, number)):
        with pytest.raises(error):
            fleet.explain(*rows)


def test_a_class_row_is_the_callers_own_however_often_it_is_asked_for() -> None:
    fleet = kvmfw.Fleet(
        [tiny_set(workaround_3=level) for level in range(3)], [tiny_host(), tiny_host(workaround_3=2)]
    )
    table = fleet.class_table()
    for _ in range(200):
        row = fleet.class_row(1)
        assert row.flags.writeable
        np.testing.assert_array_equal(row, table[fleet.vm_classes[1]])
        row[:] = 77
    np.testing.assert_array_equal(fleet.class_table(), table)


def test_what_a_refused_id_register_hides_is_in_the_way_too() -> None:
    """The case that the laws found: the host refuses ID_AA64PFR2_EL1, whose FPMR = 0 would hide the saved FPMR."""
    pfr2, fpmr = (kvmfw.find_register(name) or 0 for name in ("ID_AA64PFR2_EL1", "FPMR"))
    target = next(one for one in pool.example_targets() if fpmr in one.fresh)
    registers = target.fresh | {pfr2: 0xF << 60}
    fleet = kvmfw.Fleet([target.register_set(registers)], [target.host])
    spoken = [
        {one.name for one in verdict.findings if one.outcome is Outcome.REFUSE}
        for verdict in (fleet.explain(0, 0), fleet.explain_units(0, 0))
    ]
    assert spoken == [{"ID_AA64PFR2_EL1"}, {"ID_AA64PFR2_EL1", "FPMR"}]
    subjects = {issue.subject for issue in issues(examine(make_frame(fleet))) if issue.word == "refuse"}
    assert subjects == spoken[1]


# --- laws -----------------------------------------------------------------------------------------


@cache
def small_targets() -> tuple[Target, ...]:
    """Real hosts, and hosts of the vectors with at most 60 registers."""
    small = [target for target in pool.vector_targets() if len(target.fresh) < 60]
    return (*pool.example_targets(), *small)


@st.composite
def fleets(draw: st.DrawFn, *, least: int = 1) -> tuple[list[kvmfw.RegisterSet], list[kvmfw.Host], str]:
    """Some VMs, some hosts, a policy; VMs were saved on these hosts and then changed."""
    targets = draw(st.lists(st.sampled_from(small_targets()), min_size=1, max_size=3))
    hosts = [target.host.renamed(f"h{number}") for number, target in enumerate(targets)]
    vms = []
    for number in range(draw(st.integers(least, 4))):
        home = draw(st.integers(0, len(hosts) - 1))
        registers = draw(mutated(targets[home]))
        if draw(st.booleans()):
            registers.pop(TCR2, None)
            registers.update({MMFR3: 0} if MMFR3 in registers else {})
        vcpu = targets[home].vcpu
        vms.append(
            kvmfw.RegisterSet.from_mapping(
                registers,
                features=vcpu.features,
                vgic=vcpu.vgic,
                enabled=vcpu.enabled,
                name=f"vm{number}",
                host=draw(st.sampled_from((None, f"h{home}"))),
            )
        )
    vmm = draw(st.sampled_from(("kvm", "qemu-10.2", "qemu-11.1", "firecracker", "crosvm")))
    return vms, hosts, vmm


def report_of(fleet: kvmfw.Fleet, *, change: bool = True, unknown: bool = False) -> Report:
    return examine(make_frame(fleet, change=change, unknown=unknown))


def names(found: list[Issue]) -> set[tuple[str, ...]]:
    # A further VM may open a trap, and fill a host: these two are about all VMs together.
    kept = [issue for issue in found if issue.word not in ("trap", "drain")]
    return {(one.word, one.rule, one.subject, one.host or "", one.register or "") for one in kept}


@given(fleets(least=2))
def test_adding_a_vm_never_takes_an_issue_away(made: tuple[Any, ...]) -> None:
    vms, hosts, vmm = made
    before = names(issues(report_of(kvmfw.Fleet(vms[:-1], hosts, vmm=vmm))))
    after = names(issues(report_of(kvmfw.Fleet(vms, hosts, vmm=vmm))))
    assert before <= after


@given(fleets(), st.booleans())
def test_every_refuse_or_unknown_pair_has_an_issue_with_a_sample(
    made: tuple[Any, ...], unknown: bool
) -> None:
    vms, hosts, vmm = made
    fleet = kvmfw.Fleet(vms, hosts, vmm=vmm)
    report = report_of(fleet, unknown=unknown)
    first = {row["class"]: row["first"] for row in report.tables["host_classes"]}
    told = {(one.word, one.subject, one.host): one for one in issues(report)}
    for vm in range(len(vms)):
        for host in range(len(hosts)):
            verdict = fleet.explain(vm, host)
            assert verdict.outcome == fleet.validate_pairs([vm], [host])[0]
            if verdict.outcome < Outcome.UNKNOWN:
                continue
            word, home = verdict.outcome.name.lower(), first[int(fleet.host_classes[host])]
            worst = [one for one in verdict.findings if one.outcome == verdict.outcome]
            found = [told.get((word, fleet.units[unit_of(fleet, one)], home)) for one in worst]
            (issue, *_) = [one for one in found if one is not None]
            assert issue.message.partition("for example, ")[2]
            assert issue.rule in {rule.id for rule in kvmfw.rules()}


@given(st.one_of(fleets(), st.integers(0, 1 << 32)), st.booleans(), st.booleans())
def test_the_reports_numbers_are_the_apis_numbers(made: Any, change: bool, unknown: bool) -> None:
    if isinstance(made, int):
        plain = random_fleet(made)
        fleet = kvmfw.Fleet(plain.vms, plain.hosts)
    else:
        vms, hosts, vmm = made
        fleet = kvmfw.Fleet(vms, hosts, vmm=vmm)
    assert_same(fleet, change=change, unknown=unknown)


def assert_same(fleet: kvmfw.Fleet, *, change: bool, unknown: bool) -> None:
    words = {False: "refuse", True: "accept"}
    audit = fleet.audit(change=words[change], unknown=words[unknown]).to_dict()  # type: ignore[arg-type]
    report = report_of(fleet, change=change, unknown=unknown)
    assert audit["totals"] == {row["outcome"]: row["pairs"] for row in report.tables["totals"]}
    for name in ("stranded", "traps"):
        # A fleet of which no home is known has no such tables in a report; the API says so in `homeless`.
        assert name in report.tables or name in report.not_done
        assert name in report.not_done or audit[name] == without_kinds(report.tables[name])
    blocked = [
        {key: row[key] for key in ("unit", "pairs", "sole_pairs")} for row in report.tables["blockers"]
    ]
    by_unit = {row["unit"]: row for row in blocked}
    assert {row["unit"]: row for row in audit["blockers"]} == by_unit


@pytest.mark.parametrize("vmm", ["kvm", "qemu-11.1"])
def test_the_examples_have_one_number_of_traps(vmm: str) -> None:
    fleet = kvmfw.Fleet.load(EXAMPLES, vmm=vmm)
    assert_same(fleet, change=True, unknown=False)
    told = json.loads(run("audit", EXAMPLES, "--vmm", vmm, "--format", "json").stdout)
    assert without_kinds(told["traps"]) == fleet.audit(unknown="refuse", change="accept").to_dict()["traps"]
    assert told["traps"]
