"""Tables of VMs: every form, from files, memory and streams."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from kvmfw import Fleet, Host, RegisterSet, readers
from kvmfw.errors import ArgumentError, FormatError, InputError, RowError
from kvmfw.readers.formats import detect, vcpus_of
from kvmfw.registers import register_name
from kvmfw.testing import tiny_host, tiny_set
from tests.support.batches import gathered_up_to
from tests.support.samples import (
    DATA,
    REGISTERS,
    WA1,
    long_table,
    nested_table,
    write_table,
)

TABLES = ("parquet", "arrow", "csv")


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


AS_OTHERS_WRITE: dict[str, Any] = {
    "decimals of Spark": lambda ids, words: (
        pa.array(ids, pa.decimal128(20, 0)),
        pa.array(words, pa.decimal128(20, 0)),
    ),
    "categories of numbers": lambda ids, words: (
        pa.array(ids, pa.uint64()).dictionary_encode(),
        pa.array(words, pa.uint64()).dictionary_encode(),
    ),
    "names of registers": lambda ids, words: (
        pa.array([register_name(one).lower() for one in ids]),
        pa.array([f" {one:#x}" for one in words]),
    ),
    "text that is not marked as such": lambda ids, words: (
        pa.array([f"{one:#x}".encode() for one in ids]),
        pa.array([str(one).encode() for one in words]),
    ),
}


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
@pytest.mark.parametrize("form", AS_OTHERS_WRITE)
def test_numbers_are_read_as_other_engines_write_them(form: str, kind: str, tmp_path: Path) -> None:
    ids, words = AS_OTHERS_WRITE[form]([*REGISTERS], [*REGISTERS.values()])
    names = pa.array(["a"] * len(REGISTERS))
    table = pa.table(
        {"vm": names.cast(pa.binary()) if "marked" in form else names, "register": ids, "value": words}
    )
    fleet = Fleet(write_table(tmp_path, kind, table), [tiny_host()])
    (whole,) = [RegisterSet.from_mapping(REGISTERS, name="a")]
    np.testing.assert_array_equal(fleet.counts(), Fleet([whole], [tiny_host()]).counts())
    assert fleet.vm_names == ["a"]


@pytest.mark.parametrize("value", [-1, 1 << 64, None])
def test_decimals_that_are_no_words_set_their_vm_aside(value: int | None) -> None:
    ids = pa.array([*REGISTERS][:1] * 2, pa.decimal128(20, 0))
    table = pa.table({"vm": ["a", "b"], "register": ids, "value": pa.array([value, 1], pa.decimal256(40, 0))})
    fleet = Fleet(table, [tiny_host()], on_error="collect")
    assert [row for row, *_ in fleet.rejected] == [0]


@pytest.mark.parametrize("kind", [pa.int64(), pa.int8(), pa.string()])
@pytest.mark.parametrize("codes", [pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.int32()])
def test_vms_in_a_dictionary_of_narrow_codes_are_those_in_plain_columns(kind: Any, codes: Any) -> None:
    """Numbers among the words of a dictionary with rows that have none were an error of Arrow."""
    names = pa.DictionaryArray.from_arrays(
        pa.array([0, 0, None, None, 1, 1], codes), pa.array([7, 8]).cast(kind)
    )
    rows = {"register": pa.array([WA1, WA1 + 2] * 3, pa.uint64()), "value": pa.array([2, 1] * 3, pa.uint64())}
    found = []
    for column in (names, names.cast(kind)):
        fleet = Fleet(pa.table({"vm": column, **rows}), [tiny_host()], on_error="collect")
        found.append((list(fleet.vm_names), fleet.counts("vm").tolist(), fleet.rejected))
    assert found[0] == found[1]
    assert found[0][2] == [(2, "the VM has no name")]


def test_names_that_are_bytes_and_no_text_are_refused() -> None:
    table = pa.table({"vm": [b"\xff"], "register": pa.array([*REGISTERS][:1], pa.uint64()), "value": [1]})
    with pytest.raises(ArgumentError, match="column `vm` is binary"):
        Fleet(table, [tiny_host()])


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_without_rows_must_have_the_columns_all_the_same(kind: str, tmp_path: Path) -> None:
    path = write_table(
        tmp_path, kind, pa.table({"vm": pa.array([], pa.string()), "reg": pa.array([], pa.uint64())})
    )
    with pytest.raises(InputError, match="no column `value`"):
        Fleet(path, [tiny_host()])


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


def test_tables_give_register_sets_too(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    write_table(tmp_path / "one", "parquet", long_table(2))
    (tmp_path / "two.json").write_text(json.dumps(tiny_set(name="two").to_document()))
    found = list(readers.register_sets(tmp_path))
    assert [one.name for one in found] == ["vm0", "vm1", "two"]
    assert found[0].to_mapping() == REGISTERS


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


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["String", "Categorical"])
def test_texts_of_polars_are_taken_in_any_order(kind: str) -> None:
    """Polars hands out views of texts, of which Arrow takes no rows."""
    polars = pytest.importorskip("polars", reason="polars is not installed")
    table = long_table()
    order = np.arange(table.num_rows).reshape(3, -1).T.ravel()
    apart = table.take(pa.array(order)).append_column("host", pa.array(["h1"] * table.num_rows))
    apart = apart.append_column("vcpu", pa.array(["psci_0_2"] * table.num_rows))
    texts = [
        polars.col(name).cast(polars.String).cast(getattr(polars, kind)) for name in ("vm", "host", "vcpu")
    ]
    fleet = Fleet(polars.from_arrow(apart).with_columns(texts), [tiny_host()])
    assert sorted(fleet.vm_names) == ["vm0", "vm1", "vm2"]
    assert fleet.counts().tolist() == Fleet(apart, [tiny_host()]).counts().tolist()


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
    wanted = Fleet(long_table(), [tiny_host()])
    with gathered_up_to(0):
        fleet = Fleet(source, [tiny_host()])
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


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("cell", ["1e3", "-1", "x" * 99])
def test_what_stands_where_a_number_is_expected_is_told(cell: str, nested: bool) -> None:
    table = pa.table(
        {
            "vm": ["a", "a", "b"],
            "register": [f"{WA1:#x}", "0x6030000000140000", f"{WA1:#x}"],
            "value": ["0", cell, "0"],
        }
    )
    if nested:
        table = table.group_by("vm", use_threads=False).aggregate([("register", "list"), ("value", "list")])
        table = table.rename_columns(["vm", "register", "value"])
    fleet = Fleet(table, [tiny_host()], on_error="collect")
    assert fleet.counts()[:, 0].sum() + fleet.counts()[:, 1].sum() == 1
    ((_, reason),) = fleet.rejected
    assert f"the value of register 0x6030000000140000 is `{cell[:40]}`)" in reason


@pytest.mark.parametrize("register", ["603000000013C020", "6030000000140000"])
def test_an_id_that_was_written_without_0x_is_told_so(register: str) -> None:
    table = pa.table({"vm": ["a", "b"], "register": [register, f"{WA1:#x}"], "value": ["0", "0"]})
    fleet = Fleet(table, [tiny_host()], on_error="collect")
    ((row, reason),) = fleet.rejected
    assert row == 0
    assert "without its `0x`" in reason


@pytest.mark.parametrize("kind", ["text", "codes", "vcpus", "nested"])
def test_a_vm_that_stands_on_two_hosts_is_set_aside(kind: str) -> None:
    columns: dict[str, Any] = {
        "vm": ["a", "a", "b"],
        "host": ["h1", "h2", "h1"],
        "register": [WA1, 0x6030000000140000, WA1],
        "value": [0, 0x10000, 0],
    }
    if kind in ("vcpus", "nested"):
        columns |= {"vcpu_index": [0, 1, 0]}
    if kind == "nested":
        columns |= {name: [[one] for one in columns[name]] for name in ("register", "value")}
    table = pa.table(columns)
    if kind == "codes":
        table = table.set_column(1, "host", table.column("host").dictionary_encode())
    fleet = Fleet(table, [tiny_host(name="h1"), tiny_host(name="h2")], on_error="collect")
    ((row, reason),) = fleet.rejected
    assert (row, reason) == (1, "column `host` differs between rows of the VM `a`")


@pytest.mark.parametrize("nothing", [None, ""])
def test_rows_that_do_not_tell_the_host_again_tell_no_other(nothing: str | None) -> None:
    columns = {
        "vm": ["a", "a"],
        "host": ["h1", nothing],
        "register": [WA1, 0x6030000000140000],
        "value": [0, 0x10000],
    }
    fleet = Fleet(pa.table(columns), [tiny_host(name="h1")], on_error="collect")
    assert (fleet.rejected, fleet.vm_homes.tolist()) == ([], [0])


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
    ((_, (stream,)),) = vcpus_of(DATA / "kvm-5.10-max-qemu-10.0.gz", "qemu-stream", readers.Intake())
    registers = {register: value & (1 << 64) - 1 for register, value in stream.registers.to_mapping().items()}
    columns: dict[str, Any] = {
        "vm": ["a"],
        "register": pa.array([list(registers)], pa.list_(pa.uint64())),
        "value": pa.array([list(registers.values())], pa.list_(pa.uint64())),
    }
    words = ",".join([*stream.registers.features, *stream.registers.enabled, "vgic"])
    assert "pmu_v3_unsure" in words, "5.10 shows a PMU that may not be there"
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


@pytest.mark.parametrize(("letter", "name"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
@pytest.mark.parametrize("columns", ["vm,register,value", "id,born,since"])
def test_a_table_without_commas_names_its_separator(
    letter: str, name: str, columns: str, tmp_path: Path
) -> None:
    path = tmp_path / "vms.csv"
    path.write_text(f"{columns}\na,0x1,0x2\n".replace(",", letter))
    with pytest.raises(FormatError, match=f"this is a table with {name} between its cells; expected commas"):
        detect(path)


def test_a_file_of_one_document_has_no_row(tmp_path: Path) -> None:
    """The same VM twice, packed and not."""
    text = (Path(__file__).parents[1] / "examples" / "vm.json").read_bytes()
    (tmp_path / "vm.json").write_bytes(text)
    (tmp_path / "vm.json.gz").write_bytes(gzip.compress(text))
    host = Host.load(min((Path(__file__).parents[1] / "examples" / "captures").glob("*.json")))
    with pytest.raises(RowError) as caught:
        Fleet(tmp_path, [host])
    assert "row" not in str(caught.value).partition(": ")[2]
