"""The probe against a KVM made of Python: what it writes, and that it writes all or nothing."""

from __future__ import annotations

import ast
import errno
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests import fakekvm
from tests.fakekvm import FakeKvm

PROBE = Path(__file__).resolve().parents[1] / "python" / "kvmfw" / "probe.py"
ROOT = PROBE.parents[2]


def load_probe() -> ModuleType:
    """The single file by itself, as it runs on a host: without the package around it."""
    spec = importlib.util.spec_from_file_location("kvmfw_probe_under_test", PROBE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


probe = load_probe()


@pytest.fixture(autouse=True)
def arm_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe.platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(probe, "Kvm", FakeKvm)
    monkeypatch.setattr(probe, "settle_on_one_processor", lambda: 0)
    monkeypatch.setattr(FakeKvm, "open_things", 0)


def use(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    monkeypatch.setattr(probe, "Kvm", lambda path: FakeKvm(path, **changes))


def captured(tmp_path: Path, *options: str) -> dict[str, Any]:
    target = tmp_path / "host.json"
    assert probe.main(["--name", "fake", "-o", str(target), *options]) == 0
    document: dict[str, Any] = json.loads(target.read_text())
    return document


def answers(capture: dict[str, Any], register: int, vcpu: str, state: str) -> list[dict[str, Any]]:
    return [
        answer
        for answer in capture["answers"]
        if int(answer["register"], 16) == register
        and any(vcpu in where["vcpus"] and state in where["states"] for where in answer["asked_on"])
    ]


def sentence(capsys: pytest.CaptureFixture[str]) -> str:
    """What the probe said; it has to be one line, and nothing may be on standard output."""
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.strip().splitlines()) == 1
    return said.err.strip().removeprefix("kvmfw probe: ")


# ---------------------------------------------------------------- what a capture says


def test_capture_has_every_part_of_the_format(tmp_path: Path) -> None:
    capture = captured(tmp_path)
    assert list(capture) == [
        *("format", "version", "host", "registers", "vcpus", "sweeps", "answers", "absent", "writable_masks")
    ]
    assert (capture["format"], capture["version"]) == ("kvmfw-capture", 1)
    assert capture["host"]["name"] == "fake"
    assert capture["host"]["kernel"] == os.uname().release
    assert capture["host"]["capabilities"] == {"16": 1, "126": 1, "170": 1, "230": 1}
    assert int(capture["host"]["midr"], 16) >= 0
    assert len(capture["sweeps"]["firmware"]) == 175
    assert len(set(capture["registers"])) == len(capture["registers"])


def test_vcpus_are_the_known_configurations(tmp_path: Path) -> None:
    vcpus = {vcpu["name"]: vcpu for vcpu in captured(tmp_path)["vcpus"]}
    made = ["psci02", "nopsci", "gic3", "pmu", "pmu_noinit", "sve", "full"]
    assert [name for name, vcpu in vcpus.items() if "values" in vcpu] == made
    refused = {name: vcpu["refused"] for name, vcpu in vcpus.items() if "refused" in vcpu}
    assert refused == {
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


# ---------------------------------------------------------------- all or nothing


def test_output_is_one_document_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert probe.main(["--quick"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["format"] == "kvmfw-capture"
    assert said.err == ""


def test_time_limit_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, delay=0.001)
    target = tmp_path / "host.json"
    assert probe.main(["--time-limit", "0.05", "-o", str(target)]) == 1
    assert sentence(capsys).startswith("The time limit of 0.05 s is over and nothing was written")
    assert list(tmp_path.iterdir()) == []
    assert FakeKvm.open_things == 0


def test_an_older_capture_stays_until_the_new_one_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "host.json"
    target.write_text("older")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left")

    monkeypatch.setattr(probe.os, "fsync", full)
    assert probe.main(["--quick", "-o", str(target)]) == 1
    assert "cannot be written: No space left" in sentence(capsys)
    assert target.read_text() == "older"
    assert list(tmp_path.iterdir()) == [target]


SLOW = """
import sys, time
sys.path.insert(0, {root!r})
from tests import test_probe
probe = test_probe.probe
probe.platform.machine = lambda: "aarch64"
probe.settle_on_one_processor = lambda: 0
probe.Kvm = lambda path: test_probe.FakeKvm(path, delay={delay})
if {slow_write}:
    probe.os.fsync = lambda descriptor: (print("writing", flush=True), time.sleep(30))
else:
    print("asking", flush=True)
sys.exit(probe.main(["--quick", "-o", {target!r}]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("slow_write", [False, True])
def test_killed_in_the_middle_it_leaves_no_half_written_capture(
    tmp_path: Path, number: signal.Signals, slow_write: bool
) -> None:
    target = tmp_path / "host.json"
    code = SLOW.format(
        root=str(ROOT), delay=0 if slow_write else 0.01, slow_write=slow_write, target=str(target)
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline()
        time.sleep(0.05)
        running.send_signal(number)
        _, said = running.communicate(timeout=10)
    assert not target.exists()
    if number != signal.SIGKILL:
        assert running.returncode == 1
        assert b"Interrupted; nothing was written." in said
        assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- errors, one sentence each


def test_another_architecture_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(probe.platform, "machine", lambda: "x86_64")
    assert probe.main([]) == 1
    assert sentence(capsys) == "This machine is x86_64: only the KVM of an arm64 host can be asked."


@pytest.fixture
def real_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "Kvm", REAL_KVM)


REAL_KVM = probe.Kvm


@pytest.mark.usefixtures("real_layer")
def test_a_missing_device_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert probe.main(["--device", str(tmp_path / "kvm")]) == 1
    assert sentence(capsys) == f"There is no {tmp_path / 'kvm'}: this host's kernel offers no KVM."


@pytest.mark.usefixtures("real_layer")
def test_missing_permission_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(probe.os, "open", refuse)
    assert probe.main([]) == 1
    assert sentence(capsys).startswith("/dev/kvm may not be opened by this user: run as root or as a member")


@pytest.mark.usefixtures("real_layer")
def test_a_device_that_is_not_kvm_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert probe.main(["--device", "/dev/null"]) == 1
    assert sentence(capsys).startswith("/dev/null is not KVM")


def test_a_kvm_that_makes_no_vm_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, refuse_vm=errno.ENOMEM)
    monkeypatch.setattr(probe, "text_of", lambda _: "0x410fd0c0")
    assert probe.main([]) == 1
    assert sentence(capsys) == "KVM refused to make a VM: ENOMEM."
    assert FakeKvm.open_things == 0


def test_a_folder_that_is_not_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert probe.main(["--quick", "-o", "/nowhere/host.json"]) == 1
    assert sentence(capsys) == "/nowhere/host.json cannot be written: No such file or directory."


def test_wrong_usage_exits_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--time-limit", "0"], ["--nonsense"], ["--only", "wings"], ["validate"]):
        with pytest.raises(SystemExit) as stop:
            probe.main(words)
        assert stop.value.code == 1
    assert capsys.readouterr().out == ""


# ---------------------------------------------------------------- register sets


def saved(tmp_path: Path, *options: str) -> list[dict[str, Any]]:
    target = tmp_path / "sets.jsonl"
    assert probe.main(["save", "--name", "fake", "-o", str(target), *options]) == 0
    return [json.loads(line) for line in target.read_text().splitlines()]


def restored(tmp_path: Path, sets: list[dict[str, Any]], *options: str) -> tuple[int, dict[str, Any]]:
    source, target = tmp_path / "sets.jsonl", tmp_path / "answers.json"
    source.write_text("".join(json.dumps(one) + "\n" for one in sets))
    code = probe.main(["validate", "--on-host", str(source), "-o", str(target), *options])
    return code, json.loads(target.read_text())


def test_saved_sets_have_the_format_and_come_from_a_guest_that_ran(tmp_path: Path) -> None:
    sets = {one["id"]: one for one in saved(tmp_path)}
    assert list(sets) == [f"fake/{name}" for name in ("psci02", "nopsci", "gic3", "pmu", "sve", "full")]
    full = sets["fake/full"]
    assert (full["format"], full["version"], full["host"]) == ("kvmfw-register-set", 1, "fake")
    assert full["vcpu"] == {"features": ["psci_0_2", "pmu_v3", "sve"], "vgic": True, "enabled": []}
    assert full["registers"][hex(fakekvm.PC)] == "0x40000000"


def test_a_host_takes_back_its_own_sets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, report = restored(tmp_path, saved(tmp_path))
    assert code == 0
    assert (report["format"], report["vmm"]) == ("kvmfw-restore", "kvm")
    assert report["summary"] == {"sets": 6, "kept": report["summary"]["kept"], "changed": 0, "refused": 0}
    assert "6 register sets written under policy kvm" in capsys.readouterr().err
    assert FakeKvm.open_things == 0


def test_every_refusal_is_reported_and_writing_goes_on(tmp_path: Path) -> None:
    (one,) = saved(tmp_path, "--only", "psci02")
    one["registers"][hex(fakekvm.PSCI)] = "0x10003"
    one["registers"][hex(fakekvm.WORKAROUND_1)] = "0x0"
    one["registers"]["0x6030000000160003"] = "0x0"
    code, report = restored(tmp_path, [one])
    assert code == 2
    said = {int(answer["register"], 16): answer for answer in report["sets"][0]["answers"]}
    assert said[fakekvm.PSCI] == {
        "register": hex(fakekvm.PSCI),
        "written": "0x10003",
        "outcome": "refused",
        "errno": "EINVAL",
        "read_back": "0x10001",
    }
    assert (said[fakekvm.WORKAROUND_1]["outcome"], said[fakekvm.WORKAROUND_1]["read_back"]) == (
        "changed",
        "0x1",
    )
    assert said[0x6030000000160003]["errno"] == "ENOENT"
    assert said[0x6030000000160003]["read_back"] is None
    assert said[fakekvm.SCTLR]["outcome"] == "kept"
    assert len(said) == len(one["registers"])


def order_of(report: dict[str, Any]) -> list[str]:
    return [answer["register"] for answer in report["sets"][0]["answers"]]


def test_writing_follows_the_policy(tmp_path: Path) -> None:
    sets = saved(tmp_path, "--only", "sve")
    order = order_of(restored(tmp_path, sets, "--vmm", "kvm")[1])
    assert order[0] == hex(fakekvm.SVE_VLS)
    assert order[1:] == sorted(order[1:], key=lambda name: int(name, 16))
    order = order_of(restored(tmp_path, sets, "--vmm", "firecracker")[1])
    assert order[0] == hex(fakekvm.SVE_VLS)
    assert order.index(hex(fakekvm.PSCI)) < order.index(hex(fakekvm.PFR0))
    order = order_of(restored(tmp_path, sets, "--vmm", "crosvm")[1])
    assert hex(fakekvm.VENDOR_BITMAP) not in order
    assert order[-1] == hex(fakekvm.WORKAROUND_1)


def test_a_vcpu_that_cannot_be_made_refuses_the_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = saved(tmp_path, "--only", "full")
    use(monkeypatch, capabilities={170: 0})
    code, report = restored(tmp_path, sets)
    assert code == 2
    assert report["sets"][0]["refused"] == "EINVAL"
    assert report["sets"][0]["answers"] == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "version is 2, expected 1"),
        ({"format": "other"}, "format is 'other'"),
        ({"registers": {"0x6020000000110000": "0x100000000"}}, "is wider than register 0x6020000000110000"),
        ({"registers": {"0xA": "0x0", "0xa": "0x0"}}, "register 0xa is there twice"),
        ({"registers": {"0xA": "word"}}, "invalid literal"),
        ({"vcpu": {"features": ["wings"]}}, "unknown vCPU feature 'wings'"),
        ({"vcpu": {"features": [], "enabled": ["wings"]}}, "unknown capability 'wings'"),
        ({"vcpu": {}}, "the key 'features' is missing"),
    ],
)
def test_a_bad_register_set_is_named_and_nothing_is_written(
    tmp_path: Path, change: dict[str, Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = saved(tmp_path, "--only", "psci02")
    source = tmp_path / "bad.jsonl"
    source.write_text(json.dumps(sets[0]) + "\n\n" + json.dumps({**sets[0], **change}) + "\n")
    before = FakeKvm.vms
    assert probe.main(["validate", "--on-host", str(source)]) == 1
    said = sentence(capsys)
    assert said.startswith(f"{source}, line 3: not a register set: ")
    assert words in said
    assert FakeKvm.vms == before


def test_a_key_given_twice_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "twice.json"
    source.write_text('{"format": "kvmfw-register-set", "format": "kvmfw-register-set"}')
    assert probe.main(["validate", "--on-host", str(source)]) == 1
    assert "the key format is there twice" in sentence(capsys)


def test_a_missing_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert probe.main(["validate", "--on-host", "/nowhere.json"]) == 1
    assert sentence(capsys).startswith("/nowhere.json cannot be read")


# ---------------------------------------------------------------- the file itself


def test_the_file_is_python_3_6() -> None:
    source = PROBE.read_text()
    tree = ast.parse(source, feature_version=(3, 6))
    assert not any(isinstance(node, ast.NamedExpr) for node in ast.walk(tree))
    assert not any(node.args.posonlyargs for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    assert "from __future__" not in source


@pytest.mark.skipif(shutil.which("vermin") is None, reason="vermin is not installed")
def test_vermin_finds_nothing_newer_than_python_3_6() -> None:
    answer = subprocess.run(
        ["vermin", "-t=3.6-", "--no-tips", str(PROBE)], capture_output=True, text=True, check=False
    )
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
