"""The frame of an audit: classes with their weights, and which VMs live where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from kvmfw.analysis.opened import chosen_column
from kvmfw.errors import ArgumentError
from kvmfw.fleet import Fleet
from kvmfw.verdict import Outcome

__all__ = ["Frame", "Ints", "make_frame"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Frame:
    """A fleet seen by classes, whole or filtered.

    VMs that share their class and the class of their home are one group: no number of an audit can tell
    them apart, so everything is counted on groups.

    Attributes
    ----------
    fleet : Fleet
        Whose outcomes these are.
    homes : array of int64, shape (VMs,)
        The host row that each VM runs on; -1 where not known.
    vm_rows, host_rows : array of int64
        The rows that the filter keeps, ascending.
    change, unknown : bool
        Whether these outcomes count as taken.
    """

    fleet: Fleet
    homes: Ints
    vm_rows: Ints
    host_rows: Ints
    change: bool = True
    unknown: bool = False

    @cached_property
    def outcomes(self) -> npt.NDArray[np.uint8]:
        """The outcome of every pair of classes. Shape (VM classes, host classes)."""
        return self.fleet.class_table()

    @cached_property
    def taken(self) -> npt.NDArray[np.bool_]:
        """Which host classes take which VM classes. Shape (VM classes, host classes)."""
        counts = np.array([True, self.change, self.unknown, False])
        return np.asarray(counts[self.outcomes])

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
        """The class of each VM, of all rows."""
        return self.fleet.vm_classes.astype(np.int64)

    @cached_property
    def host_class(self) -> Ints:
        """The class of each host, of all rows."""
        return self.fleet.host_classes.astype(np.int64)

    @cached_property
    def host_weight(self) -> Ints:
        """How many hosts each host class has."""
        return np.bincount(self.host_class[self.host_rows], minlength=self.outcomes.shape[1])

    @cached_property
    def home_class(self) -> Ints:
        """For each kept VM the class of its home; -1 where not known."""
        homes = self.homes[self.vm_rows]
        return np.asarray(np.where(homes >= 0, self.host_class[np.maximum(homes, 0)], -1), dtype=np.int64)

    @cached_property
    def _groups(self) -> tuple[Ints, Ints, Ints]:
        width = self.outcomes.shape[1] + 1
        keys = self.vm_class[self.vm_rows] * width + self.home_class + 1
        counts = np.bincount(keys, minlength=self.outcomes.shape[0] * width)
        used = np.flatnonzero(counts)
        number = np.full(len(counts), -1, dtype=np.int64)
        number[used] = np.arange(len(used))
        return used, counts[used], number[keys]

    @property
    def group_vm_class(self) -> Ints:
        """The VM class of each group."""
        classes: Ints = self._groups[0] // (self.outcomes.shape[1] + 1)
        return classes

    @property
    def group_home_class(self) -> Ints:
        """The home's class of each group; -1 where not known."""
        classes: Ints = self._groups[0] % (self.outcomes.shape[1] + 1) - 1
        return classes

    @property
    def group_weight(self) -> Ints:
        """How many VMs each group has."""
        return self._groups[1]

    @property
    def group_of(self) -> Ints:
        """The group of each kept VM."""
        return self._groups[2]

    @cached_property
    def group_hosts(self) -> Ints:
        """How many hosts of each class are not the VM's own. Shape (groups, host classes)."""
        hosts = np.tile(self.host_weight, (len(self.group_weight), 1))
        known = np.flatnonzero(self.group_home_class >= 0)
        hosts[known, self.group_home_class[known]] -= 1
        return np.maximum(hosts, 0)

    @cached_property
    def group_targets(self) -> Ints:
        """How many other hosts take a VM of each group."""
        return np.asarray((self.group_hosts * self.taken[self.group_vm_class]).sum(axis=1))

    @cached_property
    def flows(self) -> Ints:
        """VMs that live on one host class and that another (or the same) takes. Shape (classes, classes)."""
        flows = np.zeros((self.outcomes.shape[1],) * 2, dtype=np.int64)
        known = self.group_home_class >= 0
        weighted = self.taken[self.group_vm_class[known]] * self.group_weight[known, None]
        np.add.at(flows, self.group_home_class[known], weighted)
        flows[:, self.host_weight == 0] = 0
        return flows

    @cached_property
    def residents(self) -> Ints:
        """How many VMs live on each host class."""
        known = self.group_home_class >= 0
        return np.bincount(
            self.group_home_class[known], self.group_weight[known], minlength=self.outcomes.shape[1]
        ).astype(np.int64)

    def totals(self) -> dict[str, int]:
        """Count pairs of a VM and a host that is not its own, by outcome."""
        weights = self.group_hosts * self.group_weight[:, None]
        counts = np.bincount(self.outcomes[self.group_vm_class].ravel(), weights.ravel(), minlength=4)
        return {outcome.name: int(counts[outcome]) for outcome in Outcome}

    def first_rows(self) -> tuple[Ints, Ints]:
        """Give one row for each VM class and each host class, of all rows; it speaks for its class."""
        return (
            _first(self.vm_class, self.outcomes.shape[0]),
            _first(self.host_class, self.outcomes.shape[1]),
        )

    def by_value(self, column: Sequence[str]) -> tuple[list[str], Ints]:
        """Give the values of a column, and for each host row the number of its value; -1: filtered out."""
        values = sorted({column[row] for row in self.host_rows.tolist()})
        number = {value: at for at, value in enumerate(values)}
        of = np.full(len(self.host_class), -1, dtype=np.int64)
        of[self.host_rows] = [number[column[row]] for row in self.host_rows.tolist()]
        return values, of

    def home_value(self, of: Ints) -> Ints:
        """Give, for each kept VM, the number that its home has in `of`; -1 where not known."""
        homes = self.homes[self.vm_rows]
        return np.asarray(np.where(homes >= 0, of[np.maximum(homes, 0)], -1), dtype=np.int64)

    def vm_names(self, rows: Ints) -> list[str]:
        """Give the names of VMs by row."""
        names = self.fleet.vm_names
        return [names[row] for row in rows.tolist()]

    def home_name(self, vm_row: int) -> str | None:
        """Give the name of the host that a VM runs on."""
        home = int(self.homes[vm_row])
        return self.fleet.host_names[home] if home >= 0 else None


def _first(classes: Ints, count: int) -> Ints:
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
    vms, hosts = fleet.shape
    if not (vms and hosts):
        raise ArgumentError(f"the fleet has no {'VM' if hosts else 'host'}: there is nothing to judge")
    home = fleet.vm_homes if homes is None else np.asarray(homes, dtype=np.int64)
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
    return Frame(fleet, home, vm_rows, host_rows, change, unknown)
