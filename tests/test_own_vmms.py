"""Fleets of several VMMs: each pair is judged by the VMM of its host, else by that of its VM."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import kvmfw
from kvmfw import Fleet, Host, Outcome, RegisterSet
from kvmfw.cli import main
from kvmfw.ingest import ingest
from kvmfw.readers import told_vmm
from kvmfw.testing import capture_document, tiny_host, tiny_set
from tests.support import golden, golden_oracle
from tests.support.fleets import WAYS, check, fleet_of, random_fleet

VMMS = [None, "kvm", "qemu", "qemu-7.2", "qemu-11.1", "firecracker-1.16", "cloud-hypervisor-53", "crosvm"]
TCR2 = 0x603000000013C103


def with_vmm(vm: RegisterSet, vmm: str | None) -> RegisterSet:
    """The same VM, told to be one of this VMM."""
    document = vm.to_document()
    document.pop("vmm", None)
    return RegisterSet.from_json(json.dumps(document | ({"version": 3, "vmm": vmm} if vmm else {})))


def saved(name: str, value: int) -> RegisterSet:
    """A VM with a register that hosts do not have."""
    return tiny_set(name=name).changed({TCR2: value})


def family(vmm: str) -> str:
    return next(one for one in ("qemu", "firecracker", "cloud-hypervisor", "crosvm") if vmm.startswith(one))


def by_hand(vm: RegisterSet, host: Host) -> Outcome:
    """What a pair is: nobody needs more than these five lines to say it."""
    told = [one for one in (host.vmm, vm.vmm) if one not in (None, "kvm")]
    if not told:
        plain = "kvm" in (host.vmm, vm.vmm)
        return kvmfw.validate(vm, host, vmm="kvm").outcome if plain else Outcome.UNKNOWN
    if len(told) == 2 and family(told[0]) != family(told[1]):
        return Outcome.REFUSE
    return kvmfw.validate(vm, host, vmm=told[0]).outcome


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seed", range(4))
def test_a_mixed_fleet_says_what_fleets_of_one_vmm_say_pair_by_pair(seed: int, way: str) -> None:
    rng = random.Random(seed)
    sets, kinds, kind_of = random_fleet(seed)
    sets = [with_vmm(vm, rng.choice(VMMS)) for vm in sets]
    hosts = [kinds[kind].with_vmm(rng.choice(VMMS)) for kind in kind_of]
    expected = np.array([[by_hand(vm, host) for host in hosts] for vm in sets], dtype=np.uint8)
    fleet = fleet_of(sets, hosts, range(len(hosts)), way=way, vmm="own")
    check(fleet, expected)
    for row, column in zip(
        rng.choices(range(len(sets)), k=40), rng.choices(range(len(hosts)), k=40), strict=True
    ):
        assert fleet.explain(row, column).outcome == expected[row, column]
        assert kvmfw.validate(sets[row], hosts[column], vmm="own").outcome == expected[row, column]


def test_the_oracle_agrees_on_one_fleet_of_all_golden_cases() -> None:
    cases = [case for case in golden.cases() if case.state == "fresh"]
    assert len({case.vmm for case in cases}) > 8
    vms = [with_vmm(case.register_set(), case.vmm).changed({}, name=str(at)) for at, case in enumerate(cases)]
    at = np.arange(len(cases))
    expected = [golden_oracle.judge(case)[0] for case in cases]
    for hosts in (
        [case.target().with_vmm(case.vmm) for case in cases],
        [case.target() for case in cases],
        [case.target().with_vmm("kvm") for case in cases],
    ):
        fleet = Fleet(vms, [host.renamed(str(row)) for row, host in enumerate(hosts)], vmm="own")
        assert [Outcome(one).name for one in fleet.validate_pairs(at, at)] == expected


def test_the_vmm_of_the_host_decides_and_another_one_reads_nothing() -> None:
    vm = saved("vm", 0)
    host = tiny_host()

    def judged(of_vm: str | None, of_host: str | None) -> tuple[str, str]:
        verdict = kvmfw.validate(with_vmm(vm, of_vm), host.with_vmm(of_host), vmm="own")
        return verdict.vmm, verdict.outcome.name

    # Of a register that only the VM has: QEMU 7.2 refuses the list, 11.1 lets this one go.
    assert judged("qemu-7.2", None) == ("qemu-7.2", kvmfw.validate(vm, host, vmm="qemu-7.2").outcome.name)
    assert judged("qemu-7.2", "qemu-11.1") == (
        "qemu-11.1",
        kvmfw.validate(vm, host, vmm="qemu-11.1").outcome.name,
    )
    assert judged("qemu-11.1", "qemu-7.2") == judged("qemu-7.2", None)
    assert judged("qemu-7.2", None) != judged("qemu-11.1", None)
    assert judged("kvm", "crosvm")[0] == judged("crosvm", "kvm")[0] == "crosvm"
    assert judged(None, None) == ("own", "UNKNOWN")
    (said,) = kvmfw.validate(with_vmm(vm, "firecracker-1.12"), host.with_vmm("qemu-9.2"), vmm="own").findings
    assert (said.rule, said.outcome) == ("KVMFW-VMM", Outcome.REFUSE)
    assert (
        said.sentence
        == "the VM is one of firecracker-1.12, and this host runs qemu-9.2, which reads none of its states"
    )
    (said,) = kvmfw.validate(vm, host, vmm="own").findings
    assert said.needs is not None
    assert said.needs in said.sentence


def test_whose_a_vm_is_tells_it_from_others_only_where_that_matters() -> None:
    vms = [with_vmm(tiny_set(name=str(at)), vmm) for at, vmm in enumerate(VMMS)]
    hosts = [tiny_host(name=str(at)).with_vmm(vmm) for at, vmm in enumerate(VMMS)]
    assert Fleet(vms, hosts, vmm="qemu-9.2").class_shape == (1, 1)
    assert Fleet(vms, hosts, vmm="own").class_shape[0] == len(VMMS)


def test_members_that_come_and_change_bring_their_vmm(tmp_path: Path) -> None:
    vms = [with_vmm(saved("a", 0), "qemu-7.2"), with_vmm(tiny_set(name="b"), None)]
    hosts = [tiny_host(name="x").with_vmm("qemu-9.2"), tiny_host(name="y")]
    fleet = Fleet(vms, hosts, vmm="own")
    vms.append(with_vmm(tiny_set(name="c"), "crosvm"))
    fleet.add_vms(vms[2:])
    hosts.append(tiny_host(name="z").with_vmm("firecracker-1.16"))
    fleet.add_hosts(hosts[2:])
    hosts[1] = hosts[1].with_vmm("qemu-11.1")
    fleet.update_hosts({"y": hosts[1]})
    vms[1] = with_vmm(vms[1], "qemu-11.1")
    fleet.update_vms({"b": vms[1]})
    expected = np.array([[by_hand(vm, host) for host in hosts] for vm in vms], dtype=np.uint8)
    check(fleet, expected)
    fleet.save(tmp_path / "saved")
    again = Fleet.open(tmp_path / "saved")
    assert again.vmm == "own"
    check(again, expected)


def table(names: list[str], vmms: list[str | None], *, alike: bool) -> pa.Table:
    rows = [
        {"vm": name, "vmm": vmm, "host": "x", "vcpu": "psci_0_2,vgic", "register": register, "value": value}
        for at, (name, vmm) in enumerate(zip(names, vmms, strict=True))
        for register, value in saved(name, 0 if alike else at).to_mapping().items()
    ]
    return pa.Table.from_pylist(rows)


def sources(folder: Path, vms: pa.Table, hosts: dict[str, str]) -> Path:
    (folder / "captures").mkdir(parents=True)
    document = capture_document(tiny_set().to_mapping(), name="c")
    (folder / "captures" / "c.json").write_text(json.dumps(document))
    rows = "".join(f"{host},c,{vmm}\n" for host, vmm in hosts.items())
    (folder / "hosts.csv").write_text("host,capture,vmm\n" + rows)
    pq.write_table(vms, folder / "vms.parquet")
    return folder


@pytest.mark.parametrize("alike", [True, False], ids=["many of a set", "a set each"])
def test_the_column_of_a_table_is_kept_at_intake_and_judged_by(tmp_path: Path, alike: bool) -> None:
    vmms = [VMMS[at % len(VMMS)] for at in range(40)]
    vms = table([f"v{at:02}" for at in range(40)], vmms, alike=alike)
    hosts = {"x": "qemu-11.1", "y": "", "z": "firecracker-1.16"}
    found = ingest([sources(tmp_path / "in", vms, hosts)], tmp_path / "fleet")
    assert found.left_out == []
    fleet = Fleet.load(tmp_path / "fleet")
    assert fleet.vmm == "own"
    capture = Host.load(tmp_path / "in" / "captures" / "c.json")
    made = [capture.with_vmm(vmm or None) for vmm in hosts.values()]
    sets = [with_vmm(saved(f"v{at:02}", 0 if alike else at), vmm) for at, vmm in enumerate(vmms)]
    expected = np.array([[by_hand(vm, host) for host in made] for vm in sets], dtype=np.uint8)
    assert len(np.unique(expected)) > 2
    check(fleet, expected)
    check(Fleet(vms, made, vmm="own"), expected)
    check(Fleet.load(tmp_path / "fleet", vmm="qemu-7.2"), check_of("qemu-7.2", sets, made))


def check_of(vmm: str, sets: list[RegisterSet], hosts: list[Host]) -> np.ndarray:
    return np.array(
        [[kvmfw.validate(vm, host, vmm=vmm).outcome for host in hosts] for vm in sets], dtype=np.uint8
    )


def test_a_vm_of_two_vmms_is_set_aside(tmp_path: Path) -> None:
    vms = table(["a", "b"], ["qemu-9.2", "crosvm"], alike=True)
    column = vms.column("vmm").to_pylist()
    column[1] = "crosvm"
    vms = vms.set_column(vms.column_names.index("vmm"), "vmm", pa.array(column))
    folder = sources(tmp_path / "in", vms, {"x": "qemu-9.2"})
    found = ingest([folder], tmp_path / "fleet", on_error="collect")
    assert found.vms == 1
    assert any("column `vmm` differs between rows of the VM `a`" in one.reason for one in found.rejects)


@pytest.mark.parametrize(
    ("hosts", "vms", "name"),
    [
        (["qemu-9.2", "qemu-8.2"], [None], "qemu-8.2"),
        (["qemu-9.2", "qemu-11.1"], [None], "qemu"),
        (["qemu-9.2", "crosvm"], [None], "own"),
        (["qemu-9.2"], ["qemu-7.2"], "qemu-9.2"),
        (["qemu-9.2"], ["crosvm"], "own"),
        (["qemu-9.2"], ["kvm"], "qemu-9.2"),
        ([""], ["qemu-7.2", "crosvm"], "own"),
        ([""], ["qemu-7.2"], "qemu-7.2"),
    ],
)
def test_what_a_fleet_is_judged_by(
    tmp_path: Path, hosts: list[str], vms: list[str | None], name: str
) -> None:
    told = table([f"v{at}" for at in range(len(vms))], vms, alike=True)
    ingest(
        [sources(tmp_path / "in", told, {f"h{at}": vmm for at, vmm in enumerate(hosts)})], tmp_path / "fleet"
    )
    found = told_vmm(tmp_path / "fleet", {})
    assert found is not None
    assert found.name == name


def run(*words: Any) -> Any:
    return CliRunner().invoke(main, [str(word) for word in words], env={"COLUMNS": "200"})


def test_commands_judge_a_mixed_fleet_and_say_by_what(tmp_path: Path) -> None:
    names = [f"v{at}" for at in range(6)]
    vms = table(names, ["qemu-7.2", "firecracker-1.16"] * 3, alike=True)
    ingest([sources(tmp_path / "in", vms, {"x": "qemu-9.2", "y": "firecracker-1.16"})], tmp_path / "fleet")
    fleet = tmp_path / "fleet"
    shown = run("audit", fleet, "--format", "json", "--fail-on", "none")
    assert shown.exit_code == 0, shown.output
    assert "each pair is judged by the VMM of its host, else by that of its VM" in shown.stderr
    assert "qemu-9.2 (1), firecracker-1.16 (1); that of the VMs" in shown.stderr
    assert json.loads(shown.stdout)["vmm"] == "own"
    for words in (
        ["whatif", fleet, "--hide", "SMCCC_ARCH_WORKAROUND_3"],
        ["diff", fleet, fleet],
        ["schemes", fleet],
    ):
        shown = run(*words, "--fail-on", "none") if words[0] != "schemes" else run(*words)
        assert shown.exit_code == 0, (words, shown.output, shown.exception)
    shown = run("explain", fleet, "v1", "x")
    assert "which reads none of its states" in shown.stdout
    for words, said in (
        (["baseline", fleet], "name the one to judge by"),
        (["emit", fleet, "qemu"], "settings for qemu are judged by one VMM"),
        (["baseline", fleet, "--vmm", "own"], "here one VMM is needed"),
        (
            ["audit", tmp_path / "in", "--engine", "local", "--vmm", "own"],
            "workers judge all pairs by one VMM",
        ),
    ):
        shown = run(*words)
        assert (shown.exit_code, said in shown.stderr) == (1, True), shown.output
    assert "kvmfw" in run("emit", fleet, "kubernetes").stdout
    shown = run("audit", fleet, "--vmm", "qemu-9.2", "--format", "json", "--fail-on", "none")
    assert json.loads(shown.stdout)["vmm"] == "qemu-9.2"


def test_an_unknown_vmm_in_a_set_is_an_error() -> None:
    with pytest.raises(kvmfw.ArgumentError, match="the nearest is"):
        RegisterSet.from_mapping({}, vmm="qemu-1.0")
    with pytest.raises(kvmfw.ArgumentError, match="the nearest is"):
        tiny_host().with_vmm("qemu-1.0")
