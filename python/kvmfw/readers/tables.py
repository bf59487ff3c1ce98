"""Tables of VMs: Parquet, Arrow IPC and CSV files, and anything with ``__arrow_c_stream__``.

Whatever the columns are called, tables come out in one of two forms: long (``vm``, ``register``, ``value``) or nested
(``register`` and ``value`` are lists, or ``registers`` holds both), with the columns ``vcpu`` (words), ``index`` (number
of the vCPU) and ``host`` where the table has them. What is in the rows is looked at in `kvmfw.readers.cutter`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from kvmfw import numerals
from kvmfw.errors import ArgumentError, FormatError, InputError
from kvmfw.readers.ahead import ahead
from kvmfw.readers.batches import Batches
from kvmfw.readers.chunks import one_chunk
from kvmfw.readers.format import Format, Head
from kvmfw.readers.pages import batches_of
from kvmfw.readers.source import LIMITS, Limits, is_gzip, opened
from kvmfw.readers.texts import without_views

__all__ = [
    "ARROW",
    "COLUMNS",
    "CSV",
    "PARQUET",
    "check_columns",
    "columns_of",
    "declared_rows",
    "is_nested",
    "left_out",
    "lists_of",
    "open_table",
    "tidied",
]

_NAMES = {
    "vm": ("vm", "vm_id", "id"),
    "register": ("register", "reg_id", "reg", "register_id"),
    "value": ("value", "reg_val", "val"),
    "host": ("host", "host_id"),
    "index": ("vcpu_index", "index"),
    "vcpu": ("vcpu", "features"),
    "registers": ("registers", "regs"),
    "vmm": ("vmm",),
}
_WORDS = frozenset(word for words in _NAMES.values() for word in words)
COLUMNS = tuple(_NAMES)
"""The columns that are read."""
_LONG_BATCH, _NESTED_BATCH = 1 << 20, 1 << 13
_CSV_BLOCK = 8 << 20
_CONTINUATION = b"\xff\xff\xff\xff"
_END = _CONTINUATION + bytes(4)
"""What begins each message of a stream since Arrow 0.15, and what ends the stream (Columnar.rst, IPC Streaming Format)."""
_BROKEN = (pa.ArrowException, OSError, UnicodeDecodeError)
"""What pyarrow raises for files that are not what they say."""


def open_table(path: Path, kind: str, limits: Limits = LIMITS) -> Batches:
    """Open a table file; batches are read as they are asked for, and are as the file has them.

    Raises
    ------
    FormatError
        When the file is damaged, or declares more than a batch may hold; also while batches are read.
    """
    try:
        with opened(path):
            pass
        batches = {"parquet": _parquet, "arrow": _arrow, "csv": _csv}[kind](path, limits)
        schema = next(batches)
        _spell(schema)
    except UnicodeDecodeError as error:
        raise FormatError("the name of a column is not UTF-8", file=str(path)) from error
    except _BROKEN as error:
        raise _damaged(path, error) from error
    return Batches(schema, ahead(_guarded(path, batches)))


def _spell(fields: Iterable[pa.Field]) -> None:
    """Look at all names of columns, of parts of columns too: Arrow gives them as they are."""
    for one in fields:
        _ = one.name
        _spell(one.type.field(at) for at in range(one.type.num_fields))


def declared_rows(path: Path, kind: str) -> int:
    """How many rows a table file says that it has; 0 where that is not known."""
    if kind != "parquet":
        return 0
    try:
        return int(pq.read_metadata(path).num_rows)
    except _BROKEN as error:
        raise _damaged(path, error) from error


def _guarded(path: Path, batches: Iterator[Any]) -> Iterator[pa.RecordBatch]:
    try:
        yield from batches
    except _BROKEN as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> InputError:
    if isinstance(error, InputError):
        return error
    if isinstance(error, pa.ArrowMemoryError | MemoryError):
        return FormatError("the file declares more data than fits into memory", file=str(path))
    words = " ".join(str(error).split())
    return FormatError(f"the file is damaged or cut off: {words[:200]}", file=str(path))


def _parquet(path: Path, limits: Limits) -> Iterator[Any]:
    # What is text stays dictionary-encoded: a name repeated for 40 registers is kept once.
    schema = pq.read_schema(path)
    texts = [
        field.name
        for field in schema
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
    ]
    with pq.ParquetFile(path, read_dictionary=texts, pre_buffer=False) as file:
        _check_declared(file.metadata, path, limits)
        yield file.schema_arrow
        nested = any(pa.types.is_nested(field.type) for field in schema)
        yield from batches_of(path, file, _NESTED_BATCH if nested else _LONG_BATCH)


def _check_declared(metadata: Any, path: Path, limits: Limits) -> None:
    for group in range(metadata.num_row_groups):
        declared = metadata.row_group(group)
        place = f"row group {group}"
        if declared.total_byte_size > limits.chunk_bytes:
            problem = f"it declares {declared.total_byte_size:,} bytes after unpacking"
            raise FormatError(f"{problem}; at most {limits.chunk_bytes:,} are read", place, file=str(path))
        for number in range(declared.num_columns):
            chunk = declared.column(number)
            if chunk.num_values > limits.chunk_values:
                problem = f"column `{chunk.path_in_schema}` declares {chunk.num_values:,} values"
                raise FormatError(
                    f"{problem}; at most {limits.chunk_values:,} are read", place, file=str(path)
                )
            if chunk.total_uncompressed_size > limits.chunk_bytes:
                problem = (
                    f"column `{chunk.path_in_schema}` unpacks to {chunk.total_uncompressed_size:,} bytes"
                )
                raise FormatError(
                    f"{problem}; at most {limits.chunk_bytes:,} are read", place, file=str(path)
                )


def _arrow(path: Path, limits: Limits) -> Iterator[Any]:
    # Not mapped: a mapped file that someone shortens is a SIGBUS.
    batches: Iterator[pa.RecordBatch]
    with pa.OSFile(str(path)) as file:
        magic = file.read(6)
        file.seek(0)
        if magic == b"ARROW1":
            reader = pa.ipc.open_file(file)
            yield reader.schema
            batches = map(reader.get_batch, range(reader.num_record_batches))
        else:
            stream = pa.ipc.open_stream(file)
            yield stream.schema
            batches = _whole_stream(stream, file, marked=magic.startswith(_CONTINUATION))
        for number, batch in enumerate(batches):
            batch.validate(full=True)
            if batch.num_rows > limits.chunk_values:
                problem = f"it declares {batch.num_rows:,} rows; at most {limits.chunk_values:,} are read"
                raise FormatError(problem, f"batch {number}", file=str(path))
            yield batch


def _whole_stream(
    stream: pa.RecordBatchReader, file: pa.NativeFile, *, marked: bool
) -> Iterator[pa.RecordBatch]:
    """Give all batches, and fail where the end that all writers mark is missing: pyarrow takes any end for the end.

    Streams from before Arrow 0.15 mark nothing so that it could be told from data.
    """
    yield from stream
    if not marked:
        return
    file.seek(max(file.tell() - len(_END), 0))
    if file.read(len(_END)) != _END:
        raise pa.ArrowInvalid("the stream ends without its end mark")


def _csv(path: Path, limits: Limits) -> Iterator[Any]:
    with opened(path) as file:
        header = file.readline(limits.line)
    names = header.decode("utf-8-sig").strip().split(",")
    unquoted = [name.strip('"') for name in names]
    # Numbers may be hexadecimal: every column is read as text and turned into numbers by its distinct entries.
    convert = pa_csv.ConvertOptions(
        column_types=dict.fromkeys(unquoted, pa.string()), strings_can_be_null=False
    )
    with pa.CompressedInputStream(str(path), "gzip") if is_gzip(path) else pa.OSFile(str(path)) as raw:
        options = pa_csv.ReadOptions(block_size=_CSV_BLOCK)
        reader = pa_csv.open_csv(raw, read_options=options, convert_options=convert)
        yield reader.schema
        yield from reader


def is_nested(table: pa.Table) -> bool:
    """Tell whether each row is a vCPU with lists of registers and values."""
    return "registers" in table.column_names or _is_list(table.schema.field("register").type)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def tidied(table: pa.Table, columns: Mapping[str, str] | None = None) -> pa.Table:
    """Give a table the columns that kvmfw works with; other columns are left out.

    Parameters
    ----------
    table : pyarrow.Table
        The table as it came.
    columns : mapping of str to str, optional
        What columns are called that have names of their own: ``{"host": "hypervisor"}``.

    Raises
    ------
    ArgumentError
        When a column is missing; it names the columns that there are.

    Examples
    --------
    >>> tidied(pa.table({"id": ["a"], "reg": ["0x6030000000140003"], "value": [1]})).column_names
    ['vm', 'register', 'value']
    """
    found = columns_of(table.column_names, columns or {})
    for given in found.values():
        if table.column_names.count(given) > 1:
            raise ArgumentError(f"the table has the column `{given}` twice")
    nested = "registers" in found and "register" not in found
    for name in ("vm", "registers") if nested else ("vm", "register", "value"):
        if name not in found:
            known = ", ".join(table.column_names)
            raise ArgumentError(f"the table has no column `{name}`; it has {known}")
    left_out = ("register", "value") if nested else ("registers",)
    tidy = {name: without_views(table.column(given)) for name, given in found.items() if name not in left_out}
    if "vcpu" in tidy and _holds_numbers(tidy["vcpu"]):
        tidy["index"] = tidy.pop("vcpu")
        words = next((name for name in table.column_names if name.lower() == "features"), None)
        if words is not None:
            tidy["vcpu"] = without_views(table.column(words))
    return pa.table(tidy)


def left_out(names: Sequence[str], columns: Mapping[str, str] | None = None) -> list[str]:
    """Name the columns of a table that are not looked at.

    >>> left_out(["vm", "hypervisor", "reg", "val"])
    ['hypervisor']
    """
    found = set(columns_of(names, columns or {}).values())
    # Beside an integer column vcpu, which is a number, the words stand here.
    return [name for name in names if name not in found and name.lower() != "features"]


def check_columns(given: Iterable[str], known: Iterable[str]) -> None:
    """See that columns which are called otherwise than usual are some that are read."""
    listed = dict.fromkeys(known)
    for name in given:
        if name not in listed:
            raise ArgumentError(f"`{name}` is no column that is read; expected one of {', '.join(listed)}")


def columns_of(names: Sequence[str], columns: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    """Tell which columns of a table are read, by what they are; `columns` names those that have other names than usual."""
    check_columns(columns, _NAMES)
    given: dict[str, str] = {}
    for name in names:
        plain = name.strip().lower()
        if given.setdefault(plain, name) != name and plain in _WORDS:
            raise ArgumentError(f"the table has the column `{plain}` twice: `{given[plain]}`, `{name}`")
    found = {}
    for name, words in _NAMES.items():
        if name in columns and columns[name] in names:
            found[name] = columns[name]
        elif (word := next((word for word in words if word in given), None)) is not None:
            found[name] = given[word]
    return found


def _holds_numbers(column: pa.ChunkedArray) -> bool:
    """Tell whether a column ``vcpu`` numbers vCPUs; in CSV numbers are text."""
    if pa.types.is_integer(column.type):
        return True
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return False
    # What is not told says nothing: where a batch begins is chance.
    told = ((cell or "").strip(" \t") for cell in _words(column))
    return numerals.decimal(next(filter(None, told), "")) is not None


def _words(column: pa.ChunkedArray) -> Iterator[str | None]:
    """Give the words of a column, each once or twice: the first cell mostly tells without a look at the others."""
    for chunk in column.chunks:
        yield from chunk[:1].to_pylist()
        yield from chunk.unique().to_pylist()


def lists_of(table: pa.Table) -> tuple[list[npt.NDArray[np.int64]], pa.Array, pa.Array]:
    """Give the lengths of the lists of registers and of values of a table in nested form, and all their entries.

    Raises
    ------
    ArgumentError
        When a column has a type that cannot be used.
    """
    if "registers" in table.column_names:
        column = one_chunk(table.column("registers"))
        lengths, entries = _flattened(column, "registers")
        keys, items = _unzipped(column, entries)
        return [lengths, lengths], keys, items
    parts = [_flattened(one_chunk(table.column(name)), name) for name in ("register", "value")]
    return [lengths for lengths, _ in parts], parts[0][1], parts[1][1]


def _flattened(column: pa.Array, name: str) -> tuple[npt.NDArray[np.int64], pa.Array]:
    if pa.types.is_map(column.type):
        fields = [("key", column.type.key_type), ("value", column.type.item_type)]
        column = column.cast(pa.list_(pa.struct(fields)))
    if not _is_list(column.type):
        raise ArgumentError(f"column `{name}` is {column.type}; expected lists, in every row as many of each")
    lengths = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    return lengths, one_chunk(without_views(pa.chunked_array([column.flatten()])))


def _unzipped(column: pa.Array, entries: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Take pairs of register and value apart."""
    if not pa.types.is_struct(entries.type):
        raise ArgumentError(
            f"column `registers` is {column.type}; expected a map, or a list of register and value"
        )
    fields = {field.name.lower(): field.name for field in entries.type}
    if pa.types.is_map(column.type):
        words = ["key", "value"]
    else:
        words = [
            next((fields[word] for word in _NAMES[part] if word in fields), "")
            for part in ("register", "value")
        ]
    if "" in words:
        raise ArgumentError(f"column `registers` holds {entries.type}; expected register and value")
    keys, items = (pc.struct_field(entries, word) for word in words)
    return keys, items


def _is_csv(head: Head) -> bool:
    first, _, _ = head.text.partition(b"\n")
    given = head.columns.get("register", "reg").lower().encode()
    return (
        b"," in first
        and (b"reg" in first.lower() or given in first.lower())
        and first[:1] not in (b"{", b"[")
    )


PARQUET = Format("parquet", "Parquet table of VMs", lambda head: head.raw.startswith(b"PAR1"), table=True)
ARROW = Format(
    "arrow",
    "Arrow IPC file or stream of VMs",
    lambda head: head.raw.startswith((b"ARROW1", b"\xff\xff\xff\xff")),
    table=True,
)
CSV = Format("csv", "CSV table of VMs", _is_csv, table=True)
