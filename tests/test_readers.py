"""Readers: every format is found out by content and read as it is."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

import kvmfw
from kvmfw import Fleet, Host, Outcome, RegisterSet, readers
from kvmfw.cli import main
from kvmfw.errors import ArgumentError, InputError, RowError
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
    nested_table,
    snapshot,
    template,
    write_table,
)

SHARED = Path(os.environ.get("KVMFW_DATA", Path(__file__).parents[2] / "shared" / "data"))
DOCUMENTS = ("register-set", "firecracker-fingerprint", "firecracker-template", "cloud-hypervisor")
TABLES = ("parquet", "arrow", "csv")


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


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("form", ["long", "nested"])
def test_tables_give_the_same_fleet_as_sets(kind: str, form: str, tmp_path: Path) -> None:
    if (kind, form) == ("csv", "nested"):
        pytest.skip("CSV has no lists")
    path = write_table(tmp_path, kind, long_table() if form == "long" else nested_table())
    fleet = Fleet(path, [tiny_host()])
    sets = [RegisterSet.from_mapping(REGISTERS, name=f"vm{number}") for number in range(3)]
    assert fleet.vm_names == [one.name for one in sets]
    np.testing.assert_array_equal(fleet.counts(), Fleet(sets, [tiny_host()]).counts())


def test_hexadecimal_csv_and_other_column_names(tmp_path: Path) -> None:
    path = tmp_path / "vms.csv"
    rows = "".join(f"a,{register:#x},{value:#x}\n" for register, value in REGISTERS.items())
    path.write_text(f"vm_id,reg_id,reg_val\n{rows}")
    assert readers.detect(path) == "csv"
    assert Fleet(path, [tiny_host()]).vm_names == ["a"]


@pytest.mark.parametrize("form", ["structs", "map"])
def test_lists_of_pairs_are_the_nested_form_too(form: str, tmp_path: Path) -> None:
    pairs = list(REGISTERS.items())
    if form == "structs":
        kind = pa.list_(pa.struct([("register", pa.uint64()), ("value", pa.uint64())]))
        column = pa.array([[{"register": register, "value": value} for register, value in pairs]], kind)
    else:
        column = pa.array([pairs], pa.map_(pa.uint64(), pa.uint64()))
    path = write_table(tmp_path, "parquet", pa.table({"vm": ["a"], "registers": column}))
    np.testing.assert_array_equal(
        Fleet(path, [tiny_host()]).counts(),
        Fleet([RegisterSet.from_mapping(REGISTERS)], [tiny_host()]).counts(),
    )


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


def test_tables_give_register_sets_too(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    write_table(tmp_path / "one", "parquet", long_table(2))
    (tmp_path / "two.json").write_text(json.dumps(tiny_set(name="two").to_document()))
    found = list(readers.register_sets(tmp_path))
    assert [one.name for one in found] == ["vm0", "vm1", "two"]
    assert found[0].to_mapping() == REGISTERS


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


def _frame(engine: str, given: pa.Table) -> Any:
    module = pytest.importorskip(engine, reason=f"{engine} is not installed")
    if engine == "polars":
        return module.from_arrow(given)
    return module.sql("select * from given") if engine == "duckdb" else given.to_pandas()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("engine", ["polars", "duckdb", "pandas"])
def test_frames_of_other_engines_are_tables(engine: str) -> None:
    table = long_table()
    fleet = Fleet(_frame(engine, table), [tiny_host()])
    np.testing.assert_array_equal(fleet.counts(), Fleet(table, [tiny_host()]).counts())
    assert fleet.vm_names == ["vm0", "vm1", "vm2"]


def _aliased(table: pa.Table) -> pa.Table:
    return table.rename_columns(["vm_id", "reg_id", "reg_val"])


def _text(table: pa.Table) -> pa.Table:
    words = [[hex(word) for word in table.column(name).to_pylist()] for name in ("register", "value")]
    return pa.table({"vm": table.column("vm"), "register": words[0], "value": words[1]})


def _numbered(table: pa.Table) -> pa.Table:
    return table.append_column("vcpu_index", pa.array([0] * table.num_rows, pa.int8()))


def _mixed(table: pa.Table) -> pa.Table:
    signed = table.column("register").combine_chunks().view(pa.int64())
    return pa.table(
        {"vm": table.column("vm"), "register": signed, "value": table.column("value").cast(pa.int32())}
    )


def _misaligned(table: pa.Table) -> pa.Table:
    columns = {"vm": table.column("vm")}
    for name in ("register", "value"):
        words = table.column(name).to_numpy().tobytes()
        buffer = pa.py_buffer(b"\0" + words).slice(1)
        columns[name] = pa.Array.from_buffers(pa.uint64(), table.num_rows, [None, buffer])
    return pa.table(columns)


def _structs(table: pa.Table) -> pa.Table:
    pairs = [{"register": register, "value": value} for register, value in REGISTERS.items()]
    kind = pa.list_(pa.struct([("register", pa.uint64()), ("value", pa.uint64())]))
    names = list(dict.fromkeys(table.column("vm").to_pylist()))
    return pa.table({"vm": names, "registers": pa.array([pairs] * len(names), kind)})


@pytest.mark.parametrize("edit", [_aliased, _text, _numbered, _mixed, _misaligned, _structs])
@pytest.mark.parametrize("road", ["file", "memory", "stream"])
def test_every_form_of_a_table_is_read_on_every_road(edit: Any, road: str, tmp_path: Path) -> None:
    table = edit(long_table())
    source: Any = table
    if road == "file":
        source = write_table(tmp_path, "parquet", table)
    elif road == "stream":
        source = pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=2))
    fleet, wanted = Fleet(source, [tiny_host()]), Fleet(long_table(), [tiny_host()])
    assert fleet.vm_names == wanted.vm_names == ["vm0", "vm1", "vm2"]
    np.testing.assert_array_equal(fleet.counts(), wanted.counts())


def test_a_null_sets_its_vm_aside_and_keeps_the_others() -> None:
    table = long_table()
    values = table.column("value").to_pylist()
    values[4] = None
    table = table.set_column(2, "value", pa.array(values, pa.uint64()))
    fleet = Fleet(table, [tiny_host()], on_error="collect")
    wanted = (
        4,
        f"the register id or the value is missing or not a 64-bit number (the value of register {WA1:#x} is null)",
    )
    assert fleet.rejected == [wanted]
    assert fleet.counts()[:, 2].tolist() == [0, 1, 0]
    with pytest.raises(InputError, match="row 4: the register id or the value is missing"):
        Fleet(table, [tiny_host()])


def test_a_bad_row_in_the_second_file_of_a_folder_is_counted_in_it_and_names_it(tmp_path: Path) -> None:
    first = long_table().set_column(0, "vm", pa.array(["x", "x", "x", "y", "y", "y", "z", "z", "z"]))
    values = pa.array([*range(4), None, *range(4)], pa.uint64())
    for name, table in (("a", first), ("b", long_table().set_column(2, "value", values))):
        (tmp_path / name).mkdir()
        write_table(tmp_path / name, "parquet", table)
    with pytest.raises(RowError, match=r"b/sample\.parquet: row 4: ") as raised:
        Fleet(tmp_path, [tiny_host()])
    assert raised.value.row == 4
    fleet = Fleet(tmp_path, [tiny_host()], on_error="collect")
    ((row, reason),) = fleet.rejected
    assert row == 4
    assert reason.startswith(str(tmp_path / "b" / "sample.parquet"))
    assert list(fleet.vm_names) == ["x", "y", "z", "vm0", "vm1", "vm2"]


def test_a_table_without_words_is_judged_as_its_id_registers_tell() -> None:
    (stream,) = vcpus(DATA / "kvm-5.10-max-qemu-10.0.gz")
    registers = {register: value & (1 << 64) - 1 for register, value in stream.registers.to_mapping().items()}
    columns: dict[str, Any] = {
        "vm": ["a"],
        "register": pa.array([list(registers)], pa.list_(pa.uint64())),
        "value": pa.array([list(registers.values())], pa.list_(pa.uint64())),
    }
    words = ",".join([*stream.registers.features, "vgic"])
    known = readers.hosts(Path(__file__).parents[1] / "examples" / "captures")[0]
    untold, told = Fleet(pa.table(columns), known), Fleet(pa.table(columns | {"vcpu": [words]}), known)
    assert (untold.inferred, told.inferred) == (1, 0)
    np.testing.assert_array_equal(untold.counts(), told.counts())
    other = Fleet(pa.table(columns | {"vcpu": ["psci_0_2,vgic"]}), known)
    assert untold.counts().tolist() != other.counts().tolist()


def test_names_of_a_fleet_are_not_given_twice(tmp_path: Path) -> None:
    fleet = Fleet([tiny_set(name="a"), tiny_set(name="b")], [tiny_host()])
    fleet.add_vms(long_table(1))
    again: list[Any] = [[tiny_set(name="b")], [tiny_set(name="c"), tiny_set(name="c")], long_table(1)]
    for vms in again:
        with pytest.raises(RowError, match="occurs twice"):
            fleet.add_vms(vms)
    assert list(fleet.vm_names) == ["a", "b", "vm0"]
    fleet.remove_vms([1])
    fleet.add_vms([tiny_set(name="b")])
    assert list(fleet.vm_names) == ["a", "vm0", "b"]
    two = pa.concat_tables([nested_table(1), nested_table(1)])
    with pytest.raises(RowError, match="row 1: the VM `vm0` occurs twice"):
        Fleet(write_table(tmp_path, "parquet", two), [tiny_host()])


def test_a_source_that_breaks_leaves_the_fleet_as_it_was() -> None:
    table = long_table()

    def batches() -> Iterator[pa.RecordBatch]:
        yield from table.to_batches(max_chunksize=3)
        raise OSError("network gone")

    fleet = Fleet([tiny_set(name="a")], [tiny_host()])
    with pytest.raises(OSError, match="network gone"):
        fleet.add_vms(pa.RecordBatchReader.from_batches(table.schema, batches()))
    assert (fleet.shape, list(fleet.vm_names)) == ((1, 1), ["a"])
