"""The probe against a KVM made of Python: what it writes."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import kvmfw
from tests.support import fakekvm
from tests.support.fakekvm import FakeKvm
from tests.support.probing import PROBE, answers, arm, captured, probe, use


@pytest.fixture(autouse=True)
def arm_host(monkeypatch: pytest.MonkeyPatch) -> None:
    arm(monkeypatch)


# ---------------------------------------------------------------- what a capture says


def test_capture_has_every_part_of_the_format(tmp_path: Path) -> None:
    capture = captured(tmp_path)
    assert list(capture) == [
        *("format", "version", "host", "registers", "vcpus", "sweeps", "answers", "absent", "writable_masks"),
        *("first_run", "surroundings"),
    ]
    assert (capture["format"], capture["version"]) == ("kvmfw-capture", 3)
    assert capture["host"]["name"] == "fake"
    assert capture["host"]["kernel"] == os.uname().release
    assert capture["host"]["capabilities"] == {"16": 1, "126": 1, "165": 44, "170": 1, "230": 1}
    assert int(capture["host"]["midr"], 16) >= 0
    assert len(capture["sweeps"]["firmware"]) == 175
    assert len(set(capture["registers"])) == len(capture["registers"])


def test_a_bare_release_is_told_from_the_vendors_kernel_that_is_named_so() -> None:
    built = "Linux version 6.1.79 (builder@buildkit) (aarch64-bottlerocket-linux-gnu-gcc 11.3.0) #1 SMP"
    assert probe.kernel_text("6.1.79", built) == "6.1.79-bottlerocket"
    assert probe.kernel_text("6.1.79", "Linux version 6.1.79 (me@home) (gcc 13.2.0) #1 SMP") == "6.1.79"
    assert probe.kernel_text("6.1.79-bottlerocket", built) == "6.1.79-bottlerocket"


def test_modes_and_halves_are_asked_in_every_state(tmp_path: Path) -> None:
    capture = captured(tmp_path)
    for state in ("fresh", "exited", "ran"):
        (modes,) = answers(capture, fakekvm.PSTATE, "psci02", state)
        assert (modes["kept"], len(modes["refused"]["EINVAL"])) == (["0x3c0", "0x3c4", "0x3c5"], 29)
        assert len(answers(capture, fakekvm.X0, "psci02", state)[0]["kept"]) == 3
        assert answers(capture, fakekvm.Z0, "sve", state)[0]["kept"] == [hex((1 << 2048) - 1)]


def first_runs(capture: dict[str, Any], vcpu: str) -> list[dict[str, Any]]:
    runs = [dict(run) for run in capture["first_run"] if vcpu in run["vcpus"]]
    for run in runs:
        del run["vcpus"]
    return runs


def test_the_first_run_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, indirection=True)
    capture = captured(tmp_path, "--quick")
    isar2, mmfr3, pir = (hex(register) for register in (fakekvm.ISAR2, fakekvm.MMFR3, fakekvm.PIR))
    assert first_runs(capture, "psci02") == [
        {"written": {}, "changed": {}},
        {"written": {isar2: "0x120000000110012"}, "changed": {mmfr3: "0x11", pir: None}},
        {"written": {mmfr3: "0x110"}, "changed": {mmfr3: "0x10", pir: None}},
    ]
    assert first_runs(capture, "pmu_noinit") == [], "a vCPU that does not run has no first run"


def test_the_engine_reads_what_the_first_run_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, indirection=True)
    capture = captured(tmp_path, "--quick")
    saved = {fakekvm.ISAR2: 0x120000000110012, fakekvm.MMFR3: 0x111, fakekvm.PIR: 0}
    vm = kvmfw.RegisterSet.from_mapping(saved, features=["psci_0_2"], vgic=False)
    capture["host"]["kernel"] = "7.3.4"
    for row in capture["writable_masks"]:
        row["masks"][hex(fakekvm.ISAR2)] = hex(15 << 60)

    def said(document: dict[str, Any]) -> dict[int | None, tuple[str, str, int | None]]:
        verdict = kvmfw.validate(vm, kvmfw.Host.from_json(json.dumps(document)))
        runs = [finding for finding in verdict.findings if finding.rule == "KVMFW-FIRST-RUN"]
        return {f.register: (f.effect, f.evidence, f.reads) for f in runs}

    assert said(capture) == {
        fakekvm.MMFR3: ("rewritten", "measured", 0x11),
        fakekvm.PIR: ("dropped", "measured", None),
    }
    # A kernel of which no rule is known, and one whose rule was not seen at work on this host.
    capture["host"]["kernel"] = "7.3.1"
    assert said(capture)[fakekvm.MMFR3] == ("rewritten", "measured", 0x11)
    without = {key: value for key, value in capture.items() if key not in {"first_run", "surroundings"}} | {
        "version": 1
    }
    assert said(without)[fakekvm.MMFR3] == ("unknown", "none", None)


def test_registers_of_nested_vms_are_asked_before_and_after_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, capabilities={240: 1})
    capture = captured(tmp_path, "--only", "el2")
    ones = hex(2**64 - 1)
    (fresh,) = answers(capture, fakekvm.HCR_EL2, "el2", "fresh")
    assert ones in fresh["kept"]
    assert "changed" not in fresh
    (exited,) = answers(capture, fakekvm.HCR_EL2, "el2", "exited")
    assert exited["changed"]["0x0"] == hex(fakekvm.HCR_ONES)
    assert exited["changed"][ones] == hex(2**64 - 1 & ~fakekvm.HCR_ZEROS | fakekvm.HCR_ONES)
    (vbar,) = answers(capture, fakekvm.VBAR_EL2, "el2", "exited")
    assert "changed" not in vbar
    capture["host"]["kernel"] = "7.3.4"
    host = kvmfw.Host.from_json(json.dumps(capture))

    def seen(value: int, **more: int) -> tuple[str, int | None]:
        saved = {fakekvm.PFR0: 0x12, fakekvm.HCR_EL2: value, fakekvm.VBAR_EL2: 0xFFFF800080011000}
        saved |= {int(register, 16): value for register, value in more.items()}
        vm = kvmfw.RegisterSet.from_mapping(saved, features=["psci_0_2", "has_el2"], vgic=True)
        found = {f.register: f for f in kvmfw.validate(vm, host).findings}
        assert fakekvm.VBAR_EL2 not in found
        finding = found.get(fakekvm.HCR_EL2)
        return (finding.effect, finding.reads) if finding else ("kept", None)

    assert seen(fakekvm.HCR_ONES | 0x80) == ("kept", None)
    assert seen(0) == ("kept", None), "as a fresh vCPU has it"
    assert seen(0x80) == ("rewritten", fakekvm.HCR_ONES | 0x80)
    # Which bits are reserved follows from the VM's ID registers.
    assert seen(fakekvm.HCR_ONES | 0x80, **{hex(fakekvm.PFR0): 0x11})[0] == "unknown"


def test_vcpus_are_the_known_configurations(tmp_path: Path) -> None:
    vcpus = {vcpu["name"]: vcpu for vcpu in captured(tmp_path)["vcpus"]}
    made = ["psci02", "nopsci", "gic3", "pmu", "pmu_noinit", "sve", "pmu_sve", "full"]
    assert [name for name, vcpu in vcpus.items() if "values" in vcpu] == made
    refused = {name: vcpu["refused"] for name, vcpu in vcpus.items() if "refused" in vcpu}
    assert refused == {
        "pmu_ptrauth": "EINVAL",
        "ptrauth": "EINVAL",
        "el32": "EINVAL",
        "el2": "ENOENT",
        "el2_e2h0": "ENOENT",
        "impid": "EINVAL",
        "mte": "EINVAL",
        "pmu_strict": "EINVAL",
    }
    assert vcpus["full"]["features"] == ["psci_0_2", "pmu_v3", "sve"]
    assert vcpus["full"]["vgic"]
    assert vcpus["full"]["pmu_initialised"]
    assert not vcpus["pmu_noinit"]["pmu_initialised"]
    assert vcpus["mte"]["enabled"] == ["mte"]


def test_values_stand_at_the_place_of_their_register(tmp_path: Path) -> None:
    capture = captured(tmp_path)
    at = capture["registers"].index(hex(fakekvm.PMCR))
    values = {vcpu["name"]: vcpu["values"] for vcpu in capture["vcpus"] if "values" in vcpu}
    assert {len(row) for row in values.values()} == {len(capture["registers"])}
    assert values["pmu"][at] == "0x3000"
    assert values["psci02"][at] is None
    sve = next(vcpu for vcpu in capture["vcpus"] if vcpu["name"] == "sve")
    assert sve["same_value_refused"] == {hex(fakekvm.SVE_VLS): "EPERM"}


def test_values_are_read_before_any_is_written_back(tmp_path: Path) -> None:
    capture = captured(tmp_path)
    pmu = next(vcpu for vcpu in capture["vcpus"] if vcpu["name"] == "pmu")
    values = dict(zip(capture["registers"], pmu["values"], strict=True))
    assert values[hex(fakekvm.PMOVSCLR)] == values[hex(fakekvm.PMOVSSET)] == "0x8000001e"


def test_firmware_answers_name_kept_and_refused_values(tmp_path: Path) -> None:
    capture = captured(tmp_path)
    (answer,) = answers(capture, fakekvm.PSCI, "psci02", "fresh")
    assert answer["value"] == "0x10001"
    assert sorted(answer["kept"]) == ["0x10000", "0x10001", "0x2"]
    assert answer["otherwise"] == "EINVAL"
    (answer,) = answers(capture, fakekvm.PSCI, "nopsci", "ran")
    assert answer["kept"] == ["0x1"]


def test_a_value_that_is_taken_but_not_stored_reads_back_otherwise(tmp_path: Path) -> None:
    (answer,) = answers(captured(tmp_path), fakekvm.WORKAROUND_1, "psci02", "fresh")
    assert answer["kept"] == ["0x1"]
    assert answer["changed"] == {"0x0": "0x1"}


def test_two_errnos_of_one_register_are_kept_apart_after_running(tmp_path: Path) -> None:
    capture = captured(tmp_path)
    (answer,) = answers(capture, fakekvm.VENDOR_BITMAP, "psci02", "exited")
    assert answer["kept"] == ["0x3"]
    assert answer["refused"] == {"EBUSY": ["0x0", "0x1", "0x2"]}
    assert answer["otherwise"] == "EINVAL"
    assert answers(capture, fakekvm.VENDOR_BITMAP, "psci02", "ran") == [answer]


def test_id_registers_are_told_by_nibble(tmp_path: Path) -> None:
    capture = captured(tmp_path)
    (answer,) = answers(capture, fakekvm.PFR0, "psci02", "fresh")
    assert answer["value"] == "0x12"
    assert answer["nibbles"] == {"0": "...iiiiiiiiiiiii", "4": "." * 16, "12": ".!!!!!!!!!!!!!!!"}
    assert (answer["same"], answer["other"], answer["zero"], answer["ones"]) == (".", "i", ".", "i")
    assert answer["changed"]["0x1012"] == "0x12"
    (answer,) = answers(capture, fakekvm.PFR0, "full", "ran")
    assert answer["nibbles"]["0"] == "bb.iiiiiiiiiiiii"
    (answer,) = answers(capture, fakekvm.RESERVED_ID, "gic3", "fresh")
    assert (answer["nibbles"], answer["other"], answer["zero"]) == ({}, "i", ".")


def test_id_registers_are_swept_after_running_only_where_asked_deep(tmp_path: Path) -> None:
    capture = captured(tmp_path)
    assert not answers(capture, fakekvm.PFR0, "gic3", "ran")
    assert answers(capture, fakekvm.PFR0, "psci02", "ran")


def test_a_vcpu_that_does_not_run_has_no_answers_after_running(tmp_path: Path) -> None:
    capture = captured(tmp_path)
    assert answers(capture, fakekvm.PSCI, "pmu_noinit", "fresh")
    assert not answers(capture, fakekvm.PSCI, "pmu_noinit", "ran")
    assert not answers(capture, fakekvm.PSCI, "pmu_noinit", "exited")


def test_vector_lengths_are_asked_before_finalizing(tmp_path: Path) -> None:
    capture = captured(tmp_path)
    for vcpu in ("sve", "full"):
        (answer,) = answers(capture, fakekvm.SVE_VLS, vcpu, "fresh")
        assert answer["value"] == "0xb"
        assert sorted(answer["kept"]) == sorted(hex(value) for value in (1, 2, 3, 8, 9, 10, 11))
        assert list(answer["refused"]) == ["EINVAL"]
        assert hex(1 << 511) in answer["refused"]["EINVAL"]


def test_absent_ids_are_told_with_their_errno(tmp_path: Path) -> None:
    capture = captured(tmp_path)
    absent = {vcpu: row["refused"] for row in capture["absent"] for vcpu in row["vcpus"]}
    assert "0x6030000000140003" in absent["psci02"]["ENOENT"]
    assert hex(fakekvm.PSCI) not in absent["psci02"]["ENOENT"]
    assert hex(fakekvm.SVE_VLS) in absent["psci02"]["ENOENT"]
    assert hex(fakekvm.SVE_VLS) not in absent["sve"]["ENOENT"]


def test_masks_are_told_once_for_all_vcpus(tmp_path: Path) -> None:
    (row,) = captured(tmp_path)["writable_masks"]
    assert row["masks"] == {hex(fakekvm.PFR0): "0xff"}
    assert "full" in row["vcpus"]


def test_a_kernel_without_masks_is_recorded_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, capabilities={230: 0})
    capture = captured(tmp_path)
    assert capture["writable_masks"] == []
    assert "230" not in capture["host"]["capabilities"]


def test_a_host_without_gicv3_is_recorded_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, vgic=False)
    vcpus = {vcpu["name"]: vcpu for vcpu in captured(tmp_path)["vcpus"]}
    assert vcpus["gic3"]["vgic"] is False
    assert vcpus["pmu"]["pmu_initialised"] is False


def test_an_old_kernel_without_any_feature_is_not_fatal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, capabilities={126: 0, 170: 0, 230: 0})
    vcpus = {vcpu["name"]: vcpu for vcpu in captured(tmp_path)["vcpus"]}
    assert [name for name, vcpu in vcpus.items() if "values" in vcpu] == ["psci02", "nopsci", "gic3"]
    assert "full" not in vcpus


def test_a_value_that_cannot_be_undone_gets_a_new_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = FakeKvm.vms
    plain = captured(tmp_path, "--only", "nopsci")
    usual = FakeKvm.vms - before
    use(monkeypatch, stubborn=True)
    stubborn = captured(tmp_path, "--only", "nopsci")
    # The fake lets bits 4 to 7 of PFR0 be raised and never lowered: every raise costs a machine.
    assert FakeKvm.vms - before - 2 * usual >= 14
    (one,) = answers(plain, fakekvm.PFR0, "nopsci", "fresh")
    (other,) = answers(stubborn, fakekvm.PFR0, "nopsci", "fresh")
    assert one["nibbles"]["4"] == "." * 16
    assert other["nibbles"]["4"] == "!" + "." * 15


def test_the_same_host_gives_the_same_bytes(tmp_path: Path) -> None:
    first = captured(tmp_path)
    assert captured(tmp_path) == first


def test_everything_that_was_opened_is_closed(tmp_path: Path) -> None:
    captured(tmp_path)
    assert FakeKvm.open_things == 0


def test_quick_asks_no_sweep(tmp_path: Path) -> None:
    before = FakeKvm.writes
    capture = captured(tmp_path, "--quick")
    quick = FakeKvm.writes - before
    assert capture["answers"] == []
    assert capture["absent"]
    assert next(vcpu for vcpu in capture["vcpus"] if vcpu["name"] == "full")["values"]
    before = FakeKvm.writes
    captured(tmp_path)
    assert quick * 3 < FakeKvm.writes - before


def test_only_the_named_configurations_are_asked(tmp_path: Path) -> None:
    assert [vcpu["name"] for vcpu in captured(tmp_path, "--only", "full,nopsci")["vcpus"]] == [
        "nopsci",
        "full",
    ]


def test_the_names_that_can_be_chosen_are_those_that_are_asked() -> None:
    known = [configuration.name for configuration, _ in probe.configurations(FakeKvm())]
    assert known == list(probe.NAMES)


def test_orders_are_merged_and_a_contradiction_is_an_error() -> None:
    assert probe.merge_orders([[1, 2, 4], [2, 3, 4, 5], [0, 1]]) == [0, 1, 2, 3, 4, 5]
    with pytest.raises(probe.ProbeError, match="two different orders"):
        probe.merge_orders([[1, 2], [2, 1]])


# ---------------------------------------------------------------- the file itself


def test_the_file_is_python_3_6() -> None:
    source = PROBE.read_text()
    tree = ast.parse(source, feature_version=(3, 6))
    assert not any(isinstance(node, ast.NamedExpr) for node in ast.walk(tree))
    assert not any(node.args.posonlyargs for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    assert "from __future__" not in source


def test_vermin_finds_nothing_newer_than_python_3_6() -> None:
    command = [str(Path(sys.executable).with_name("vermin")), "-t=3.6-", "--no-tips", str(PROBE)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout


def test_the_file_imports_the_standard_library_only() -> None:
    imported = set()
    for node in ast.walk(ast.parse(PROBE.read_text())):
        if isinstance(node, ast.Import):
            imported |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(str(node.module).split(".")[0])
    assert imported <= sys.stdlib_module_names


def test_the_file_runs_alone_and_says_what_it_does() -> None:
    answer = subprocess.run(
        [sys.executable, "-I", str(PROBE), "--help"], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0
    assert "validate --on-host" in answer.stdout
