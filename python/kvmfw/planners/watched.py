"""A fleet folder that is watched: when it changes, a new fleet is built beside the old one, which answers meanwhile."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from kvmfw.errors import KvmfwError
from kvmfw.fleet import Fleet
from kvmfw.snapshot import Snapshot

__all__ = ["Watched"]

LOG = logging.getLogger(__name__)

_Stamp = frozenset[tuple[str, int, int]]


class Watched:
    """The fleet of a folder, as it is read last.

    Whoever asks gets an answer at once. What is built is swapped in whole; a folder that cannot be read changes nothing but
    `problem`.

    Parameters
    ----------
    folder : path
        The fleet folder.
    vmm : str
        The restore policy.
    every : float
        How many seconds to leave between two looks at the folder.
    clock : callable
        Tells the time, in seconds.

    Raises
    ------
    InputError
        When the folder cannot be read at first.
    """

    def __init__(
        self,
        folder: Path,
        *,
        vmm: str = "kvm",
        every: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = folder
        self.vmm = vmm
        self.problem: str | None = None
        self.loads = 0
        self._every, self._clock = every, clock
        self._building = threading.Lock()
        self._stamp = _stamp(folder)
        self._snapshot = self._load()
        self._looked = clock()

    def snapshot(self) -> Snapshot:
        """Give the fleet as it was read last; where the folder changed, a thread reads it anew."""
        if self._clock() - self._looked >= self._every and self._building.acquire(blocking=False):
            self._looked = self._clock()
            threading.Thread(target=self._look, name="kvmfw-folder", daemon=True).start()
        return self._snapshot

    def _look(self) -> None:
        try:
            stamp = _stamp(self.folder)
            if stamp != self._stamp:
                self._snapshot = self._load()
                self._stamp = stamp
                self.problem = None
                LOG.info("the fleet was read anew: %r", self._snapshot)
        except (KvmfwError, OSError) as error:
            if self.problem != str(error):
                LOG.error("the fleet is kept as it was: %s", error)
            self.problem = str(error)
        finally:
            self._building.release()

    def _load(self) -> Snapshot:
        snapshot = Fleet.load(self.folder, vmm=self.vmm).snapshot()
        self.loads += 1
        return snapshot


def _stamp(folder: Path) -> _Stamp:
    """Tell whether files changed, without reading them."""
    found = []
    for path in folder.rglob("*"):
        state = path.stat()
        found.append((str(path), state.st_mtime_ns, state.st_size))
    return frozenset(found)
