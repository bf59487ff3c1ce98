"""VMMs: real loads of Firecracker and cloud-hypervisor, the files that they write, and the table of their rules."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

import kvmfw
from kvmfw import Host, Outcome, RegisterSet, readers
from kvmfw.cli import main
from kvmfw.errors import ArgumentError, FormatError
from kvmfw.readers import analyze, firecracker, vmstate
from kvmfw.readers.formats import vcpus_of
from kvmfw.readers.rejects import Intake
from kvmfw.readers.saved import register_set
from kvmfw.readers.vmstate import vmstate_vcpus
from kvmfw.vmms import vmms
from tests import make_policies_doc
from tests.agreement import vmm
from tests.support.golden import read_case

HERE = Path(__file__).parent / "realvmm"
DATA = Path(os.environ.get("KVMFW_DATA", Path(__file__).parents[2] / "shared" / "data")) / "realvmm"
BINCODE = HERE / "snapshots" / "7.3.4+deb13-arm64__neoverse-n1__default__fc1.12__nossbs.vmstate.gz"
BITCODE = HERE / "snapshots" / "6.12.118+deb13-arm64__neoverse-n1__default__fc1.16__2vcpu.vmstate.gz"
STATE = HERE / "snapshots" / "7.3.4+deb13-arm64__neoverse-n1__default__ch53__2vcpu.state.json.gz"
VLS, X0, PC, V0 = 0x606000000015FFFF, 0x6030000000100000, 0x6030000000100040, 0x6040000000100054
MIDR, PFR0 = 0x603000000013C000, 0x603000000013C020


# --- real loads -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("folder", "least"), [(HERE, 80), (DATA, 500)], ids=["committed", "all"])
def test_every_real_load_ends_as_the_engine_says_and_at_the_register_that_it_names(
    folder: Path, least: int
) -> None:
    if not folder.exists():
        pytest.skip("the loads are not beside this checkout")
    tally = vmm.check(folder)
    assert tally.wrong == []
    assert tally.total["loads"] >= least
    assert tally.total["right"] == tally.total["loads"]
    assert tally.total["first refusal compared"] > least // 2


def test_a_wrong_outcome_and_a_wrong_register_are_seen(tmp_path: Path) -> None:
    shutil.copytree(HERE, tmp_path / "loads")
    path = tmp_path / "loads" / "outcomes.json.gz"
    loads = json.loads(gzip.decompress(path.read_bytes()))
    first = next(load for load in loads if load["outcome"] == "completed")
    first["outcome"] = "failed"
    other = next(load for load in loads if load["refused"] and load["refused"][0][0] == "W")
    other["refused"][0][1] = "0x6030000000140001"
    path.write_bytes(gzip.compress(json.dumps(loads).encode()))
    words = {line.partition(":")[0] for line in vmm.check(tmp_path / "loads").wrong}
    assert words == {"outcome", "first refusal"}


# --- what the VMMs write --------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted((HERE / "snapshots").iterdir()), ids=lambda path: path.name[:48])
def test_a_snapshot_file_is_read_as_it_was_recorded_in_its_order(path: Path) -> None:
    name = path.name.removesuffix(".gz").removesuffix(".vmstate").removesuffix(".state.json")
    recorded = vmm.Folder(HERE).registers.get(name)
    if recorded is None:
        pytest.skip("its registers were not recorded")
    ((_, read),) = vcpus_of(path, readers.detect(path), Intake("raise"))
    assert len(read) == len(recorded["vcpus"])
    for vcpu, wanted in zip(read, recorded["vcpus"], strict=True):
        found = {int(r, 16): int(v, 16) for r, v in vcpu.registers.to_document()["registers"].items()}  # type: ignore[attr-defined]
        expected = {int(r, 16): int(v, 16) for r, v in wanted.items()}
        left = {register for register in expected.keys() - found.keys() if register >> 16 & 0xFFF == 0x10}
        assert left <= {0x60200000001000D4, 0x60200000001000D5}, "FPSR and FPCR of an SVE vCPU are not saved"
        assert found == {register: value for register, value in expected.items() if register not in left}
        if path.name.endswith(".vmstate.gz"):
            assert list(found) == list(expected)


def test_a_file_says_the_features_itself() -> None:
    pauth = next((HERE / "snapshots").glob("*pauth.vmstate.gz"))
    assert RegisterSet.load(pauth).features == ["psci_0_2", "ptrauth_address", "ptrauth_generic"]
    assert RegisterSet.load(BINCODE).features == ["psci_0_2"]
    sets = {tuple(one.features) for one in readers.register_sets(BITCODE)}
    assert sets == {("psci_0_2",)}


@pytest.mark.parametrize("path", [BINCODE, BITCODE], ids=["bincode", "bitcode"])
def test_a_microvm_without_a_gicv3_has_a_gicv2(path: Path) -> None:
    data = bytearray(gzip.decompress(path.read_bytes()))
    assert "VGIC_V2" not in RegisterSet.load(path).surroundings
    # As KVM shows ID_AA64PFR0_EL1 where it makes no GICv3: GIC is 0.
    shown = RegisterSet.load(path).to_mapping()[PFR0]
    at = data.index(shown.to_bytes(8, "little"))
    while at >= 0:
        data[at + 3] &= 0xF0
        at = data.find(shown.to_bytes(8, "little"))
    for vcpu in vmstate_vcpus(sealed(bytes(data)), "vm"):
        assert not vcpu.registers.vgic
        assert vcpu.registers.surroundings["VGIC_V2"] == 1


@pytest.mark.parametrize("path", [BINCODE, BITCODE], ids=["bincode", "bitcode"])
def test_a_damaged_snapshot_is_one_sentence(path: Path) -> None:
    data = gzip.decompress(path.read_bytes())
    chance = random.Random(1)
    for _ in range(60):
        broken = bytearray(data)
        broken[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        with pytest.raises(FormatError, match=r"."):
            vmstate_vcpus(bytes(broken), "vm")
        with pytest.raises(FormatError, match=r"cut off|magic|no vCPU"):
            vmstate_vcpus(data[: chance.randrange(len(data))], "vm")


def sealed(data: bytes) -> bytes:
    """The file with a checksum that fits."""
    return data[:-8] + vmstate.checksum(data[:-8]).to_bytes(8, "little")


@pytest.mark.parametrize("path", [BINCODE, BITCODE], ids=["bincode", "bitcode"])
def test_a_snapshot_whose_checksum_fits_is_not_trusted_either(path: Path) -> None:
    data = gzip.decompress(path.read_bytes())
    at = data.index(X0.to_bytes(8, "little"))
    chance = random.Random(2)
    read = failed = 0
    for _ in range(200):
        broken = bytearray(data)
        for _ in range(chance.randrange(1, 4)):
            broken[chance.randrange(max(at - 16, 24), len(data) - 8)] = chance.randrange(256)
        try:
            assert vmstate_vcpus(sealed(bytes(broken)), "vm")
            read += 1
        except FormatError:
            failed += 1
    assert read
    assert failed


def test_a_snapshot_of_another_architecture_says_so() -> None:
    data = bytearray(gzip.decompress(BINCODE.read_bytes()))
    data[:8] = bytes.fromhex("0000648684191007")
    with pytest.raises(FormatError, match="x86_64"):
        vmstate_vcpus(bytes(data), "vm")


def test_core_registers_of_cloud_hypervisor_are_read() -> None:
    first = next(readers.register_sets(STATE))
    assert {X0, PC, V0, 0x60200000001000D4} <= set(first)
    assert first[PC] >= 0x4000_0000


def test_a_snapshot_folder_is_read_by_its_state_alone(tmp_path: Path) -> None:
    folder = tmp_path / "web-17"
    folder.mkdir()
    (folder / "state.json").write_bytes(gzip.decompress(STATE.read_bytes()))
    (folder / "config.json").write_text('{"cpus": {"boot_vcpus": 2}}')
    (folder / "memory-ranges").write_bytes(b"\0" * 4096)
    for source in (folder, tmp_path):
        assert {one.name.partition("/")[0] for one in readers.register_sets(source)} == {"web-17"}


def fingerprints() -> list[Path]:
    return sorted((HERE / "fingerprints").iterdir())


@pytest.mark.parametrize("path", fingerprints(), ids=lambda path: path.name[:20])
def test_what_a_fingerprint_leaves_out_is_there(path: Path) -> None:
    host = Host.load(path)
    assert kvmfw.validate(RegisterSet.load(path), host, vmm="firecracker-1.16").findings == ()
    capture = Host.load(HERE / "captures" / path.name.replace("__fp1.16", ""))
    for load in vmm.Folder(HERE).loads:
        if load["vmm"] != "firecracker" or load["target"]["host"] != path.name.split("__fp")[0]:
            continue
        vm = vmm.Folder(HERE).recorded(load)
        assert vm is not None
        verdict = kvmfw.validate(vm[0], host, vmm="firecracker-1.16")
        assert verdict.outcome is not Outcome.REFUSE or load["outcome"] == "failed"
        on_capture = kvmfw.validate(vm[0], capture, vmm="firecracker-1.16")
        assert verdict.outcome is Outcome.UNKNOWN or (verdict.outcome is Outcome.REFUSE) == (
            on_capture.outcome is Outcome.REFUSE
        )


def test_a_fingerprint_with_sve_is_no_vm_and_its_host_is_not_known() -> None:
    document = json.loads(gzip.decompress(fingerprints()[0].read_bytes()))
    document["guest_cpu_config"]["vcpu_features"] = [{"index": 0, "bitmap": "0b1xxxx"}]
    with pytest.raises(FormatError, match="vector lengths"):
        firecracker.fingerprint_vcpus(document, "vm")
    host = firecracker.fingerprint_host(document, "host")
    vm = RegisterSet.from_mapping({VLS: 1}, features=["psci_0_2", "sve"])
    assert kvmfw.validate(vm, host, vmm="firecracker-1.16").outcome is Outcome.UNKNOWN


def test_a_gicv3_is_not_assumed() -> None:
    assert not register_set({PFR0: 0x1111}, "vm").vgic
    assert register_set({PFR0: 0x1001111}, "vm").vgic
    assert register_set({MIDR: 1}, "vm").vgic, "nothing tells"
    section = {
        "cpreg_vmstate_array_len": "0x1",
        "cpreg_vmstate_indexes": [f"{MIDR:#x}"],
        "cpreg_vmstate_values": ["0x1"],
    }
    for device, vgic in (("arm_gic (7)", False), ("arm_gicv3 (7)", True)):
        found = analyze.analyzed_vcpus({"cpu (35)": section, device: {}}, "vm")
        assert found[0].registers.vgic is vgic


# --- the table ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("qemu-8.1", "nearest is qemu-8.2"),
        ("qemu-12.0", "nearest is qemu-11.1"),
        ("firecracker-1.18", "nearest is firecracker-1.17"),
        ("cloud-hypervisor-54", "nearest is cloud-hypervisor-53"),
        ("xen", "expected one of kvm, qemu"),
    ],
)
def test_an_unknown_release_names_the_nearest(name: str, words: str) -> None:
    vm, host = RegisterSet.from_mapping({MIDR: 1}), Host.load(next((HERE / "captures").iterdir()))
    with pytest.raises(ArgumentError, match=words):
        kvmfw.validate(vm, host, vmm=name)


def test_every_row_says_where_it_is_known_from() -> None:
    rows = {one.name: one for one in kvmfw.vmms()}
    assert {"qemu-8.2", "qemu-9.2", "firecracker-1.12", "cloud-hypervisor-53", "crosvm"} <= set(rows)
    for one in rows.values():
        assert one.source
        assert all(release in rows and not rows[release].releases for release in one.releases)
    assert rows["qemu-11.0"].releases == ("qemu-10.2", "qemu-11.1")


def test_findings_of_a_vmm_that_was_only_read_say_so() -> None:
    host = Host.load(HERE / "captures" / "6.12.118+deb13-arm64__neoverse-n1__default.json.gz")
    vm = RegisterSet.from_mapping({MIDR: 1})
    said = kvmfw.validate(vm, host, vmm="crosvm").findings
    assert said
    assert all(finding.sentence.endswith("(crosvm: from its sources, not measured)") for finding in said)


def test_a_fleet_that_forgot_a_value_still_says_that_its_vmm_was_only_read() -> None:
    host = {"kernel": "6.12.117", "features": ["psci_0_2", "pmu_v3"], "masks": {}, "capabilities": {"126": 1}}
    host["registers"] = {"PMSWINC_EL0": "0x0"}
    saved = {"from": "target", "registers": {"PMSWINC_EL0": "0x5"}}
    document = {"name": "", "source": "", "host": host, "set": saved, "expect": {"outcome": "CHANGE"}}
    case = read_case("forgotten", {}, document)
    said = {}
    for name in ("kvm", "crosvm"):
        fleet = kvmfw.Fleet([case.register_set()], [case.target()], vmm=name)
        (said[name],) = (finding.sentence for finding in fleet.explain(0, 0).findings)
    assert said["kvm"] == "this host takes PMSWINC_EL0 but does not keep it as it was saved"
    assert said["crosvm"] == f"{said['kvm']} (crosvm: from its sources, not measured)"


def test_the_terminal_says_of_every_verdict_that_its_vmm_was_only_read() -> None:
    examples = Path(__file__).parents[1] / "examples"
    files = [str(examples / "vm.json"), str(min((examples / "captures").glob("*.json")))]
    for name, measured in (("crosvm", False), ("kvm", True), ("firecracker", True)):
        printed = CliRunner().invoke(main, ["validate", *files, "--vmm", name], env={"COLUMNS": "200"}).output
        assert ("from its sources, not measured, scheme" in printed) is not measured, printed


def test_the_fleet_says_of_unversioned_names_what_the_pair_says() -> None:
    loads = vmm.Folder(HERE)
    vms = [vm for load in loads.loads if (found := loads.recorded(load)) for vm in found]
    hosts = list(loads.hosts.values())
    for name in ("firecracker", "cloud-hypervisor", "qemu"):
        table = kvmfw.Fleet(vms, hosts, vmm=name)
        matrix = [[table.explain(vm, host).outcome for host in range(len(hosts))] for vm in range(len(vms))]
        assert [[kvmfw.validate(vm, host, vmm=name).outcome for host in hosts] for vm in vms] == matrix
        rows, columns = zip(*((v, h) for v in range(len(vms)) for h in range(len(hosts))), strict=True)
        pairs = table.validate_pairs(list(rows), list(columns)).tolist()
        assert pairs == [outcome for row in matrix for outcome in row]


def test_the_order_of_a_file_is_kept() -> None:
    text = gzip.decompress(BITCODE.read_bytes())
    first = vmstate_vcpus(text, "vm")[0].registers
    again = RegisterSet.from_json(json.dumps(first.to_document()))
    assert list(again.to_document()["registers"]) == list(first.to_document()["registers"])  # type: ignore[call-overload]
    assert list(again) == sorted(first)


def test_docs_policies_is_current() -> None:
    assert make_policies_doc.TARGET.read_text() == make_policies_doc.document()


def test_a_name_for_several_releases_is_measured_only_where_all_of_them_are() -> None:
    rows = {row.name: row for row in vmms()}
    families = [row for row in rows.values() if row.releases]
    assert {row.name for row in families if row.measured} == {"qemu"}
    for row in families:
        assert not row.measured or all(rows[one].measured for one in row.releases), row.name


# --- many vCPUs -----------------------------------------------------------------------------------


def with_vcpus(count: int) -> bytes:
    """The sample of two vCPUs with the columns of more, as bitcode 0.6.9 packs more than five lengths: less the least."""
    data = gzip.decompress(BITCODE.read_bytes())
    body = data[:-8]
    ids_at = body.find(X0.to_bytes(8, "little"))
    half = (body.find(b"\xff\xff\x04", ids_at) - ids_at) // 2
    lengths_at = ids_at + 2 * half
    size = int.from_bytes(body[lengths_at + 3 : lengths_at + 5], "little")
    values_at = lengths_at + len(b"\xff\xff\x04") + 2 * 2 + 1
    zeros = bytes(-(-count // 8))
    lengths = b"\x09\xff" + zeros + b"\x05" + size.to_bytes(8, "little") + b"\x0a" + zeros
    values = body[values_at : values_at + size] * count
    made = body[:ids_at] + body[ids_at : ids_at + half] * count + lengths + b"\0" + values
    made += body[values_at + 2 * size :]
    return made + vmstate.checksum(made).to_bytes(8, "little")


@pytest.mark.parametrize("count", [6, 8, 16, 32])
def test_a_snapshot_of_many_vcpus_is_read(count: int) -> None:
    two = vmstate_vcpus(gzip.decompress(BITCODE.read_bytes()), "vm")
    many = vmstate_vcpus(with_vcpus(count), "vm")
    assert [vcpu.vcpu for vcpu in many] == [*range(count)]
    assert all(vcpu.registers.to_mapping() == two[0].registers.to_mapping() for vcpu in many)


# --- vCPUs that a VMM makes otherwise than they were saved ------------------------------------------


@pytest.mark.parametrize("vmm", ["crosvm", "cloud-hypervisor-53"])
def test_where_sve_is_made_unasked_v_registers_cannot_be_written(vmm: str) -> None:
    name = "7.3.4+deb13-arm64__neoverse-n2__arm64.no32bit_el0.capture.json.gz"
    host = Host.from_json(gzip.decompress((HERE.parent / "live" / "answers" / name).read_bytes()))
    features = ["psci_0_2", "pmu_v3", "ptrauth_address", "ptrauth_generic"]
    saved = host.fresh_set(features=features)
    assert saved is not None
    verdict = kvmfw.validate(saved, host, vmm=vmm)
    assert verdict.outcome is Outcome.REFUSE
    assert [finding.register for finding in verdict.findings] == [V0]
