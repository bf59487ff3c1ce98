"""Blocks: register sets of many vCPUs as fixed-width columns, with the rows of each together and ascending."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kvmfw import _native
from kvmfw.ids import size_of
from kvmfw.readers.classes import Classes, words_of_run
from kvmfw.readers.rejects import Intake
from kvmfw.readers.runs import Runs
from kvmfw.readers.saved import SavedVcpu, set_of_words
from kvmfw.readers.streams import runs_of_stream
from kvmfw.readers.vcpu import words_of
from kvmfw.sets import RegisterSet

__all__ = ["Block", "Wide", "block_of_alike", "block_of_sets", "blocks_of_table", "vcpus_of_block"]

_WORD = 1 << 64
_Words = npt.NDArray[np.uint64]
Wide = list[tuple[int, bytes]]
"""Registers with more than 8 bytes that are not 0: id and all bytes."""


@dataclass(frozen=True, slots=True)
class Block:
    """Register sets of many vCPUs.

    Attributes
    ----------
    names : pyarrow.Array of str
        The VM of each.
    index : array of uint16
        The number of the vCPU in its VM.
    homes : pyarrow.Array of str
        The host that it runs on.
    kinds : array of int64
        Which of them no host can tell apart: those have the same number.
    keys : dict of int to bytes
        What tells such a kind from all others, the same in every block.
    words : dict of int to str
        How the vCPUs of a kind are made, in the one order of words.
    starts : array of int64
        Where the rows of each start in `register` and `value`; one more than there are vCPUs.
    register, value : array of uint64
        Ids, ascending within a vCPU; values, for registers wider than 8 bytes the lowest 8.
    wide : dict of int to list of (int, bytes)
        The registers with more than 8 bytes that are not 0 of those vCPUs that have some.
    rows : array of int64
        How many rows of the source each took.
    first : array of int64
        The number of the first of them.
    vms : array of int64
        Which of them are vCPUs of one VM, as the source has it: those have the same number.
    born : list of str, optional
        How each came to have its registers, where they were not saved but derived.
    vmm : pyarrow.Array of str, optional
        Which VMM made each, where that is known.
    unusable : dict of str to int
        VMs that were rejected, with the first of their rows: what comes of them later is half a VM.
    """

    names: pa.Array
    index: npt.NDArray[np.uint16]
    homes: pa.Array
    kinds: npt.NDArray[np.int64]
    keys: dict[int, bytes]
    words: dict[int, str]
    starts: npt.NDArray[np.int64]
    register: _Words
    value: _Words
    wide: dict[int, Wide]
    rows: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    vms: npt.NDArray[np.int64]
    born: list[str] | None = None
    vmm: pa.Array | None = None
    unusable: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)


def block_of_sets(vms: Sequence[tuple[int, Sequence[SavedVcpu]]]) -> Block:
    """Make a block of VMs with the row of each; a VM is one row of its source, however many vCPUs it has."""
    vcpus = [vcpu for _, vm in vms for vcpu in vm]
    firsts = [row for row, vm in vms for _ in vm]
    rows = [int(at == 0) for _, vm in vms for at in range(len(vm))]
    numbers = [number for number, (_, vm) in enumerate(vms) for _ in vm]
    starts = np.zeros(len(vcpus) + 1, dtype=np.int64)
    registers: list[int] = []
    values: list[int] = []
    wide: dict[int, Wide] = {}
    for at, vcpu in enumerate(vcpus):
        mapping = vcpu.registers.to_mapping(beside=True)
        registers.extend(mapping)
        values.extend(value % _WORD for value in mapping.values())
        more = [
            (id_, value.to_bytes(size_of(id_), "little")) for id_, value in mapping.items() if value >= _WORD
        ]
        if more:
            wide[at] = more
        starts[at + 1] = len(registers)
    sets = [vcpu.registers for vcpu in vcpus]
    classes = Classes(sets)
    first = {kind: sets[at] for at, kind in reversed(list(enumerate(classes.of.tolist())))}
    return Block(
        pa.array([vcpu.vm for vcpu in vcpus], pa.string()),
        np.array([vcpu.vcpu for vcpu in vcpus], dtype=np.uint16),
        pa.array([one.host for one in sets], pa.string()),
        classes.of.astype(np.int64),
        {kind: classes.key(kind) for kind in first},
        {kind: words_of(one.features, one.vgic, one.enabled) for kind, one in first.items()},
        starts,
        np.array(registers, dtype=np.uint64),
        np.array(values, dtype=np.uint64),
        wide,
        np.array(rows, dtype=np.int64),
        np.array(firsts, dtype=np.int64),
        np.array(numbers, dtype=np.int64),
    )


def block_of_alike(
    registers: RegisterSet,
    names: Sequence[str],
    homes: Sequence[str | None],
    rows: Sequence[int],
    *,
    born: str,
    vmm: str,
) -> Block:
    """Make a block of VMs that have the same registers, derived from one birth; `rows` says how many rows told of each."""
    one = block_of_sets([(0, [SavedVcpu("", 0, registers)])])
    count, length = len(names), len(one.register)
    return Block(
        pa.array(names, pa.string()),
        np.zeros(count, dtype=np.uint16),
        pa.array(homes, pa.string()),
        np.repeat(one.kinds, count),
        one.keys,
        one.words,
        np.arange(count + 1, dtype=np.int64) * length,
        np.tile(one.register, count),
        np.tile(one.value, count),
        dict.fromkeys(range(count), one.wide[0]) if one.wide else {},
        np.array(rows, dtype=np.int64),
        np.full(count, -1, dtype=np.int64),
        np.arange(count, dtype=np.int64),
        [born] * count,
        pa.array([vmm] * count, pa.string()),
    )


def vcpus_of_block(block: Block) -> Iterator[list[SavedVcpu]]:
    """Make register sets of a block, VM by VM."""
    several = np.bincount(block.vms)[block.vms] > 1
    names = block.names.to_pylist()
    found = zip(block.vms.tolist(), several.tolist(), names, block.index.tolist(), strict=True)
    for _, own in groupby(enumerate(found), key=lambda one: one[1][0]):
        yield [
            SavedVcpu(name, index, _set_of(block, at, f"{name}/vcpu{index}" if is_one else name))
            for at, (_, is_one, name, index) in own
        ]


def _set_of(block: Block, at: int, name: str) -> RegisterSet:
    rows = slice(int(block.starts[at]), int(block.starts[at + 1]))
    mapping = dict(zip(block.register[rows].tolist(), block.value[rows].tolist(), strict=True))
    mapping |= {register: int.from_bytes(value, "little") for register, value in block.wide.get(at, ())}
    return set_of_words(mapping, block.words[int(block.kinds[at])], name, block.homes[at].as_py())


def blocks_of_table(
    batches: Iterable[pa.RecordBatch], source: str, intake: Intake, columns: Mapping[str, str] | None = None
) -> Iterator[Block]:
    """Make blocks of a table; rows that cannot be used are rejected with their whole VM.

    In long form the rows of a VM must be together.

    Raises
    ------
    ArgumentError
        When a column is missing or of a wrong type.
    """
    kinds = _native.Kinds(0)
    for runs in runs_of_stream(batches, _native.Fleet("kvm", "kvm", 1), columns):
        classes = Classes(runs, kinds)
        good = _usable(runs, classes, source, intake)
        used = runs if len(good) == len(runs) else runs.chosen(good)
        intake.inferred += used.inferred
        bad = {str(runs.names[run].as_py()): int(runs.firsts[run]) for run in reversed(classes.bad)}
        yield replace(_block(used, classes, good, runs.vms()[good]), unusable=bad)


def _usable(runs: Runs, classes: Classes, source: str, intake: Intake) -> npt.NDArray[np.intp]:
    """Reject the VMs with a row that cannot be used; give the runs of the others."""
    if not classes.bad:
        return np.arange(len(runs))
    vms = runs.vms()
    unusable = np.isin(vms, vms[list(classes.bad)])
    for run in np.flatnonzero(unusable).tolist():
        bad = classes.bad.get(run)
        if bad is None:
            intake.reject_rows(source, runs.rows_of(run), "another vCPU of the same VM cannot be used")
            continue
        if intake.on_error == "raise":
            intake.reject(source, *bad[0])
        reasons = dict(reversed(bad))
        # What is wrong with a vCPU as a whole is said of its first row, and is the reason for all.
        first = (
            bad[0][1]
            if runs.nested or runs.is_whole(run)
            else f"row {bad[0][0]} of the same VM cannot be used"
        )
        for row in runs.rows_of(run):
            intake.reject(source, row, reasons.get(row, first))
    return np.flatnonzero(~unusable)


def _block(runs: Runs, classes: Classes, good: npt.NDArray[np.intp], vms: npt.NDArray[np.int64]) -> Block:
    """Sort the registers of each vCPU, and say how it is made: its class tells."""
    lengths = np.diff(runs.starts)
    register, value = runs.register, runs.value
    begins = np.zeros(len(register) + 1, dtype=np.bool_)
    begins[runs.starts] = True
    if not begins[np.flatnonzero(register[1:] < register[:-1]) + 1].all():
        order = np.lexsort((register, np.repeat(np.arange(len(runs)), lengths)))
        register, value = register[order], value[order]
    kinds = classes.of[good]
    distinct, firsts = np.unique(kinds, return_index=True)
    first = dict(zip(distinct.tolist(), firsts.tolist(), strict=True))
    index = np.zeros(len(runs), dtype=np.uint16) if runs.index is None else runs.index.astype(np.uint16)
    return Block(
        runs.names.cast(pa.string()),
        index,
        pa.nulls(len(runs), pa.string()) if runs.homes is None else runs.homes,
        kinds.astype(np.int64),
        {kind: classes.key(kind) for kind in first},
        {kind: words_of_run(runs, run) for kind, run in first.items()},
        runs.starts,
        register,
        value,
        {},
        np.ones(len(runs), dtype=np.int64) if runs.nested else lengths,
        runs.firsts,
        vms,
        vmm=runs.vmms,
    )
