"""Where VMs run: which of them name a host that the fleet has, and what the others may have meant."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from kvmfw.readers.stored import stored_table

__all__ = ["Homes", "Stranger", "homes_of", "nearest"]

_LISTED = 20


@dataclass(frozen=True, slots=True)
class Stranger:
    """A host that VMs name and that the fleet does not have.

    Attributes
    ----------
    host : str
        The name.
    vms : int
        How many VMs name it.
    nearest : str or None
        The host of the fleet whose name is most like it.
    """

    host: str
    vms: int
    nearest: str | None


@dataclass(frozen=True, slots=True)
class Homes:
    """Where the VMs of a fleet run.

    Attributes
    ----------
    vms : int
        How many VMs there are.
    unnamed : int
        How many of them name no host.
    astray : int
        How many name a host that the fleet does not have.
    strangers : list of Stranger
        Those hosts, the ones that most VMs name first; at most 20.
    """

    vms: int
    unnamed: int
    astray: int
    strangers: list[Stranger]


def homes_of(folder: Path) -> Homes:
    """Compare the hosts that the VMs of a fleet on disk name with those that it has."""
    vms = stored_table(folder, "vms", ["vm", "host"], ["vcpu"])
    if "vcpu" not in vms.column_names or pc.max(vms.column("vcpu")).as_py():
        vms = vms.group_by("vm").aggregate([("host", "min")]).rename_columns({"host_min": "host"})
    hosts = pc.unique(stored_table(folder, "hosts", ["host"]).column("host").cast(pa.string()))
    named = vms.column("host").cast(pa.string()).drop_null()
    astray = named.filter(pc.invert(pc.is_in(named, value_set=hosts)))
    counts = [(one["values"], one["counts"]) for one in pc.value_counts(astray).to_pylist()]
    known = hosts.to_pylist()
    strangers = [
        Stranger(host, count, nearest(host, known))
        for host, count in sorted(counts, key=lambda one: (-one[1], one[0]))[:_LISTED]
    ]
    return Homes(vms.num_rows, vms.num_rows - len(named), len(astray), strangers)


def nearest(host: str, known: list[str]) -> str | None:
    """Give the host of this name under another domain or in other letters, else the one spelled most alike."""
    short = host.lower().partition(".")[0]
    same = next((name for name in known if name.lower().partition(".")[0] == short), None)
    return same or next(iter(get_close_matches(host, known, n=1)), None)
