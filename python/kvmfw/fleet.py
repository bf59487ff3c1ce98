"""Fleets: many VMs, many hosts, decided by look-up."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from operator import index
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from kvmfw import _native, readers
from kvmfw.audit import Audit
from kvmfw.errors import ArgumentError, CopyError, RowError
from kvmfw.sets import Host
from kvmfw.verdict import Verdict
from kvmfw.vms import Vms

__all__ = ["Fleet", "Treat"]

Treat = Literal["accept", "refuse"]


_MOST_CELLS = 1 << 31
_ROW_TYPES = (np.int64, np.uint32, np.int32, np.uint64)


def _taken(change: str, unknown: str) -> tuple[bool, bool]:
    for name, word in (("change", change), ("unknown", unknown)):
        if word not in ("accept", "refuse"):
            raise ArgumentError(f"`{name}` is `{word}`; expected `accept` or `refuse`")
    return change == "accept", unknown == "accept"


def _whole(number: Any, what: str) -> int:
    """Give a number from outside as an int.

    Raises
    ------
    ArgumentError
        When it is not a whole number.
    """
    try:
        return index(number)
    except TypeError:
        raise ArgumentError(f"{what} is {number!r}; expected a whole number") from None


def _row(number: Any, count: int, what: str) -> int:
    """Give a row from outside, checked.

    Raises
    ------
    ArgumentError
        When it is not a whole number.
    RowError
        When there is no such row.
    """
    row = _whole(number, f"{what} row")
    if not 0 <= row < count:
        raise RowError(f"{what} row {row} is out of range; there are {count} {what}s", row)
    return row


def _rows(rows: npt.ArrayLike, name: str) -> npt.NDArray[Any]:
    """Give rows from outside as an array of integers that lie where the native module can read them.

    Buffers that came over a network need not start at a multiple of their width.
    """
    array = np.asarray(rows)
    if array.size and array.dtype.kind not in "iu":
        raise ArgumentError(f"`{name}` is of dtype {array.dtype}; expected integers")
    return np.require(array, requirements=["A"])


class Fleet:
    """Many VMs and many hosts; every pair is decided by look-up.

    Parameters
    ----------
    vms : path, Arrow table or stream, data frame, or iterable of RegisterSet
        A file or folder of any format that kvmfw reads (docs/formats.md); or a table in long form with
        columns ``vm`` (name or number), ``register``, ``value`` (for registers wider than 8 bytes the lowest 8)
        and, where known, ``vcpu`` (words of docs/formats.md with commas between, such as
        ``"psci_0_2,pmu_v3,vgic"``; the ID registers tell where they are missing), ``vcpu_index``, and ``host``
        (where it runs); or in nested form, with one row for each vCPU, where ``register`` and ``value`` are lists.
        Names and types of columns are as in a file. The rows of a VM need not be together, except in a file or a
        `pyarrow.RecordBatchReader`, which are taken batch by batch. VMs have the order of their first rows.
    hosts : path, iterable of Host, or pair (sequence of Host, array of uint32)
        A file or folder of captures; or hosts (the same object may occur many times); or captures and, for
        each host, the number of its capture.
    vmm : str
        The restore policy.
    scheme : {"kvm", "signed4", "equal"}
        Who judges.
    threads : int, optional
        How many threads work; default one for each core. Results do not depend on it.
    on_error : {"raise", "collect"}
        What to do with rows that cannot be used: raise `RowError` with all of them, or keep them in `rejected`
        (row and reason, which names the file); VMs that they belong to are then unknown to every host. A VM that
        occurs twice is taken once.

    Raises
    ------
    InputError
        When input cannot be used.

    Notes
    -----
    Arrays handed in must not be written to by other threads during a call. The GIL is released for all work.

    Examples
    --------
    >>> from kvmfw.testing import tiny_host, tiny_set
    >>> vms = [tiny_set(workaround_3=1, name="a"), tiny_set(workaround_3=2, name="b")]
    >>> fleet = Fleet(vms, [tiny_host(workaround_3=2, name="old"), tiny_host(workaround_3=1, name="new")])
    >>> fleet.validate_pairs([0, 1, 1], [0, 0, 1])
    array([1, 0, 3], dtype=uint8)
    >>> fleet.candidates(1, unknown="refuse")
    array([0], dtype=uint32)
    """

    # Sizes at which the native fleet changes its ways (rust: Limits); tests set them to see all ways.
    _limits: tuple[int, int, int, int] | None = None

    def __init__(
        self,
        vms: Any,
        hosts: Any,
        *,
        vmm: str = "kvm",
        scheme: str = "kvm",
        threads: int | None = None,
        on_error: Literal["raise", "collect"] = "raise",
    ) -> None:
        if threads is not None and threads < 1:
            raise ArgumentError(f"`threads` is {threads}; expected at least 1")
        if on_error not in ("raise", "collect"):
            raise ArgumentError(f"`on_error` is `{on_error}`; expected `raise` or `collect`")
        self.vmm = vmm
        self.scheme = scheme
        self._native = _native.Fleet(vmm, scheme, threads or 0, self._limits)
        self._vms = Vms(self._native)
        self._host_names: list[str] = []
        self._changing = threading.Lock()
        with self._changing:
            self._vms.add(vms, on_error)
        kinds, kind_of, self._host_names = readers.hosts(hosts)
        self._native.add_hosts([kind._native for kind in kinds], kind_of)

    @classmethod
    def load(cls, folder: str | Path, **options: Any) -> Fleet:
        """Open a fleet folder (docs/formats.md): captures, which host has which, register sets.

        Parameters
        ----------
        folder : path
            The folder.
        **options
            As for `Fleet`: ``vmm``, ``scheme``, ``threads``, ``on_error``.

        Raises
        ------
        InputError
            When something in it cannot be used; the error names the file.
        """
        vms, hosts = readers.fleet_folder(Path(folder))
        return cls(vms, hosts, **options)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        # copy.copy, copy.deepcopy and pickle all come here. The tables are native memory that a shallow copy
        # would share: a change of the copy would change the original.
        raise CopyError("a fleet cannot be copied or pickled; make another of the same VMs and hosts")

    @property
    def generation(self) -> int:
        """How often the fleet was changed: answers of different generations may differ."""
        return self._native.generation()

    def add_vms(self, vms: Any) -> None:
        """Add VMs after the present ones; nothing is built anew.

        Readers in other threads see all of a change or nothing of it.

        Parameters
        ----------
        vms
            As for `Fleet`; for a table with rows that cannot be used nothing is added.

        Raises
        ------
        InputError
            When input cannot be used.

        Examples
        --------
        >>> from kvmfw.testing import tiny_host, tiny_set
        >>> fleet = Fleet([tiny_set(workaround_3=1)], [tiny_host(workaround_3=1)])
        >>> fleet.add_vms([tiny_set(workaround_3=2, name="new")])
        >>> fleet.shape, fleet.candidates(1, unknown="refuse")
        ((2, 1), array([], dtype=uint32))
        """
        with self._changing:
            before, inferred = self.shape[0], self.inferred
            try:
                self._vms.add(vms, "raise")
            except BaseException:
                self._remove(np.arange(before, self.shape[0]))
                self._vms.inferred = inferred
                raise

    def remove_vms(self, rows: npt.ArrayLike) -> None:
        """Take VMs away; the rows after them move up.

        Parameters
        ----------
        rows : array_like of int
            Their rows.

        Raises
        ------
        RowError
            When there is no such row; nothing is removed then.
        """
        with self._changing:
            self._remove(np.asarray(rows, dtype=np.intp).reshape(-1))

    def _remove(self, rows: npt.NDArray[np.intp]) -> None:
        bad = np.flatnonzero((rows < 0) | (rows >= self.shape[0]))
        if bad.size:
            row = int(rows[bad[0]])
            raise RowError(f"VM row {row} is out of range; there are {self.shape[0]} VMs", row)
        self._vms.remove(rows)

    def update_hosts(self, hosts: Mapping[int, Host]) -> None:
        """Give hosts other captures, as after a kernel update; nothing is built anew.

        Readers in other threads see all of a change or nothing of it.

        Parameters
        ----------
        hosts : mapping of int to Host
            Row of the host -> its capture from now on. The names of the hosts stay.

        Raises
        ------
        RowError
            When there is no such row; nothing is changed then.

        Examples
        --------
        >>> from kvmfw.testing import tiny_host, tiny_set
        >>> fleet = Fleet([tiny_set(workaround_3=1)], [tiny_host(workaround_3=0)])
        >>> fleet.update_hosts({0: tiny_host(workaround_3=1)})
        >>> fleet.candidates(0, unknown="refuse")
        array([0], dtype=uint32)
        """
        with self._changing:
            for row, host in hosts.items():
                if not isinstance(host, Host):
                    raise ArgumentError(f"host {row} is a {type(host).__name__}; expected a kvmfw.Host")
                if not 0 <= row < self.shape[1]:
                    raise RowError(f"host row {row} is out of range; there are {self.shape[1]} hosts", row)
            self._native.update_hosts(list(hosts), [host._native for host in hosts.values()])

    @property
    def rejected(self) -> list[tuple[int, str]]:
        """The rows that could not be used: row and reason, which names the file."""
        return self._vms.rejected

    @property
    def inferred(self) -> int:
        """Of how many vCPUs of tables nothing says how they are made, so that their ID registers were asked."""
        return self._vms.inferred

    @property
    def vm_names(self) -> Sequence[str]:
        """The names of the VMs, by row."""
        return self._vms.names

    @property
    def host_names(self) -> Sequence[str]:
        """The names of the hosts, by row."""
        return self._host_names

    @property
    def vm_homes(self) -> npt.NDArray[np.int64]:
        """The host row that each VM runs on; -1 where that is not known. Shape (VMs,).

        It is not known where a VM names no host, or one that the fleet does not have: see `unmatched_homes`.
        """
        hosts = pa.array(self._host_names, pa.string())
        homes = [np.empty(0, dtype=np.int64)]
        for chunk in self._vms.homes.chunks:
            if pa.types.is_null(chunk.type):
                homes.append(np.full(len(chunk), -1, dtype=np.int64))
            else:
                found = pc.index_in(chunk, value_set=hosts, skip_nulls=True).fill_null(-1)
                homes.append(found.to_numpy(zero_copy_only=False).astype(np.int64))
        return np.concatenate(homes)

    @property
    def unmatched_homes(self) -> dict[str, int]:
        """Names of hosts that VMs are said to run on and that no host has, with how many VMs; most VMs first."""
        hosts = pa.array(self._host_names, pa.string())
        found: Counter[str] = Counter()
        for chunk in self._vms.homes.chunks:
            if not pa.types.is_null(chunk.type):
                lost = chunk.filter(pc.invert(pc.is_in(chunk, value_set=hosts))).drop_null()
                counts = pc.value_counts(lost)
                found.update(dict(zip(counts.field(0).to_pylist(), counts.field(1).to_pylist(), strict=True)))
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    @property
    def shape(self) -> tuple[int, int]:
        """How many VMs and hosts there are."""
        return self._native.sizes()[:2]

    @property
    def class_shape(self) -> tuple[int, int]:
        """How many VM classes and host classes there are: rows that no unit can tell apart share one."""
        return self._native.sizes()[2:]

    @property
    def vm_classes(self) -> npt.NDArray[np.uint32]:
        """The class of each VM. Shape (VMs,)."""
        return self._native.vm_classes()

    @property
    def host_classes(self) -> npt.NDArray[np.uint32]:
        """The class of each host. Shape (hosts,)."""
        return self._native.host_classes()

    @property
    def units(self) -> list[str]:
        """What the units judge, by number: the vCPU, the register list, then registers by name."""
        return [name for _, _, name in self._native.units()]

    def class_table(self) -> npt.NDArray[np.uint8]:
        """Give the outcome of every pair of classes, as they are now. Shape (VM classes, host classes).

        Who needs the rows of many VMs asks once for the table, and takes ``table[fleet.vm_classes[vm]]``.

        Raises
        ------
        ArgumentError
            When it would take more than 2 GiB; ask for the rows of single VMs instead.
        """
        shape = self.class_shape
        if shape[0] * shape[1] > _MOST_CELLS:
            raise ArgumentError(f"a table of {shape[0]} x {shape[1]} classes is too large; ask for rows")
        table = np.empty(shape, dtype=np.uint8)
        self._native.class_rows(0, table.reshape(-1))
        return table

    def class_row(self, vm: int) -> npt.NDArray[np.uint8]:
        """Give the outcomes of a VM on every host class, as an array of the caller's own. Shape (host classes,).

        Raises
        ------
        RowError
            When there is no such VM.

        Examples
        --------
        >>> from kvmfw.testing import tiny_host, tiny_set
        >>> Fleet([tiny_set(workaround_3=1)], [tiny_host(workaround_3=0)]).class_row(0)
        array([3], dtype=uint8)
        """
        row = self._native.class_row(_row(vm, self.shape[0], "VM"))
        if row is None:
            raise RowError(f"VM row {vm} is gone; there are {self.shape[0]} VMs", vm)
        return row

    def validate_pairs(
        self,
        vm_rows: npt.ArrayLike,
        host_rows: npt.ArrayLike,
        *,
        out: npt.NDArray[np.uint8] | None = None,
        units: npt.NDArray[np.uint16] | None = None,
    ) -> npt.NDArray[np.uint8]:
        """Give the outcome of each pair of rows, in their order.

        Parameters
        ----------
        vm_rows, host_rows : array_like of int, shape (n,)
            Rows of VMs and hosts. Contiguous arrays of one dtype (int64, uint32, int32 or uint64) are not copied.
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
        RowError
            When a pair is out of range; it names the pair.
        ArgumentError
            When dtypes or lengths do not fit.
        """
        vm, host = _rows(vm_rows, "vm_rows"), _rows(host_rows, "host_rows")
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
        self._native.pairs(vm, host, out, units)
        return out

    def validate_matrix(
        self,
        *,
        unknown: Treat,
        change: Treat = "accept",
        vms: slice = slice(None),
        out: npt.NDArray[np.uint8] | None = None,
    ) -> npt.NDArray[np.uint8]:
        """Tell for every VM and host whether the host takes the VM, as packed bits.

        Parameters
        ----------
        unknown, change : {"accept", "refuse"}
            What these outcomes count as; ``unknown`` must be chosen.
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
        accept_change, accept_unknown = _taken(change, unknown)
        start, stop, step = vms.indices(self.shape[0])
        if step != 1:
            raise ArgumentError(f"`vms` has step {step}; expected 1")
        shape = (max(stop - start, 0), (self.shape[1] + 7) // 8)
        if out is None:
            out = np.empty(shape, dtype=np.uint8)
        if out.shape != shape or out.dtype != np.uint8 or not out.flags.c_contiguous:
            raise ArgumentError(f"`out` is {out.dtype} {out.shape}; expected contiguous uint8 {shape}")
        self._native.matrix(start, max(stop, start), accept_change, accept_unknown, out.reshape(-1))
        return out

    def iter_matrix(
        self, *, unknown: Treat, change: Treat = "accept", block_bytes: int = 1 << 26
    ) -> Iterator[tuple[slice, npt.NDArray[np.uint8]]]:
        """Give the matrix block by block, in memory that is used again.

        Parameters
        ----------
        unknown, change : {"accept", "refuse"}
            What these outcomes count as; ``unknown`` must be chosen.
        block_bytes : int
            How much memory a block may take.

        Yields
        ------
        slice, array of uint8
            The rows of VMs and their part of `validate_matrix`; the array is written over by the next block.
        """
        _taken(change, unknown)
        width = (self.shape[1] + 7) // 8
        rows = max(block_bytes // max(width, 1), 1)
        memory = np.empty((min(rows, self.shape[0]), width), dtype=np.uint8)
        for start in range(0, self.shape[0], rows):
            block = slice(start, min(start + rows, self.shape[0]))
            out = memory[: block.stop - start]
            yield block, self.validate_matrix(unknown=unknown, change=change, vms=block, out=out)

    def candidates(self, vm: int, *, unknown: Treat, change: Treat = "accept") -> npt.NDArray[np.uint32]:
        """Give the rows of the hosts that take this VM, ascending.

        Parameters
        ----------
        vm : int
            Row of the VM.
        unknown, change : {"accept", "refuse"}
            What these outcomes count as; ``unknown`` must be chosen.

        Raises
        ------
        RowError
            When there is no such VM.
        """
        taken = _taken(change, unknown)
        return self._native.candidates(_row(vm, self.shape[0], "VM"), *taken)

    def class_candidates(
        self, vm_class: int, *, unknown: Treat, change: Treat = "accept"
    ) -> npt.NDArray[np.bool_]:
        """Tell which host classes take a VM class. Shape (host classes,).

        Raises
        ------
        ArgumentError
            When there is no such class.
        """
        taken, classes = _taken(change, unknown), self.class_shape[0]
        number = _whole(vm_class, "`vm_class`")
        if not 0 <= number < classes:
            raise ArgumentError(f"VM class {number} is out of range; there are {classes} VM classes")
        return self._native.takers(number, *taken).view(np.bool_)

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
        shape = (self.shape[axis == "host"], 4)
        if out is None:
            out = np.empty(shape, dtype=np.uint64)
        if out.shape != shape or out.dtype != np.uint64 or not out.flags.c_contiguous:
            raise ArgumentError(f"`out` is {out.dtype} {out.shape}; expected contiguous uint64 {shape}")
        self._native.counts(axis == "host", out.reshape(-1))
        return out

    def audit(self, *, unknown: Treat = "refuse", change: Treat = "accept") -> Audit:
        """Count all pairs of a VM and a host that is not its own: the tables of the report.

        Parameters
        ----------
        unknown, change : {"accept", "refuse"}
            What these outcomes count as where a host either takes a VM or does not.
        """
        homes = self.vm_homes
        outcomes, targets, traps, blocked = self._native.audit(homes, *_taken(change, unknown))
        return Audit.of(self, homes=homes, outcomes=outcomes, targets=targets, traps=traps, blocked=blocked)

    def explain(self, vm: int, host: int) -> Verdict:
        """Give the verdict of one pair of rows, with every finding.

        Values of registers that KVM does not look at are not kept in a fleet: their findings have no ``saved``.
        """
        rows = _row(vm, self.shape[0], "VM"), _row(host, self.shape[1], "host")
        return Verdict._from_native(self._native.explain(*rows), self.vmm, self.scheme)

    def explain_units(self, vm: int, host: int) -> Verdict:
        """Give what each unit says of one pair by itself, as if the host took all others.

        A saved ID register that the host refuses leaves the host's own fields in place, so that `explain` judges what it
        shows and hides by those. What stands in the way, and what a cure must deal with, is told here.
        """
        rows = _row(vm, self.shape[0], "VM"), _row(host, self.shape[1], "host")
        return Verdict._from_native(self._native.explain_units(*rows), self.vmm, self.scheme)

    def __repr__(self) -> str:
        (vms, hosts), (vm_classes, host_classes) = self.shape, self.class_shape
        return f"<Fleet: {vms} VMs in {vm_classes} classes, {hosts} hosts in {host_classes} classes>"
