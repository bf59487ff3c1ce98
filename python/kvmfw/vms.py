"""The VMs of a fleet as it takes them in: what is set aside, and what occurs twice."""

from __future__ import annotations

from itertools import chain, groupby
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa

from kvmfw import _native, readers
from kvmfw.errors import ArgumentError, RowError
from kvmfw.names import ascend, texts_of
from kvmfw.readers.behind import behind
from kvmfw.readers.classes import one_of_each_kind
from kvmfw.readers.rejects import named_twice, twice
from kvmfw.readers.runs import Alike, Runs
from kvmfw.sets import RegisterSet

__all__ = ["Parts", "Vms"]

_LISTED_ROWS = 1000

_SHORT_ROWS = 1 << 21
"""To add so many rows takes less than the fifth of a second that an interrupt may wait."""

Parts = list[tuple[str | None, Any]]
"""VMs of a source, cut into parts, each with the file that it is of."""

Known = tuple[frozenset[str], Any, int, int]
"""What `Vms` had learnt at some time: VMs in parts, the last name, how many rows were set aside and vCPUs inferred.

Whether names ascend is no part of it: once they do not they are looked up, and another thread may have found that out meanwhile.
"""


def _is_short(part: Any) -> bool:
    """Tell whether a part is one of many of its source that are added soon."""
    return isinstance(part, Runs) and len(part.value) <= _SHORT_ROWS


class Vms:
    """The VMs of a fleet, as far as only those who add some need to know.

    Attributes
    ----------
    rejected : list of (int, str)
        The rows that could not be used.
    inferred : int
        Of how many vCPUs of tables nothing says how they are made.
    """

    def __init__(self, by_own: bool) -> None:
        # Whether it matters whose VMs they are.
        self._by_own = by_own
        # VMs of which each kind of vCPU has a row of its own, so that none has their name.
        self._split: frozenset[str] = frozenset()
        # While all names ascend, none needs to be looked up.
        self._ascends = True
        self._last: Any = None
        self.rejected: list[tuple[int, str]] = []
        self.inferred = 0

    def add(
        self,
        change: _native.Change,
        parts: Any,
        intake: readers.Intake,
        *,
        unique: bool,
    ) -> None:
        """Add VMs in order; raise `RowError` with all rows of a source that cannot be used, where asked for.

        Parameters
        ----------
        change : _native.Change
            To what they are added.
        parts : iterable
            The VMs, as `kvmfw.readers.parts_of` cuts them.
        intake : Intake
            What was set aside before.
        unique : bool
            Whether register sets must have names of their own. Those that a program made may share a name while the
            fleet is built: it knows them by their rows.
        """
        for file, group in groupby(parts, key=itemgetter(0)):
            bad: list[tuple[int, str]] = []

            def added(part: Any) -> list[tuple[int, str]]:
                if isinstance(part, Runs):
                    return self._add_runs(change, part)
                if isinstance(part, Alike):
                    return self._add_alike(change, part)
                return self._add_sets(change, part, unique)

            try:
                bad += chain.from_iterable(behind(added, (part for _, part in group), _is_short))
            except Exception as error:
                # What is wrong with the source comes after what is wrong with rows before that.
                if not bad or intake.on_error != "raise" or isinstance(error, MemoryError):
                    raise
            if bad and intake.on_error == "raise":
                (row, problem), *others = sorted(bad)
                raise RowError(problem, row, tuple(others[:_LISTED_ROWS]), file=file)
            self.rejected += [
                (row, problem if file is None else f"{file}: {problem}") for row, problem in sorted(bad)
            ]
        self.rejected += [(one.row, f"{one.source}: {one.reason}") for one in intake.rejects]

    def known(self) -> Known:
        """Give what is known by now, for `Vms.go_back`."""
        return self._split, self._last, len(self.rejected), self.inferred

    def go_back(self, known: Known) -> None:
        """Forget what was learnt since."""
        self._split, self._last, rejected, self.inferred = known
        del self.rejected[rejected:]

    def forget(self, names: list[str]) -> None:
        """Take note of VMs that were taken away."""
        if self._split:
            self._split -= {name.rpartition("/vcpu")[0] for name in names}

    def must_look_up(self) -> None:
        """Take note of VMs whose names were not seen here."""
        self._ascends = False

    def go_on(self, parts: frozenset[str]) -> None:
        """Take note of the VMs of a fleet that was saved; of these each kind of vCPU has a row of its own."""
        self._split = parts
        self.must_look_up()

    @property
    def parts(self) -> frozenset[str]:
        """VMs of which each kind of vCPU has a row of its own."""
        return self._split

    @property
    def knows_parts(self) -> bool:
        """Whether the names of VMs that are taken away matter."""
        return bool(self._split)

    def _add_runs(self, change: _native.Change, runs: Runs) -> list[tuple[int, str]]:
        """Add VMs of a table; give their rows that cannot be used."""
        bad: list[tuple[int, str]] = []
        split: dict[int, str] = {}
        runs = runs if self._by_own else runs.without_vmms()
        if runs.index is not None:
            runs, found, split = one_of_each_kind(runs)
            bad += chain.from_iterable(found.values())
        if again := sorted({*self._parted(change, runs.names, split), *self._repeated(change, runs.names)}):
            bad += chain.from_iterable(runs.bad(()).values())
            bad += [(int(runs.firsts[run]), twice(split.get(run, runs.names[run].as_py()))) for run in again]
            runs = runs.chosen(np.delete(np.arange(len(runs)), again))
        rejected = runs.added_to(change)
        if rejected or runs.problems:
            bad += chain.from_iterable(runs.bad(rejected).values())
        self.inferred += runs.inferred
        return bad

    def _add_alike(self, change: _native.Change, vms: Alike) -> list[tuple[int, str]]:
        """Add VMs of which many are alike; give the places of those that are there already."""
        again = self._repeated(change, vms.names)
        (vms.without(again) if again else vms).added_to(change)
        return [(row, twice(vms.names[row].as_py())) for row in again]

    def _repeated(self, change: _native.Change, names: pa.Array) -> list[int]:
        """Give the places of names that are there already, or stand earlier among these."""
        if self._ascends and self._ascend(names):
            return []
        self._ascends = False
        return change.repeated(texts_of(names))

    def _ascend(self, names: pa.Array) -> bool:
        if len(names) == 0:
            return True
        first, before = names[0].as_py(), self._last
        if before is not None and (not isinstance(first, type(before)) or not before < first):
            return False
        if not ascend(names):
            return False
        self._last = names[-1].as_py()
        return True

    def _parted(self, change: _native.Change, names: pa.Array, split: dict[int, str]) -> set[int]:
        """Give the runs of VMs that are there already, where they or those have a row for each kind of vCPU."""
        if not split and not self._split:
            return set()
        again: set[int] = set()
        seen: set[str] = set()
        before, is_again = "", False
        whole = dict(zip(split.values(), change.has_vms(list(split.values())), strict=True))
        for run, name in enumerate(str(name) for name in names.to_pylist()):
            vm = split.get(run, name)
            if run not in split or vm != before:
                is_again = vm in seen or vm in self._split or (run in split and whole[vm])
            # Those without a name are kept in their places, unknown to every host.
            if is_again and vm:
                again.add(run)
            seen.add(vm)
            before = vm
        self._split |= {vm for run, vm in split.items() if run not in again}
        return again

    def _add_sets(
        self, change: _native.Change, sets: list[RegisterSet], unique: bool
    ) -> list[tuple[int, str]]:
        """Add register sets; give the places of those that are there already."""
        for row, one in enumerate(sets):
            if not isinstance(one, RegisterSet):
                raise ArgumentError(f"VM {row} is a {type(one).__name__}; expected a kvmfw.RegisterSet")
        names = pa.array([one.name for one in sets], pa.string())
        again: set[int] = set()
        if unique:
            again = set(self._repeated(change, names))
        elif not self._ascend(names):
            self._ascends = False
        new = [one for row, one in enumerate(sets) if row not in again] if again else sets
        change.add_sets([one._native for one in new])
        return [(row, named_twice(sets[row].name)) for row in sorted(again)]
