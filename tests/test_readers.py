"""Readers: every format is found out by content and read as it is."""

from __future__ import annotations

import gzip
import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import kvmfw
from kvmfw import Fleet, Host, Outcome, RegisterSet, readers
from kvmfw.cli import main
from kvmfw.errors import ArgumentError, InputError
from kvmfw.readers import CpuTemplate, SavedVcpu, read_facts
from kvmfw.readers.formats import vcpus_of
from kvmfw.readers.qemu_stream import read_stream
from kvmfw.testing import tiny_host, tiny_set
from tests.support.samples import (
    DATA,
    MIDR,
    REGISTERS,
    SAMPLES,
    TWO_VCPUS,
    WA1,
    WA3,
    bitmap,
    fingerprint,
    long_table,
    snapshot,
    template,
    write_table,
)

SHARED = Path(os.environ.get("KVMFW_DATA", Path(__file__).parents[2] / "shared" / "data"))
DOCUMENTS = ("register-set", "firecracker-fingerprint", "firecracker-template", "cloud-hypervisor")


def vcpus(path: Path) -> list[SavedVcpu]:
    found = vcpus_of(path, readers.detect(path), readers.Intake())
    return [vcpu for _, vm in found for vcpu in vm]


def test_samples_cover_every_format() -> None:
    assert set(SAMPLES) == set(readers.FORMATS)


@pytest.mark.parametrize("form", SAMPLES)
def test_format_is_found_out_by_content(form: str, tmp_path: Path) -> None:
    path = SAMPLES[form](tmp_path)
    assert readers.detect(path) == form
    assert readers.detect(path.rename(tmp_path / "no-ending")) == form


@pytest.mark.parametrize("form", [*DOCUMENTS, "qemu-analyze"])
def test_gzip_is_unpacked_on_the_way(form: str, tmp_path: Path) -> None:
    path = SAMPLES[form](tmp_path)
    packed = tmp_path / "packed.json.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    plain, again = vcpus(path), vcpus(packed)
    assert [one.registers.to_mapping() for one in plain] == [one.registers.to_mapping() for one in again]


@pytest.mark.parametrize("form", DOCUMENTS)
def test_documents_give_their_registers(form: str, tmp_path: Path) -> None:
    (vcpu,) = vcpus(SAMPLES[form](tmp_path))
    wanted = tiny_set().to_mapping() if form == "register-set" else REGISTERS
    found = {register: value for register, value in vcpu.registers.to_mapping().items() if register in wanted}
    assert found == wanted


def _streams() -> list[Path]:
    own = sorted(DATA.glob("*.gz"))
    return own + sorted((SHARED / "realqemu" / "streams").glob("*.gz"))


@pytest.mark.parametrize("path", _streams(), ids=lambda path: path.stem)
def test_stream_gives_the_same_without_its_description(path: Path) -> None:
    stream = read_stream(path)
    assert (stream.description is None) == ("no-description" in path.name)
    for instance in stream.cpus:
        assert stream.registers(instance) == stream.registers(instance, described=False)


def _recorded() -> Iterator[Any]:
    for name, registers in json.loads((DATA / "registers.json").read_bytes()).items():
        yield pytest.param(DATA / f"{name}.gz", registers, id=name)
    shared = SHARED / "realqemu" / "registers.json.gz"
    if shared.exists():
        for name, registers in json.loads(gzip.decompress(shared.read_bytes())).items():
            yield pytest.param(SHARED / "realqemu" / "streams" / f"{name}.gz", registers, id=name)


@pytest.mark.parametrize(("path", "registers"), list(_recorded()))
def test_stream_gives_what_another_reader_found(path: Path, registers: dict[str, str]) -> None:
    if not path.exists():
        pytest.skip("this stream is not stored")
    (vcpu,) = vcpus(path)
    wanted = {int(register, 16): int(value, 16) for register, value in registers.items()}
    assert vcpu.registers.to_mapping() == wanted


def test_streams_without_pages_in_them_give_the_same_registers() -> None:
    """One VM, saved with pages in places of their own, by other channels, and both."""
    paths = sorted(DATA.glob("tcg-2-vcpus-m*-qemu-11.1.gz"))
    assert len(paths) == 3
    first, *others = [
        {instance: read_stream(path).registers(instance) for instance in (0, 1)} for path in paths
    ]
    assert len(first[0]) > 250
    assert others == [first, first]


def _libvirt(stream: bytes, form: int, padding: int, magic: bytes = b"LibvirtQemudSave") -> bytes:
    """What libvirt writes, after its header file: no libvirt was at hand to write one."""
    xml = b"<domain type='kvm'/>\0"
    header = magic + struct.pack("<5I", 2, len(xml), 1, form, 0) + bytes(56)
    return header + xml + bytes(padding) + stream


def test_domains_that_libvirt_saved_are_read(tmp_path: Path) -> None:
    stream = gzip.decompress((DATA / "tcg-2-vcpus-multifd-main-qemu-11.1.gz").read_bytes())
    path = tmp_path / "vm.save"
    path.write_bytes(stream)
    wanted = read_stream(path).registers(1)
    for form, padding in ((0, 0), (6, 0), (6, 4096 - 113), (6, 1 << 20)):
        path.write_bytes(_libvirt(stream, form, padding))
        assert readers.detect(path) == "qemu-stream"
        assert read_stream(path).registers(1) == wanted
        assert [one.name for one in readers.register_sets(path)] == ["vm"]
    for data, says in (
        (_libvirt(stream, 3, 0), "packed this domain with xz"),
        (_libvirt(stream, 0, 0, b"LibvirtQemudPart"), "did not finish"),
        (_libvirt(stream[1:], 0, 0), "does not start with QEVM"),
        (_libvirt(b"", 0, 5), "cut off"),
    ):
        path.write_bytes(data)
        with pytest.raises(InputError, match=says):
            read_stream(path)


def test_places_of_ram_that_cannot_be_are_refused(tmp_path: Path) -> None:
    whole = bytearray(gzip.decompress((DATA / "tcg-2-vcpus-mapped-ram-qemu-11.1.gz").read_bytes())[:4096])
    at = whole.index(b"virt.flash0") + len(b"virt.flash0") + 8
    path = tmp_path / "vm.mig"
    for version, pages, says in (
        (1, 0, "cut off|said to be at"),
        (1, (1 << 64) - 1, "cut off|said to be at"),
        (2, 1 << 20, "version 2"),
    ):
        whole[at : at + 28] = struct.pack(">IQQQ", version, 4096, 4096, pages)
        path.write_bytes(whole)
        with pytest.raises(InputError, match=says):
            read_stream(path)


def test_stream_tells_how_its_vcpu_was_made() -> None:
    (sve,) = vcpus(DATA / "kvm-5.10-max-qemu-10.0.gz")
    assert sve.registers.features == ["psci_0_2", "pmu_v3", "sve", "ptrauth_address", "ptrauth_generic"]
    (plain,) = vcpus(DATA / "kvm-6.12-neoverse-n1-qemu-11.1.gz")
    assert plain.registers.features == ["psci_0_2", "pmu_v3"]


def test_every_vcpu_of_a_stream_is_read_and_alike_ones_are_judged_once() -> None:
    found = vcpus(TWO_VCPUS)
    assert [(one.vm, one.vcpu) for one in found] == [("tcg-2-vcpus-qemu-7.2", 0), ("tcg-2-vcpus-qemu-7.2", 1)]
    assert [one.name for one in readers.register_sets(TWO_VCPUS)] == ["tcg-2-vcpus-qemu-7.2"]


def test_analyzed_stream_gives_the_same_as_the_stream(tmp_path: Path) -> None:
    found = vcpus(SAMPLES["qemu-analyze"](tmp_path))
    wanted = vcpus(TWO_VCPUS)
    assert [one.registers.to_mapping() for one in found] == [one.registers.to_mapping() for one in wanted]


@pytest.mark.parametrize("stream", ["kvm-5.10-max-qemu-10.0", "kvm-6.12-neoverse-n1-qemu-11.1"])
def test_what_qemus_own_script_prints_gives_the_same_as_the_stream(stream: str) -> None:
    (printed,) = vcpus(DATA / "analyzed" / f"{stream}.json.gz")
    (read,) = vcpus(DATA / f"{stream}.gz")
    assert len(printed.registers.to_mapping()) > 200
    assert printed.registers.to_mapping() == read.registers.to_mapping()


def test_vm_is_as_good_as_its_worst_vcpu_and_findings_name_it() -> None:
    vm = [
        SavedVcpu("vm", 0, tiny_set()),
        SavedVcpu("vm", 1, tiny_set(workaround_3=2)),
        SavedVcpu("vm", 2, tiny_set()),
    ]
    verdict = readers.judge_vm(vm, tiny_host(workaround_3=1))
    assert verdict.outcome is Outcome.REFUSE
    assert [finding.sentence.split(":")[0] for finding in verdict.findings] == ["vCPU 1"]
    assert [one.registers.name for one in vm if one.registers in readers.distinct_vcpus(vm)] == ["vm", "vm"]


def test_snapshot_with_named_numbers_and_two_vcpus(tmp_path: Path) -> None:
    document = snapshot(vcpus=2)
    path = tmp_path / "vm7" / "state.json"
    path.parent.mkdir()
    path.write_text(json.dumps(document))
    found = vcpus(path)
    assert [(one.vm, one.vcpu) for one in found] == [("vm7", 0), ("vm7", 1)]
    assert found[0].registers.to_mapping()[0x606000000015FFFF] == 1
    state = {"sys_regs": [{"id": register, "addr": value} for register, value in REGISTERS.items()]}
    one = {"snapshots": {}, "snapshot_data": {"state": json.dumps(state)}}
    path.write_text(json.dumps({"snapshots": {"cpu-manager": {"snapshots": {"0": one}}}}))
    assert vcpus(path)[0].registers.to_mapping() == REGISTERS


def test_fingerprint_is_a_host_and_a_vm_that_it_takes(tmp_path: Path) -> None:
    path = SAMPLES["firecracker-fingerprint"](tmp_path)
    (host,), _, names = readers.hosts(path)
    (vm,) = readers.register_sets(path)
    assert (names, host.kernel, host.midr) == (
        ["sample"],
        "6.1.172-216.329.amzn2023.aarch64",
        REGISTERS[MIDR],
    )
    assert vm.host == "sample"
    assert kvmfw.validate(vm, host).outcome is Outcome.ACCEPT


def test_template_is_applied_to_what_a_host_gives(tmp_path: Path) -> None:
    document = template()
    document["reg_modifiers"] = [{"addr": f"{WA1:#x}", "bitmap": "0b" + "x" * 62 + "01"}]
    document["vcpu_features"] = [{"index": 0, "bitmap": "0b11xxxxx"}]
    path = tmp_path / "template.json"
    path.write_text(json.dumps(document))
    read = CpuTemplate.load(path)
    assert read.apply(RegisterSet.from_mapping({WA1: 2, WA3: 1})).to_mapping() == {WA1: 1, WA3: 1}
    assert read.feature_names() == ["psci_0_2", "ptrauth_address", "ptrauth_generic"]
    with pytest.raises(InputError, match="leaves to the host"):
        list(readers.register_sets(path))


def test_register_list_refuses_what_it_does_not_list(tmp_path: Path) -> None:
    facts = read_facts(SAMPLES["get-reg-list"](tmp_path))
    assert set(facts.listed or ()) == {
        0x6030000000100000,
        0x6020000000110000,
        MIDR,
        WA1,
        0x6030000000160000,
        0x606000000015FFFF,
        0x6080000000150060,
    }
    verdict = facts.judge(RegisterSet.from_mapping(REGISTERS))
    assert verdict.outcome is Outcome.REFUSE
    assert [finding.register for finding in verdict.findings] == [WA3]
    assert facts.judge(RegisterSet.from_mapping({WA1: 0})).outcome is Outcome.UNKNOWN


def test_properties_refuse_fields_out_of_range(tmp_path: Path) -> None:
    facts = read_facts(SAMPLES["qemu-props"](tmp_path))
    mmfr1, isar0 = 0x603000000013C039, 0x603000000013C030
    assert facts.ranges[mmfr1]["VH"] == (8, 4, 0, 1)
    assert facts.judge(RegisterSet.from_mapping({mmfr1: 2 << 8})).outcome is Outcome.REFUSE
    assert facts.judge(RegisterSet.from_mapping({mmfr1: 1 << 8, isar0: 1 << 44})).outcome is Outcome.UNKNOWN


def test_folder_gives_all_its_files_in_name_order(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.json").write_text(json.dumps(tiny_set(name=name).to_document()))
    assert [one.name for one in readers.register_sets(tmp_path)] == ["a", "b"]


def test_fleet_goes_on_without_bad_documents_where_asked(tmp_path: Path) -> None:
    lines = [json.dumps(tiny_set(name=name).to_document()) for name in ("a", "b")]
    path = tmp_path / "vms.jsonl"
    path.write_text("\n".join([lines[0], '{"format": 1}', lines[1]]))
    fleet = Fleet(path, [tiny_host()], on_error="collect")
    assert fleet.vm_names == ["a", "b"]
    assert [row for row, _ in fleet.rejected] == [2]
    with pytest.raises(InputError, match="line 2"):
        Fleet(path, [tiny_host()])


def test_format_can_be_forced(tmp_path: Path) -> None:
    path = SAMPLES["register-set"](tmp_path)
    with pytest.raises(InputError, match="QEVM"):
        list(readers.register_sets(path, from_="qemu-stream"))
    with pytest.raises(ArgumentError, match="is not a format"):
        list(readers.register_sets(path, from_="xml"))


FIRECRACKER = SHARED / "firecracker"


@pytest.mark.skipif(not FIRECRACKER.exists(), reason="the public dumps are not here")
def test_public_dumps_all_read() -> None:
    files = sorted(FIRECRACKER.glob("*.json"))
    hosts = readers.hosts(FIRECRACKER)[0]
    sets = list(readers.register_sets(FIRECRACKER))
    assert len(hosts) == len(sets) == len(files) >= 50
    assert all(
        kvmfw.validate(vm, host).outcome < Outcome.REFUSE for vm, host in zip(sets, hosts, strict=True)
    )


INCIDENTS = [
    ("NEOVERSE_V2_6.1__2025-03-14_3476905df", "NEOVERSE_V2_6.1__2025-06-17_220cdb012", WA3, 2, 1),
    ("NEOVERSE_V2_5.10__2025-03-14_3476905df", "NEOVERSE_V2_5.10__2025-07-28_0082734bd", WA3, 2, 1),
    (
        "NEOVERSE_V2_6.1__2025-06-17_220cdb012",
        "NEOVERSE_V2_6.1__2025-09-22_1a410fbce",
        0x603000000013C039,
        0x10312122,
        0x1000000010312122,
    ),
]


@pytest.mark.skipif(not FIRECRACKER.exists(), reason="the public dumps are not here")
@pytest.mark.parametrize(("before", "after", "register", "saved", "own"), INCIDENTS)
def test_incidents_of_point_releases_are_found(
    before: str, after: str, register: int, saved: int, own: int
) -> None:
    (vm,) = readers.register_sets(FIRECRACKER / f"{before}.json")
    (host,) = readers.hosts(FIRECRACKER / f"{after}.json")[0]
    found = {(one.register, one.saved, one.own): one.outcome for one in kvmfw.validate(vm, host).findings}
    # Amazon's 6.1 took lower ID registers, and its dumps hold no masks (semantics 3.2, vendors' kernels).
    right = Outcome.REFUSE if register == WA3 else Outcome.UNKNOWN
    assert found.get((register, saved, own)) is right


def test_load_reads_formats_of_others(tmp_path: Path) -> None:
    path = SAMPLES["firecracker-fingerprint"](tmp_path)
    assert Host.load(path).kernel == "6.1.172-216.329.amzn2023.aarch64"
    assert RegisterSet.load(path).to_mapping() == REGISTERS
    assert RegisterSet.load(TWO_VCPUS).name == "tcg-2-vcpus-qemu-7.2"
    with pytest.raises(InputError, match="holds 3 VMs"):
        RegisterSet.load(write_table(tmp_path, "parquet", long_table(3)))
    with pytest.raises(InputError, match="expected `kvmfw-capture`"):
        Host.load(SAMPLES["register-set"](tmp_path))


def test_bitmaps_are_of_any_width(tmp_path: Path) -> None:
    document = fingerprint()
    document["guest_cpu_config"]["reg_modifiers"][1]["bitmap"] = bitmap(2, digits=64)
    path = tmp_path / "host.json"
    path.write_text(json.dumps(document))
    assert next(iter(readers.register_sets(path)))[WA1] == 2


@pytest.mark.skipif(not FIRECRACKER.exists(), reason="the public dumps are not here")
@pytest.mark.parametrize(("before", "after", "register", "saved", "own"), INCIDENTS)
def test_incidents_are_found_by_the_verb_diff(
    before: str, after: str, register: int, saved: int, own: int
) -> None:
    files = [str(FIRECRACKER / f"{name}.json") for name in (before, after)]
    shown = CliRunner().invoke(main, ["diff", *files])
    assert saved != own
    assert kvmfw.register_name(register) in shown.stdout, shown.stderr
