"""What all requests share: the fleet, its hosts by name, and how often what was asked."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from kvmfw.planners.host_names import HostNames
from kvmfw.planners.watched import Watched
from kvmfw.questions import Treat
from kvmfw.serve.documents import Candidates, Shape
from kvmfw.snapshot import Snapshot

__all__ = ["Service", "taking"]


@dataclass
class Service:
    """One fleet that is served.

    Attributes
    ----------
    watched : Watched
        The fleet folder.
    token : str or None
        What every request must bear; None: nothing.
    """

    watched: Watched
    token: str | None = None
    _names: dict[tuple[Treat, Treat], HostNames] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    @classmethod
    def of(cls, folder: Path, *, vmm: str, token: str | None = None, every: float = 2.0) -> Service:
        """Read a fleet folder."""
        return cls(Watched(folder, vmm=vmm, every=every), token)

    def allows(self, authorization: str | None) -> bool:
        """Tell whether a request bears the token."""
        if self.token is None:
            return True
        return hmac.compare_digest((authorization or "").encode(), f"Bearer {self.token}".encode())

    def snapshot(self) -> Snapshot:
        """Give the fleet as it is now."""
        return self.watched.loaded().snapshot

    def names(self, unknown: Treat, change: Treat) -> tuple[HostNames, int]:
        """Give its hosts by name, for a meaning of UNKNOWN and CHANGE, and the number of the load that they are of."""
        snapshot, load = self.watched.loaded()
        with self._lock:
            made = self._names.get((unknown, change))
            if made is None or made.snapshot is not snapshot:
                made = self._names[unknown, change] = HostNames(snapshot, unknown=unknown, change=change)
        return made, load


def taking(now: tuple[HostNames, int], vm: str, shape: Shape) -> Candidates:
    """Give the hosts that take a VM, of one load."""
    names, load = now
    if shape == "names":
        return Candidates(vm, load, hosts=names.takers(vm))
    return Candidates(vm, load, classes=names.taking_classes(vm))
