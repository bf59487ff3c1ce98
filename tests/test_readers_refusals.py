"""What readers refuse, word by word; and what is written in more than one way is read alike."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kvmfw import Fleet, readers
from kvmfw.errors import ArgumentError, FormatError, InputError
from kvmfw.ids import CORE, SVE, make_id
from kvmfw.readers import read_facts, vmstate
from kvmfw.readers.numbers import numbers
from kvmfw.readers.source import LIMITS
from kvmfw.readers.symbols import register_of
from kvmfw.readers.tables import open_table
from kvmfw.testing import tiny_host
from tests.support.damage import state, vcpu_named
from tests.support.samples import (
    MIDR,
    PROPERTIES,
    REG_LIST,
    REGISTERS,
    SAMPLES,
    WA1,
    long_table,
    nested_table,
    snapshot,
    write_table,
)

Edit = Callable[[dict[str, Any]], Any]
VLS = 0x606000000015FFFF


def _with(**changes: Any) -> Edit:
    return lambda found: found.update(changes)


# ---------------------------------------------------------------- cloud-hypervisor


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (_with(extended_regs={}), "extended_regs: expected a list, found dict"),
        (_with(extended_regs=[{"id": 1}]), "extended_regs[0]: expected id and data"),
        (_with(extended_regs=[{"id": True, "data": []}]), "extended_regs[0]: `True` is not a 64-bit number"),
        (_with(sys_regs=[{"id": 1 << 64, "addr": 0}]), "sys_regs[0]: `18446744073709551616` is not a 64-bit"),
        (_with(extended_regs=[{"id": VLS, "data": ["1"]}]), "expected bytes, each from 0 to 255"),
        (_with(extended_regs=[{"id": VLS, "data": [256]}]), "expected bytes, each from 0 to 255"),
        (
            lambda found: (found.clear(), found.update(sys_regs=[])),
            "snapshots.cpu-manager.0: there is no register in it",
        ),
    ],
)
def test_a_snapshot_says_which_part_of_it_is_wrong(edit: Edit, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError) as raised:
        list(readers.register_sets(state(edit)(tmp_path, "cloud-hypervisor")))
    assert sentence in str(raised.value)


def _snapshots(tmp_path: Path, document: dict[str, Any]) -> dict[int, int]:
    path = tmp_path / "state.json"
    path.write_text(json.dumps(document))
    (one,) = readers.register_sets(path, from_="cloud-hypervisor")
    return one.to_mapping(beside=True)


def test_a_vcpu_needs_a_number_and_snapshots_an_end(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="`vcpu-x` is not the number of a vCPU"):
        _snapshots(tmp_path, vcpu_named("vcpu-x")(snapshot()))
    deep: dict[str, Any] = snapshot()
    for _ in range(40):
        deep = {"snapshots": {"more": deep}}
    with pytest.raises(FormatError, match="the snapshots are nested too deeply"):
        _snapshots(tmp_path, deep)


def test_a_state_is_the_same_as_text_and_as_bytes(tmp_path: Path) -> None:
    plain = snapshot()
    wanted = _snapshots(tmp_path, plain)
    one = plain["snapshots"]["cpu-manager"]["snapshots"]["0"]["snapshot_data"]
    one["state"] = list(one["state"].encode())
    assert _snapshots(tmp_path, plain) == wanted
    assert REGISTERS.items() <= wanted.items()


@pytest.mark.parametrize("clock", ["{", '{"clock": 7}', '{"clock": {"cntfrq": "fast"}}'])
def test_a_clock_that_is_not_understood_is_not_told(clock: str, tmp_path: Path) -> None:
    wanted = _snapshots(tmp_path, snapshot())
    assert _snapshots(tmp_path, snapshot() | {"snapshot_data": {"state": clock}}) == wanted


# ---------------------------------------------------------------- Firecracker's own file


def _sealed(body: bytes) -> bytes:
    return body + vmstate.checksum(body).to_bytes(8, "little")


def _bitcode_of(ids: list[int]) -> bytes:
    """The beginning of a file of 1.15: the ids of one vCPU after another, one packed column."""
    head = b"\0" + bytes.fromhex("0000aaaa84191007") + bytes(16)
    return _sealed(head + b"".join(struct.pack("<Q", one) for one in ids) + bytes(64))


X0, X1 = make_id(CORE, 0), make_id(CORE, 2)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (bytes(64), "byte 0: this is no Firecracker snapshot: it does not start with its magic number"),
        (_bitcode_of([]), "there is no vCPU in it: no register list that starts with X0"),
        (_bitcode_of([X0, X1] * 513), "the file lists 513 vCPUs, more than a VM can have"),
        (_bitcode_of([X0, X1]), "the sizes of the vCPUs' values (16 bytes) do not follow the ids"),
    ],
)
def test_a_vmstate_is_refused_where_it_cannot_be_one(data: bytes, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "vm.vmstate"
    path.write_bytes(data)
    with pytest.raises(FormatError) as raised:
        list(readers.register_sets(path, from_="firecracker-vmstate"))
    assert sentence in str(raised.value)


def test_values_that_end_before_their_ids_are_no_values(tmp_path: Path) -> None:
    """A file cut in its last values and sealed anew: what is missing is never taken for 0."""
    whole = SAMPLES["firecracker-vmstate"](tmp_path).read_bytes()
    ids = vmstate._ids(whole, whole.index(struct.pack("<Q", X0)))
    path = tmp_path / "short.vmstate"
    path.write_bytes(_sealed(whole[: whole.index(struct.pack("<Q", X0)) + 8 * len(ids) + 100]))
    with pytest.raises(FormatError, match=r"do not follow the ids|end before|registers, but"):
        list(readers.register_sets(path, from_="firecracker-vmstate"))


# ---------------------------------------------------------------- what a host lists


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("# a comment\nok 1\n", "there is no register in it"),
        (
            "\tKVM_REG_ARM_FW_REG(0),\n\tKVM_REG_ARM_CORE_REG(regs.colour),\n",
            "line 2: `KVM_REG_ARM_CORE_REG(",
        ),
        ("\tKVM_REG_ARM64_SVE_ZREG(32, 0),\n", "line 1: `KVM_REG_ARM64_SVE_ZREG(32, 0)` is not a register"),
        ("\tKVM_REG_ARM64_SVE_PREG(16, 0),\n", "line 1: `KVM_REG_ARM64_SVE_PREG(16, 0)` is not a register"),
    ],
)
def test_lines_that_name_no_register_are_named(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text(text)
    with pytest.raises(FormatError) as raised:
        read_facts(path)
    assert sentence in str(raised.value)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("KVM_REG_ARM64 | KVM_REG_SIZE_U256 | KVM_REG_ARM64_SVE_PREG(3, 1),", make_id(SVE, 0x461, 32)),
        ("KVM_REG_ARM64_SVE_FFR(2),", make_id(SVE, 0x602, 32)),
        ("KVM_REG_ARM64_SVE_VLS,", VLS),
        ("0x603000000013c000", MIDR),
        ("0x60300000001", 0x60300000001),
        ("KVM_REG_ARM_FW_REG(70000),", None),
    ],
)
def test_a_register_is_named_in_every_form_of_the_kernels_test(line: str, wanted: int | None) -> None:
    assert register_of(line) == wanted


def test_blank_lines_and_headings_of_the_list_say_nothing(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text(REG_LIST)
    wanted = read_facts(path)
    path.write_text("Testing vCPU\n\n1..8\nregs:\n" + REG_LIST.replace("\n", "\n\n") + "# done\n")
    assert read_facts(path).listed == wanted.listed
    assert len(wanted.listed or ()) == 7


FIELDS = {name: told for name, told in PROPERTIES["return"].items() if name != "model"}


@pytest.mark.parametrize(
    "document",
    [
        {"return": FIELDS},
        {"return": {"model": "host", "props": FIELDS}},
        {
            "return": {
                "props": [
                    {"name": name} | (told if isinstance(told, dict) else {"value": told})
                    for name, told in FIELDS.items()
                ]
            }
        },
        FIELDS,
    ],
)
def test_properties_of_a_cpu_are_the_same_in_every_form(document: Any, tmp_path: Path) -> None:
    path = tmp_path / "props.json"
    path.write_text(json.dumps({"return": FIELDS}))
    wanted = read_facts(path).ranges
    path.write_text(json.dumps(document))
    assert read_facts(path).ranges == wanted
    assert wanted


def test_properties_without_names_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "props.json"
    for document, sentence in (
        ([{"value": True}], "expected the properties of a CPU: an object, or a list of objects with a name"),
        ({"pmu": True}, r"there is no property of an ID register \(SYSREG_...\) in it"),
    ):
        path.write_text(json.dumps(document))
        with pytest.raises(FormatError, match=sentence):
            read_facts(path)


# ---------------------------------------------------------------- tables


@pytest.mark.parametrize(
    ("limits", "kind", "sentence"),
    [
        (
            {"chunk_bytes": 100},
            "parquet",
            "row group 0: it declares [0-9,]+ bytes after unpacking; at most 100 are",
        ),
        ({"chunk_values": 8}, "parquet", "row group 0: column `vm` declares 9 values; at most 8 are read"),
        ({"chunk_values": 8}, "arrow", "batch 0: it declares 9 rows; at most 8 are read"),
    ],
)
def test_what_a_table_declares_is_checked_before_it_is_read(
    limits: dict[str, int], kind: str, sentence: str, tmp_path: Path
) -> None:
    path = write_table(tmp_path, kind, long_table())
    with pytest.raises(FormatError, match=sentence):
        list(open_table(path, kind, replace(LIMITS, **limits)))
    assert sum(batch.num_rows for batch in open_table(path, kind)) == 9


LISTS = pa.list_(pa.uint64())


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        (
            {"register": pa.array([[1]], LISTS), "value": pa.array([1])},
            "column `value` is int64; expected lists",
        ),
        ({"registers": pa.array([[1]], LISTS)}, "column `registers` is list<item: uint64>; expected a map"),
        (
            {"registers": pa.array([[{"colour": 1}]])},
            "column `registers` holds struct<colour: int64>; expected register and value",
        ),
        (
            {"register": pa.array([1.5]), "value": pa.array([1])},
            "column `register` is double; expected uint64, or text",
        ),
    ],
)
def test_columns_of_another_type_are_refused(columns: dict[str, pa.Array], sentence: str) -> None:
    with pytest.raises((ArgumentError, InputError)) as raised:
        Fleet(pa.table({"vm": ["a"]} | columns), [tiny_host()])
    assert sentence in str(raised.value)


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_numbers_as_text_are_the_same_in_every_type_of_text(kind: pa.DataType) -> None:
    plain = pa.array(["0x6030000000140001", "MIDR_EL1", "7", "no", "", None, str(1 << 64)])
    column = (
        pa.array(plain.to_pylist(), kind) if not pa.types.is_dictionary(kind) else plain.dictionary_encode()
    )
    assert numbers(column, "register").to_pylist() == [WA1, MIDR, 7, None, None, None, None]
    assert numbers(column, "value").to_pylist() == [WA1, None, 7, None, None, None, None]


def test_a_column_of_nothing_holds_no_numbers() -> None:
    assert numbers(pa.nulls(2), "value").to_pylist() == [None, None]


def test_a_vm_whose_lists_differ_in_length_is_set_aside_and_no_other() -> None:
    table = nested_table(3)
    for name, short in (("register", {1}), ("value", {2})):
        lists = [row[:-1] if at in short else row for at, row in enumerate(table.column(name).to_pylist())]
        table = table.set_column(table.column_names.index(name), name, pa.array(lists, LISTS))
    fleet = Fleet(table, [tiny_host()], on_error="collect")
    assert [(row, said) for row, said in fleet.rejected] == [
        (row, "`register` and `value` differ in length") for row in (1, 2)
    ]
    alone = Fleet(nested_table(1), [tiny_host()])
    nobody_knows = [0, 0, 1, 0]
    assert fleet.counts().tolist() == [*alone.counts().tolist(), nobody_knows, nobody_knows]


@pytest.mark.parametrize("kind", [pa.string(), pa.int64()])
def test_a_vcpu_without_a_number_is_number_0_and_one_with_another_word_is_set_aside(
    kind: pa.DataType,
) -> None:
    words = ["0", None, "x"] if kind == pa.string() else [0, None, -1]
    table = nested_table(3).append_column("vcpu_index", pa.array(words, kind))
    fleet = Fleet(table, [tiny_host()], on_error="collect")
    assert fleet.rejected == [(2, "the number of the vCPU is not between 0 and 65535")]
    known = Fleet(nested_table(1), [tiny_host()]).counts().tolist()
    assert fleet.counts().tolist() == [*known, *known, [0, 0, 1, 0]]


def test_an_empty_batch_between_others_ends_no_vm(tmp_path: Path) -> None:
    whole = long_table()
    path = tmp_path / "vms.arrow"
    with pa.ipc.new_file(str(path), whole.schema) as writer:
        for part in (whole.slice(0, 4), whole.slice(0, 0), whole.slice(4)):
            writer.write_batch(
                part.combine_chunks().to_batches()[0]
                if part.num_rows
                else pa.RecordBatch.from_pylist([], whole.schema)
            )
    assert Fleet(path, [tiny_host()]).shape == (3, 1)


def test_a_table_without_rows_has_no_vm(tmp_path: Path) -> None:
    pq.write_table(long_table().slice(0, 0), tmp_path / "vms.parquet")
    assert Fleet(tmp_path / "vms.parquet", [tiny_host()]).shape == (0, 1)


def test_ways_with_errors_are_two() -> None:
    with pytest.raises(ArgumentError, match="`on_error` is `ignore`; expected `raise` or `collect`"):
        readers.Intake("ignore")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="`on_error` is `ignore`; expected `raise` or `collect`"):
        Fleet(long_table(), [tiny_host()], on_error="ignore")  # type: ignore[arg-type]
