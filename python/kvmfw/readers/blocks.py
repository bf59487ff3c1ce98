"""Blocks: register sets of many vCPUs as fixed-width columns, with the rows of each together and ascending."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kvmfw.errors import ArgumentError
from kvmfw.readers.rejects import Intake
from kvmfw.readers.saved import SavedVcpu, set_of_words
from kvmfw.readers.tables import compacted, is_nested, numbers, row_problems, tidied
from kvmfw.readers.vcpu import DEFAULT_WORDS, config_of_words, words_of
from kvmfw.sets import RegisterSet

__all__ = ["Block", "block_of_sets", "blocks_of_table", "vcpus_of_block"]

_WORD = 1 << 64
_REASONS = (
    "",
    "the size field of the register id says more than 256 bytes",
    "the value is wider than its register",
    "this is not the id of a register: its architecture is 0",
    "the register id or the value is missing or not a 64-bit number",
    "the register occurs twice in one VM",
)
_MISSING, _TWICE = 4, 5
_Words = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Block:
    """Register sets of many vCPUs.

    Attributes
    ----------
    names : list of str
        The VM of each.
    index : array of uint16
        The number of the vCPU in its VM.
    homes : list of (str or None)
        The host that it runs on.
    words : list of str
        How the vCPU is made, in the one order of words.
    starts : array of int64
        Where the rows of each start in `register` and `value`; one more than there are vCPUs.
    register, value : array of uint64
        Ids, ascending within a vCPU; values, for registers wider than 8 bytes the lowest 8.
    wide : list of list of (int, bytes)
        For each vCPU the registers with more than 8 bytes that are not 0: id and all bytes.
    rows : array of int64
        How many rows of the source each took.
    first : array of int64
        The number of the first of them.
    """

    names: list[str]
    index: npt.NDArray[np.uint16]
    homes: list[str | None]
    words: list[str]
    starts: npt.NDArray[np.int64]
    register: _Words
    value: _Words
    wide: list[list[tuple[int, bytes]]]
    rows: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.names)


def block_of_sets(vms: Sequence[tuple[int, Sequence[SavedVcpu]]]) -> Block:
    """Make a block of VMs with the row of each; a VM is one row of its source, however many vCPUs it has."""
    vcpus = [vcpu for _, vm in vms for vcpu in vm]
    firsts = [row for row, vm in vms for _ in vm]
    rows = [int(at == 0) for _, vm in vms for at in range(len(vm))]
    starts = np.zeros(len(vcpus) + 1, dtype=np.int64)
    registers: list[int] = []
    values: list[int] = []
    wide: list[list[tuple[int, bytes]]] = []
    for at, vcpu in enumerate(vcpus):
        mapping = vcpu.registers.to_mapping()
        registers.extend(mapping)
        values.extend(value % _WORD for value in mapping.values())
        wide.append(
            [
                (id_, value.to_bytes(1 << (id_ >> 52 & 15), "little"))
                for id_, value in mapping.items()
                if value >= _WORD
            ]
        )
        starts[at + 1] = len(registers)
    return Block(
        [vcpu.vm for vcpu in vcpus],
        np.array([vcpu.vcpu for vcpu in vcpus], dtype=np.uint16),
        [vcpu.registers.host for vcpu in vcpus],
        [words_of(one.registers.features, one.registers.vgic, one.registers.enabled) for one in vcpus],
        starts,
        np.array(registers, dtype=np.uint64),
        np.array(values, dtype=np.uint64),
        wide,
        np.array(rows, dtype=np.int64),
        np.array(firsts, dtype=np.int64),
    )


def vcpus_of_block(block: Block) -> Iterator[list[SavedVcpu]]:
    """Make register sets of a block, VM by VM."""
    several = {name for name, count in Counter(block.names).items() if count > 1}
    pairs = zip(block.names, block.index.tolist(), strict=True)
    for name, own in groupby(enumerate(pairs), key=lambda found: found[1][0]):
        yield [
            SavedVcpu(name, index, _set_of(block, at, f"{name}/vcpu{index}" if name in several else name))
            for at, (_, index) in own
        ]


def _set_of(block: Block, at: int, name: str) -> RegisterSet:
    rows = slice(int(block.starts[at]), int(block.starts[at + 1]))
    mapping = dict(zip(block.register[rows].tolist(), block.value[rows].tolist(), strict=True))
    mapping |= {register: int.from_bytes(value, "little") for register, value in block.wide[at]}
    return set_of_words(mapping, block.words[at], name, block.homes[at])


def blocks_of_table(batches: Iterable[pa.RecordBatch], source: str, intake: Intake) -> Iterator[Block]:
    """Make blocks of a table; rows that cannot be used are rejected with their whole VM.

    In long form the rows of a VM must be together.

    Raises
    ------
    ArgumentError
        When a column is missing or of a wrong type.
    """
    held: pa.Table | None = None
    at = 0
    for batch in batches:
        table = tidied(pa.Table.from_batches([batch]))
        if table.num_rows == 0:
            continue
        if held is not None:
            table = pa.concat_tables([held, table], promote_options="permissive")
        table = table.combine_chunks()
        # The last VM may go on in the next batch.
        alone = is_nested(table) and "index" not in table.column_names
        last = table.num_rows if alone else int(_heads(table, ("vm",))[-1])
        if last:
            yield _block(table.slice(0, last), source, intake, at)
            at += last
        held = compacted(table.slice(last)) if last < table.num_rows else None
    if held is not None:
        yield _block(held.combine_chunks(), source, intake, at)


def _block(table: pa.Table, source: str, intake: Intake, at: int) -> Block:
    if is_nested(table):
        return _nested(table, source, intake, at)
    starts = np.append(_heads(table, ("vm", "index")), table.num_rows)
    return _long(table, starts, source, intake, at)


def _array(table: pa.Table, name: str) -> pa.Array:
    column = table.column(name).combine_chunks()
    return pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column


def _heads(table: pa.Table, names: Sequence[str]) -> npt.NDArray[np.int64]:
    """Give where the rows of each VM, or of each of its vCPUs, start."""
    changes = np.zeros(table.num_rows, dtype=bool)
    changes[0] = True
    for name in names:
        if name in table.column_names:
            column = _array(table, name)
            encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
            codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
            changes[1:] |= codes[1:] != codes[:-1]
    return np.flatnonzero(changes).astype(np.int64)


def _words(column: pa.Array, name: str) -> tuple[_Words, npt.NDArray[np.bool_]]:
    """Give a column as words, and where there are none."""
    words = numbers(column, name)
    if not words.null_count:
        return words.to_numpy(), np.zeros(len(words), dtype=bool)
    return words.fill_null(0).to_numpy(), words.is_null().to_numpy(zero_copy_only=False)


def _long(table: pa.Table, starts: npt.NDArray[np.int64], source: str, intake: Intake, at: int) -> Block:
    register, unread = _words(_array(table, "register"), "register")
    value, missing = _words(_array(table, "value"), "value")
    heads = table.take(pa.array(starts[:-1]))
    sizes = np.diff(starts)
    return _Raw(
        heads, starts, register, value, unread | missing, at + starts[:-1], sizes, source, intake
    ).block()


def _nested(table: pa.Table, source: str, intake: Intake, at: int) -> Block:
    firsts = at + np.arange(table.num_rows, dtype=np.int64)
    lengths = [_array(table, name).value_lengths().fill_null(0).to_numpy() for name in ("register", "value")]
    differing = lengths[0] != lengths[1]
    if np.any(differing):
        problem = "`register` and `value` differ in length"
        intake.reject_rows(source, firsts[differing].tolist(), problem)
        for name in table.column("vm").filter(pa.array(differing)).to_pylist():
            intake.note_vm(name, problem)
        table, firsts = table.filter(pa.array(~differing)), firsts[~differing]
    starts = np.concatenate([[0], np.cumsum(lengths[0][~differing])]).astype(np.int64)
    register, unread = _words(_array(table, "register").flatten(), "register")
    value, missing = _words(_array(table, "value").flatten(), "value")
    ones = np.ones(table.num_rows, dtype=np.int64)
    return _Raw(table, starts, register, value, unread | missing, firsts, ones, source, intake).block()


@dataclass(slots=True)
class _Raw:
    """A block before it is checked; `heads` has one row for each vCPU."""

    heads: pa.Table
    starts: npt.NDArray[np.int64]
    register: _Words
    value: _Words
    missing: npt.NDArray[np.bool_]
    firsts: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    source: str
    intake: Intake

    def block(self) -> Block:
        """Sort, reject vCPUs with anything that cannot be used, and make a block of the others."""
        owner = np.repeat(np.arange(len(self.sizes)), np.diff(self.starts))
        reason = self._reasons(owner)
        names, words = self._texts("vm"), self._texts("vcpu")
        bad = np.zeros(len(self.sizes), dtype=bool)
        bad[owner[reason > 0]] = True
        for one in np.flatnonzero(bad).tolist():
            self.intake.note_vm(names[one], self._reject_rows(one, reason))
        whole = dict.fromkeys(
            np.flatnonzero(np.diff(self.starts) == 0).tolist(), "there is no register in it"
        )
        whole |= {one: "the VM has no name" for one, name in enumerate(names) if not name}
        for word in set(words):
            if word is not None and (problem := _problem(word)):
                whole |= {one: problem for one, other in enumerate(words) if other == word}
        unusable = {names[one] for one in [*np.flatnonzero(bad).tolist(), *whole]}
        if len(set(names)) < len(names):
            others = [one for one, name in enumerate(names) if name in unusable]
            whole = dict.fromkeys(others, "another vCPU of the same VM cannot be used") | whole
        for one, problem in sorted(whole.items()):
            if not bad[one]:
                self._reject_all(one, problem)
                self.intake.note_vm(names[one], problem)
        bad[list(whole)] = True
        return self._without(bad, owner, names, words)

    def _reasons(self, owner: npt.NDArray[np.intp]) -> npt.NDArray[np.int64]:
        reason = np.zeros(len(self.register), dtype=np.int64)
        found, why = row_problems(self.register, self.value)
        reason[found] = why
        reason[self.missing] = _MISSING
        same = owner[1:] == owner[:-1]
        order = None
        if np.any(same & (self.register[1:] < self.register[:-1])):
            order = np.lexsort((self.register, owner))
        ids = self.register if order is None else self.register[order]
        twice = 1 + np.flatnonzero(same & (ids[1:] == ids[:-1]))
        at = twice if order is None else order[twice]
        reason[at] = np.where(reason[at] == 0, _TWICE, reason[at])
        if order is not None and not np.any(reason):
            self.register, self.value = ids, self.value[order]
        elif order is not None:
            # Rows keep their places until they are reported; vCPUs that stay are sorted one by one.
            good = np.ones(len(self.sizes), dtype=bool)
            good[owner[reason > 0]] = False
            kept = good[owner[order]]
            places = np.flatnonzero(good[owner])
            self.register, self.value = self.register.copy(), self.value.copy()
            self.register[places], self.value[places] = ids[kept], self.value[order][kept]
        return reason

    def _texts(self, name: str) -> list[str | None]:
        if name not in self.heads.column_names:
            return [None] * len(self.sizes)
        return [None if word is None else str(word) for word in self.heads.column(name).to_pylist()]

    def _reject_rows(self, one: int, reason: npt.NDArray[np.int64]) -> str:
        start, end, first = int(self.starts[one]), int(self.starts[one + 1]), int(self.firsts[one])
        wrong = start + int(np.flatnonzero(reason[start:end])[0])

        def says(row: int) -> str:
            return f"{_REASONS[reason[row]]} (register {int(self.register[row]):#x})"

        if self.sizes[one] != end - start:
            self._reject_all(one, says(wrong))
            return says(wrong)
        if self.intake.on_error == "raise":
            self.intake.reject(self.source, first + wrong - start, says(wrong))
        others = f"row {first + wrong - start} of the same VM cannot be used"
        for row in range(start, end):
            self.intake.reject(self.source, first + row - start, says(row) if reason[row] else others)
        return says(wrong)

    def _reject_all(self, one: int, problem: str) -> None:
        first = int(self.firsts[one])
        self.intake.reject_rows(self.source, range(first, first + int(self.sizes[one])), problem)

    def _without(
        self,
        bad: npt.NDArray[np.bool_],
        owner: npt.NDArray[np.intp],
        names: list[str | None],
        words: list[str | None],
    ) -> Block:
        good = np.flatnonzero(~bad)
        kept = slice(None) if len(good) == len(bad) else ~bad[owner]
        index, homes = self._texts("index"), self._texts("host")
        lengths = np.diff(self.starts)[good]
        return Block(
            [str(names[one]) for one in good],
            np.array([int(index[one] or 0) for one in good], dtype=np.uint16),
            [homes[one] for one in good],
            [_one_order(words[one] or DEFAULT_WORDS) for one in good],
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            self.register[kept],
            self.value[kept],
            [[] for _ in good],
            self.sizes[good],
            self.firsts[good],
        )


def _problem(words: str) -> str | None:
    try:
        config_of_words(words)
    except ArgumentError as error:
        return error.problem
    return None


@lru_cache(maxsize=1024)
def _one_order(words: str) -> str:
    given = {word.strip() for word in words.split(",")}
    return words_of(given - {"vgic"}, "vgic" in given)
