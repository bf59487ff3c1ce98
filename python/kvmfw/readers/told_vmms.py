"""Which restore policy a fleet is judged by where nobody names one: that of the VMM that its hosts, or its VMs, have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from kvmfw.errors import ArgumentError
from kvmfw.readers.generations import read_one
from kvmfw.readers.hosts_table import read_hosts_table
from kvmfw.readers.stored import is_stored, stored_table
from kvmfw.vmms import vmm_of_all

__all__ = ["ToldVmm", "told_vmm"]

VMM = "vmm"


class ToldVmm(NamedTuple):
    """What a fleet folder tells of its VMMs: the name that speaks for all, if one does; whose they are; a count of each."""

    name: str | None
    whose: str
    listed: str

    def one(self) -> str:
        """Give the name that speaks for all.

        Raises
        ------
        ArgumentError
            When none does.
        """
        if self.name is None:
            raise ArgumentError(
                f"the {self.whose} have several VMMs: {self.listed}; name the one to judge by"
            )
        return self.name


def told_vmm(folder: Path, where: Mapping[str, str]) -> ToldVmm | None:
    """Give the VMM by which a fleet is judged where nobody names one: in the column `vmm` of hosts, else of VMs.

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
    whose, told = _counted(folder, where)
    silent = told.pop("", 0)
    if not told:
        return None
    listed = [f"{name} ({count:,})" for name, count in told.most_common(4)]
    listed += [f"{len(told) - 4:,} more"] * (len(told) > 4) + [f"{silent:,} tell none"] * bool(silent)
    return ToldVmm(vmm_of_all(told), whose, ", ".join(listed))


def _counted(folder: Path, where: Mapping[str, str]) -> tuple[str, Counter[str]]:
    """Count VMMs; say of which. An empty name counts those that tell none."""
    if is_stored(folder):
        return read_one(folder, lambda generation: _stored(generation, where))
    table = folder / "hosts.csv"
    rows = [row.cells for row in read_hosts_table(table)] if table.exists() else []
    return "hosts", _count(rows, where)


def _stored(folder: Path, where: Mapping[str, str]) -> tuple[str, Counter[str]]:
    rows = stored_table(folder, "hosts", ()).to_pylist()
    found = _count([{key: str(cell or "") for key, cell in row.items()} for row in rows], where)
    if any(found):
        return "hosts", found
    vms = stored_table(folder, "vms", (), [VMM])
    if VMM not in vms.column_names:
        return "VMs", Counter()
    names = pc.value_counts(vms.column(VMM).cast(pa.string()).fill_null(""))
    return "VMs", Counter(dict(zip(*map(pa.Array.to_pylist, names.flatten()), strict=True)))


def _count(rows: list[dict[str, str]], where: Mapping[str, str]) -> Counter[str]:
    meant = [row for row in rows if all(row.get(name, value) == value for name, value in where.items())]
    return Counter(row.get(VMM) or "" for row in meant)
