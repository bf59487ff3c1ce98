"""Runs: registers of many vCPUs in fixed-width columns, one run for each vCPU, all of a VM together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from kvmfw import _native
from kvmfw.names import names_of, texts_of
from kvmfw.readers.aside import aside
from kvmfw.readers.vcpu import VcpuConfig

__all__ = [
    "INFERRED",
    "UNUSABLE",
    "WHOLE",
    "Alike",
    "Bad",
    "Rows",
    "Runs",
    "changes_in",
    "codes_of",
    "firsts",
]

INFERRED, UNUSABLE = _native.Fleet.INFERRED, _native.Fleet.UNUSABLE
WHOLE = -1
Rows = npt.NDArray[np.int64]

Bad = dict[int, list[tuple[int, str]]]
"""For each run that cannot be used its bad rows: the row of the source, and the reason."""


@dataclass(frozen=True, slots=True)
class Runs:
    """Registers of many vCPUs, as the native module takes them.

    Attributes
    ----------
    names : pyarrow.Array
        The VM of each run: text or integers. Runs of one VM follow each other.
    starts : array of int64
        Where the rows of each run start, and where those of the last one end.
    register, value : array of uint64
        Ids, and values; for registers wider than 8 bytes the lowest 8.
    configs : list of VcpuConfig
        How vCPUs are made.
    config_of : array of uint32
        For each run which of them, or that it is to be inferred, or that the run cannot be used.
    firsts : array of int64
        The row of the source with which each run starts.
    nested : bool
        Whether each run is one row of its source.
    index : array of int64, optional
        The number of the vCPU in its VM, where the source tells.
    homes : pyarrow.Array, optional
        The host that each runs on.
    vmms : pyarrow.Array, optional
        Whose VM each is of.
    order : array of int, optional
        The row of the source that each row was, where rows had to be brought together.
    problems : tuple of (int, int, str)
        What cannot be used, as far as it was found here: run, row of the columns (-1: all), reason.
    """

    names: pa.Array
    starts: Rows
    register: npt.NDArray[np.uint64]
    value: npt.NDArray[np.uint64]
    configs: list[VcpuConfig]
    config_of: npt.NDArray[np.uint32]
    firsts: Rows
    nested: bool
    index: Rows | None = None
    homes: pa.Array | None = None
    vmms: pa.Array | None = None
    order: Rows | None = None
    problems: tuple[tuple[int, int, str], ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def inferred(self) -> int:
        """How many vCPUs there are of which the table does not say how they are made."""
        return int(np.count_nonzero(self.config_of == INFERRED))

    def added_to(self, change: _native.Change) -> list[tuple[int, str]]:
        """Add the vCPUs to a fleet; give the rows of the columns that cannot be used."""
        return self._added(change, self.names, self.homes, None)

    def without_vmms(self) -> Runs:
        """Leave out whose VMs they are."""
        return replace(self, vmms=None)

    def _added(
        self,
        change: _native.Change,
        names: pa.Array,
        homes: pa.Array | None,
        like: npt.NDArray[np.uint32] | None,
    ) -> list[tuple[int, str]]:
        told = vmms = None
        if homes is not None:
            places, codes = _numbered(homes)
            told = (texts_of(places), codes)
        if self.vmms is not None:
            words, codes = _numbered(pc.if_else(pc.equal(self.vmms, ""), None, self.vmms))
            vmms = (words.to_pylist(), codes)
        named = (names_of(names), told, like)
        return change.add_runs(
            self.starts, self.register, self.value, self.configs, self.config_of, named, vmms
        )

    def rows_of(self, run: int) -> Sequence[int]:
        """Give the rows of the source that a run was made of."""
        first = int(self.firsts[run])
        if self.nested:
            return (first,)
        start, end = int(self.starts[run]), int(self.starts[run + 1])
        return range(first, first + end - start) if self.order is None else self.order[start:end].tolist()

    def is_whole(self, run: int) -> bool:
        """Tell whether a run as a whole cannot be used, for a reason that no row of it has."""
        return any(one == run and row == WHOLE for one, row, _ in self.problems)

    def vms(self) -> Rows:
        """Give each run the number of its VM."""
        if self.index is None:
            return np.arange(len(self), dtype=np.int64)
        return np.repeat(*_counted(changes_in(codes_of(self.names)), len(self)))

    def bad(self, found: Iterable[tuple[int, str]]) -> Bad:
        """Join what was found here and in the native module."""
        bad: Bad = {}
        for run, row, reason in self.problems:
            bad.setdefault(run, []).append((self._source_row(run, row), reason))
        for row, reason in found:
            run = int(np.searchsorted(self.starts, row, side="right")) - 1
            bad.setdefault(run, []).append((self._source_row(run, row), reason))
        return {run: sorted(rows) for run, rows in sorted(bad.items())}

    def _source_row(self, run: int, row: int) -> int:
        if self.nested or row == WHOLE:
            return int(self.firsts[run])
        return self.rows_of(run)[row - int(self.starts[run])]

    def chosen(self, runs: npt.NDArray[np.intp]) -> Runs:
        """Give some of the runs, ascending; what was found to be wrong with them is left behind."""
        lengths = np.diff(self.starts)
        kept = np.zeros(len(self), dtype=bool)
        kept[runs] = True
        rows = np.repeat(kept, lengths)
        return replace(
            self,
            names=self.names.take(pa.array(runs)),
            starts=np.concatenate([[0], np.cumsum(lengths[runs])]).astype(np.int64),
            register=self.register[rows],
            value=self.value[rows],
            config_of=self.config_of[runs],
            firsts=self.firsts[runs],
            index=None if self.index is None else self.index[runs],
            homes=None if self.homes is None else self.homes.take(pa.array(runs)),
            vmms=None if self.vmms is None else self.vmms.take(pa.array(runs)),
            order=None if self.order is None else self.order[rows],
            problems=(),
        )

    def taken(self, runs: npt.NDArray[np.int64]) -> Runs:
        """Give these runs of a table in nested form, of which nothing is wrong; one may be asked for several times."""
        lengths = np.diff(self.starts)[runs]
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        rows = np.arange(starts[-1]) + np.repeat(self.starts[runs] - starts[:-1], lengths)
        return replace(
            self,
            names=self.names.take(pa.array(runs)),
            starts=starts,
            register=self.register[rows],
            value=self.value[rows],
            config_of=self.config_of[runs],
            firsts=self.firsts[runs],
        )

    def upto(self, count: int) -> Runs:
        """Give the first runs; nothing is copied."""
        rows = int(self.starts[count])
        return replace(
            self,
            names=self.names[:count],
            starts=self.starts[: count + 1],
            register=self.register[:rows],
            value=self.value[:rows],
            config_of=self.config_of[:count],
            firsts=self.firsts[:count],
            index=None if self.index is None else self.index[:count],
            homes=None if self.homes is None else self.homes[:count],
            vmms=None if self.vmms is None else self.vmms[:count],
            order=None if self.order is None else self.order[:rows],
            problems=tuple(one for one in self.problems if one[0] < count),
        )


@dataclass(frozen=True, slots=True)
class Alike:
    """VMs of which many are like one run, as far as any host can tell; every run can be used.

    Attributes
    ----------
    runs : Runs
        What is saved of them.
    like : array of uint32
        Which of the runs each VM is like.
    names, homes : pyarrow.Array
        The name of each VM, and the host that it runs on.
    """

    runs: Runs
    like: npt.NDArray[np.uint32]
    names: pa.Array
    homes: pa.Array | None

    def __len__(self) -> int:
        return len(self.names)

    def added_to(self, change: _native.Change) -> None:
        """Add the VMs to a fleet."""
        self.runs._added(change, self.names, self.homes, self.like)

    def without(self, vms: Sequence[int]) -> Alike:
        """Leave some VMs out."""
        kept = np.delete(np.arange(len(self)), vms)
        homes = None if self.homes is None else self.homes.take(pa.array(kept))
        return replace(self, like=self.like[kept], names=self.names.take(pa.array(kept)), homes=homes)


def _numbered(texts: pa.Array) -> tuple[pa.Array, npt.NDArray[np.int32]]:
    """Give the distinct texts, and for each which of them it is; -1 where there is none."""
    encoded = texts.dictionary_encode()
    codes = encoded.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
    return encoded.dictionary, codes


def codes_of(names: pa.Array) -> Rows:
    """Give names numbers by first appearance; all that have none are one."""
    encoded = names if pa.types.is_dictionary(names.type) else aside(len(names), names.dictionary_encode)
    codes: Rows = (
        encoded.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    )
    return codes


def changes_in(*keys: npt.NDArray[Any]) -> Rows:
    """Give where any of these columns has another entry than in the row before, and 0."""
    changes = np.zeros(len(keys[0]), dtype=bool)
    changes[:1] = True
    for key in keys:
        changes[1:] |= key[1:] != key[:-1]
    return np.flatnonzero(changes).astype(np.int64)


def firsts(*keys: npt.NDArray[Any]) -> Rows:
    """Give, of rows that have the same entries in these columns, where the first is; in no order."""
    order = np.lexsort(keys)
    first: Rows = order[changes_in(*(key[order] for key in keys))]
    return first


def _counted(starts: Rows, length: int) -> tuple[Rows, Rows]:
    return np.arange(len(starts), dtype=np.int64), np.diff(starts, append=length)
