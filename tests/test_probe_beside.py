"""What the probe asks of what stands beside registers."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

import kvmfw
from tests.support import fakekvm
from tests.support.probing import arm, captured, use


@pytest.fixture(autouse=True)
def armed(monkeypatch: pytest.MonkeyPatch) -> None:
    arm(monkeypatch)


def test_what_stands_beside_registers_is_asked_of_a_new_vm_each_time(tmp_path: Path) -> None:
    beside = captured(tmp_path)["surroundings"]
    assert {name: said.get("value", said.get("errno")) for name, said in beside.items()} == {
        "ICC_CTLR_EL1": "0x400",
        "GITS_IIDR": "0x4b00043b",
        "PVTIME_IPA": "ENXIO",
        "VGIC_V2": "ENODEV",
        "CNTFRQ_EL0": "0x3b9aca0",
    }
    control = beside["ICC_CTLR_EL1"]
    # Each number of priority bits, CBPR and EOImode; a refused write before leaves nothing behind.
    assert control["kept"] == ["0x0", "0x100", "0x200", "0x300", "0x400", "0x401", "0x402"]
    assert control["changed"] == dict.fromkeys(("0x440", "0x40400", "0x80400"), "0x400")
    assert {"0x500", "0xc00", "0x4400", "0x8400", "0xc400", "0xffffffff"} <= {*control["refused"]["EINVAL"]}
    assert beside["GITS_IIDR"]["kept"] == ["0x4b00043b"]
    assert len(beside["GITS_IIDR"]["refused"]["EINVAL"]) == 16


def test_a_host_without_a_gicv3_says_so_of_its_attributes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, vgic=False)
    beside = captured(tmp_path)["surroundings"]
    assert beside["ICC_CTLR_EL1"] == beside["GITS_IIDR"] == {"errno": "ENODEV"}
    assert beside["PVTIME_IPA"] == {"errno": "ENXIO"}


def test_an_error_without_a_name_in_captures_does_not_spoil_the_capture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fakekvm.FakeVcpu, "has_steal_time", lambda *_: errno.EIO)
    monkeypatch.setattr(fakekvm.FakeVm, "makes_device", lambda *_: errno.EIO)
    capture = captured(tmp_path)
    for name in ("PVTIME_IPA", "VGIC_V2"):
        assert capture["surroundings"][name] == {"errno": "EOTHER"}
    assert kvmfw.Host.from_json(json.dumps(capture)).name == "fake"
