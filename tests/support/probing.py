"""The probe on a KVM made of Python: what its tests share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import kvmfw
from tests.support.fakekvm import FakeKvm
from tests.support.modules import load

ROOT = Path(__file__).resolve().parents[2]
PROBE = Path(kvmfw.__file__).with_name("probe.py")
# As it runs on a host: without the package around it.
probe = load(PROBE, "kvmfw_probe_under_test")


def arm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this machine an arm64 host with a KVM made of Python."""
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
