"""What a fleet is judged by where nobody names it: the VMM that its hosts, or its VMs, have; or each pair by its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from kvmfw.readers.generations import read_one
from kvmfw.readers.hosts_table import VMM, read_hosts_table
from kvmfw.readers.stored import is_stored, stored_table
from kvmfw.vmms import OWN, find_vmm, vmm_of_all

__all__ = ["ToldVmm", "told_vmm"]

_SHOWN = 4
_PLAIN = "kvm"
"""It tells of no VMM."""


class ToldVmm(NamedTuple):
    """What a fleet folder tells of its VMMs: the name that speaks for all pairs, else `OWN`; whose they are; a count of each."""

    name: str
    whose: str
    listed: str

    def __str__(self) -> str:
        """Say what the fleet is judged by, and why."""
        said = f"the column `vmm` of the {self.whose} says {self.listed}"
        if self.name != OWN:
            return f"judged as {self.name}: {said}"
        return f"each pair is judged by the VMM of its host, else by that of its VM: {said}"


def told_vmm(folder: Path, where: Mapping[str, str]) -> ToldVmm | None:
    """Give the VMM by which a fleet is judged where nobody names one: in the column `vmm` of hosts, else of VMs.

    What restores a VM is the VMM of the host where it goes, so that decides. Where no name speaks for all hosts, or VMs are of
    another VMM than hosts run, each pair is judged by its own.

    Parameters
    ----------
    folder : Path
        The fleet.
    where : mapping of str to str
        Hosts without these values in their columns do not count; of VMs nothing else is known.

    Returns
    -------
    ToldVmm or None
        ``None`` where it tells none.

    Raises
    ------
    ArgumentError
        When it tells one that is not known.
    """
    hosts, vms = _counted(folder, where)
    named = {whose: [name for name in found if name] for whose, found in (("hosts", hosts), ("VMs", vms))}
    whose = next((whose for whose, names in named.items() if names), None)
    if whose is None:
        return None
    name = vmm_of_all(named[whose]) or OWN
    # Of VMs that another VMM saved than hosts run, and of hosts that tell none where others do, the VMs tell.
    if whose == "hosts" and name != OWN:
        families = {find_vmm(one).family for one in named["VMs"] if one != _PLAIN}
        if families - {find_vmm(name).family}:
            name = OWN
    if name != OWN or not all(named.values()):
        return ToldVmm(name, whose, _listed(hosts if whose == "hosts" else vms))
    return ToldVmm(OWN, "hosts", f"{_listed(hosts)}; that of the VMs {_listed(vms)}")


def _listed(told: Counter[str]) -> str:
    silent = told.get("", 0)
    names = [(name, count) for name, count in told.most_common() if name]
    listed = [f"{name} ({count:,})" for name, count in names[:_SHOWN]]
    listed += [f"{len(names) - _SHOWN:,} more"] * (len(names) > _SHOWN) + [f"{silent:,} tell none"] * bool(
        silent
    )
    return ", ".join(listed)


def _counted(folder: Path, where: Mapping[str, str]) -> tuple[Counter[str], Counter[str]]:
    """Count the VMMs of hosts, and those of VMs. An empty name counts those that tell none."""
    if is_stored(folder):
        return read_one(folder, lambda generation: _stored(generation, where))
    table = folder / "hosts.csv"
    rows = [row.cells for row in read_hosts_table(table)] if table.exists() else []
    return _count(rows, where), Counter()


def _stored(folder: Path, where: Mapping[str, str]) -> tuple[Counter[str], Counter[str]]:
    rows = stored_table(folder, "hosts", ()).to_pylist()
    found = _count([{key: str(cell or "") for key, cell in row.items()} for row in rows], where)
    vms = stored_table(folder, "vms", (), [VMM])
    if VMM not in vms.column_names:
        return found, Counter()
    names = pc.value_counts(vms.column(VMM).cast(pa.string()).fill_null(""))
    return found, Counter(dict(zip(*map(pa.Array.to_pylist, names.flatten()), strict=True)))


def _count(rows: list[dict[str, str]], where: Mapping[str, str]) -> Counter[str]:
    meant = [row for row in rows if all(row.get(name, value) == value for name, value in where.items())]
    return Counter(row.get(VMM) or "" for row in meant)
