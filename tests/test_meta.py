"""Completeness: what must not be forgotten when a register, a rule or a name is added."""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

import kvmfw
import kvmfw.testing
from kvmfw import _native
from kvmfw.analysis import TABLES, examine, make_frame
from kvmfw.report import Issue, issues
from tests import make_registers_doc
from tests.support import golden
from tests.support.golden import Case
from tests.support.slow_audit import random_fleet

ROOT = Path(__file__).parents[1]
CORE = ROOT / "rust" / "kvmfw-core"
CASES = golden.cases()
REGISTERS = kvmfw.registers()
# by kind: listed PMU state and timers take any value (semantics 4; PMMIR_EL1 apart)
NEVER_REFUSED = {"Masked", "PmuControl", "PmuIncrement", "PmuCounter", "PmuBits", "TimerControl"}


def names(registers: list[kvmfw.Register]) -> list[str]:
    return [register.name for register in registers]


def refused_registers(case: Case) -> set[int | None]:
    return {finding.register for finding in case.findings if finding.effect == "refused"}


def accepts(case: Case, register: int) -> bool:
    unsure = {finding.register for finding in case.findings if finding.effect in ("refused", "unknown")}
    saved = {*case.registers, *map(golden.register_id, case.surroundings)}
    return register in saved and not case.others_ignored and not unsure & {register, None}


def cases_about(register: int) -> tuple[list[Case], list[Case]]:
    """The cases in which the target lists the register and takes it, and those in which it refuses it."""
    beside = kvmfw.register_name(register)
    listed = [case for case in CASES if register in case.host.registers or beside in case.host.surroundings]
    return (
        [case for case in listed if accepts(case, register)],
        [case for case in listed if register in refused_registers(case)],
    )


# --- vectors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("register", REGISTERS, ids=names(REGISTERS))
def test_every_register_has_accepted_and_refused_vectors(register: kvmfw.Register) -> None:
    accepted, refused = cases_about(register.id)
    assert accepted
    if register.kind in NEVER_REFUSED:
        assert not refused
    else:
        assert refused


ID_REGISTERS = [register for register in REGISTERS if register.kind == "Identification"]
# not allocated before 6.12, or listed since 6.1 only: no exact era of their own
LATE = {"ID_AA64ISAR3_EL1"}


@pytest.mark.parametrize("register", ID_REGISTERS, ids=names(ID_REGISTERS))
def test_every_id_register_has_vectors_of_both_eras(register: kvmfw.Register) -> None:
    assert len(ID_REGISTERS) > 40
    accepted, refused = cases_about(register.id)
    for cases in (accepted, refused):
        eras = {case.host.masks is not None for case in cases}
        assert eras == ({True} if register.name in LATE else {False, True})


@cache
def rules_seen() -> frozenset[tuple[str, str]]:
    """Every rule that the engine names on any vector, with the kind of unit that it speaks for."""
    seen: set[tuple[str, str]] = set()
    for case in CASES:
        verdict = kvmfw.validate(case.register_set(), case.target(), vmm=case.vmm, state=case.state)
        seen.update((finding.rule, finding.unit) for finding in verdict.findings)
    return frozenset(seen)


# What no register set and capture can say: each with the test that makes it speak.
SPOKEN_ELSEWHERE = {
    "KVMFW-UNUSABLE": "test_findings.py: test_vms_whose_rows_could_not_be_used_are_issues_too",
    "KVMFW-FACTS-LIST": "test_readers.py: facts",
    "KVMFW-FACTS-FIELD": "test_readers.py: facts",
    "KVMFW-FACTS-OPEN": "test_readers.py: facts",
}


def test_every_rule_id_that_can_be_spoken_is_in_the_one_table_with_a_vector() -> None:
    rules = {rule.id: rule for rule in kvmfw.rules()}
    assert len(rules) > 25
    by_units = {name for name, rule in rules.items() if rule.units}
    assert {name for name, _ in rules_seen()} | set(SPOKEN_ELSEWHERE) == by_units
    assert all(unit in rules[name].units for name, unit in rules_seen())
    audits = set(rules) - by_units
    spoken = {issue.rule for seed in range(12) for issue in audit_issues(seed)}
    assert spoken >= audits
    assert spoken <= set(rules)
    # No id is written where the table does not see it.
    for path in sorted((ROOT / "python").rglob("*.py")):
        assert set(re.findall(r"KVMFW-[A-Z0-9-]+[A-Z0-9]", path.read_text())) <= set(rules), path


def audit_issues(seed: int) -> list[Issue]:
    made = random_fleet(seed)
    columns = {"capacity": [str(count) for count in made.capacity]}
    return issues(examine(make_frame(kvmfw.Fleet(made.vms, made.hosts)), columns=columns, few=3))


def test_every_effect_and_outcome_occurs_in_some_vector() -> None:
    effects = {finding.effect for case in CASES for finding in case.findings}
    assert effects == set(golden.EFFECTS) - {"kept"}, "what is kept is no finding"
    assert {case.outcome for case in CASES} == {outcome.name for outcome in kvmfw.Outcome}


def test_every_restore_policy_and_state_occurs_in_some_vector() -> None:
    policies = {case.vmm for case in CASES}
    assert policies <= {one.name for one in kvmfw.vmms()}
    # Of releases between two that have the same rule it is enough to know these.
    left = {one.name for one in kvmfw.vmms() if "between two" not in one.source} - policies
    assert not left
    assert {case.state for case in CASES} == {"fresh", "exited", "ran"}


def test_every_incident_with_enough_detail_has_a_vector() -> None:
    wanted = {f"I{n}" for n in (1, 2, 3, 4, 5, 7, 8, 10, 11, 12, 13, 14, 23, 24, 25)}
    told = {case.name.partition(":")[0].partition(" ")[0] for case in CASES if case.file == "incidents"}
    assert wanted <= told


def test_the_outcome_of_every_vector_is_the_greatest_of_its_findings() -> None:
    order = [outcome.name for outcome in sorted(kvmfw.Outcome)]
    of_effect = {"refused": "REFUSE", "unknown": "UNKNOWN"}
    checked = 0
    for case in CASES:
        if case.others_ignored:
            continue
        outcomes = [of_effect.get(finding.effect, "CHANGE") for finding in case.findings]
        assert case.outcome == max(outcomes, key=order.index, default="ACCEPT"), case.label
        checked += 1
    assert checked > 400


# --- documents and names --------------------------------------------------------------------------


def test_the_document_of_registers_is_current() -> None:
    assert len(REGISTERS) > 60
    assert make_registers_doc.TARGET.read_text() == make_registers_doc.document()


def test_the_document_of_audits_tells_of_every_table() -> None:
    text = (ROOT / "docs" / "audit.md").read_text()
    assert len(TABLES) > 10
    assert [table.name for table in TABLES if f"`{table.name}`" not in text] == []


def test_the_stub_names_what_the_native_module_has() -> None:
    tree = ast.parse((ROOT / "python" / "kvmfw" / "_native.pyi").read_text())
    stub = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assert len(stub) > 5
    assert set(stub) == {name for name in dir(_native) if not name.startswith("__")}
    for name, node in stub.items():
        if isinstance(node, ast.ClassDef):
            assert members_of_stub(node) == {
                m for m in vars(getattr(_native, name)) if not m.startswith("_")
            }, name


def members_of_stub(node: ast.ClassDef) -> set[str]:
    members = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
    members |= {
        item.target.id
        for item in node.body
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
    }
    return {member for member in members if not member.startswith("_")}


def undocumented(owner: type | ModuleType, public: list[str], prefix: str) -> list[str]:
    missing = []
    for name in public:
        # What a module imports later is there when it is asked for; what a class computes is not asked.
        item = getattr(owner, name) if isinstance(owner, ModuleType) else inspect.getattr_static(owner, name)
        if isinstance(item, staticmethod | classmethod):
            item = item.__func__
        if not (inspect.isclass(item) or callable(item) or isinstance(item, property)):
            continue
        if not inspect.getdoc(item):
            missing.append(f"{prefix}.{name}")
        if inspect.isclass(item) and item.__module__.startswith("kvmfw"):
            members = [member for member in vars(item) if not member.startswith("_")]
            missing += undocumented(item, members, f"{prefix}.{name}")
    return missing


@pytest.mark.parametrize("module", [kvmfw, kvmfw.testing], ids=["kvmfw", "kvmfw.testing"])
def test_every_public_name_has_a_docstring(module: ModuleType) -> None:
    assert module.__doc__
    assert len(module.__all__) > 1
    assert undocumented(module, module.__all__, module.__name__) == []


# --- sources --------------------------------------------------------------------------------------


def test_the_core_does_not_depend_on_the_binding() -> None:
    lock = tomllib.loads((ROOT / "rust" / "Cargo.lock").read_text())
    needs = {package["name"]: package.get("dependencies", []) for package in lock["package"]}
    reached, waiting = set(), ["kvmfw-core"]
    while waiting:
        name = waiting.pop().split()[0]
        if name not in reached:
            reached.add(name)
            waiting += needs[name]
    assert len(reached) > 5
    assert "pyo3" in needs
    assert not {name for name in reached if name.startswith("pyo3") or name == "numpy"}
    direct = tomllib.loads((CORE / "Cargo.toml").read_text())["dependencies"]
    assert direct
    assert "pyo3" not in direct
