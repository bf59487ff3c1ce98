"""What was not judged: said before anything else, in every form, so that nothing found is not taken for nothing wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kvmfw.analysis.blockers import CURES, Cures
from kvmfw.analysis.frame import Frame
from kvmfw.verdict import Outcome
from kvmfw.vmms import Surrounding, find_vmm

__all__ = [
    "HOMELESS",
    "OPEN",
    "NotJudged",
    "beside",
    "homeless",
    "left_beside",
    "not_compared",
    "not_judged",
    "not_looked_at",
]

HOMELESS = "homeless"
OPEN = "unknown"
_BY_HOME = ("traps", "passages", "drain")
_BY_STRANDED = ("stranded", "few_targets", "cures", "plan", "upgrades")
_GROUPS = ("groups", "drain_groups")
_GATES = ("gates", "relaxed")
_MOST_COMPARED = 1 << 25
"""Kinds of VMs by captures that a report compares gates on: some seconds."""


@dataclass(frozen=True, slots=True)
class NotJudged:
    """One kind of thing that was not judged.

    Attributes
    ----------
    word : str
        Its stable name, such as ``homeless``.
    count, of : int
        How many there are, of how many.
    what : str
        What they are; it reads on after the count.
    why : str
        What that means for the results.
    tables : tuple of str
        Tables of a report that are therefore not made at all.
    """

    word: str
    count: int
    of: int
    what: str
    why: str
    tables: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.count:,} of {self.of:,} {self.what}: {self.why}"

    def to_dict(self) -> dict[str, object]:
        """Give it as JSON-ready data, with the sentence."""
        return {
            "word": self.word,
            "count": self.count,
            "of": self.of,
            "what": self.what,
            "why": self.why,
            "tables": list(self.tables),
            "sentence": str(self),
        }


def homeless(frame: Frame, *, grouped: bool = False, compared: bool = False) -> list[NotJudged]:
    """Tell of how many VMs it is not known where they run; nothing where all are known.

    Their own host counts as a target, so one that is stranded may seem to have a target. `grouped` says whether
    the report has tables by groups, `compared` whether it has gates.
    """
    vms, count = frame.vms, frame.homeless
    if not count:
        return []
    if not (frame.homes[frame.vm_rows] < 0).any():
        why = "the filter leaves them out, whichever host they run on"
    elif count == vms:
        why = "traps and drain not judged, and a stranded VM seems to have a target: its own host"
    else:
        why = "traps and drain are judged without them, and their own host counts as a target"
    named = frame.unmatched_homes
    if named:
        name, hosts = next(iter(named)), frame.fleet.host_names
        why += f"; {sum(named.values()):,} of them name a host that the fleet does not have, such as `{name}`"
        why += f" (its hosts are called such as `{hosts[0]}`)"
    tables: tuple[str, ...] = ()
    if count == vms:
        tables = _BY_HOME + (_GROUPS if grouped else ()) + (_GATES if compared else ())
        # VMs that nobody takes are stranded for certain; where there is none, nothing is known.
        if (frame.group_targets > 0).all():
            tables += _BY_STRANDED
    return [NotJudged(HOMELESS, count, vms, "VMs have no known home", why, tables)]


def not_judged(
    frame: Frame,
    columns: Mapping[str, Sequence[str]],
    *,
    capacity: bool,
    grouped: bool,
    compared: bool = False,
    intake: tuple[int, int] = (0, 0),
    born: tuple[int, int] = (0, 0),
) -> list[NotJudged]:
    """List everything that an audit of this frame leaves open, what matters most first.

    Parameters
    ----------
    frame : Frame
        The fleet, whole or filtered.
    columns : mapping of str to sequence of str
        Columns of the hosts, by row.
    capacity : bool
        Whether it is known how many VMs the hosts can hold.
    grouped : bool
        Whether the report has tables by groups.
    compared : bool
        Whether it has gates.
    intake : tuple of int
        Rows rejected when the fleet was taken in, and all rows.
    born : tuple of int
        VMs whose registers were derived, and those that are only taken to be born where they run.
    """
    found = homeless(frame, grouped=grouped, compared=compared)
    rejected, rows = intake
    if frame.rejected:
        rejected, rows = frame.rejected, max(rows, frame.rejected)
    if rejected:
        why = "their VMs are not in the fleet, or unknown to every host"
        found.append(NotJudged("rejected", rejected, rows, "rows were rejected at intake", why))
    derived, assumed = born
    if derived:
        why = "they are derived from where the VMs were started; what guests wrote to timers and PMU counts as all that they can"
        what = "VMs have registers that nobody saved"
        found.append(NotJudged("born", derived, frame.vms, what, why))
    if assumed:
        why = "a VM that came from elsewhere has other registers"
        found.append(
            NotJudged("born_here", assumed, derived, "of these are taken to be born where they run", why)
        )
    totals = frame.totals()
    pairs = sum(totals.values())
    if totals[Outcome.UNKNOWN.name]:
        why = f"they count as {'taken' if frame.unknown else 'not taken'}; the table of unknowns says what would tell"
        found.append(NotJudged(OPEN, totals[Outcome.UNKNOWN.name], pairs, "pairs are UNKNOWN", why))
    known = frame.vms - frame.homeless
    if (away := known - frame.vms_in(frame.vm_rows)) > 0:
        why = "the filter leaves them out"
        found.append(NotJudged("filtered", away, frame.vms, "VMs run on other hosts", why))
    hosts = len(frame.host_rows)
    lived_in = len(np.unique(frame.homes[frame.vm_rows][frame.homes[frame.vm_rows] >= 0]))
    if known and lived_in < hosts:
        why = "whether VMs that start there could leave is not judged"
        found.append(NotJudged("empty", hosts - lived_in, hosts, "hosts have no VM", why))
    if not capacity:
        why = "whether there is room for the VMs of a drained host is not judged"
        found.append(NotJudged("capacity", hosts, hosts, "hosts have no capacity", why))
    if frame.fleet.scheme != "kvm":
        what = f"pairs were judged by the scheme {frame.fleet.scheme}"
        found.append(NotJudged("scheme", pairs, pairs, what, "not by the target's KVM"))
    if frame.fleet.vmm == "kvm":
        why = "what a VMM's own restore policy refuses is not judged (--vmm)"
        found.append(NotJudged("policy", pairs, pairs, "pairs were judged as plain KVM", why))
    found.append(beside(frame, pairs))
    if not {"capture", "cpu", "kernel"} <= columns.keys():
        what, why = "hosts have no capture, kernel or CPU name", "upgrades are not looked for"
        found.append(NotJudged("upgrades", hosts, hosts, what, why, ("upgrades",)))
    return found


def beside(frame: Frame, pairs: int) -> NotJudged:
    """Tell what beside registers was judged in so many pairs: what some VM tells, on hosts that tell it too."""
    every, both = find_vmm(frame.fleet.vmm).not_judged, frame.fleet.told_beside
    by_vms = frozenset(frame.fleet.units) - both

    def named(chosen: Iterable[Surrounding]) -> str:
        return ", ".join(str(one) for one in chosen)

    told = named(one for one in every if one.judged_by in both)
    of_vms = named(one for one in every if one.judged_by in by_vms)
    untold = named(one for one in every if one.judged_by and one.judged_by not in both | by_vms)
    never = named(one for one in every if one.judged_by is None)
    by = f"and, where the VM and the host tell it, by {told}" if told else "and by nothing beside them"
    why = never
    why += f"; nor, as no host was asked for it, {of_vms}" if of_vms else ""
    why += f"; nor, as no VM of this fleet tells it, {untold}" if untold else ""
    what = f"pairs were judged by registers of vCPUs, {by}"
    return left_beside(pairs, what, why)


def left_beside(count: int, what: str, left: str) -> NotJudged:
    """Tell what stands beside registers and was not judged, of all so many."""
    return NotJudged("surroundings", count, count, what, f"not judged are {left} (`kvmfw vmms`)")


def not_compared(
    frame: Frame, columns: Mapping[str, Sequence[str]], documents: Mapping[str, object]
) -> list[NotJudged]:
    """Tell why the gates of today are not compared on a fleet; nothing where they can be.

    Parameters
    ----------
    frame : Frame
        The fleet.
    columns : mapping of str to sequence of str
        Columns of the hosts, by row.
    documents : mapping of str to object
        The capture documents, by name.
    """
    captures = columns.get("capture", ())
    kept = [captures[row] if captures else "" for row in frame.host_rows.tolist()]
    dumps = sum(name not in documents for name in kept)
    if dumps:
        what, why = "hosts have no capture of the probe", "the gates that fleets have today are not compared"
        return [NotJudged("gates", dumps, len(kept), what, why, _GATES)]
    kinds = len(frame.group_weight) * len(set(kept))
    if kinds > _MOST_COMPARED:
        what, why = "kinds of pairs are more than gates are compared on", "`kvmfw schemes --gates` does"
        return [NotJudged("gates", kinds, kinds, what, why, _GATES)]
    return []


def not_looked_at(frame: Frame, cures: Cures, *, listed: int, moves: int) -> list[NotJudged]:
    """List what an audit left out because there is too much of it; each with what the results still say.

    Parameters
    ----------
    frame : Frame
        The fleet.
    cures : Cures
        What was found to free stranded VMs.
    listed, moves : int
        How many moves that cannot be undone are listed, of how many.
    """
    found = []
    if listed < moves:
        why = "those with most VMs are listed"
        found.append(
            NotJudged("passages", moves - listed, moves, "moves that cannot be undone are not listed", why)
        )
    if cures.left_out:
        every = cures.left_out + CURES
        why = "fewer VMs need them than those that were; a cure or a plan that frees more may be among them"
        found.append(
            NotJudged("cures", cures.left_out, every, "sets of units were not looked at as cures", why)
        )
    if cures.cut:
        stranded = int(frame.group_weight[frame.group_targets == 0].sum())
        why = "those with fewest units were; a cure may free more VMs than it says"
        found.append(NotJudged("ways", cures.cut, stranded, "stranded VMs have more ways to be freed", why))
    return found
