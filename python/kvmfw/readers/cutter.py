"""The one road of tables: rows of files, streams and tables in memory become runs, one for each vCPU, all of a VM together.

Everything is in fixed-width columns; nothing is made per row. What cannot be used is found in two places: here what is missing
or contradicts itself, and in the native module what no register can be. `Runs.bad` has both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from kvmfw import _native
from kvmfw.errors import ArgumentError
from kvmfw.quoting import printable
from kvmfw.readers.aside import aside
from kvmfw.readers.chunks import one_chunk
from kvmfw.readers.numbers import numbers
from kvmfw.readers.rejects import MISSING, twice
from kvmfw.readers.runs import INFERRED, UNUSABLE, WHOLE, Rows, Runs, changes_in, codes_of, firsts
from kvmfw.readers.tables import is_nested, lists_of, tidied
from kvmfw.readers.texts import without_dictionary
from kvmfw.readers.vcpu import VcpuConfig, config_of_words

__all__ = ["runs_of", "runs_of_table"]
_MOST_VCPUS = 1 << 16
_MOST_TOLD = 40
_Heads = tuple[Rows, pa.Array, bool]


def runs_of_table(source: Any, native: _native.Fleet) -> Iterator[Runs]:
    """Take a table in memory as a whole: rows of a VM that stand apart are brought together.

    ``source`` is anything with ``__arrow_c_stream__``: pyarrow, Polars, DuckDB, pandas. The threads of ``native`` look for
    where VMs start.

    Raises
    ------
    ArgumentError
        When a column is missing or of a wrong type.
    """
    table, order, heads = _together(tidied(pa.table(source)), native)
    if table.num_rows:
        yield runs_of(table, 0, native, order, heads)


def _together(table: pa.Table, native: _native.Fleet) -> tuple[pa.Table, Rows | None, _Heads | None]:
    """Bring rows of VMs together that stand apart; give the row that each was, or where VMs start as they stand."""
    if table.num_rows == 0 or (is_nested(table) and "index" not in table.column_names):
        return table, None, None
    heads = starts, names, ascending = _heads(one_chunk(table.column("vm")), native)
    if ascending and "index" not in table.column_names:
        return table, None, heads
    codes = codes_of(names)
    keys = [np.repeat(codes, np.diff(starts))]
    if "index" in table.column_names:
        keys.append(_index(one_chunk(table.column("index")))[0])
    changes = changes_in(*keys)
    if len(firsts(*(key[changes] for key in keys))) == len(changes) and len(firsts(codes)) == len(codes):
        return table, None, heads
    order = aside(table.num_rows, lambda: np.lexsort(keys[::-1]).astype(np.int64))
    return aside(table.num_rows, lambda: table.take(pa.array(order))), order, None


def _words(column: pa.Array, name: str) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.bool_] | None]:
    """Give a column as words, and where there are none."""
    words = numbers(column, name)
    missing = None
    if words.null_count:
        missing = words.is_null().to_numpy(zero_copy_only=False)
        words = words.fill_null(0)
    # Buffers of other engines need not start at a multiple of 8.
    return np.require(words.to_numpy(zero_copy_only=False), requirements=["C", "A"]), missing


def _index(column: pa.Array) -> tuple[Rows, npt.NDArray[np.bool_]]:
    """Give the numbers of vCPUs, 0 where none is told, and where what is told is none."""
    words, missing = _words(column, "vcpu_index")
    bad = words >= _MOST_VCPUS
    if missing is not None:
        told = column.is_valid().to_numpy(zero_copy_only=False)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            told &= (
                pc.utf8_length(pc.utf8_trim_whitespace(column)).fill_null(0).to_numpy(zero_copy_only=False)
                > 0
            )
        bad |= missing & told
    return np.where(bad, 0, words).astype(np.int64), bad


def _heads(column: pa.Array, native: _native.Fleet, name: str = "vm") -> _Heads:
    """Give where runs of equal entries start (and the length), the entries, and whether they are known to differ."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        starts, _, _ = _heads(_codes(column), native, name)
        heads = column.take(pa.array(starts[:-1]))
        heads = heads.cast(kind.value_type)
        return starts, _texts(heads, name) if heads.null_count else heads, False
    if pa.types.is_integer(kind) and not column.null_count:
        numbers_ = np.require(column.to_numpy(), requirements=["C", "A"])
        starts, found, ascending = native.heads(numbers_)
        return starts, pa.array(found), ascending
    column = _texts(column, name)
    if len(column) == 0:
        return np.zeros(1, dtype=np.int64), column, True
    encoded = pc.run_end_encode(column, pa.int64())
    starts = np.concatenate([[0], encoded.run_ends.to_numpy()]).astype(np.int64)
    return starts, encoded.values, False


def _codes(column: pa.Array) -> pa.Array:
    """Give the codes of a dictionary, -1 where there is none; of millions of rows a copy is made only where it must be."""
    return column.indices.cast(pa.int64()).fill_null(-1) if column.null_count else column.indices


def _texts(column: pa.Array, name: str = "vm") -> pa.Array:
    """Give names as text of the kinds that Arrow compares."""
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return column
    if pa.types.is_string_view(kind) or pa.types.is_null(kind) or pa.types.is_integer(kind):
        return column.cast(pa.large_string())
    raise ArgumentError(f"column `{name}` is {kind}; expected text or integers")


def runs_of(
    table: pa.Table,
    first_row: int,
    native: _native.Fleet,
    order: Rows | None = None,
    known: _Heads | None = None,
) -> Runs:
    """Make runs of rows of which those of each VM are together.

    `first_row` is the row of the source that the first one is, `order` the one that each was; `known` are heads found before.
    """
    made = _nested(table) if is_nested(table) else _long(table, native, known)
    if made.names.null_count:
        made = replace(made, names=made.names.fill_null(""))
    heads = np.arange(len(made), dtype=np.int64) if made.nested else made.starts[:-1]
    firsts = first_row + (heads if order is None else order[heads])
    problems = list(made.problems)
    # Whose lists differ in length is left without rows, and had some.
    emptied = {run for run, row, _ in problems if row == WHOLE}
    if "index" in table.column_names:
        problems += _numbered_twice(made)
    empty = np.flatnonzero(np.diff(made.starts) == 0).tolist()
    problems += [(run, WHOLE, "there is no register in it") for run in empty if run not in emptied]
    problems += [(run, WHOLE, "the VM has no name") for run in _nameless(made.names)]
    configs, config_of, unknown = _configs(table, heads)
    problems += unknown
    if problems:
        config_of[[run for run, _, _ in problems]] = UNUSABLE
    told: dict[str, pa.Array] = {}
    for name in ("host", "vmm"):
        if name not in table.column_names:
            continue
        cells = without_dictionary(one_chunk(table.column(name)).take(pa.array(heads)))
        told[name] = _texts(cells, name).cast(pa.string())
        if name == "vmm":
            told[name] = pc.utf8_trim_whitespace(told[name])
        if made.index is not None:
            of_vms = np.append(changes_in(made.vms()), len(made))
            found = list(_differing(told[name], of_vms, native, name))
            problems += [(run, WHOLE, _differs(name, made.names[run].as_py())) for _, run in found]
            config_of[[run for _, run in found]] = UNUSABLE
    return replace(
        made,
        configs=configs,
        config_of=config_of,
        firsts=firsts,
        homes=told.get("host"),
        vmms=told.get("vmm"),
        order=None if made.nested else order,
        problems=tuple(problems),
    )


def _long(table: pa.Table, native: _native.Fleet, known: _Heads | None) -> Runs:
    told = one_chunk(table.column("register")), one_chunk(table.column("value"))
    register, no_register = _words(told[0], "register")
    value, no_value = _words(told[1], "value")
    starts, names, _ = known or _heads(one_chunk(table.column("vm")), native)
    index, problems = None, []
    if "index" in table.column_names:
        index, bad = _index(one_chunk(table.column("index")))
        both = np.union1d(starts, [*changes_in(index), len(register)]).astype(np.int64)
        names = names.take(pa.array(np.searchsorted(starts, both[:-1], side="right") - 1))
        starts, index = both, index[both[:-1]]
        problems += _bad_index(np.searchsorted(starts, np.flatnonzero(bad), side="right") - 1)
    problems += _missing(starts, register, told, (no_register, no_value))
    for name in ("vcpu", "host", "vmm"):
        if name in table.column_names:
            found = _differing(one_chunk(table.column(name)), starts, native, name)
            problems += [(run, row, _differs(name, names[run].as_py())) for run, row in found]
    none = np.empty(0, dtype=np.uint32)
    return Runs(names, starts, register, value, [], none, starts[:-1], False, index, problems=tuple(problems))


def _differing(column: pa.Array, starts: Rows, native: _native.Fleet, name: str) -> Iterator[tuple[int, int]]:
    """Find rows in which a column says something else than in the first row of their run; nothing said is nothing else."""
    changes, _, _ = _heads(column, native, name)
    # Both ascend, and the last start is the number of rows.
    within = changes[1:-1]
    rows = within[starts[np.searchsorted(starts, within)] != within]
    runs = np.searchsorted(starts, rows, side="right") - 1
    said, first = (_texts(without_dictionary(column.take(pa.array(at))), name) for at in (rows, starts[runs]))
    said, first = said.fill_null(""), first.fill_null("")
    apart = pc.and_(pc.not_equal(said, ""), pc.not_equal(said, first))
    kept = np.flatnonzero(apart.to_numpy(zero_copy_only=False))
    yield from zip(runs[kept].tolist(), rows[kept].tolist(), strict=True)


def _differs(name: str, vm: object) -> str:
    return f"column `{name}` differs between rows of the VM `{vm}`"


def _nested(table: pa.Table) -> Runs:
    (lengths, others), *told = lists_of(table)
    register, no_register = _words(told[0], "register")
    value, no_value = _words(told[1], "value")
    index, problems = None, []
    if np.any(lengths != others):
        differing = np.flatnonzero(lengths != others)
        problems += [(run, WHOLE, "`register` and `value` differ in length") for run in differing.tolist()]
        keep = lengths == others
        told = [
            one.filter(pa.array(np.repeat(keep, each)))
            for one, each in zip(told, (lengths, others), strict=True)
        ]
        register, value = register[np.repeat(keep, lengths)], value[np.repeat(keep, others)]
        no_register = None if no_register is None else no_register[np.repeat(keep, lengths)]
        no_value = None if no_value is None else no_value[np.repeat(keep, others)]
        lengths = np.where(keep, lengths, 0)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    problems += _missing(starts, register, told, (no_register, no_value))
    if "index" in table.column_names:
        index, bad = _index(one_chunk(table.column("index")))
        problems += _bad_index(np.flatnonzero(bad))
    names = without_dictionary(one_chunk(table.column("vm")))
    if not pa.types.is_integer(names.type) or names.null_count:
        names = _texts(names)
    none = np.empty(0, dtype=np.uint32)
    return Runs(names, starts, register, value, [], none, starts[:-1], True, index, problems=tuple(problems))


def _missing(
    starts: Rows,
    register: npt.NDArray[np.uint64],
    told: Sequence[pa.Array],
    without: tuple[npt.NDArray[np.bool_] | None, npt.NDArray[np.bool_] | None],
) -> list[tuple[int, int, str]]:
    """Find rows that hold no words; `told` is what stands there, `without` where that is none."""
    masks = [mask for mask in without if mask is not None]
    if not masks:
        return []
    rows, (no_register, _) = np.flatnonzero(np.logical_or.reduce(masks)), without
    runs = np.searchsorted(starts, rows, side="right") - 1
    found = []
    for run, row in zip(runs.tolist(), rows.tolist(), strict=True):
        if no_register is not None and no_register[row]:
            bare = re.fullmatch("[0-9a-fA-F]{16}", str(told[0][row].as_py()))
            hint = ", an id in hexadecimal without its `0x`" if bare else ""
            what = f"the register is {_cell(told[0][row])}{hint}"
        else:
            what = f"the value of register {int(register[row]):#x} is {_cell(told[1][row])}"
        found.append((run, row, f"{MISSING} ({what})"))
    return found


def _cell(told: pa.Scalar) -> str:
    said = told.as_py()
    return "null" if said is None else f"`{printable(str(said)[:_MOST_TOLD])}`"


def _bad_index(runs: npt.NDArray[np.intp]) -> list[tuple[int, int, str]]:
    problem = f"the number of the vCPU is not between 0 and {_MOST_VCPUS - 1}"
    return [(run, WHOLE, problem) for run in np.unique(runs).tolist()]


def _numbered_twice(made: Runs) -> list[tuple[int, int, str]]:
    """Find vCPUs of one VM that have one number."""
    assert made.index is not None
    again = np.setdiff1d(np.arange(len(made)), firsts(made.vms(), made.index))
    return [(run, WHOLE, twice(made.names[run].as_py(), int(made.index[run]))) for run in again.tolist()]


def _nameless(names: pa.Array) -> list[int]:
    if pa.types.is_integer(names.type):
        return []
    none = pc.equal(pc.binary_length(names), 0).to_numpy(zero_copy_only=False)
    return [int(run) for run in np.flatnonzero(none)]


def _configs(
    table: pa.Table, heads: Rows
) -> tuple[list[VcpuConfig], npt.NDArray[np.uint32], list[tuple[int, int, str]]]:
    """Give how vCPUs are made, which of these each is, and those of which the words are not known."""
    config_of = np.full(len(heads), INFERRED, dtype=np.uint32)
    if "vcpu" not in table.column_names:
        return [], config_of, []
    words = one_chunk(table.column("vcpu")).take(pa.array(heads))
    encoded = words if pa.types.is_dictionary(words.type) else words.dictionary_encode()
    codes = codes_of(encoded)
    configs: list[VcpuConfig] = []
    numbers_ = np.full(len(encoded.dictionary) + 1, INFERRED, dtype=np.uint32)
    problems = []
    for at, text in enumerate(encoded.dictionary.to_pylist()):
        if not str(text or "").strip():
            continue
        try:
            configs.append(config_of_words(str(text)))
            numbers_[at] = len(configs) - 1
        except ArgumentError as error:
            problems += [(run, WHOLE, error.problem) for run in np.flatnonzero(codes == at).tolist()]
    # The code -1, for null, is the last entry.
    return configs, numbers_[codes], problems
