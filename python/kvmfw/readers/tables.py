"""Tables of VMs: Parquet, Arrow IPC and CSV files, and anything with ``__arrow_c_stream__``.

Whatever the columns are called and however the registers stand in them, batches come out in one of two
forms: long (``vm``, ``register``, ``value``) or nested (``register`` and ``value`` are lists), with the
columns ``vcpu`` (words), ``index`` (number of the vCPU) and ``host`` where the table has them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from kvmfw.errors import ArgumentError, FormatError, InputError
from kvmfw.readers.format import Format, Head
from kvmfw.readers.source import LIMITS, Limits, opened

__all__ = [
    "ARROW",
    "CSV",
    "PARQUET",
    "compacted",
    "declared_rows",
    "is_nested",
    "numbers",
    "open_table",
    "row_problems",
    "tidied",
    "worded",
]

_NAMES = {
    "vm": ("vm", "vm_id", "id"),
    "register": ("register", "reg_id", "reg", "register_id"),
    "value": ("value", "reg_val", "val"),
    "host": ("host", "host_id"),
    "index": ("vcpu_index", "index"),
    "vcpu": ("vcpu", "features"),
}
_PAIRS = ("registers", "regs")
_LONG_BATCH, _NESTED_BATCH = 1 << 19, 1 << 13
_CSV_BLOCK = 8 << 20
_BROKEN = (pa.ArrowException, OSError, UnicodeDecodeError)
"""What pyarrow raises for files that are not what they say."""


def open_table(path: Path, kind: str, limits: Limits = LIMITS) -> pa.RecordBatchReader:
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
    except _BROKEN as error:
        raise _damaged(path, error) from error
    return pa.RecordBatchReader.from_batches(schema, _guarded(path, batches))


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
        yield from file.iter_batches(batch_size=_NESTED_BATCH if nested else _LONG_BATCH)


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
    with pa.memory_map(str(path)) as file:
        magic = file.read(6)
        file.seek(0)
        if magic == b"ARROW1":
            reader = pa.ipc.open_file(file)
            yield reader.schema
            batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
        else:
            stream = pa.ipc.open_stream(file)
            yield stream.schema
            batches = iter(stream)
        for number, batch in enumerate(batches):
            batch.validate(full=True)
            if batch.num_rows > limits.chunk_values:
                problem = f"it declares {batch.num_rows:,} rows; at most {limits.chunk_values:,} are read"
                raise FormatError(problem, f"batch {number}", file=str(path))
            yield batch


def _csv(path: Path, limits: Limits) -> Iterator[Any]:
    with opened(path) as file:
        header = file.readline(limits.line)
    names = header.decode("utf-8-sig").strip().split(",")
    unquoted = [name.strip('"') for name in names]
    # Numbers may be hexadecimal: every column is read as text and turned into numbers by its distinct entries.
    convert = pa_csv.ConvertOptions(
        column_types=dict.fromkeys(unquoted, pa.string()), strings_can_be_null=False
    )
    with pa.CompressedInputStream(str(path), "gzip") if path.suffix == ".gz" else pa.OSFile(str(path)) as raw:
        options = pa_csv.ReadOptions(block_size=_CSV_BLOCK)
        reader = pa_csv.open_csv(raw, read_options=options, convert_options=convert)
        yield reader.schema
        yield from reader


def is_nested(table: pa.Table) -> bool:
    """Tell whether each row is a VM with lists of registers and values."""
    kind = table.schema.field("register").type if "register" in table.column_names else pa.null()
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def tidied(table: pa.Table) -> pa.Table:
    """Give a table the columns that kvmfw works with; unknown columns are left out.

    Raises
    ------
    ArgumentError
        When a column is missing or has a type that cannot be used; it names the columns that there are.

    Examples
    --------
    >>> tidied(pa.table({"id": ["a"], "reg": ["0x6030000000140003"], "value": [1]})).column_names
    ['vm', 'register', 'value']
    """
    columns: dict[str, Any] = {}
    given = {name.lower(): name for name in table.column_names}
    for name, words in _NAMES.items():
        found = next((given[word] for word in words if word in given), None)
        if found is not None:
            columns[name] = table.column(found)
    pairs = next((given[word] for word in _PAIRS if word in given), None)
    if pairs is not None and "register" not in columns:
        columns |= _unzipped(table.column(pairs), pairs)
    for name in ("vm", "register", "value"):
        if name not in columns:
            known = ", ".join(table.column_names)
            raise ArgumentError(f"the table has no column `{name}`; it has {known}")
    if "vcpu" in columns and pa.types.is_integer(columns["vcpu"].type):
        columns["index"] = columns.pop("vcpu")
        if "features" in given:
            columns["vcpu"] = table.column(given["features"])
    return pa.table(columns)


def _unzipped(column: pa.ChunkedArray, name: str) -> dict[str, Any]:
    """Make two columns of lists of one column of lists of pairs."""
    kind = column.type
    if pa.types.is_map(kind):
        keys = [chunk.keys for chunk in column.chunks]
        items = [chunk.items for chunk in column.chunks]
    elif pa.types.is_list(kind) and pa.types.is_struct(kind.value_type):
        fields = {field.name.lower(): field.name for field in kind.value_type}
        words = [
            next((fields[word] for word in _NAMES[part] if word in fields), None)
            for part in ("register", "value")
        ]
        if None in words:
            raise ArgumentError(f"column `{name}` holds {kind.value_type}; expected register and value")
        keys = [pc.struct_field(chunk.values, words[0]) for chunk in column.chunks]
        items = [pc.struct_field(chunk.values, words[1]) for chunk in column.chunks]
    else:
        raise ArgumentError(f"column `{name}` is {kind}; expected a map, or a list of register and value")
    lists: dict[str, list[pa.Array]] = {"register": [], "value": []}
    for chunk, key, item in zip(column.chunks, keys, items, strict=True):
        offsets = chunk.offsets
        for part, words64 in (("register", key), ("value", item)):
            lists[part].append(pa.ListArray.from_arrays(offsets, numbers(words64, part)))
    kind64 = pa.list_(pa.uint64())
    return {part: pa.chunked_array(chunks, type=kind64) for part, chunks in lists.items()}


def compacted(table: pa.Table) -> pa.Table:
    """Give the rows of a slice dictionaries of their own: otherwise those of whole batches pile up in what is carried.

    >>> names = pa.array(["a", "b"]).dictionary_encode()
    >>> len(compacted(pa.table({"vm": names}).slice(1)).column("vm").chunk(0).dictionary)
    1
    """
    for at, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            plain = table.column(at).cast(field.type.value_type)
            table = table.set_column(at, field.name, plain.dictionary_encode())
    return table


def worded(table: pa.Table) -> pa.Table:
    """Make the columns register and value uint64, or lists of it, whatever they are."""
    for name in ("register", "value"):
        column = table.column(name)
        if is_nested(table):
            lists = [
                pa.ListArray.from_arrays(chunk.offsets, numbers(chunk.values, name), mask=chunk.is_null())
                if chunk.null_count
                else pa.ListArray.from_arrays(chunk.offsets, numbers(chunk.values, name))
                for chunk in (part.cast(pa.list_(part.type.value_type)) for part in column.chunks)
            ]
            made = pa.chunked_array(lists, pa.list_(pa.uint64()))
        else:
            made = pa.chunked_array([numbers(chunk, name) for chunk in column.chunks], pa.uint64())
        table = table.set_column(table.column_names.index(name), name, made)
    return table


def numbers(column: pa.Array, name: str) -> pa.Array:
    """Give a column as uint64; text is read as numbers, what is not a number becomes null."""
    kind = column.type
    if pa.types.is_uint64(kind):
        return column
    if pa.types.is_integer(kind):
        # Negative numbers are signed 64-bit words of engines without unsigned ones.
        return column.cast(pa.int64()).view(pa.uint64()) if pa.types.is_int64(kind) else _unsigned(column)
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        encoded = column.dictionary_encode()
        parsed = pa.array([_number(text) for text in encoded.dictionary.to_pylist()], pa.uint64())
        return parsed.take(encoded.indices)
    raise ArgumentError(f"column `{name}` is {kind}; expected uint64, or text such as 0x6030000000140000")


def _unsigned(column: pa.Array) -> pa.Array:
    return pc.if_else(pc.greater_equal(column, 0), column, None).cast(pa.uint64())


def _number(text: str | None) -> int | None:
    word = (text or "").strip().lower()
    try:
        number = int(word, 16) if word.startswith("0x") else int(word, 10)
    except ValueError:
        return None
    return number if 0 <= number < 1 << 64 else None


def row_problems(register: Any, value: Any) -> tuple[Any, Any]:
    """Find rows that no register can have: give their numbers, and a code for the reason."""
    size = register >> np.uint64(52) & np.uint64(15)
    bits = np.minimum(np.uint64(8) << size, np.uint64(64))
    top = np.where(bits < 64, value >> np.minimum(bits, np.uint64(63)), np.uint64(0))
    reason = np.where(size > 8, 1, np.where(top != 0, 2, np.where(register >> np.uint64(60) == 0, 3, 0)))
    rows = np.flatnonzero(reason)
    return rows, reason[rows]


def _is_csv(head: Head) -> bool:
    first, _, _ = head.text.partition(b"\n")
    return b"," in first and b"reg" in first.lower() and first[:1] not in (b"{", b"[")


PARQUET = Format("parquet", "Parquet table of VMs", lambda head: head.raw.startswith(b"PAR1"), table=True)
ARROW = Format(
    "arrow",
    "Arrow IPC file or stream of VMs",
    lambda head: head.raw.startswith((b"ARROW1", b"\xff\xff\xff\xff")),
    table=True,
)
CSV = Format("csv", "CSV table of VMs", _is_csv, table=True)
