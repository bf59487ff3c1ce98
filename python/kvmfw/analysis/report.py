"""The whole of an audit as tables, ready to be shown, written or compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from kvmfw.analysis.blockers import blockers, cures
from kvmfw.analysis.drain import Drain, drain_groups, drain_hosts
from kvmfw.analysis.frame import Frame
from kvmfw.analysis.gates import Document, gate_tables, score_gates
from kvmfw.analysis.keys import numbered
from kvmfw.analysis.not_judged import not_compared, not_judged, not_looked_at
from kvmfw.analysis.opened import chosen_column
from kvmfw.analysis.same_cpu import same_cpu_totals
from kvmfw.analysis.security import protection_of
from kvmfw.analysis.traps import Passage, passages, traps
from kvmfw.analysis.units import Census, Samples, take_census
from kvmfw.analysis.unknowns import missing_inputs
from kvmfw.analysis.upgrades import best_upgrades
from kvmfw.readers.hosts_table import CAPACITY
from kvmfw.telling.cures import what_to_do

__all__ = ["Report", "examine"]

Row = dict[str, Any]


@dataclass(frozen=True)
class Report:
    """An audit in full.

    Attributes
    ----------
    frame : Frame
        The fleet, by classes.
    census : Census
        What units say, counted by host class.
    samples : Samples
        A finding for each unit and host class.
    facts : dict
        Sizes and how the pairs were judged.
    tables : dict of str to list of dict
        The tables, by name; every row of a table has the same keys. The first, ``not_judged``, says what the
        others leave open; tables that could not be made are not there (see `not_done`).
    """

    frame: Frame
    census: Census
    samples: Samples
    facts: Row
    tables: dict[str, list[Row]] = field(default_factory=dict)

    @property
    def not_done(self) -> dict[str, str]:
        """The tables that could not be made, each with the reason: not done is not nothing found."""
        return {table: row["sentence"] for row in self.tables["not_judged"] for table in row["tables"]}

    def to_dict(self) -> dict[str, Any]:
        """Give facts and tables as JSON-ready data; a table that could not be made is null."""
        return {**self.facts, **dict.fromkeys(self.not_done), **self.tables}


def examine(
    frame: Frame,
    *,
    columns: Mapping[str, Sequence[str]] | None = None,
    few: int = 2,
    group_by: str | None = None,
    intake: tuple[int, int] = (0, 0),
    born: tuple[int, int] = (0, 0),
    documents: Mapping[str, Document] | None = None,
    weaker: bool = False,
) -> Report:
    """Audit a fleet in full.

    Parameters
    ----------
    frame : Frame
        The fleet, whole or filtered.
    columns : mapping of str to sequence of str, optional
        Columns of the hosts, by row; a column `capacity` says how many VMs a host can hold.
    few : int
        VMs with fewer targets than this are listed.
    group_by : str, optional
        A column by whose values hosts, VMs and drain checks are grouped.
    intake : tuple of int
        Rows rejected when the fleet was taken in, and all rows.
    born : tuple of int
        VMs whose registers were derived, and those that are only taken to be born where they run.
    documents : mapping of str to dict, optional
        The capture documents, by name: they tell how hosts protect, and what the gates of today compare.
    weaker : bool
        Whether upgrades to what protects less are proposed as well.

    Raises
    ------
    ArgumentError
        When there is no such column.

    Examples
    --------
    >>> from kvmfw import Fleet
    >>> from kvmfw.analysis import make_frame
    >>> from kvmfw.testing import tiny_host, tiny_set
    >>> fleet = Fleet([tiny_set(workaround_3=2, name="a")], [tiny_host(name="h")])
    >>> examine(make_frame(fleet)).tables["blockers"][0]["unit"]
    'SMCCC_ARCH_WORKAROUND_3'
    """
    columns = columns or {}
    grouped = None if group_by is None else chosen_column(columns, group_by)
    census = take_census(frame)
    samples = Samples(frame, census)
    capacity = [int(text) for text in columns[CAPACITY]] if CAPACITY in columns else None
    report = Report(frame, census, samples, _facts(frame, few))
    tables = report.tables
    tables["not_judged"] = [
        one.to_dict()
        for one in not_judged(
            frame,
            columns,
            capacity=capacity is not None,
            grouped=grouped is not None,
            compared=documents is not None,
            intake=intake,
            born=born,
        )
    ]
    tables["totals"] = _shares(frame.totals())
    if "cpu" in columns and (frame.homes >= 0).any():
        tables["same_cpu"] = _shares(same_cpu_totals(frame, columns["cpu"]))
    listed = _vms(frame, few)
    tables["stranded"] = [row for row in listed if row["targets"] == 0]
    tables["few_targets"] = [row for row in listed if 0 < row["targets"] < few]
    classes = host_classes(frame, columns)
    tables["traps"] = _traps(frame, {row["class"]: row for row in classes})
    one_way, moves = passages(frame)
    tables["passages"] = _passages(one_way, {row["class"]: row["label"] for row in classes})
    names = frame.fleet.units
    found = cures(frame)
    tables["not_judged"] += [
        one.to_dict() for one in not_looked_at(frame, found, listed=len(one_way), moves=moves)
    ]
    tables["blockers"] = [
        {
            "unit": names[one.unit],
            "rules": _rules(report, one.unit),
            "freed": one.freed,
            "shared": one.shared,
            "pairs": one.pairs,
            "sole_pairs": one.sole_pairs,
            "fields": _fields(report, one.unit),
        }
        for one in blockers(census, found)
    ]
    tables["cures"] = [
        {
            "units": [names[unit] for unit in cure.units],
            "freed": cure.freed,
            "fields": [f"{names[unit]}.{field}" for unit in cure.units for field in _fields(report, unit)],
        }
        for cure in found.found
    ]
    tables["plan"] = [
        {
            "step": number,
            "cured": [names[unit] for unit in step.units],
            "freed": step.freed,
            "do": _to_do(report, step.units),
        }
        for number, step in enumerate(found.plan, start=1)
    ]
    if {"capture", "cpu", "kernel"} <= columns.keys():
        protection = {name: protection_of(one) for name, one in (documents or {}).items()}
        tables["upgrades"] = [
            dict(one.to_dict()) for one in best_upgrades(frame, columns, protection=protection, weaker=weaker)
        ]
    if documents is not None:
        tables["not_judged"] += [one.to_dict() for one in not_compared(frame, columns, documents)]
        if "gates" not in report.not_done:
            tables |= gate_tables(score_gates(frame, columns["capture"], documents))
    tables["drain"] = [_drain(one) for one in drain_hosts(frame, capacity=capacity)]
    tables["unknowns"] = [
        {
            "unit": names[one.unit],
            "needs": one.needs,
            "decisive": one.decisive,
            "pairs": one.pairs,
            "vms": one.vms,
            "hosts": one.hosts,
        }
        for one in missing_inputs(frame, census, samples)
    ]
    tables["host_classes"] = classes
    if grouped is not None:
        report.facts["group_by"] = group_by
        tables["groups"] = _groups(frame, grouped)
        tables["drain_groups"] = [_drain(one) for one in drain_groups(frame, grouped, capacity=capacity)]
    for name in report.not_done:
        tables.pop(name, None)
    return report


def _to_do(report: Report, units: Sequence[int]) -> list[str]:
    """Say what to do about the rules that speak of these units, and of which where a rule does not speak of all."""
    about: dict[str, list[str]] = {}
    for unit in units:
        for rule in _rules(report, unit):
            about.setdefault(what_to_do(rule), []).append(report.frame.fleet.units[unit])
    return [cure if len(of) == len(units) else f"{_some(of)}: {cure}" for cure, of in about.items()]


def _some(names: Sequence[str], most: int = 3) -> str:
    """Name the first of many."""
    more = f" and {len(names) - most} more" if len(names) > most + 1 else ""
    return ", ".join(names[:most] if more else names) + more


def _facts(frame: Frame, few: int) -> Row:
    return {
        "vmm": frame.fleet.vmm,
        "scheme": frame.fleet.scheme,
        "vms": frame.vms_in(frame.vm_rows),
        "hosts": len(frame.host_rows),
        "vm_classes": len(np.unique(frame.group_vm_class)),
        "host_classes": int((frame.host_weight > 0).sum()),
        "homeless": frame.homeless,
        "unknown_counts_as_taken": frame.unknown,
        "change_counts_as_taken": frame.change,
        "few": few,
    }


def _vms(frame: Frame, few: int) -> list[Row]:
    """List the VMs with no target or fewer than `few`, in the order of their rows."""
    kept = np.flatnonzero((frame.group_targets < max(few, 1))[frame.group_of])
    rows, targets = frame.vm_rows[kept], frame.group_targets[frame.group_of[kept]]
    vms = frame.named(rows)
    at = np.searchsorted(rows, np.array([row for row, _ in vms], dtype=np.int64))
    homes = frame.homes[rows[at]]
    known = np.unique(homes[homes >= 0])
    named = dict(zip(known.tolist(), frame.fleet.host_names.take(known), strict=True))
    return [
        {
            "vm": name,
            "host": named.get(home),
            "vm_class": vm_class,
            "targets": count,
        }
        for (_, name), home, vm_class, count in zip(
            vms,
            homes.tolist(),
            frame.vm_class[rows[at]].tolist(),
            targets[at].tolist(),
            strict=True,
        )
    ]


def _shares(totals: Mapping[str, int]) -> list[Row]:
    every = sum(totals.values()) or 1
    return [
        {"outcome": name, "pairs": pairs, "share": round(pairs / every, 6)} for name, pairs in totals.items()
    ]


def _traps(frame: Frame, rows: Mapping[int, Row]) -> list[Row]:
    names = frame.fleet.host_names
    members = _members(frame)
    return [
        {
            "classes": list(trap.classes),
            "names": [names[row] for row in sorted(row for one in trap.classes for row in members[one])],
            "kinds": _kinds(rows[one] for one in trap.classes),
            "hosts": trap.hosts,
            "entrants": trap.entrants,
            "residents": trap.residents,
        }
        for trap in traps(frame)
    ]


def _kinds(rows: Iterable[Row]) -> list[str]:
    """Say what host classes are: their CPUs and kernels."""
    kinds = (", ".join([*row.get("cpu", [])[:1], *row.get("kernel", [])[:1]]) for row in rows)
    return list(dict.fromkeys(filter(None, kinds)))


def _members(frame: Frame) -> list[list[int]]:
    """Give the kept host rows of each host class."""
    classes = frame.host_class[frame.host_rows]
    order = np.argsort(classes, kind="stable")
    starts = np.searchsorted(classes[order], np.arange(len(frame.host_weight) + 1)).tolist()
    rows = frame.host_rows[order].tolist()
    return [rows[start:end] for start, end in pairwise(starts)]


def _passages(found: Sequence[Passage], labels: Mapping[int, str]) -> list[Row]:
    return [
        {
            "from": one.source,
            "from_hosts": labels[one.source],
            "to": one.target,
            "to_hosts": labels[one.target],
            "vms": one.vms,
            "residents": one.residents,
        }
        for one in found
    ]


def _rules(report: Report, unit: int) -> list[str]:
    return sorted({finding.rule for finding in report.samples.of_unit(unit)})


def _fields(report: Report, unit: int) -> list[str]:
    """Name the fields that samples of a unit are about, from the highest bit down."""
    found = {
        (-field.low, field.name)
        for finding in report.samples.of_unit(unit)
        for field in finding.fields
        if field.name
    }
    return [name for _, name in sorted(found)]


def _drain(one: Drain) -> Row:
    return {
        "name": one.name,
        "hosts": one.hosts,
        "residents": one.residents,
        "stranded": one.stranded,
        "unplaced": one.unplaced,
        "drains": one.stranded == 0 and one.unplaced == 0,
    }


def _groups(frame: Frame, column: Sequence[str]) -> list[Row]:
    """Count hosts and VMs by the value of a column; confined VMs find targets only outside of their group."""
    values, of = frame.by_value(column)
    group = frame.home_value(of)
    sets = np.bincount(of[frame.host_rows], minlength=len(values))
    inside = group >= 0
    targets = frame.group_targets[frame.group_of[inside]]
    vm_class, number = frame.vm_class[frame.vm_rows][inside], group[inside]
    lists = np.zeros((len(values), len(frame.host_weight)), dtype=np.uint64)
    np.add.at(lists, (of[frame.host_rows], frame.host_class[frame.host_rows]), 1)
    keys, _, key_of = numbered(vm_class * len(values) + number)
    pairs = (keys // len(values)).astype(np.uint32), (keys % len(values)).astype(np.uint32)
    within = frame.takers.sums_of(*pairs, lists.ravel()).astype(np.int64)[key_of]
    own = frame.group_taken_at_home[frame.group_of[inside]]
    confined = (within - own == 0) & (targets > 0)
    weight = np.ones(len(number), dtype=np.int64) if frame.weight is None else frame.weight[inside]
    counts = (
        np.bincount(number, weight * chosen, minlength=len(values)).astype(np.int64).tolist()
        for chosen in (np.ones(len(number), dtype=np.bool_), targets == 0, confined)
    )
    return [
        {"group": value, "hosts": hosts, "vms": vms, "stranded": stranded, "confined": alone}
        for value, hosts, vms, stranded, alone in zip(values, sets.tolist(), *counts, strict=True)
    ]


def host_classes(frame: Frame, columns: Mapping[str, Sequence[str]]) -> list[Row]:
    """Describe the host classes: how many hosts, which, and how many VMs they have and take."""
    names = frame.fleet.host_names
    living = np.flatnonzero(frame.class_vms)
    vms = frame.class_vms[living].astype(np.uint64)
    takes = frame.takers.taken(living.astype(np.uint32), vms).tolist()
    residents = frame.residents.tolist()
    rows = []
    for number, members in enumerate(_members(frame)):
        if not members:
            continue
        row: Row = {
            "class": number,
            "hosts": len(members),
            "first": names[members[0]],
            "residents": residents[number],
            "takes": takes[number],
        }
        for name in ("capture", "kernel", "cpu"):
            if name in columns:
                row[name] = sorted({columns[name][member] for member in members})
        more = f" and {len(members) - 1:,} more" if len(members) > 1 else ""
        words = [f"{names[members[0]]}{more}", *row.get("cpu", [])[:1], *row.get("kernel", [])[:1]]
        row["label"] = ", ".join(words)
        rows.append(row)
    return rows
