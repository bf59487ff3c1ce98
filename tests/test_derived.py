"""Which restore policy a fleet is judged by where nobody names one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

import kvmfw
from kvmfw.errors import ArgumentError
from tests.support.command import EXAMPLES, run


def with_vmms(folder: Path, vmms: Sequence[str]) -> Path:
    """The examples, with a column `vmm` of their hosts: these in turn."""
    shutil.copytree(EXAMPLES / "captures", folder / "captures")
    for name in ("hosts.csv", "vms.jsonl"):
        shutil.copy(EXAMPLES / name, folder)
    head, *rows = (folder / "hosts.csv").read_text().splitlines()
    lines = [f"{row},{vmms[at % len(vmms)]}" for at, row in enumerate(rows)]
    (folder / "hosts.csv").write_text("\n".join([f"{head},vmm", *lines]) + "\n")
    return folder


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize(
    ("vmms", "options", "judged"),
    [
        (["qemu-10.0"], (), "qemu-10.0"),
        (["qemu-10.0", ""], (), "qemu-10.0"),
        (["qemu-10.0", "qemu-11.1"], (), "qemu"),
        (["qemu-8.2", "qemu-7.2"], (), "qemu-7.2"),
        (["firecracker-1.16", "firecracker-1.12"], (), "firecracker-1.12"),
        (["firecracker-1.16", "firecracker"], (), "firecracker"),
        (["qemu-10.0", "firecracker"], (), "own"),
        (["qemu-10.0", "firecracker"], ("--where", "vmm=firecracker"), "firecracker"),
        (["qemu-10.0", "firecracker"], ("--vmm", "kvm"), "kvm"),
        (["qemu-9.9"], (), None),
        ([""], (), "kvm"),
    ],
)
def test_a_fleet_is_judged_by_the_vmm_that_its_hosts_have(
    vmms: list[str], options: tuple[str, ...], judged: str | None, stored: bool, tmp_path: Path
) -> None:
    folder = with_vmms(tmp_path / "in", vmms)
    if stored:
        assert run("ingest", folder, "-o", tmp_path / "fleet").exit_code == 0
        folder = tmp_path / "fleet"
    found = run("audit", folder, "--fail-on", "none", "--format", "json", *options)
    if not options:
        check_the_api(folder, judged)
    if judged is None:
        assert found.exit_code == 1
        assert "nearest is qemu-9.2" in found.stderr
        # What is wrong stands in the fleet: nobody gave --vmm.
        assert "in the column `vmm`" in found.stderr
        assert "Invalid value for '--vmm'" not in found.stderr
        return
    assert json.loads(found.stdout)["vmm"] == judged
    assert ("--vmm names another" in found.stderr) == (judged != "kvm")
    assert ("11 tell none" in found.stderr) == ("" in vmms and judged != "kvm")


def check_the_api(folder: Path, judged: str | None) -> None:
    if judged is not None:
        assert kvmfw.Fleet.load(folder).vmm == judged
        return
    with pytest.raises(ArgumentError, match=r"nearest is qemu-9\.2"):
        kvmfw.Fleet.load(folder)
    assert kvmfw.Fleet.load(folder, vmm="kvm").vmm == "kvm"


def test_what_a_policy_of_the_hosts_says_is_what_naming_it_says(tmp_path: Path) -> None:
    folder = with_vmms(tmp_path / "in", ["qemu-10.0"])
    pair = ("n1-61-a.gic3.fresh", "n1-73-a", "--format", "json")
    told = json.loads(run("explain", folder, *pair).stdout)
    named = json.loads(run("explain", EXAMPLES, *pair, "--vmm", "qemu-10.0").stdout)
    assert told["verdicts"] == named["verdicts"]
