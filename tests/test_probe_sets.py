"""The probe saves register sets and writes them back: every answer, in the order of the VMM."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kvmfw import RegisterSet
from tests.support import fakekvm
from tests.support.fakekvm import FakeKvm
from tests.support.probing import arm, probe, sentence, use


@pytest.fixture(autouse=True)
def arm_host(monkeypatch: pytest.MonkeyPatch) -> None:
    arm(monkeypatch)


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
        ({"version": 3}, "version is 3, expected 1 or 2"),
        ({"format": "other"}, "format is 'other'"),
        ({"registers": {"0x6020000000110000": "0x100000000"}}, "is wider than register 0x6020000000110000"),
        ({"registers": {"0xA": "0x0", "0xa": "0x0"}}, "register 0xa is there twice"),
        ({"registers": {"0xA": "word"}}, "not 0x and hexadecimal digits"),
        ({"registers": {"0xA": "0x1_0"}}, "not 0x and hexadecimal digits"),
        ({"vcpu": {"features": [], "vgic": "false"}}, "expected true or false"),
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


def test_a_set_with_something_beside_registers_is_written_as_one_without(tmp_path: Path) -> None:
    (one,) = saved(tmp_path, "--only", "psci02")
    read = RegisterSet.from_json(
        json.dumps(one | {"version": 2, "surroundings": {"CNTFRQ_EL0": "0x3b9aca00"}})
    )
    code, with_frequency = restored(tmp_path, [read.to_document()])
    assert (code, with_frequency["summary"]["refused"]) == (0, 0)
    _, without = restored(tmp_path, [one])
    assert with_frequency["sets"][0]["answers"] == without["sets"][0]["answers"]
