"""What stands beside registers: told by saved state, judged where both sides tell, and else left open (docs/arrival.md)."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kvmfw
from kvmfw import readers
from kvmfw.analysis.compare import diff_captures
from kvmfw.readers.qemu_stream import stream_vcpus
from tests.oracle.arrival import NONE, Arrival, arrive
from tests.support.arrival import CAPTURE, host_with, id_of, vm_with
from tests.support.command import run

DATA = Path(__file__).parent / "data"
QEMU = DATA / "qemu"
CAPTURES = sorted((DATA / "arrival").glob("*.json.gz"))
NAMES = (
    *("ICC_CTLR_EL1", "GICD_IIDR", "GICD_TYPER2", "GITS_IIDR", "PVTIME_IPA", "CNTFRQ_EL0"),
    *("VGIC_V2", "IPA_BITS", "PAGE_SIZE"),
)
POLICIES = (
    "kvm",
    "qemu-10.0",
    "qemu-11.1",
    "firecracker-1.16",
    "cloud-hypervisor-52",
    "cloud-hypervisor-53",
    "crosvm",
)
KERNELS_OWN = {"GICD_IIDR": 0x4B00343B, "GITS_IIDR": 0x4B00043B}
WORDS = {"ICC_CTLR_EL1": "vgic", "CNTFRQ_EL0": "counter-frequency", "PVTIME_IPA": "steal-time"}


# --- what saved state tells -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stream", "control"),
    [
        ("kvm-5.10-max-qemu-10.0", 0x8C00),
        ("kvm-6.1-neoverse-n1-qemu-7.2", 0x8C00),
        ("kvm-6.12-neoverse-n1-qemu-11.1", 0x8C00),
    ],
)
def test_a_stream_tells_of_its_interrupt_controller_and_steal_time(stream: str, control: int) -> None:
    vm = kvmfw.RegisterSet.load(QEMU / f"{stream}.gz")
    assert vm.surroundings == {
        "ICC_CTLR_EL1": control,
        "GITS_IIDR": 0x4B00043B,
        "PVTIME_IPA": 0x90A0000,
        "IPA_BITS": 32,
        "PAGE_SIZE": 0x1000,
    }
    assert not {id_of(name) for name in NAMES} & {*vm.to_mapping()}
    printed = QEMU / "analyzed" / f"{stream}.json.gz"
    if printed.exists():
        told = kvmfw.RegisterSet.load(printed).surroundings
        assert told == {name: vm.surroundings[name] for name in ("ICC_CTLR_EL1", "GITS_IIDR")}


def test_each_vcpu_of_a_stream_has_an_interface_and_an_address_of_its_own() -> None:
    for stream in ("tcg-2-vcpus-qemu-7.2", "tcg-2-vcpus-no-description-qemu-7.2"):
        first, second = stream_vcpus(QEMU / f"{stream}.gz", "vm")
        told = first.registers.surroundings, second.registers.surroundings
        assert told[0].keys() == told[1].keys() >= {"ICC_CTLR_EL1", "PVTIME_IPA"}, stream
        # An emulated VM has no steal time.
        assert {one["PVTIME_IPA"] for one in told} == {NONE}


def test_snapshots_of_other_vmms_tell_what_they_hold() -> None:
    folder = Path(__file__).parent / "realvmm" / "snapshots"
    told: dict[str, set[str]] = {}
    for path in sorted(folder.iterdir()):
        kind = next((kind for kind in ("fc1.12", "fc1.16", "ch53") if kind in path.name), None)
        if kind is None:
            continue
        for vcpu in readers.vms_of(path):
            told.setdefault(kind, set()).update(vcpu.surroundings)
            for name, value in vcpu.surroundings.items():
                assert (
                    value
                    in {
                        "ICC_CTLR_EL1": (0x8C00,),
                        "GITS_IIDR": (0x4B00043B,),
                        "CNTFRQ_EL0": (62_500_000, 1_000_000_000),
                        "PVTIME_IPA": (0x801FFF80, 0x801FFF40),
                    }[name]
                )
    assert told == {
        "fc1.12": {"ICC_CTLR_EL1"},
        "fc1.16": {"PVTIME_IPA"},
        "ch53": {"ICC_CTLR_EL1", "GITS_IIDR", "CNTFRQ_EL0"},
    }


# --- judged where both sides tell, by the engine as by the oracle -----------------------------------


def words(found: list[Arrival]) -> set[tuple[str, str, str | None]]:
    return {
        (one.name, "refused" if one.refused else "unknown" if one.unknown else "changed", one.errno)
        for one in found
    }


def said(verdict: kvmfw.Verdict) -> set[tuple[str, str, str | None]]:
    kinds = {"dropped": "changed", "rewritten": "changed"}
    return {(one.name, kinds.get(one.effect, one.effect), one.errno) for one in verdict.findings}


def anything(random: np.random.Generator, name: str) -> int:
    values = {
        "ICC_CTLR_EL1": [0x400, 0x8C00, 0x8C03, int(random.integers(1 << 20)), int(random.integers(16)) << 8],
        "GICD_IIDR": [0x4B00343B, 0x4B00243B, 0x4B00143B, 0x4A00343B],
        "GICD_TYPER2": [0, 0x100],
        "IPA_BITS": [36, 40, 48, 31],
        "PAGE_SIZE": [0x1000, 0x4000, 0x10000],
        "GITS_IIDR": [0x4B00043B, 0x4B00143B, 0, int(random.integers(1 << 32))],
        "PVTIME_IPA": [NONE, 0x90A0000, 0x90A0040, 0x90A0041],
        "CNTFRQ_EL0": [25_000_000, 1_000_000_000],
        "VGIC_V2": [1],
    }[name]
    return values[int(random.integers(len(values)))]


def fleet_of_any(seed: int) -> tuple[list[dict[str, int]], list[dict[str, int | str]]]:
    random = np.random.default_rng(seed)
    vms = [{name: anything(random, name) for name in NAMES if random.random() < 0.7} for _ in range(40)]
    of_gicv3 = dict.fromkeys(("ICC_CTLR_EL1", "GICD_IIDR", "GICD_TYPER2", "GITS_IIDR"), "ENODEV")
    absent = of_gicv3 | {"PVTIME_IPA": "ENXIO", "VGIC_V2": "ENODEV"}
    hosts: list[dict[str, int | str]] = []
    for _ in range(12):
        own: dict[str, int | str] = {name: anything(random, name) for name in NAMES if random.random() < 0.8}
        if "PVTIME_IPA" in own:
            own["PVTIME_IPA"] = NONE
        own |= {name: word for name, word in KERNELS_OWN.items() if name in own}
        if "IPA_BITS" in own:
            own["IPA_BITS"] = max(int(own["IPA_BITS"]), 32)
        own |= {name: errno for name, errno in absent.items() if name in own and random.random() < 0.3}
        hosts.append(own)
    return vms, hosts


def document_of(own: dict[str, int | str]) -> dict[str, Any]:
    return {
        name: {"errno": has} if isinstance(has, str) else {"value": hex(has)} for name, has in own.items()
    }


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("seed", range(3))
def test_engine_oracle_and_fleet_agree_on_any_pair(seed: int, policy: str) -> None:
    vms, hosts = fleet_of_any(seed)
    # A VM with a GICv3 has no vCPU on a host without one.
    sets = [vm_with(vm, f"vm{at}", vgic=False) for at, vm in enumerate(vms)]
    targets = [host_with(document_of(own), f"host{at}") for at, own in enumerate(hosts)]
    fleet = kvmfw.Fleet(sets, targets, vmm=policy)
    outcomes = set()
    for row, vm in enumerate(vms):
        for column, own in enumerate(hosts):
            verdict = kvmfw.validate(sets[row], targets[column], vmm=policy)
            assert said(verdict) == words(arrive(policy, vm, own)), (vm, own)
            assert fleet.validate_pairs([row], [column])[0] == verdict.outcome
            assert fleet.explain(row, column).outcome == verdict.outcome
            assert fleet.explain(row, column).not_judged == verdict.not_judged
            outcomes.add(verdict.outcome)
            open_words = {beside.word for beside in verdict.not_judged}
            for name, word in WORDS.items():
                left_alone = policy.startswith(("cloud-hypervisor", "crosvm")) and name == "PVTIME_IPA"
                both = name in vm and name in own and not left_alone
                assert (word in open_words) != both
    assert outcomes >= {kvmfw.Outcome.ACCEPT, kvmfw.Outcome.REFUSE}


def test_who_dies_of_it_is_said() -> None:
    vm = vm_with({"ICC_CTLR_EL1": 0x700, "PVTIME_IPA": 0x90A0000, "CNTFRQ_EL0": 25_000_000})
    host = host_with(
        {
            "ICC_CTLR_EL1": {"value": "0x400"},
            "PVTIME_IPA": {"errno": "ENXIO"},
            "CNTFRQ_EL0": {"value": "0x3b9aca00"},
        }
    )
    told = {one.name: one.sentence for one in kvmfw.validate(vm, host, vmm="qemu-10.0").findings}
    assert told["ICC_CTLR_EL1"].endswith("KVM refuses it (EINVAL); QEMU's target process aborts here")
    assert told["PVTIME_IPA"].startswith(
        "the VM has steal time, and this host has none; KVM refuses it (ENXIO)"
    )
    assert told["PVTIME_IPA"].endswith("no block of RAM named pvtime then and refuses the stream")
    assert told["CNTFRQ_EL0"].endswith("the guest will see 0x3b9aca00; its clock runs wrong by as much")
    (stops,) = (
        one
        for one in kvmfw.validate(vm, host, vmm="cloud-hypervisor-53").findings
        if one.name == "CNTFRQ_EL0"
    )
    assert stops.sentence.endswith("cloud-hypervisor stops here")


def test_firecracker_loads_a_gicv2_only_where_there_is_no_gicv3() -> None:
    vm = vm_with({"VGIC_V2": 1}, vgic=False)
    for beside, outcome, words in (
        ({"ICC_CTLR_EL1": {"value": "0x8c00"}, "VGIC_V2": {"value": "0x1"}}, "REFUSE", "makes a GICv3"),
        ({"ICC_CTLR_EL1": {"value": "0x8c00"}, "VGIC_V2": {"errno": "ENODEV"}}, "REFUSE", "makes a GICv3"),
        ({"ICC_CTLR_EL1": {"errno": "ENODEV"}, "VGIC_V2": {"value": "0x1"}}, "ACCEPT", ""),
        ({"ICC_CTLR_EL1": {"errno": "ENODEV"}, "VGIC_V2": {"errno": "ENODEV"}}, "REFUSE", "ENODEV"),
    ):
        host = host_with(beside)
        verdict = kvmfw.validate(vm, host, vmm="firecracker-1.16")
        assert verdict.outcome.name == outcome
        assert words in " ".join(one.sentence for one in verdict.findings if one.name == "VGIC_V2")
        assert (
            kvmfw.Fleet([vm], [host], vmm="firecracker-1.16").validate_pairs([0], [0])[0] == verdict.outcome
        )


def test_whether_there_is_a_gicv3_is_not_guessed() -> None:
    """A host that was asked for a GICv2 alone, and shows no register that tells of a GICv3."""
    vm = vm_with({"VGIC_V2": 1}, vgic=False)
    for own, outcome in ((1, "UNKNOWN"), ("ENODEV", "REFUSE")):
        document = json.loads(CAPTURE) | {"surroundings": document_of({"VGIC_V2": own})}
        host = kvmfw.Host.from_json(json.dumps(document))
        verdict = kvmfw.validate(vm, host, vmm="firecracker-1.16")
        assert verdict.outcome.name == outcome
        judged = arrive("firecracker-1.16", {"VGIC_V2": 1}, {"VGIC_V2": own}, makes_v3=None)
        assert said(verdict) == words(judged)
        assert (
            kvmfw.Fleet([vm], [host], vmm="firecracker-1.16").validate_pairs([0], [0])[0] == verdict.outcome
        )
        assert kvmfw.validate(vm, host, vmm="qemu-11.1").outcome.name == ("ACCEPT" if own == 1 else "REFUSE")


@pytest.mark.parametrize("policy", ["kvm", "qemu-11.1", "firecracker-1.16", "cloud-hypervisor-53", "crosvm"])
def test_a_host_that_said_that_it_has_no_gicv3_takes_no_vm_with_one(policy: str) -> None:
    """Whatever its registers show: here it was asked for nothing else."""
    document = json.loads(CAPTURE) | {"surroundings": document_of({"ICC_CTLR_EL1": "ENODEV"})}
    host = kvmfw.Host.from_json(json.dumps(document))
    verdict = kvmfw.validate(vm_with({}), host, vmm=policy)
    assert verdict.outcome == kvmfw.Outcome.REFUSE
    assert "this host makes none for VMs (ENODEV)" in str(verdict.findings[0].sentence)


def test_a_fleet_says_of_steal_time_what_a_pair_says() -> None:
    """Fleets know of an address only whether 64 divides it."""
    host = host_with({"PVTIME_IPA": {"value": hex(NONE)}})
    for policy in ("kvm", "qemu-10.0", "firecracker-1.16"):
        vm = vm_with({"PVTIME_IPA": 0x90A0041})
        (alone,) = kvmfw.validate(vm, host, vmm=policy).findings
        (within,) = kvmfw.Fleet([vm], [host], vmm=policy).explain(0, 0).findings
        assert alone.sentence == within.sentence
        # That the target's QEMU has no room for it follows of a host without steal time alone.
        assert alone.sentence == "the address of steal time is no multiple of 64; KVM refuses it (EINVAL)"


def test_what_the_distributor_says_is_left_alone_by_every_vmm() -> None:
    vm = vm_with({"GICD_TYPER2": 0x100, "GICD_IIDR": 0x4B00243B})
    host = host_with({"GICD_TYPER2": {"value": "0x0"}, "GICD_IIDR": {"value": "0x4b00343b"}})
    for policy in POLICIES[1:]:
        findings = kvmfw.validate(vm, host, vmm=policy).findings
        assert {one.name: (one.outcome.name, one.reads) for one in findings} == {
            "GICD_TYPER2": ("CHANGE", 0),
            "GICD_IIDR": ("CHANGE", 0x4B00343B),
        }
        assert all("no VMM writes it" in one.sentence for one in findings)
    assert kvmfw.validate(vm, host, vmm="kvm").outcome == kvmfw.Outcome.REFUSE


def test_qemu_makes_no_vm_for_more_memory_than_a_host_has_addresses_for() -> None:
    vm = vm_with({"IPA_BITS": 41})
    (finding,) = kvmfw.validate(vm, host_with({"IPA_BITS": {"value": "0x28"}}), vmm="qemu-10.0").findings
    assert (finding.name, finding.errno) == ("IPA_BITS", "EINVAL")
    assert finding.sentence == (
        "the VM needs 41 bits of guest addresses, this host has 40; KVM refuses it (EINVAL);"
        " QEMU ends before it makes the VM"
    )
    enough = kvmfw.validate(vm, host_with({"IPA_BITS": {"value": "0x29"}}), vmm="qemu-10.0")
    assert enough.outcome == kvmfw.Outcome.ACCEPT
    # A stream tells how much memory there is, and not what lies above it.
    assert "address-size" in [beside.word for beside in enough.not_judged]


def test_qemu_loads_no_stream_of_a_host_with_larger_pages() -> None:
    """Both ways as 7.3.4 with 4k and with 16k pages loaded them (docs/agreement.md)."""
    small, large = (host_with({"PAGE_SIZE": {"value": size}}) for size in ("0x1000", "0x4000"))
    (finding,) = kvmfw.validate(vm_with({"PAGE_SIZE": 0x4000}), small, vmm="qemu-10.0").findings
    assert (finding.name, finding.outcome.name, finding.errno) == ("PAGE_SIZE", "REFUSE", None)
    assert "QEMU refuses it; its smallest blocks of RAM" in finding.sentence
    for vm, host, vmm in (
        (0x1000, large, "qemu-10.0"),
        (0x4000, small, "kvm"),
        (0x4000, small, "firecracker-1.16"),
    ):
        assert kvmfw.validate(vm_with({"PAGE_SIZE": vm}), host, vmm=vmm).outcome == kvmfw.Outcome.ACCEPT
    untold = kvmfw.validate(vm_with({"PAGE_SIZE": 0x4000}), host_with({}), vmm="qemu-10.0")
    assert "page-size" in [beside.word for beside in untold.not_judged]


def test_a_fleet_on_disk_keeps_them_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "in" / "captures").mkdir(parents=True)
    vm = vm_with({"ICC_CTLR_EL1": 0x700})
    (tmp_path / "in" / "vms.jsonl").write_text(json.dumps(vm.to_document()) + "\n")
    capture = {"ICC_CTLR_EL1": {"value": "0x400"}}
    document = {
        "format": "kvmfw-capture",
        "version": 3,
        "host": {"name": "h", "kernel": "6.12.117", "midr": "0x413fd0c1"},
        "registers": [],
        "vcpus": [{"name": "vm", "features": ["psci_0_2"], "vgic": True, "values": []}],
        "surroundings": capture,
    }
    (tmp_path / "in" / "captures" / "h.json").write_text(json.dumps(document))
    run("ingest", tmp_path / "in", "-o", tmp_path / "fleet")
    assert json.loads((tmp_path / "fleet" / "fleet.json").read_text())["version"] == 2
    fleet = kvmfw.Fleet.load(tmp_path / "fleet")
    assert fleet.validate_pairs([0], [0])[0] == kvmfw.Outcome.REFUSE


# --- real kernels ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CAPTURES, ids=[path.name.removesuffix(".json.gz") for path in CAPTURES])
def test_what_kernels_answered_is_what_the_rules_and_the_oracle_say(path: Path) -> None:
    document = json.loads(gzip.decompress(path.read_bytes()))
    host = kvmfw.Host.from_json(json.dumps(document))
    asked = 0
    beside = document["surroundings"]
    has_gicv3 = "value" in beside["ICC_CTLR_EL1"]
    for name, one in beside.items():
        if "value" not in one:
            continue
        own = int(one["value"], 16)
        answers: dict[str, str | None] = dict.fromkeys(one.get("kept", []))
        answers |= dict.fromkeys(one.get("changed", {}))
        answers |= {value: errno for errno, values in one.get("refused", {}).items() for value in values}
        for text, errno in answers.items():
            asked += 1
            value = int(text, 16)
            reads = int(one["changed"][text], 16) if text in one.get("changed", {}) else None
            found = arrive("kvm", {name: value}, {name: own}, kernel=document["host"]["kernel"])
            assert [(each.errno, each.reads) for each in found] == (
                [(errno, reads)] if errno or reads is not None else []
            )
            for derive_only in (False, True):
                verdict = kvmfw.validate(
                    vm_with({name: value}, vgic=has_gicv3), host, derive_only=derive_only
                )
                finding = next((one for one in verdict.findings if one.name == name), None)
                assert (finding and (finding.errno, finding.reads)) == (
                    (errno, reads) if errno or reads is not None else None
                )
                assert finding is None or finding.evidence == ("derived" if derive_only else "measured")
    assert asked >= (100 if has_gicv3 else 24)


def test_there_are_recordings_of_many_kernels_which_differ() -> None:
    said = [json.loads(gzip.decompress(path.read_bytes())) for path in CAPTURES]
    with_gicv3 = [one for one in said if "value" in one["surroundings"]["ICC_CTLR_EL1"]]
    assert len({one["host"]["kernel"] for one in with_gicv3}) >= 12
    swept = {
        name: {json.dumps(one["surroundings"][name], sort_keys=True) for one in with_gicv3}
        for name in ("GICD_IIDR", "GICD_TYPER2", "GITS_IIDR", "IPA_BITS")
    }
    # Three ways with revisions, two errors, one ITS, two sizes.
    assert {name: len(ways) for name, ways in swept.items()} == {
        "GICD_IIDR": 3,
        "GICD_TYPER2": 2,
        "GITS_IIDR": 1,
        "IPA_BITS": 2,
    }


def test_an_update_to_smaller_pages_strands_the_vms_of_qemu() -> None:
    large, small = (host_with({"PAGE_SIZE": {"value": size}}) for size in ("0x4000", "0x1000"))
    for before, after, strands in ((large, small, True), (small, large, False)):
        found = diff_captures(before, after, vmm="qemu-11.1")
        assert found.strands is strands
        (left,) = found.not_judged
        # What is judged is not among what is not.
        assert "devices" in left.why
        assert "the size of the host's pages" not in left.why
    assert not diff_captures(large, small, vmm="firecracker-1.16").strands
