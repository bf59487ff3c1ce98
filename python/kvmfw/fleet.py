"""Fleets: many VMs, many hosts that come and go, decided by look-up."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kvmfw import _native, readers
from kvmfw.errors import ArgumentError, CopyError
from kvmfw.names import texts_of
from kvmfw.questions import Treat
from kvmfw.roster import On, Vm, whole
from kvmfw.saving import Writing, read, save
from kvmfw.sets import Host, RegisterSet
from kvmfw.snapshot import View
from kvmfw.vmms import OWN
from kvmfw.vms import Vms

__all__ = ["Fleet", "Treat"]

_MOST_THREADS = 1024


class Fleet(View):
    """Many VMs and many hosts that come and go; every pair is decided by look-up.

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
        The restore policy; ``"own"`` judges each pair by the VMM of its host (`Host.vmm`), or that of its VM
        (`RegisterSet.vmm`, a column ``vmm``) where the host tells none. Where neither does it is UNKNOWN; a host of another
        VMM than the VM's REFUSEs it.
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
    >>> fleet.candidates(1, unknown="refuse", change="accept")
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
        if on_error not in ("raise", "collect"):
            raise ArgumentError(f"`on_error` is `{on_error}`; expected `raise` or `collect`")
        self._begin(vmm, scheme, threads)
        intake = readers.Intake(on_error)
        unique = isinstance(vms, str | Path | readers.StoredVms)
        kinds, kind_of, names = readers.hosts(hosts)
        with self._change() as change:
            self._vms.add(change, readers.parts_of(vms, self._native, intake), intake, unique=unique)
            change.add_hosts(
                [kind._native for kind in kinds], kind_of, texts_of(pa.array(names, pa.string()))
            )

    def _begin(self, vmm: str, scheme: str, threads: int | None) -> None:
        if threads is not None and not 1 <= whole(threads, "`threads`") <= _MOST_THREADS:
            raise ArgumentError(f"`threads` is {threads}; expected 1 to {_MOST_THREADS}")
        self.vmm = vmm
        self.scheme = scheme
        self._native = self._asked = _native.Fleet(vmm, scheme, threads or 0, self._limits)
        self._vms = Vms(by_own=vmm == OWN)
        self._opened: Writing | None = None
        self._own = os.urandom(8).hex()

    @classmethod
    def load(cls, folder: str | Path, *, vmm: str | None = None, **options: Any) -> Fleet:
        """Open a fleet folder (docs/formats.md): captures, which host has which, register sets.

        Parameters
        ----------
        folder : path
            The folder.
        vmm : str, optional
            The restore policy. Default: that of the VMM that its column ``vmm`` tells, ``"own"`` where it tells several that no
            name speaks for; ``"kvm"`` where it tells none.
        **options
            As for `Fleet`: ``scheme``, ``threads``, ``on_error``.

        Raises
        ------
        InputError
            When something in it cannot be used; the error names the file.
        ArgumentError
            When it tells a VMM that is not known.
        """
        if vmm is None:
            told = readers.told_vmm(Path(folder), {})
            vmm = "kvm" if told is None else told.name
        vms, hosts = readers.fleet_folder(Path(folder), by_own=vmm == OWN)
        return cls(vms, hosts, vmm=vmm, **options)

    @classmethod
    def open(cls, folder: str | Path, *, threads: int | None = None) -> Fleet:
        """Open a fleet that `save` wrote, to go on with the handles that it gave out.

        VMs and hosts have the handles, names, homes and rows that they had, and handles of those that had left find nobody.
        To be opened is a change: `generation` is one more than it was. Classes are this process's own, so `changes_since` an
        earlier generation is an error: what was kept by class is asked for again. What `rejected` told is not kept.

        Parameters
        ----------
        folder : path
            Where it was saved.
        threads : int, optional
            As for `Fleet`. How the fleet judges is as it was.

        Raises
        ------
        InputError
            When nothing was saved there, it is damaged, or a kvmfw of another source saved it: that one kept of registers
            what it looks at, and this one may look at more.
        """
        left = read(Path(folder))
        fleet = cls.__new__(cls)
        fleet._begin(left.vmm, left.scheme, threads)
        with fleet._change() as change:
            left.added_to(change)
        fleet._vms.go_on(left.parts)
        fleet._opened = left.writing
        return fleet

    def save(self, folder: str | Path) -> None:
        """Save the fleet as it is now, in place of what this fleet was there before: whole or not at all.

        Readers and writers go on meanwhile. The one generation before stays on the disk (docs/formats.md).

        Parameters
        ----------
        folder : path
            Where; of its own. Nothing stands there, or this fleet as it was saved or opened last.

        Raises
        ------
        InputError
            When something else stands there, or somebody else has saved there since; what stands there stays.

        Examples
        --------
        >>> import tempfile
        >>> from kvmfw.testing import tiny_host, tiny_set
        >>> fleet = Fleet([tiny_set(name="a"), tiny_set(name="b")], [tiny_host(name="h")])
        >>> kept = fleet.vm("b")
        >>> fleet.remove_vms(["a"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fleet.save(f"{folder}/fleet")
        ...     again = Fleet.open(f"{folder}/fleet")
        >>> again.vm("b") == kept, again.vm_row(kept), again.generation == fleet.generation + 1
        (True, 0, True)
        """
        by = f"{self._own}-{os.getpid()}"

        def take() -> tuple[_native.Snapshot, frozenset[str]]:
            before = self._vms.parts
            # Whoever comes or goes meanwhile is among them, before or afterwards.
            return self._now(), before | self._vms.parts

        facts = {"vmm": self.vmm, "scheme": self.scheme}
        save(Path(folder), lambda there: there.by == by or there == self._opened, by, take, facts)

    def _now(self) -> _native.Snapshot:
        return self._native.snapshot()

    @contextmanager
    def _change(self) -> Iterator[_native.Change]:
        """Make a change of some steps, of which readers see all or none; what raises is as if it had not been."""
        change = self._native.change()
        before, known = self.generation, self._vms.known()
        try:
            yield change
            change.commit()
        except BaseException:
            # Nobody else changes the fleet meanwhile. What was raised after the commit came too late for it.
            if self.generation == before:
                self._vms.go_back(known)
            raise
        finally:
            change.abandon()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        # copy.copy, copy.deepcopy and pickle all come here. A fleet is one that changes; two of them would be told apart
        # by nothing but chance.
        raise CopyError(
            "a fleet cannot be copied or pickled; keep a `snapshot()`, or make another of the same VMs and hosts"
        )

    def add_vms(self, vms: Any) -> None:
        """Add VMs after the present ones; nothing is built anew.

        Readers never wait, and see all of a change or nothing of it.

        Parameters
        ----------
        vms
            As for `Fleet`; names must be new. For a table with rows that cannot be used nothing is added.

        Raises
        ------
        InputError
            When input cannot be used.

        Examples
        --------
        >>> from kvmfw.testing import tiny_host, tiny_set
        >>> fleet = Fleet([tiny_set(workaround_3=1)], [tiny_host(workaround_3=1)])
        >>> fleet.add_vms([tiny_set(workaround_3=2, name="new")])
        >>> fleet.shape, fleet.candidates("new", unknown="refuse", change="accept")
        ((2, 1), array([], dtype=uint32))
        """
        if self._native.add_few(vms):
            self._vms.must_look_up()
            return
        intake = readers.Intake("raise")
        # Read to its end first, so that nobody waits for a source.
        parts = readers.read_through(readers.parts_of(vms, self._native, intake))
        with self._change() as change:
            unique = change.vm_count() > 0 or isinstance(vms, str | Path | readers.StoredVms)
            self._vms.add(change, parts, intake, unique=unique)

    def remove_vms(self, vms: npt.ArrayLike | Iterable[Vm]) -> None:
        """Take VMs away; the rows after them move up.

        Parameters
        ----------
        vms : array_like of int, or iterable of str or VmHandle
            Their rows, names or handles.

        Raises
        ------
        MissingError
            When one is not there; nothing is removed then.
        """
        listed: list[Any] = vms.tolist() if isinstance(vms, np.ndarray) else list(vms)  # type: ignore[arg-type]
        names: list[str] = []
        if self._vms.knows_parts:
            now = self._now()
            names = [now.name(False, now.vm_row(vm)) or "" for vm in listed]
        self._native.remove_vms(listed)
        self._vms.forget(names)

    def update_vms(self, vms: Mapping[Vm, RegisterSet]) -> None:
        """Give VMs other registers, as after they were started anew: they keep their handles, names and homes.

        Parameters
        ----------
        vms : mapping of int, str or VmHandle to RegisterSet
            The VM -> its registers from now on.

        Raises
        ------
        MissingError
            When one is not there; nothing is changed then.
        """
        with self._change() as change:
            for vm, registers in vms.items():
                if not isinstance(registers, RegisterSet):
                    raise ArgumentError(
                        f"VM {vm} is a {type(registers).__name__}; expected a kvmfw.RegisterSet"
                    )
                change.update_vm(vm, registers._native)

    def move(self, vm: Vm, host: On | None) -> None:
        """Take note that a VM runs on another host from now on; None: nobody knows where.

        Raises
        ------
        MissingError
            When there is no such VM or host, or another host has the same name: homes are told by name.

        Examples
        --------
        >>> from kvmfw.testing import tiny_host, tiny_set
        >>> fleet = Fleet([tiny_set(name="a")], [tiny_host(name="h"), tiny_host(name="i")])
        >>> fleet.move("a", "i")
        >>> fleet.home("a"), fleet.candidates("a", unknown="refuse", change="accept", home="exclude")
        ('i', array([0], dtype=uint32))
        """
        self._native.move_vm(vm, host)

    def add_hosts(self, hosts: Any) -> None:
        """Add hosts after the present ones.

        Parameters
        ----------
        hosts
            As for `Fleet`.
        """
        kinds, kind_of, names = readers.hosts(hosts)
        with self._change() as change:
            change.add_hosts(
                [kind._native for kind in kinds], kind_of, texts_of(pa.array(names, pa.string()))
            )

    def remove_hosts(self, hosts: Iterable[On]) -> None:
        """Take hosts away; the rows after them move up. VMs that run there keep their home, which no host has now.

        Raises
        ------
        MissingError
            When one is not there; nothing is removed then.
        """
        with self._change() as change:
            change.remove_hosts(list(hosts))

    def update_hosts(self, hosts: Mapping[On, Host]) -> None:
        """Give hosts other captures, as after a kernel update; nothing is built anew.

        Readers never wait, and see all of a change or nothing of it.

        Parameters
        ----------
        hosts : mapping of int, str or HostHandle to Host
            The host -> its capture from now on. The names of the hosts stay.

        Raises
        ------
        MissingError
            When there is no such host; nothing is changed then.

        Examples
        --------
        >>> from kvmfw.testing import tiny_host, tiny_set
        >>> fleet = Fleet([tiny_set(workaround_3=1)], [tiny_host(workaround_3=0)])
        >>> fleet.update_hosts({0: tiny_host(workaround_3=1)})
        >>> fleet.candidates(0, unknown="refuse", change="accept")
        array([0], dtype=uint32)
        """
        for row, host in hosts.items():
            if not isinstance(host, Host):
                raise ArgumentError(f"host {row} is a {type(host).__name__}; expected a kvmfw.Host")
        with self._change() as change:
            change.update_hosts(list(hosts), [host._native for host in hosts.values()])

    @property
    def rejected(self) -> list[tuple[int, str]]:
        """The rows that could not be used: row and reason, which names the file."""
        return self._vms.rejected

    @property
    def inferred(self) -> int:
        """Of how many vCPUs of tables nothing says how they are made, so that their ID registers were asked."""
        return self._vms.inferred
