"""The frame of an audit: classes with their weights, and which VMs live where."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from kvmfw import _native
from kvmfw.analysis.keys import numbered
from kvmfw.analysis.opened import chosen_column
from kvmfw.analysis.survey import Survey
from kvmfw.errors import ArgumentError
from kvmfw.fleet import Fleet
from kvmfw.questions import counted_as_taken
from kvmfw.snapshot import Snapshot
from kvmfw.verdict import Outcome

__all__ = ["Frame", "Groups", "Ints", "Tell", "make_frame", "native_groups"]

Ints = npt.NDArray[np.int64]
Groups = tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64], npt.NDArray[np.uint64]]
Tell = Callable[[int], None]


@dataclass(frozen=True)
class Frame:
    """A fleet seen by classes, whole or filtered.

    VMs that share their class and the class of their home are one group: no number of an audit can tell
    them apart, so everything is counted on groups.

    Attributes
    ----------
    fleet : Snapshot
        Whose outcomes these are: the fleet as it was when the frame was made.
    homes : array of int64, shape (VMs,)
        The host row that each VM runs on; -1 where not known.
    vm_rows, host_rows : array of int64
        The rows that the filter keeps, ascending. Rows of VMs are those of `survey`, where there is one.
    change, unknown : bool
        Whether these outcomes count as taken.
    tell : callable, optional
        Who is told how far long work is, in thousandths.
    rejected : int
        Rows that could not be used when the fleet was made.
    survey : Survey, optional
        How many VMs each row stands for, where they were counted elsewhere: the fleet has one VM for each kind then.
    """

    fleet: Snapshot
    homes: Ints
    vm_rows: Ints
    host_rows: Ints
    change: bool = True
    unknown: bool = False
    tell: Tell | None = None
    rejected: int = 0
    survey: Survey | None = None

    @cached_property
    def outcomes(self) -> npt.NDArray[np.uint8]:
        """The outcome of every pair of classes. Shape (VM classes, host classes)."""
        return self.fleet.class_table()

    @property
    def counts_as_taken(self) -> npt.NDArray[np.bool_]:
        """Whether each outcome counts as taken. Shape (4,)."""
        return counted_as_taken(self.change, self.unknown)

    @cached_property
    def taken(self) -> npt.NDArray[np.bool_]:
        """Which host classes take which VM classes. Shape (VM classes, host classes)."""
        return np.asarray(self.counts_as_taken[self.outcomes])

    @cached_property
    def deciding(self) -> Ints:
        """The first unit with the outcome of every pair of classes; beyond all units where all accept."""
        vm_rows, host_rows = self.first_rows()
        vms, hosts = (grid.ravel() for grid in np.meshgrid(vm_rows, host_rows, indexing="ij"))
        units = np.empty(vms.shape, dtype=np.uint16)
        self.fleet.validate_pairs(np.maximum(vms, 0), np.maximum(hosts, 0), units=units)
        return units.astype(np.int64).reshape(self.outcomes.shape)

    @cached_property
    def vm_class(self) -> Ints:
        """The class of each row of VMs, of all rows."""
        classes = self.fleet.vm_classes.astype(np.int64)
        return classes if self.survey is None else classes[self.survey.rows]

    @cached_property
    def host_class(self) -> Ints:
        """The class of each host, of all rows."""
        return self.fleet.host_classes.astype(np.int64)

    @cached_property
    def host_weight(self) -> Ints:
        """How many hosts each host class has."""
        return np.bincount(self.host_class[self.host_rows], minlength=self.fleet.class_shape[1])

    @property
    def weight(self) -> Ints | None:
        """How many VMs each kept row stands for; none where each is one."""
        return None if self.survey is None else self.survey.vms[self.vm_rows]

    def vms_in(self, rows: Ints) -> int:
        """How many VMs these rows stand for."""
        return len(rows) if self.survey is None else int(self.survey.vms[rows].sum())

    @cached_property
    def vms(self) -> int:
        """How many VMs there are, with those that are filtered out."""
        return self.vms_in(np.arange(len(self.homes)))

    @cached_property
    def homeless(self) -> int:
        """Of how many of them it is not known where they run."""
        return self.vms_in(np.flatnonzero(self.homes < 0))

    @property
    def unmatched_homes(self) -> Mapping[str, int]:
        """Names of hosts that VMs are said to run on and that no host has, with how many VMs."""
        return (self.survey or self.fleet).unmatched_homes

    @cached_property
    def home_class(self) -> Ints:
        """For each kept row the class of its home; -1 where not known."""
        homes = self.homes[self.vm_rows]
        return np.asarray(np.where(homes >= 0, self.host_class[np.maximum(homes, 0)], -1), dtype=np.int64)

    @cached_property
    def _groups(self) -> tuple[Ints, Ints, Ints]:
        width = len(self.host_weight) + 1
        return numbered(self.vm_class[self.vm_rows] * width + self.home_class + 1, self.weight)

    @cached_property
    def group_vm_class(self) -> Ints:
        """The VM class of each group, ascending."""
        classes: Ints = self._groups[0] // (len(self.host_weight) + 1)
        return classes

    @cached_property
    def group_home_class(self) -> Ints:
        """The home's class of each group; -1 where not known."""
        classes: Ints = self._groups[0] % (len(self.host_weight) + 1) - 1
        return classes

    @property
    def group_weight(self) -> Ints:
        """How many VMs each group has."""
        return self._groups[1]

    @property
    def group_of(self) -> Ints:
        """The group of each kept row."""
        return self._groups[2]

    @cached_property
    def groups(self) -> Groups:
        """VM class, home class and VMs of each group, as the native half takes them."""
        return native_groups(self.group_vm_class, self.group_home_class, self.group_weight)

    @cached_property
    def _takers(self) -> tuple[_native.Takers, Ints]:
        return self._count(self.host_weight)

    def _count(self, host_weight: Ints) -> tuple[_native.Takers, Ints]:
        takers, counts = _native.takers(
            self.fleet._native, host_weight.astype(np.uint64), self.change, self.unknown, self.tell
        )
        return takers, counts.astype(np.int64).reshape(-1, 4)

    @property
    def takers(self) -> _native.Takers:
        """Which host classes take which VM classes, as bits; host classes without hosts take nothing."""
        return self._takers[0]

    @property
    def class_counts(self) -> Ints:
        """How many hosts have which outcome for each VM class. Shape (VM classes, 4)."""
        return self._takers[1]

    @cached_property
    def class_vms(self) -> Ints:
        """How many VMs each VM class has."""
        counts = np.bincount(self.group_vm_class, self.group_weight, minlength=len(self.class_counts))
        return counts.astype(np.int64)

    @cached_property
    def group_home_outcome(self) -> Ints:
        """What the host that each group lives on says to it; -1 where not known."""
        said = np.full(len(self.group_weight), -1, dtype=np.int64)
        known = np.flatnonzero(self.group_home_class >= 0)
        vm_rows, host_rows = self.first_rows()
        vms, hosts = vm_rows[self.group_vm_class[known]], host_rows[self.group_home_class[known]]
        said[known] = self.fleet.validate_pairs(vms, hosts)
        return said

    @cached_property
    def group_targets(self) -> Ints:
        """How many other hosts take a VM of each group."""
        targets = self.class_counts[:, self.counts_as_taken].sum(axis=1)[self.group_vm_class]
        return np.asarray(targets - self.group_taken_at_home, dtype=np.int64)

    @cached_property
    def group_taken_at_home(self) -> npt.NDArray[np.bool_]:
        """Whether the host that each group lives on takes it."""
        said = self.group_home_outcome
        return np.asarray((said >= 0) & self.counts_as_taken[np.maximum(said, 0)])

    @cached_property
    def residents(self) -> Ints:
        """How many VMs live on each host class."""
        known = self.group_home_class >= 0
        return np.bincount(
            self.group_home_class[known], self.group_weight[known], minlength=len(self.host_weight)
        ).astype(np.int64)

    @cached_property
    def circles(self) -> tuple[Ints, list[tuple[list[int], int, int, int]], npt.NDArray[np.bool_]]:
        """The circle of each host class, the circles that are traps, and between which circles VMs can move."""
        circle_of, found, bits = self.takers.circles(self.groups, self.tell)
        labels = circle_of.astype(np.int64)
        count = int(labels.max(initial=-1)) + 1
        octets = bits.view(np.uint8).reshape(count, -1) if count else np.zeros((0, 0), dtype=np.uint8)
        moves = np.unpackbits(octets, axis=1, count=count, bitorder="little").view(np.bool_)
        return labels, found, moves

    def totals(self) -> dict[str, int]:
        """Count pairs of a VM and a host that is not its own, by outcome."""
        return self.beside_home((self.class_counts * self.class_vms[:, None]).sum(axis=0))

    def beside_home(self, pairs: Ints) -> dict[str, int]:
        """Give pairs of VMs and hosts, counted by outcome, without those of a VM and the host that it runs on."""
        known = self.group_home_outcome >= 0
        at_home = np.bincount(self.group_home_outcome[known], self.group_weight[known], minlength=4)
        others = pairs - at_home.astype(np.int64)
        return {outcome.name: int(others[outcome]) for outcome in Outcome}

    def counts_on(self, host_rows: Ints) -> Ints:
        """How many of these hosts have which outcome for each VM class. Shape (VM classes, 4)."""
        if np.array_equal(host_rows, self.host_rows):
            return self.class_counts
        weight = np.bincount(self.host_class[host_rows], minlength=len(self.host_weight))
        return self._count(weight)[1]

    def outcome_rows(self, vm_classes: Ints) -> npt.NDArray[np.uint8]:
        """Give the outcomes of some VM classes on every host class. Shape (given VM classes, host classes)."""
        rows = self.first_rows()[0][vm_classes].tolist()
        return np.array([self.fleet.class_row(row) for row in rows], dtype=np.uint8).reshape(
            len(rows), self.fleet.class_shape[1]
        )

    def first_rows(self) -> tuple[Ints, Ints]:
        """Give one row of the fleet for each VM class and each host class; it speaks for its class."""
        return self._first_rows

    @cached_property
    def _first_rows(self) -> tuple[Ints, Ints]:
        shape = self.fleet.class_shape
        return _first(self.fleet.vm_classes, shape[0]), _first(self.fleet.host_classes, shape[1])

    def by_value(self, column: Sequence[str]) -> tuple[list[str], Ints]:
        """Give the values of a column, and for each host row the number of its value; -1: filtered out."""
        values = sorted({column[row] for row in self.host_rows.tolist()})
        number = {value: at for at, value in enumerate(values)}
        of = np.full(len(self.host_class), -1, dtype=np.int64)
        of[self.host_rows] = [number[column[row]] for row in self.host_rows.tolist()]
        return values, of

    def home_value(self, of: Ints) -> Ints:
        """Give, for each kept row, the number that its home has in `of`; -1 where not known."""
        homes = self.homes[self.vm_rows]
        return np.asarray(np.where(homes >= 0, of[np.maximum(homes, 0)], -1), dtype=np.int64)

    def named(self, rows: Ints) -> list[tuple[int, str]]:
        """Give all VMs of some rows, each as its row and its name, in the order of the fleet."""
        if self.survey is not None:
            return self.survey.named(rows)
        return list(zip(rows.tolist(), self.vm_names(rows), strict=True))

    def vm_names(self, rows: Ints) -> list[str]:
        """Give the names of VMs by row of the fleet."""
        return self.fleet.vm_names.take(rows)

    def home_name(self, vm_row: int) -> str | None:
        """Give the name of the host that a VM runs on."""
        home = int(self.homes[vm_row])
        return self.fleet.host_names[home] if home >= 0 else None


def native_groups(vm_class: Ints, home: Ints, vms: Ints) -> Groups:
    """Give columns of groups as the native half takes them."""
    return vm_class.astype(np.uint32), np.ascontiguousarray(home, dtype=np.int64), vms.astype(np.uint64)


def _first(classes: npt.NDArray[np.uint32], count: int) -> Ints:
    first = np.full(count, -1, dtype=np.int64)
    first[classes[::-1]] = np.arange(len(classes))[::-1]
    return first


def make_frame(
    fleet: Fleet,
    *,
    homes: npt.ArrayLike | None = None,
    columns: Mapping[str, Sequence[str]] | None = None,
    where: Mapping[str, str] | None = None,
    change: bool = True,
    unknown: bool = False,
    tell: Tell | None = None,
    survey: Survey | None = None,
) -> Frame:
    """Make the frame of an audit.

    Parameters
    ----------
    fleet : Fleet
        The fleet.
    homes : array_like of int, shape (VMs,), optional
        The host row that each VM runs on, -1 where not known; what the register sets say by default.
    columns : mapping of str to sequence of str, optional
        Columns of the hosts, by row.
    where : mapping of str to str, optional
        Keep hosts whose column has this value, and the VMs that run on them.
    change, unknown : bool
        Whether these outcomes count as taken.
    tell : callable, optional
        Who is told how far long work is, in thousandths; what it raises stops the work.
    survey : Survey, optional
        The VMs and their homes, where they were counted elsewhere and the fleet has one of each kind.

    Raises
    ------
    ArgumentError
        When homes do not fit, a column is not there, or nothing is left.

    Examples
    --------
    >>> from kvmfw.testing import tiny_host, tiny_set
    >>> fleet = Fleet([tiny_set(), tiny_set(workaround_3=2)], [tiny_host(name="a"), tiny_host(name="b")])
    >>> make_frame(fleet, homes=[0, 1]).totals()
    {'ACCEPT': 1, 'CHANGE': 0, 'UNKNOWN': 0, 'REFUSE': 1}
    """
    state = fleet.snapshot()
    vms, hosts = state.shape
    if not (vms and hosts):
        raise ArgumentError(f"the fleet has no {'VM' if hosts else 'host'}: there is nothing to judge")
    if survey is not None:
        homes, vms = survey.homes, len(survey.homes)
    home = state.vm_homes if homes is None else np.asarray(homes, dtype=np.int64)
    if home.shape != (vms,):
        raise ArgumentError(f"`homes` has shape {home.shape}; expected ({vms},)")
    if home.size and int(home.max()) >= hosts:
        raise ArgumentError(f"`homes` names host row {int(home.max())}; there are {hosts} hosts")
    vm_rows, host_rows = np.arange(vms), np.arange(hosts)
    if where:
        kept = np.ones(hosts, dtype=np.bool_)
        for name, value in where.items():
            column = chosen_column(columns or {}, name)
            kept &= np.array([known == value for known in column], dtype=np.bool_)
        host_rows = np.flatnonzero(kept)
        vm_rows = np.flatnonzero((home >= 0) & kept[np.maximum(home, 0)])
        if not host_rows.size:
            words = " and ".join(f"{name} = {value}" for name, value in where.items())
            raise ArgumentError(f"no host has {words}")
    return Frame(state, home, vm_rows, host_rows, change, unknown, tell, len(fleet.rejected), survey)
