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
from kvmfw.readers.cutter import runs_of_stream
from kvmfw.readers.rejects import Intake
from kvmfw.readers.runs import Runs
from kvmfw.readers.saved import SavedVcpu, set_of_words
from kvmfw.readers.vcpu import words_of
from kvmfw.sets import RegisterSet

__all__ = ["Block", "block_of_alike", "block_of_sets", "blocks_of_table", "vcpus_of_block"]

_WORD = 1 << 64
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
    vms : array of int64
        Which of them are vCPUs of one VM, as the source has it: those have the same number.
    born : list of str, optional
        How each came to have its registers, where they were not saved but derived.
    vmm : list of str, optional
        Which VMM made each, where that is known.
    unusable : dict of str to int
        VMs that were rejected, with the first of their rows: what comes of them later is half a VM.
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
    vms: npt.NDArray[np.int64]
    born: list[str] | None = None
    vmm: list[str] | None = None
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
    wide: list[list[tuple[int, bytes]]] = []
    for at, vcpu in enumerate(vcpus):
        mapping = vcpu.registers.to_mapping()
        registers.extend(mapping)
        values.extend(value % _WORD for value in mapping.values())
        wide.append(
            [
                (id_, value.to_bytes(size_of(id_), "little"))
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
        list(names),
        np.zeros(count, dtype=np.uint16),
        list(homes),
        one.words * count,
        np.arange(count + 1, dtype=np.int64) * length,
        np.tile(one.register, count),
        np.tile(one.value, count),
        one.wide * count,
        np.array(rows, dtype=np.int64),
        np.full(count, -1, dtype=np.int64),
        np.arange(count, dtype=np.int64),
        [born] * count,
        [vmm] * count,
    )


def vcpus_of_block(block: Block) -> Iterator[list[SavedVcpu]]:
    """Make register sets of a block, VM by VM."""
    several = np.bincount(block.vms)[block.vms] > 1
    found = zip(block.vms.tolist(), several.tolist(), block.names, block.index.tolist(), strict=True)
    for _, own in groupby(enumerate(found), key=lambda one: one[1][0]):
        yield [
            SavedVcpu(name, index, _set_of(block, at, f"{name}/vcpu{index}" if is_one else name))
            for at, (_, is_one, name, index) in own
        ]


def _set_of(block: Block, at: int, name: str) -> RegisterSet:
    rows = slice(int(block.starts[at]), int(block.starts[at + 1]))
    mapping = dict(zip(block.register[rows].tolist(), block.value[rows].tolist(), strict=True))
    mapping |= {register: int.from_bytes(value, "little") for register, value in block.wide[at]}
    return set_of_words(mapping, block.words[at], name, block.homes[at])


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
    for runs in runs_of_stream(batches, _native.Fleet("kvm", "kvm", 1), columns):
        classes = Classes(runs)
        good = _usable(runs, classes, source, intake)
        used = runs if len(good) == len(runs) else runs.chosen(good)
        intake.inferred += used.inferred
        bad = {str(runs.names[run].as_py()): int(runs.firsts[run]) for run in reversed(classes.bad)}
        yield replace(_block(used, classes.of[good], runs.vms()[good]), unusable=bad)


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


def _block(runs: Runs, classes: npt.NDArray[np.uint32], vms: npt.NDArray[np.int64]) -> Block:
    """Sort the registers of each vCPU, and say how it is made: its class tells."""
    lengths = np.diff(runs.starts)
    owner = np.repeat(np.arange(len(runs)), lengths)
    register, value = runs.register, runs.value
    if np.any((owner[1:] == owner[:-1]) & (register[1:] < register[:-1])):
        order = np.lexsort((register, owner))
        register, value = register[order], value[order]
    distinct, firsts, class_of = np.unique(classes, return_index=True, return_inverse=True)
    words = [words_of_run(runs, int(run)) for run in firsts[: len(distinct)]]
    homes = [None] * len(runs) if runs.homes is None else runs.homes.to_pylist()
    index = np.zeros(len(runs), dtype=np.uint16) if runs.index is None else runs.index.astype(np.uint16)
    return Block(
        [str(name) for name in runs.names.to_pylist()],
        index,
        homes,
        [words[class_] for class_ in class_of.tolist()],
        runs.starts,
        register,
        value,
        [[] for _ in homes],
        np.ones(len(runs), dtype=np.int64) if runs.nested else lengths,
        runs.firsts,
        vms,
    )
