"""What the probe asks of what stands beside registers."""

from __future__ import annotations

import errno
import json
import mmap
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
        "GICD_IIDR": "0x4b00343b",
        "GICD_TYPER2": "0x0",
        "GITS_IIDR": "0x4b00043b",
        "PVTIME_IPA": "ENXIO",
        "VGIC_V2": "ENODEV",
        "CNTFRQ_EL0": "0x3b9aca0",
        "IPA_BITS": "0x2c",
        "PAGE_SIZE": hex(mmap.PAGESIZE),
    }
    control = beside["ICC_CTLR_EL1"]
    # Each number of priority bits, CBPR and EOImode; a refused write before leaves nothing behind.
    assert control["kept"] == ["0x0", "0x100", "0x200", "0x300", "0x400", "0x401", "0x402"]
    assert control["changed"] == dict.fromkeys(("0x440", "0x40400", "0x80400"), "0x400")
    assert {"0x500", "0xc00", "0x4400", "0x8400", "0xc400", "0xffffffff"} <= {*control["refused"]["EINVAL"]}
    assert beside["GICD_IIDR"]["kept"] == ["0x4b00243b", "0x4b00343b"]
    assert len(beside["GICD_IIDR"]["refused"]["EINVAL"]) == 21
    assert beside["GICD_TYPER2"]["kept"] == ["0x0"]
    assert {"0x80", "0x100"} <= {*beside["GICD_TYPER2"]["refused"]["EBUSY"]}
    # VMs of each size are made and closed again.
    assert beside["IPA_BITS"]["kept"] == [hex(bits) for bits in range(32, 45)]
    assert {"0x1f", "0x2d"} <= {*beside["IPA_BITS"]["refused"]["EINVAL"]}
    assert beside["GITS_IIDR"]["kept"] == ["0x4b00043b"]
    assert len(beside["GITS_IIDR"]["refused"]["EINVAL"]) == 16


def test_a_host_without_a_gicv3_says_so_of_its_attributes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, vgic=False)
    beside = captured(tmp_path)["surroundings"]
    of_a_gicv3 = ("ICC_CTLR_EL1", "GICD_IIDR", "GICD_TYPER2", "GITS_IIDR")
    assert all(beside[name] == {"errno": "ENODEV"} for name in of_a_gicv3)
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
