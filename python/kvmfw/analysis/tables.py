"""The tables of an audit in their order: their columns for machines, their words for people (docs/glossary.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

from kvmfw.published.audits import Audit

__all__ = ["SHOWN", "TABLES", "Column", "Table"]

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """One column for people.

    Attributes
    ----------
    title : str
        Its title.
    show : callable
        How to show a row.
    number : bool
        Whether it is a number.
    wide : bool
        Whether it is too wide for a terminal.
    onward : bool
        Whether it leads on from the column before: on a narrow terminal both share one.
    sentence : bool
        Whether kvmfw says it: lines of text with code between backticks. All else is names and numbers, as they are.
    """

    title: str
    show: Callable[[Row], str]
    number: bool = False
    wide: bool = False
    onward: bool = False
    sentence: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """One table of a report.

    Attributes
    ----------
    name : str
        Its name in documents for machines.
    title, meaning, empty : str
        Its words for people; `empty` where it has no rows.
    columns : tuple of Column
        Its columns for people; none where it is not shown as a table.
    """

    name: str
    title: str
    meaning: str
    empty: str
    columns: tuple[Column, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """Its columns for machines (`kvmfw.published.audits`); none where they depend on the fleet."""
        (row,) = (part for part in get_args(_TYPES[self.name]) if part is not type(None))
        row = get_args(row)[0] if get_args(row) else row
        return () if row.__optional_keys__ else tuple(row.__annotations__)


_TYPES = get_type_hints(Audit)


def _text(key: str, title: str = "", *, wide: bool = False, onward: bool = False) -> Column:
    return Column(
        title or key, lambda row: "-" if row[key] is None else str(row[key]), wide=wide, onward=onward
    )


def _sentence(key: str, title: str = "", *, wide: bool = False) -> Column:
    return Column(title or key, lambda row: str(row[key]), wide=wide, sentence=True)


def _each(sentences: Sequence[str]) -> str:
    """Give sentences on lines of their own."""
    return "\n".join(sentences if len(sentences) < 2 else (f"• {one}" for one in sentences))


def _count(key: str, title: str = "") -> Column:
    return Column(title or key, lambda row: f"{row[key]:,}", number=True)


def _names(key: str, title: str, *, shown: int = 4) -> Column:
    def show(row: Row) -> str:
        names = row[key]
        rest = f" and {len(names) - shown:,} more" if len(names) > shown else ""
        return ", ".join(map(str, names[:shown])) + rest

    return Column(title, show)


TABLES = (
    Table(
        "not_judged",
        "Not judged",
        "What the results below leave open.",
        "Everything was judged.",
        (
            _count("count", "how many"),
            _count("of"),
            _sentence("what"),
            _sentence("why", "what it means"),
        ),
    ),
    Table(
        "totals",
        "Pairs by outcome",
        "Every pair of a VM and a host that is not its own.",
        "There are no pairs.",
        (_text("outcome"), _count("pairs"), Column("share", lambda row: f"{row['share']:.1%}", number=True)),
    ),
    Table(
        "same_cpu",
        "Pairs with the same CPU",
        "Of these, pairs of a VM and a host with the CPU of its own: the moves that people try.",
        "There are no pairs.",
        (_text("outcome"), _count("pairs"), Column("share", lambda row: f"{row['share']:.1%}", number=True)),
    ),
    Table(
        "stranded",
        "Stranded VMs",
        "VMs that no other host takes.",
        "None.",
        (_text("vm", "VM"), _text("host", "runs on"), _text("vm_class", "VM class")),
    ),
    Table(
        "few_targets",
        "VMs with few targets",
        "VMs that some other hosts take, but fewer than asked for.",
        "None.",
        (_text("vm", "VM"), _text("host", "runs on"), _count("targets")),
    ),
    Table(
        "traps",
        "One-way traps",
        "Hosts that VMs of other hosts can enter, and that no VM running there can leave.",
        "None.",
        (
            _names("names", "hosts"),
            _names("kinds", "what they are"),
            _count("hosts", "number"),
            _count("entrants"),
            _count("residents"),
        ),
    ),
    Table(
        "passages",
        "Moves that cannot be undone",
        "VMs of one host class can go to another; VMs that run there cannot come back.",
        "None.",
        (
            Column("from class", lambda row: f"{row['from']}: {row['from_hosts']}"),
            Column("to class", lambda row: f"{row['to']}: {row['to_hosts']}", onward=True),
            _count("vms", "VMs that can go"),
            _count("residents", "VMs that cannot come back"),
        ),
    ),
    Table(
        "blockers",
        "Blockers",
        "What stands in the way: stranded VMs that its cure alone would free, stranded VMs for which it"
        " belongs to a smallest cure with others, and pairs that it blocks.",
        "Nothing stands in the way.",
        (
            _text("unit", "register"),
            _names("fields", "fields", shown=6),
            _count("freed", "VMs freed alone"),
            _count("shared", "VMs freed with others"),
            _count("pairs"),
            _count("sole_pairs", "sole pairs"),
        ),
    ),
    Table(
        "plan",
        "What to cure first",
        "Each step adds the registers that free most stranded VMs for each register.",
        "Nothing to free, or no cure of registers frees a VM.",
        (
            _count("step"),
            _names("cured", "registers", shown=12),
            _count("freed", "VMs freed so far"),
            Column("what to do", lambda row: _each(row["do"]), sentence=True),
        ),
    ),
    Table(
        "cures",
        "Cures",
        "Units that free stranded VMs when cured together, none with a part that frees as many.",
        "No cure of registers frees a VM.",
    ),
    Table(
        "upgrades",
        "Best next upgrades",
        "Hosts become what others with the same CPU, no older kernel and no weaker security are; VMs keep what they"
        " have saved.",
        "No upgrade to another capture of this fleet frees more VMs than it strands.",
        (
            _text("capture", "hosts of"),
            _text("becomes", "become", onward=True),
            _count("hosts", "how many"),
            _count("freed", "VMs freed"),
            _count("newly_stranded", "newly stranded"),
            _count("stranded", "stranded after"),
            Column("security", lambda row: ": ".join([row["security"], *row["reasons"][:1]]), sentence=True),
        ),
    ),
    Table(
        "drain",
        "Drain check",
        "Whether all VMs of a host can go elsewhere at once.",
        "No host is known to run VMs.",
        (
            _text("name", "host"),
            _count("residents", "VMs"),
            _count("stranded"),
            _count("unplaced", "without a free place"),
            Column("can be emptied", lambda row: "yes" if row["drains"] else "no"),
        ),
    ),
    Table(
        "groups",
        "Groups",
        "Hosts and VMs by group; confined VMs find targets only outside of their group.",
        "There are no groups.",
        (_text("group"), _count("hosts"), _count("vms", "VMs"), _count("stranded"), _count("confined")),
    ),
    Table(
        "drain_groups",
        "Drain check by group",
        "Whether all VMs of all hosts of a group can go to other groups at once.",
        "There are no groups.",
        (
            _text("name", "group"),
            _count("hosts"),
            _count("residents", "VMs"),
            _count("stranded"),
            _count("unplaced", "without a free place"),
            Column("can be emptied", lambda row: "yes" if row["drains"] else "no"),
        ),
    ),
    Table(
        "policy",
        "Refused by the VMM alone",
        "Pairs that KVM would take, but not this VMM's restore policy.",
        "None.",
        (_text("unit", "register"), _count("pairs")),
    ),
    Table(
        "gates",
        "What the gates of today would do here",
        "Checks that fleets have before a move compare two hosts, never a VM with a host. Of pairs of a VM with a known"
        " home and another host: those that each lets through, those of them that KVM refuses (found out at the end of"
        " the transfer), and those that it forbids and KVM takes, with the VMs that could move.",
        "There are no pairs.",
        (
            _text("gate"),
            _sentence("compares", wide=True),
            _count("pairs"),
            _count("allowed", "let through"),
            _count("wrongly_allowed", "of these KVM refuses"),
            _count("wrongly_forbidden", "forbidden, KVM takes"),
            _count("undecided", "KVM unknown"),
            _count("vms", "VMs kept back"),
            _sentence("who", "who has it", wide=True),
        ),
    ),
    Table(
        "relaxed",
        "Where these gates may be relaxed",
        "Between hosts of two captures a gate forbids moves that KVM takes; of each gate the 100 with most pairs.",
        "Nowhere: what they forbid is refused, or not known to be taken.",
        (
            _text("gate"),
            _text("source", "from hosts of"),
            _text("target", "to hosts of", onward=True),
            _count("vms", "VMs"),
            _count("pairs"),
        ),
    ),
    Table(
        "unknowns",
        "Unknowns by missing input",
        "What would tell; decisive pairs are those that nothing refuses.",
        "None.",
        (
            _text("unit", "register"),
            _sentence("needs", "what would tell"),
            _count("decisive", "decisive pairs"),
            _count("pairs"),
            _count("hosts"),
        ),
    ),
    Table(
        "host_classes",
        "Host classes",
        "Hosts that no saved register can tell apart.",
        "There are no hosts.",
    ),
)
"""Every table of a report; those of groups, upgrades, policies and gates are left out where they were not asked for."""

_FIRST = ("not_judged", "totals", "same_cpu", "plan", "upgrades")
SHOWN = tuple(
    sorted(
        (table for table in TABLES if table.columns),
        key=lambda table: _FIRST.index(table.name) if table.name in _FIRST else len(_FIRST),
    )
)
"""The tables that people are shown as such: what to do before the lists of what is wrong."""
