"""Questions to a fleet: pairs, rows of hosts, counts, verdicts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from kvmfw import _native
from kvmfw._native import taken_as
from kvmfw.errors import ArgumentError, MissingError
from kvmfw.members import Members, members_of, rows_of
from kvmfw.roster import On, Roster, Vm, whole
from kvmfw.verdict import Verdict

__all__ = ["Emptying", "Home", "Questions", "Treat", "class_table_of", "counted_as_taken", "taken_as"]

Treat = Literal["accept", "refuse"]
Home = Literal["include", "exclude"]

_MOST_CELLS = 1 << 31
_ROW_TYPES = (np.int64, np.uint32, np.int32, np.uint64)


def counted_as_taken(change: bool, unknown: bool) -> npt.NDArray[np.bool_]:
    """Give whether each outcome counts as taken, by its number. Shape (4,)."""
    return np.array([True, change, unknown, False])


def class_table_of(native: _native.Snapshot) -> npt.NDArray[np.uint8]:
    """Give the outcome of every pair of classes, however large that is. Shape (VM classes, host classes)."""
    table = np.empty(native.sizes()[2:], dtype=np.uint8)
    native.class_rows(0, table.reshape(-1))
    return table


class Emptying(NamedTuple):
    """What becomes of the VMs that run on a host, if it is emptied.

    Attributes
    ----------
    residents : int
        VMs that run there.
    stranded : int
        Those that no other host takes, however much room it has.
    unplaced : int
        Those besides for which other hosts would do that have no room for all of them at once.
    """

    residents: int
    stranded: int
    unplaced: int

    @property
    def is_possible(self) -> bool:
        """Whether all of them can go elsewhere."""
        return self.stranded == 0 and self.unplaced == 0


class Questions(Roster):
    """What a fleet, or a snapshot of one, can be asked. Each answer is of one generation."""

    @property
    def units(self) -> list[str]:
        """What the units judge, by number: the vCPU, the register list, then registers by name."""
        return [name for _, _, name in self._now().units()]

    @property
    def told_beside(self) -> frozenset[str]:
        """Names of what stands beside registers and was judged: what some VM tells and some host, too."""
        return frozenset(self._now().told_beside())

    def class_table(self) -> npt.NDArray[np.uint8]:
        """Give the outcome of every pair of classes, as they are now. Shape (VM classes, host classes).

        Who needs the rows of many VMs asks once for the table, and takes ``table[fleet.vm_classes[vm]]``.

        Raises
        ------
        ArgumentError
            When it would take more than 2 GiB; ask for the rows of single VMs instead.
        """
        now = self._now()
        shape = now.sizes()[2:]
        if shape[0] * shape[1] > _MOST_CELLS:
            raise ArgumentError(f"a table of {shape[0]} x {shape[1]} classes is too large; ask for rows")
        return class_table_of(now)

    def class_row(self, vm: Vm) -> npt.NDArray[np.uint8]:
        """Give the outcomes of a VM on every host class, as an array of the caller's own. Shape (host classes,).

        Raises
        ------
        MissingError
            When there is no such VM.

        Examples
        --------
        >>> from kvmfw.testing import tiny_host, tiny_set
        >>> from kvmfw import Fleet
        >>> Fleet([tiny_set(workaround_3=1)], [tiny_host(workaround_3=0)]).class_row(0)
        array([3], dtype=uint8)
        """
        return self._asked.class_row(vm)

    def validate_pairs(
        self,
        vm_rows: Members,
        host_rows: Members,
        *,
        out: npt.NDArray[np.uint8] | None = None,
        units: npt.NDArray[np.uint16] | None = None,
    ) -> npt.NDArray[np.uint8]:
        """Give the outcome of each pair, in their order.

        Parameters
        ----------
        vm_rows, host_rows : array_like of int, shape (n,), or iterables of row, name or handle
            VMs and hosts. Contiguous arrays of one dtype (int64, uint32, int32 or uint64) are not copied.
        out : array of uint8, shape (n,), optional
            Where to write; made if not given.
        units : array of uint16, shape (n,), optional
            Where to write the number (see `units`) of the first unit with the pair's outcome; 65535: all accept.

        Returns
        -------
        array of uint8, shape (n,)
            `Outcome` of each pair; ``out`` if given.

        Raises
        ------
        MissingError
            When there is no such VM or host; its ``row`` is the number of the first such pair of arrays.
        ArgumentError
            When dtypes or lengths do not fit.
        """
        now = self._now()
        vm, host = (
            members_of(vm_rows, "vm_rows", now.vm_row),
            members_of(host_rows, "host_rows", now.host_row),
        )
        if vm.size == 0 and host.size == 0 and out is None:
            return np.empty(0, dtype=np.uint8)
        if vm.dtype != host.dtype or vm.dtype not in _ROW_TYPES:
            # A row beyond 2^63 becomes one that no fleet has.
            vm, host = vm.astype(np.int64), host.astype(np.int64)
        if out is None:
            out = np.empty(vm.shape, dtype=np.uint8)
        for name, array, wanted in (("out", out, np.uint8), ("units", units, np.uint16)):
            if array is not None and (array.dtype != wanted or array.ndim != 1):
                found = f"{array.dtype}, {array.ndim} dimensions"
                raise ArgumentError(f"`{name}` is {found}; expected {np.dtype(wanted)}, one dimension")
        now.pairs(vm, host, out, units)
        return out

    def validate_matrix(
        self,
        *,
        unknown: Treat,
        change: Treat,
        vms: slice = slice(None),
        out: npt.NDArray[np.uint8] | None = None,
    ) -> npt.NDArray[np.uint8]:
        """Tell for every VM and host whether the host takes the VM, as packed bits.

        Parameters
        ----------
        unknown, change : {"accept", "refuse"}
            What these outcomes count as; both must be chosen.
        vms : slice, optional
            The rows of VMs to answer for; all by default. Ask in blocks where the whole would not fit.
        out : array of uint8, shape (VMs, ceil(hosts / 8)), optional
            Where to write; made if not given.

        Returns
        -------
        array of uint8, shape (VMs, ceil(hosts / 8))
            Bit ``h % 8`` (lowest first) of byte ``h // 8`` is 1 where host ``h`` takes the VM; the order of
            ``numpy.unpackbits(..., bitorder="little")``.
        """
        return self._matrix(self._now(), vms, taken_as(change, unknown), out)

    @staticmethod
    def _matrix(
        now: _native.Snapshot, vms: slice, taken: tuple[bool, bool], out: npt.NDArray[np.uint8] | None
    ) -> npt.NDArray[np.uint8]:
        sizes = now.sizes()
        for end in (vms.start, vms.stop, vms.step):
            if end is not None:
                whole(end, "an end of `vms`")
        if vms.step == 0:
            raise ArgumentError("`vms` has step 0; expected 1")
        start, stop, step = vms.indices(sizes[0])
        if step != 1:
            raise ArgumentError(f"`vms` has step {step}; expected 1")
        shape = (max(stop - start, 0), (sizes[1] + 7) // 8)
        if out is None:
            out = np.empty(shape, dtype=np.uint8)
        if out.shape != shape or out.dtype != np.uint8 or not out.flags.c_contiguous:
            raise ArgumentError(f"`out` is {out.dtype} {out.shape}; expected contiguous uint8 {shape}")
        now.matrix(start, max(stop, start), *taken, out.reshape(-1))
        return out

    def iter_matrix(
        self, *, unknown: Treat, change: Treat, block_bytes: int = 1 << 26
    ) -> Iterator[tuple[slice, npt.NDArray[np.uint8]]]:
        """Give the matrix of one version block by block, in memory that is used again.

        Parameters
        ----------
        unknown, change : {"accept", "refuse"}
            What these outcomes count as; both must be chosen.
        block_bytes : int
            How much memory a block may take.

        Yields
        ------
        slice, array of uint8
            The rows of VMs and their part of `validate_matrix`; the array is written over by the next block.
        """
        taken, now = taken_as(change, unknown), self._now()
        count, hosts, _, _ = now.sizes()
        width = (hosts + 7) // 8
        rows = max(whole(block_bytes, "`block_bytes`") // max(width, 1), 1)
        memory = np.empty((min(rows, count), width), dtype=np.uint8)
        for start in range(0, count, rows):
            block = slice(start, min(start + rows, count))
            out = memory[: block.stop - start]
            yield block, self._matrix(now, block, taken, out)

    def candidates(
        self, vm: Vm, *, unknown: Treat, change: Treat, home: Home = "include"
    ) -> npt.NDArray[np.uint32]:
        """Give the rows of the hosts that take this VM, ascending.

        Parameters
        ----------
        vm : int, str or VmHandle
            Row, name or handle of the VM.
        unknown, change : {"accept", "refuse"}
            What these outcomes count as; both must be chosen.
        home : {"include", "exclude"}
            Whether the host that the VM runs on is told too, where it takes it.

        Raises
        ------
        MissingError
            When there is no such VM.
        """
        return self._now().candidates(vm, change, unknown, home)

    def candidates_of(
        self, vms: Members, *, unknown: Treat, change: Treat, home: Home
    ) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint32]]:
        """Give the candidates of many VMs in one call, as rows of a sparse matrix (CSR).

        Parameters
        ----------
        vms : array_like of int, or iterable of row, name or handle
            The VMs.
        unknown, change, home
            As for `candidates`; all must be chosen.

        Returns
        -------
        starts : array of uint64, shape (n + 1,)
            Where the hosts of each VM start in ``hosts``, and where those of the last one end.
        hosts : array of uint32
            Rows of hosts, ascending for each VM.

        Raises
        ------
        MissingError
            When there is no such VM.
        """
        now = self._now()
        rows = members_of(vms, "vms", now.vm_row).astype(np.int64)
        return now.candidates_of(rows, change, unknown, home)

    def can_empty(
        self, host: On, *, unknown: Treat, change: Treat, free: npt.ArrayLike | None = None
    ) -> Emptying:
        """Tell whether all VMs that run on a host can go elsewhere at once.

        Parameters
        ----------
        host : int, str or HostHandle
            Row, name or handle of the host.
        unknown, change : {"accept", "refuse"}
            What these outcomes count as; both must be chosen.
        free : array_like of int, optional
            How many more VMs each host can hold, by row; what it says of ``host`` does not count. Room for all by default.

        Raises
        ------
        MissingError
            When there is no such host.
        ArgumentError
            When ``free`` has not one number of at least 0 for each host.

        Examples
        --------
        >>> from kvmfw import Fleet
        >>> from kvmfw.testing import tiny_host, tiny_set
        >>> fleet = Fleet([tiny_set(name=name) for name in "ab"], [tiny_host(name="h"), tiny_host(name="i")])
        >>> fleet.move("a", "h"), fleet.move("b", "h")
        (None, None)
        >>> fleet.can_empty("h", unknown="refuse", change="accept").is_possible
        True
        >>> fleet.can_empty("h", unknown="refuse", change="accept", free=[0, 1])
        Emptying(residents=2, stranded=0, unplaced=1)
        """
        now, places = self._now(), None
        if free is not None:
            rooms = rows_of(free, "free")
            if rooms.shape != (now.sizes()[1],):
                raise ArgumentError(f"`free` is of shape {rooms.shape}; expected one number for each host")
            if rooms.size and rooms.min() < 0:
                raise ArgumentError(f"`free` has {rooms.min()}; expected numbers of at least 0")
            places = np.ascontiguousarray(rooms, dtype=np.uint64)
        return Emptying(*now.can_empty(host, places, change, unknown))

    def class_candidates(self, vm_class: int, *, unknown: Treat, change: Treat) -> npt.NDArray[np.bool_]:
        """Tell which host classes take a VM class. Shape (host classes,).

        Raises
        ------
        MissingError
            When nobody is of such a class.
        """
        number = whole(vm_class, "`vm_class`")
        if not 0 <= number < 1 << 32:
            raise MissingError(f"VM class {number} is out of range")
        return self._now().takers(number, *taken_as(change, unknown)).view(np.bool_)

    def counts(
        self, axis: Literal["vm", "host"] = "vm", *, out: npt.NDArray[np.uint64] | None = None
    ) -> npt.NDArray[np.uint64]:
        """Count outcomes per VM (over hosts) or per host (over VMs).

        Parameters
        ----------
        axis : {"vm", "host"}
            What to count for.
        out : array of uint64, shape (VMs or hosts, 4), optional
            Where to write; made if not given.

        Returns
        -------
        array of uint64, shape (VMs or hosts, 4)
            How many accept, change, are unknown, refuse.
        """
        if axis not in ("vm", "host"):
            raise ArgumentError(f"`axis` is `{axis}`; expected `vm` or `host`")
        now = self._now()
        shape = (now.sizes()[axis == "host"], 4)
        if out is None:
            out = np.empty(shape, dtype=np.uint64)
        if out.shape != shape or out.dtype != np.uint64 or not out.flags.c_contiguous:
            raise ArgumentError(f"`out` is {out.dtype} {out.shape}; expected contiguous uint64 {shape}")
        now.counts(axis == "host", out.reshape(-1))
        return out

    def explain(self, vm: Vm, host: On) -> Verdict:
        """Give the verdict of one pair of rows, with every finding.

        A fleet keeps of a VM what hosts look at. Values of other registers have no ``saved``, PMU registers of which only some
        bits decide are ``rewritten`` without ``reads``, what is left of vectors whose lengths are refused is not told, and
        findings stand in ascending order of registers where the VM's own order of writes is another. `validate` of the set
        tells all.
        """
        return Verdict._from_native(self._now().explain(vm, host, False), self.scheme)

    def explain_units(self, vm: Vm, host: On) -> Verdict:
        """Give what each unit says of one pair by itself, as if the host took all others.

        A saved ID register that the host refuses leaves the host's own fields in place, so that `explain` judges what it
        shows and hides by those. What stands in the way, and what a cure must deal with, is told here.
        """
        return Verdict._from_native(self._now().explain(vm, host, True), self.scheme)
