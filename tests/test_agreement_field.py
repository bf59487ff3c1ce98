"""The field's failures are told as they were, and an agreement in which nothing was judged is not green."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pytest

import kvmfw
from kvmfw import Outcome
from tests.agreement import field, truth, vmm
from tests.agreement.hosts import host_of
from tests.oracle.facts import PSCI_0_2, Facts
from tests.support.golden import register_id

FOLDERS = field.folders(field.CASES)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_what_went_wrong_in_the_field_is_told(folder: Path) -> None:
    tally = field.check(folder)
    assert tally.judged > 0
    assert tally.wrong == []


@pytest.mark.parametrize("name", ["ID_PFR1_EL1", "ID_AA64PFR0_EL1"])
@pytest.mark.parametrize(
    ("release", "vgic", "saved", "outcome"),
    [
        ("5.10.255-amzn", True, 3, Outcome.ACCEPT),
        ("6.18.30-61.amzn2023.aarch64", True, 3, Outcome.ACCEPT),
        ("6.18.30-61.amzn2023.aarch64", True, 2, Outcome.UNKNOWN),
        ("6.18.30-61.amzn2023.aarch64", False, 3, Outcome.UNKNOWN),
        ("7.1.8-1.amzn2023.aarch64", True, 3, Outcome.CHANGE),
        ("6.18.30", True, 3, Outcome.ACCEPT),
    ],
)
def test_the_gic_fields_of_a_vendors_own_vm_stay(
    name: str, release: str, vgic: bool, saved: int, outcome: Outcome
) -> None:
    """Fresh VMs of Graviton hosts with GIC 3 on those hosts: semantics 5, vendors' kernels."""
    register, shift = register_id(name), 28 if name == "ID_PFR1_EL1" else 24
    own = dict.fromkeys((register_id("ID_PFR1_EL1"), register_id("ID_AA64PFR0_EL1")), 0x11000012)
    facts = Facts(release, PSCI_0_2, vgic, own | {register: own[register] & ~(0xF << shift) | 3 << shift})
    registers = facts.registers | {register: own[register] & ~(0xF << shift) | saved << shift}
    vm = kvmfw.RegisterSet.from_mapping(registers, features=["psci_0_2"], vgic=True)
    found = {one.register: one.outcome for one in kvmfw.validate(vm, host_of(facts)).findings}
    assert found.get(register, Outcome.ACCEPT) is outcome


def test_a_wrong_expectation_is_seen(tmp_path: Path) -> None:
    """The comparison itself: each kind of expectation, turned round."""
    folder = tmp_path / "case"
    shutil.copytree(field.CASES / "gic-field-cleared-at-first-run", folder)
    document = json.loads((folder / "expected.json").read_text())
    for case in document["cases"]:
        for expected in case["expect"].values():
            expected["outcome"] = ["REFUSE"]
            for right in expected["registers"].values():
                right["reads"] = "0x1"
    (folder / "expected.json").write_text(json.dumps(document))
    tally = field.check(folder)
    assert len(tally.wrong) == tally.judged
    assert all("right REFUSE" in line and "right 0x1" in line for line in tally.wrong)
    assert field.main([str(tmp_path)]) == 1


def test_nothing_judged_is_not_green(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unheard = {
        "host": "6.1.0-1-arm64__no-such-cpu__default",
        "vcpu": "psci02",
        "register": "0x6030000000140000",
    }
    (tmp_path / "cases.json").write_text(json.dumps([unheard | {"written": "0x10001", "kernel": "EINVAL"}]))
    assert truth.main([str(tmp_path), "--recordings", str(tmp_path / "none")]) == 2
    assert "not judged: 2 of 2\n    1 derived: no recording of the host" in capsys.readouterr().out
    (tmp_path / "captures").mkdir()
    load = {"vmm": "firecracker", "target": {"version": "1.16.1", "host": "none"}}
    (tmp_path / "outcomes.json.gz").write_bytes(gzip.compress(json.dumps([load]).encode()))
    (tmp_path / "registers.json.gz").write_bytes(gzip.compress(b"{}"))
    assert vmm.main([str(tmp_path)]) == 2
    assert "not judged: 1\n    1 no capture of the target" in capsys.readouterr().out
    assert field.main([str(tmp_path)]) == 2
    assert field.main([str(field.CASES)]) == 0
