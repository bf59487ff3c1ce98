"""The VMs of a fleet as it takes them in: their names and homes by row, and the rows that could not be used."""

from __future__ import annotations

from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kvmfw import _native, readers
from kvmfw.errors import ArgumentError, RowError
from kvmfw.names import Names
from kvmfw.readers.classes import one_of_each_kind
from kvmfw.readers.rejects import twice
from kvmfw.readers.runs import Runs
from kvmfw.sets import RegisterSet

__all__ = ["Vms"]

_LISTED_ROWS = 1000


class Vms:
    """The VMs of a fleet.

    Parameters
    ----------
    native : _native.Fleet
        What judges them.

    Attributes
    ----------
    names, homes : Names
        The name of each VM, and of the host that it runs on.
    rejected : list of (int, str)
        The rows that could not be used.
    inferred : int
        Of how many vCPUs of tables nothing says how they are made.
    """

    def __init__(self, native: _native.Fleet) -> None:
        self._native = native
        self.names, self.homes = Names(), Names()
        # VMs of which each kind of vCPU has a row of its own, so that none has their name.
        self._split: set[str] = set()
        self.rejected: list[tuple[int, str]] = []
        self.inferred = 0

    def add(self, vms: Any, on_error: Literal["raise", "collect"]) -> None:
        """Add VMs of any source, in order; raise `RowError` with all rows of one that cannot be used, where asked for."""
        intake = readers.Intake(on_error)
        # Register sets that a program made may share a name while the fleet is built: it knows them by their rows.
        unique = len(self.names) > 0 or isinstance(vms, str | Path | readers.StoredVms)
        parts = readers.parts_of(vms, self._native, intake)
        # What is added later is read to its end first, so that a source which breaks leaves the fleet as it was.
        for file, group in groupby(list(parts) if self.names else parts, key=itemgetter(0)):
            bad: list[tuple[int, str]] = []
            for _, part in group:
                bad += self._add_runs(part) if isinstance(part, Runs) else self._add_sets(part, unique)
            if bad and on_error == "raise":
                (row, problem), *others = sorted(bad)
                raise RowError(problem, row, tuple(others[:_LISTED_ROWS]), file=file)
            self.rejected += [
                (row, problem if file is None else f"{file}: {problem}") for row, problem in sorted(bad)
            ]
        self.rejected += [(one.row, f"{one.source}: {one.reason}") for one in intake.rejects]

    def remove(self, rows: npt.NDArray[np.intp]) -> None:
        """Take VMs away; the ones after them move up."""
        self._native.remove_vms(rows.tolist())
        if self._split:
            self._split.difference_update(self.names[int(row)].rpartition("/vcpu")[0] for row in rows)
        self.names.remove(rows)
        self.homes.remove(rows)

    def _add_runs(self, runs: Runs) -> list[tuple[int, str]]:
        """Add VMs of a table; give their rows that cannot be used."""
        bad: list[tuple[int, str]] = []
        split: dict[int, str] = {}
        if runs.index is not None:
            runs, found, split = one_of_each_kind(runs)
            bad += chain.from_iterable(found.values())
        if again := sorted({*self._repeated(runs.names, split), *self.names.repeated(runs.names)}):
            bad += chain.from_iterable(runs.bad(()).values())
            bad += [(int(runs.firsts[run]), twice(split.get(run, runs.names[run].as_py()))) for run in again]
            runs = runs.chosen(np.delete(np.arange(len(runs)), again))
        rejected = runs.added_to(self._native)
        if rejected or runs.problems:
            bad += chain.from_iterable(runs.bad(rejected).values())
        self.inferred += runs.inferred
        self.names.append(runs.names)
        self.homes.append(pa.nulls(len(runs)) if runs.homes is None else runs.homes)
        return bad

    def _repeated(self, names: pa.Array, split: dict[int, str]) -> list[int]:
        """Give the runs of VMs that are there already, where they or those have a row for each kind of vCPU."""
        if not split and not self._split:
            return []
        again: list[int] = []
        seen: set[str] = set()
        before, is_again = "", False
        for run, name in enumerate(str(name) for name in names.to_pylist()):
            vm = split.get(run, name)
            if run not in split or vm != before:
                is_again = vm in seen or vm in self._split or (run in split and vm in self.names)
            # Those without a name are kept in their places, unknown to every host.
            if is_again and vm:
                again.append(run)
            seen.add(vm)
            before = vm
        self._split.update(vm for run, vm in split.items() if run not in again)
        return again

    def _add_sets(self, sets: list[RegisterSet], unique: bool) -> list[tuple[int, str]]:
        """Add register sets; give the places of those that are there already."""
        for row, one in enumerate(sets):
            if not isinstance(one, RegisterSet):
                raise ArgumentError(f"VM {row} is a {type(one).__name__}; expected a kvmfw.RegisterSet")
        names = pa.array([one.name for one in sets], pa.string())
        again = set(self.names.repeated(names)) if unique else set()
        new = [one for row, one in enumerate(sets) if row not in again] if again else sets
        self._native.add_sets([one._native for one in new])
        self.names.append(pa.array([one.name for one in new], pa.string()))
        self.homes.append(pa.array([one.host for one in new], pa.string()))
        return [(row, f"the VM `{sets[row].name}` occurs twice") for row in sorted(again)]
