"""Who is in a fleet: names, handles, rows, homes and classes of one version."""

from __future__ import annotations

import html
from abc import ABC, abstractmethod
from operator import index
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kvmfw import _native
from kvmfw._native import HostHandle, VmHandle
from kvmfw.errors import MissingError
from kvmfw.names import Names

__all__ = ["Changes", "On", "Roster", "Vm", "whole"]

Vm = int | str | VmHandle
"""A VM by row, name or handle."""
On = int | str | HostHandle
"""A host by row, name or handle."""


class Changes(NamedTuple):
    """Which classes mean something else than they did: they got their first member since, lost their last one, or both.

    Attributes
    ----------
    generation : int
        The generation that this is the state of.
    vm_classes, host_classes : dict of int to bool
        Number of a class -> whether anybody is of it now. What is known of all others stays true.
    """

    generation: int
    vm_classes: dict[int, bool]
    host_classes: dict[int, bool]


def whole(number: Any, what: str) -> int:
    """Give a number from outside as an int.

    Raises
    ------
    MissingError
        When it is not a whole number.
    """
    try:
        if not isinstance(number, bool):
            return index(number)
    except TypeError:
        pass
    raise MissingError(f"{what} is {number!r}; expected a whole number")


class Roster(ABC):
    """Who is in a fleet, or was in a snapshot of one. Each answer is of one generation."""

    vmm: str
    scheme: str
    _asked: _native.Fleet | _native.Snapshot
    """What answers a question that takes no longer than to make an object for a version."""

    @abstractmethod
    def _now(self) -> _native.Snapshot:
        """Give the version that the next answer is of."""

    @property
    def generation(self) -> int:
        """How often the fleet was changed: answers of different generations may differ."""
        return self._now().generation()

    def changes_since(self, generation: int) -> Changes:
        """Tell which classes mean something else than in a generation, so that what is known of the others can be kept.

        The number of a class that nobody is of any more is given to another one, in a later generation than that in which
        it lost its last member.

        Raises
        ------
        MissingError
            When there has been no such generation.
        """
        now = self._now()
        vm_classes, host_classes = now.changes_since(generation)
        return Changes(now.generation(), dict(vm_classes), dict(host_classes))

    @property
    def vm_names(self) -> Names:
        """The names of the VMs, by row, of the generation in which they are asked for."""
        return Names(self._now(), of_hosts=False)

    @property
    def host_names(self) -> Names:
        """The names of the hosts, by row, of the generation in which they are asked for."""
        return Names(self._now(), of_hosts=True)

    def vm(self, vm: Vm) -> VmHandle:
        """Give the handle of a VM: it means this VM as long as it is there, and never another one."""
        return self._now().vm(vm)

    def host(self, host: On) -> HostHandle:
        """Give the handle of a host: it means this host as long as it is there, and never another one."""
        return self._now().host(host)

    def vm_row(self, vm: Vm) -> int:
        """Give the row of a VM, of this generation; rows move up when VMs before them leave."""
        return self._now().vm_row(vm)

    def host_row(self, host: On) -> int:
        """Give the row of a host, of this generation."""
        return self._now().host_row(host)

    @property
    def vm_handles(self) -> npt.NDArray[np.uint64]:
        """The number of the handle of each VM: ``VmHandle(int(number))`` is the handle. Shape (VMs,)."""
        return self._now().handles(False)

    @property
    def host_handles(self) -> npt.NDArray[np.uint64]:
        """The number of the handle of each host. Shape (hosts,)."""
        return self._now().handles(True)

    def home(self, vm: Vm) -> str | None:
        """Give the name of the host that a VM is said to run on."""
        return self._now().home_name(vm)

    @property
    def vm_homes(self) -> npt.NDArray[np.int64]:
        """The host row that each VM runs on; -1 where that is not known. Shape (VMs,).

        It is not known where a VM names no host, or one that the fleet does not have: see `unmatched_homes`. Who moves
        a VM says so (`Fleet.move`): to write here would do nothing, and is an error.
        """
        homes = self._now().homes()
        homes.flags.writeable = False
        return homes

    @property
    def unmatched_homes(self) -> dict[str, int]:
        """Names of hosts that VMs are said to run on and that no host has, with how many VMs; most VMs first."""
        return dict(sorted(self._now().unmatched_homes(), key=lambda item: (-item[1], item[0])))

    @property
    def shape(self) -> tuple[int, int]:
        """How many VMs and hosts there are."""
        return self._now().sizes()[:2]

    @property
    def class_shape(self) -> tuple[int, int]:
        """How large tables over VM classes and host classes are: rows that no unit can tell apart share a class.

        Some numbers may be free for a while: `used_classes`.
        """
        return self._now().sizes()[2:]

    @property
    def used_classes(self) -> tuple[int, int]:
        """How many VM classes and host classes have members."""
        return self._now().used_classes()

    @property
    def vm_classes(self) -> npt.NDArray[np.uint32]:
        """The class of each VM. Shape (VMs,)."""
        return self._now().vm_classes()

    @property
    def host_classes(self) -> npt.NDArray[np.uint32]:
        """The class of each host. Shape (hosts,)."""
        return self._now().host_classes()

    def __repr__(self) -> str:
        now = self._now()
        (vms, hosts), used = now.sizes()[:2], now.used_classes()
        return (
            f"<{type(self).__name__}: {vms} VMs in {used[0]} classes, {hosts} hosts in {used[1]} classes, "
            f"{self.vmm}, generation {now.generation()}>"
        )

    def _repr_html_(self) -> str:
        now = self._now()
        (vms, hosts), used = now.sizes()[:2], now.used_classes()
        rows = [("VMs", vms, used[0]), ("hosts", hosts, used[1])]
        cells = "".join(
            f"<tr><th>{name}</th><td>{count:,}</td><td>{classes:,}</td></tr>" for name, count, classes in rows
        )
        words = f"{type(self).__name__}, {html.escape(self.vmm)}, generation {now.generation()}"
        return f"<table><caption>{words}</caption><tr><th></th><th>how many</th><th>classes</th></tr>{cells}</table>"
