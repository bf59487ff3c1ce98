"""A fleet folder that is watched: when it changes, a new fleet is built beside the old one, which answers meanwhile."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from kvmfw.errors import KvmfwError
from kvmfw.fleet import Fleet
from kvmfw.readers.told_vmms import told_vmm
from kvmfw.snapshot import Snapshot

__all__ = ["Loaded", "Watched"]

LOG = logging.getLogger(__name__)

_Stamp = frozenset[tuple[str, int, int]]


class Loaded(NamedTuple):
    """A fleet as it was read, and how often the folder had been read by then: numbers of classes hold for one such number."""

    snapshot: Snapshot
    number: int


class Watched:
    """The fleet of a folder, as it is read last.

    Whoever asks gets an answer at once. What is built is swapped in whole; a folder that cannot be read changes nothing but
    `problem`.

    Parameters
    ----------
    folder : path
        The fleet folder.
    vmm : str, optional
        The restore policy; else the one of the VMMs that the folder tells (the column `vmm` of hosts or VMs), or plain KVM,
        which is said in the log.
    every : float
        How many seconds to leave between two looks at the folder.
    clock : callable
        Tells the time, in seconds.

    Raises
    ------
    InputError
        When the folder cannot be read at first.
    ArgumentError
        When its VMMs have no policy in common.
    """

    def __init__(
        self,
        folder: Path,
        *,
        vmm: str | None = None,
        every: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = folder
        self.vmm = vmm
        self.problem: str | None = None
        self._every, self._clock = every, clock
        self._building = threading.Lock()
        self._stamp = _stamp(folder)
        self._loaded = self._load(1)
        self._looked = clock()

    def loaded(self) -> Loaded:
        """Give the fleet as it was read last; where the folder changed, a thread reads it anew."""
        if self._clock() - self._looked >= self._every and self._building.acquire(blocking=False):
            self._looked = self._clock()
            threading.Thread(target=self._look, name="kvmfw-folder", daemon=True).start()
        return self._loaded

    def _look(self) -> None:
        try:
            stamp = _stamp(self.folder)
            if stamp != self._stamp:
                self._loaded = self._load(self._loaded.number + 1)
                self._stamp = stamp
                LOG.info("the fleet was read anew: %r", self._loaded.snapshot)
            # Also where the folder is what it was: after a file that was there for a moment, or a disk that was away.
            self.problem = None
        except (KvmfwError, OSError) as error:
            if self.problem != str(error):
                LOG.error("the fleet is kept as it was: %s", error)
            self.problem = str(error)
        finally:
            self._building.release()

    def _load(self, number: int) -> Loaded:
        return Loaded(Fleet.load(self.folder, vmm=self.vmm or _told(self.folder)).snapshot(), number)


def _told(folder: Path) -> str | None:
    """Give the VMM that the fleet tells; say in the log what it is judged by."""
    told = told_vmm(folder, {})
    if told is None:
        LOG.warning("neither hosts nor VMs of %s tell their VMM: judged as plain KVM", folder)
        return None
    LOG.info("%s", told)
    return told.name


def _stamp(folder: Path) -> _Stamp:
    """Tell whether files changed, without reading them."""
    found = []
    for path in folder.rglob("*"):
        state = path.stat()
        found.append((str(path), state.st_mtime_ns, state.st_size))
    return frozenset(found)
