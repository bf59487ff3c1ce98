"""Tables of VMs become runs: fixed-width columns in which the rows of each VM are together. Nothing is made per row."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from kvmfw import _native
from kvmfw.errors import ArgumentError, RowError
from kvmfw.readers import DEFAULT_VCPU, vcpu_config
from kvmfw.readers.tables import compacted

__all__ = ["Names", "Runs", "runs"]


class Names(Sequence[str]):
    """Names by row, kept as Arrow arrays: a string is made when it is asked for."""

    __slots__ = ("_chunks", "_ends")

    def __init__(self, *chunks: pa.Array) -> None:
        self._chunks: list[pa.Array] = []
        self._ends: list[int] = []
        for chunk in chunks:
            self.append(chunk)

    def append(self, chunk: pa.Array) -> None:
        """Append names; an array of nulls stands for rows without one."""
        if (
            self._chunks
            and len(chunk) == 1
            and len(self._chunks[-1]) < 1024
            and chunk.type == self._chunks[-1].type
        ):
            # One VM at a time: many tiny arrays would take more than the names.
            self._chunks[-1] = pa.concat_arrays([self._chunks[-1], chunk])
            self._ends[-1] += 1
        elif len(chunk):
            self._chunks.append(chunk)
            self._ends.append(len(self) + len(chunk))

    def remove(self, rows: npt.NDArray[np.intp]) -> None:
        """Take rows away; the ones after them move up."""
        keep = np.ones(len(self), dtype=bool)
        keep[rows] = False
        starts = [0, *self._ends[:-1]]
        parts = zip(self._chunks, starts, self._ends, strict=True)
        chunks = [chunk.filter(pa.array(keep[start:end])) for chunk, start, end in parts]
        self._chunks, self._ends = [], []
        for chunk in chunks:
            self.append(chunk)

    @property
    def chunks(self) -> Sequence[pa.Array]:
        """The Arrow arrays, one after the other."""
        return tuple(self._chunks)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self[at] for at in range(*row.indices(len(self)))]
        at = int(row) + (len(self) if row < 0 else 0)
        if not 0 <= at < len(self):
            raise IndexError(f"row {row} is out of range; there are {len(self)}")
        chunk = bisect_right(self._ends, at)
        start = self._ends[chunk - 1] if chunk else 0
        name = self._chunks[chunk][at - start].as_py()
        return name if isinstance(name, str) else str(name)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __iter__(self) -> Iterator[str]:
        for chunk in self._chunks:
            for name in chunk.to_pylist():
                yield name if isinstance(name, str) else str(name)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Names: {len(self)}>"


@dataclass(frozen=True, slots=True)
class Runs:
    """Registers of many VMs, as the native module takes them."""

    starts: npt.NDArray[np.int64]
    register: npt.NDArray[np.uint64]
    value: npt.NDArray[np.uint64]
    configs: list[tuple[int, bool, int]]
    config_of: npt.NDArray[np.uint32]
    names: pa.Array
    first_row: int = 0
    order: npt.NDArray[np.intp] | None = None
    homes: pa.Array | None = None

    def input_row(self, row: int) -> int:
        """Give the row of the input that a row of these columns was."""
        return self.first_row + (row if self.order is None else int(self.order[row]))


def runs(source: Any, fleet: _native.Fleet) -> Iterator[Runs]:
    """Take a table of VMs in long or nested form; a `pyarrow.RecordBatchReader` is taken batch by batch.

    ``source`` is anything with ``__arrow_c_stream__``: pyarrow, Polars, DuckDB, pandas. The threads of ``fleet`` look for
    where VMs start.
    """
    if not isinstance(source, pa.RecordBatchReader):
        yield _runs_of(pa.table(source), 0, fleet)
        return
    carried: pa.Table | None = None
    last: Any = None
    first_row = 0
    for batch in source:
        table = pa.Table.from_batches([batch])
        if table.num_rows == 0:
            continue
        if carried is not None:
            table = pa.concat_tables([carried, table]).combine_chunks()
        if _is_nested(table):
            yield _runs_of(table, first_row, fleet)
            first_row += table.num_rows
            continue
        made = _runs_of(table, first_row, fleet)
        if made.order is not None or (last is not None and made.names[0].as_py() == last):
            raise ArgumentError("in a stream the rows of a VM must be together; pass a table")
        # The last VM may go on in the next batch.
        held = int(made.starts[-2])
        last = made.names[-2].as_py() if len(made.names) > 1 else last
        carried = compacted(table.slice(held))
        yield _without_last(made, held)
        first_row += held
    if carried is not None:
        yield _runs_of(carried.combine_chunks(), first_row, fleet)


def _without_last(made: Runs, held: int) -> Runs:
    return Runs(
        made.starts[:-1],
        made.register[:held],
        made.value[:held],
        made.configs,
        made.config_of[:-1],
        made.names[:-1],
        made.first_row,
        homes=None if made.homes is None else made.homes[:-1],
    )


def _is_nested(table: pa.Table) -> bool:
    if "register" not in table.column_names:
        return False
    kind = table.schema.field("register").type
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _one(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    whole = column.combine_chunks()
    return pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole


def _column(table: pa.Table, name: str) -> pa.Array:
    if name not in table.column_names:
        raise ArgumentError(f"the table has no column `{name}`; it has {', '.join(table.column_names)}")
    column = table.column(name)
    if column.null_count:
        raise RowError(f"column `{name}` is null", int(pc.index(column.is_null(), True).as_py()))
    return _one(column)


def _words(column: pa.Array, name: str) -> npt.NDArray[np.uint64]:
    if not pa.types.is_integer(column.type):
        raise ArgumentError(f"column `{name}` is {column.type}; expected uint64")
    try:
        cast = column.cast(pa.uint64())
    except pa.ArrowInvalid as error:
        raise ArgumentError(f"column `{name}`: {error}; expected uint64") from error
    return np.ascontiguousarray(cast.to_numpy(zero_copy_only=False))


def _runs_of(table: pa.Table, first_row: int, fleet: _native.Fleet) -> Runs:
    made = _nested(table, first_row) if _is_nested(table) else _grouped(table, first_row, fleet)
    if "host" not in table.column_names:
        return made
    heads = np.arange(len(made.names)) if _is_nested(table) else made.starts[:-1]
    homes = _one(table.column("host")).take(pa.array(heads if made.order is None else made.order[heads]))
    return replace(made, homes=homes.cast(pa.string()))


def _grouped(table: pa.Table, first_row: int, fleet: _native.Fleet) -> Runs:
    register = _words(_column(table, "register"), "register")
    value = _words(_column(table, "value"), "value")
    starts, names, ascending = _heads(_column(table, "vm"), fleet)
    vcpu = _column(table, "vcpu") if "vcpu" in table.column_names else None
    order = None
    if not ascending:
        encoded = names.dictionary_encode()
        if len(encoded.dictionary) < len(names):
            # Rows of a VM are apart: bring them together, VMs in the order of their first row.
            codes = np.repeat(encoded.indices.to_numpy(), np.diff(starts))
            order = np.argsort(codes, kind="stable")
            counts = np.bincount(codes, minlength=len(encoded.dictionary))
            starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
            register, value, names = register[order], value[order], encoded.dictionary
            vcpu = None if vcpu is None else vcpu.take(pa.array(order))
    if vcpu is None:
        return Runs(
            starts, register, value, [vcpu_config(DEFAULT_VCPU)], _NO_CONFIGS, names, first_row, order
        )
    changes, words, _ = _heads(vcpu, fleet)
    inside = np.setdiff1d(changes[1:-1], starts)
    if inside.size:
        row = int(inside[0]) if order is None else int(order[inside[0]])
        vm = names[int(np.searchsorted(starts, inside[0], side="right")) - 1]
        raise RowError(f"column `vcpu` differs between rows of the VM `{vm}`", first_row + row)
    encoded = words.dictionary_encode()
    at = np.searchsorted(changes, starts[:-1], side="right") - 1
    config_of = encoded.indices.to_numpy()[at].astype(np.uint32)
    configs = [vcpu_config(str(word)) for word in encoded.dictionary.to_pylist()]
    return Runs(starts, register, value, configs, config_of, names, first_row, order)


_NO_CONFIGS: npt.NDArray[np.uint32] = np.empty(0, dtype=np.uint32)


def _heads(column: pa.Array, fleet: _native.Fleet) -> tuple[npt.NDArray[np.int64], pa.Array, bool]:
    """Give where runs of equal entries start (and the length), the entries, and whether they are known to differ."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        starts, _, _ = _heads(column.indices, fleet)
        heads = column.take(pa.array(starts[:-1]))
        return starts, heads.cast(kind.value_type), False
    if pa.types.is_integer(kind):
        if kind.bit_width < 32:
            column = column.cast(pa.int32())
        numbers = np.ascontiguousarray(column.to_numpy())
        starts, heads, ascending = fleet.heads(numbers)
        return starts, pa.array(heads), ascending
    if pa.types.is_string_view(kind):
        column = column.cast(pa.large_string())
    elif not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise ArgumentError(f"names are {kind}; expected text or integers")
    if len(column) == 0:
        return np.zeros(1, dtype=np.int64), column, True
    encoded = pc.run_end_encode(column, pa.int64())
    starts = np.concatenate([[0], encoded.run_ends.to_numpy()]).astype(np.int64)
    return starts, encoded.values, False


def _nested(table: pa.Table, first_row: int) -> Runs:
    lists = []
    for name in ("register", "value"):
        column = _column(table, name)
        if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
            raise ArgumentError(f"column `{name}` is {column.type}; expected a list of uint64")
        offsets = column.offsets.to_numpy().astype(np.int64)
        words = _words(column.values, name)[offsets[0] : offsets[-1]]
        lists.append((offsets - offsets[0], words))
    (starts, register), (others, value) = lists
    differing = np.flatnonzero(np.diff(starts) != np.diff(others))
    if differing.size:
        raise RowError("`register` and `value` differ in length", first_row + int(differing[0]))
    names = _column(table, "vm") if "vm" in table.column_names else pa.array(np.arange(len(starts) - 1))
    if pa.types.is_dictionary(names.type):
        names = names.cast(names.type.value_type)
    if "vcpu" not in table.column_names:
        return Runs(starts, register, value, [vcpu_config(DEFAULT_VCPU)], _NO_CONFIGS, names, first_row)
    encoded = _column(table, "vcpu").dictionary_encode()
    configs = [vcpu_config(str(word)) for word in encoded.dictionary.to_pylist()]
    config_of = encoded.indices.to_numpy().astype(np.uint32)
    return Runs(starts, register, value, configs, config_of, names, first_row)
