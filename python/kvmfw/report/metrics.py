"""An audit in numbers: for the textfile collector of Prometheus' node_exporter, and for a history of audits."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from kvmfw.analysis import Report
from kvmfw.provenance import Provenance

__all__ = ["NUMBERS", "numbers_of", "prometheus"]

NUMBERS = {
    "vms": "VMs that were audited.",
    "hosts": "Hosts that were audited.",
    "accept": "Pairs of a VM and another host: the guest goes on as it was.",
    "change": "Pairs: taken, but the guest will not see exactly what was saved.",
    "unknown": "Pairs of which it is not known.",
    "refuse": "Pairs: the restore fails.",
    "stranded": "VMs that no other host takes.",
    "few_targets": "VMs that some other hosts take, but fewer than asked for.",
    "traps": "Groups of hosts that VMs can enter and not leave.",
    "trapped": "VMs that run in traps.",
    "undrainable": "Hosts that cannot be emptied.",
    "homeless": "VMs of which it is not known where they run.",
    "rejected": "Rows that intake set aside.",
}
"""The numbers of an audit, with what they count. One that could not be made is None: not done is not nothing found."""


def numbers_of(report: Report) -> dict[str, int | None]:
    """Give the numbers of an audit."""
    tables = report.tables
    pairs = {row["outcome"].lower(): row["pairs"] for row in tables["totals"]}
    open_ends = {row["word"]: row["count"] for row in tables["not_judged"]}
    traps, drain = tables.get("traps"), tables.get("drain")
    found: dict[str, int | None] = {
        "vms": report.facts["vms"],
        "hosts": report.facts["hosts"],
        **pairs,
        "stranded": _rows(tables.get("stranded")),
        "few_targets": _rows(tables.get("few_targets")),
        "traps": _rows(traps),
        "trapped": None if traps is None else sum(row["residents"] for row in traps),
        "undrainable": None if drain is None else sum(not row["drains"] for row in drain),
        "homeless": open_ends.get("homeless", 0),
        "rejected": open_ends.get("rejected", 0),
    }
    return {name: found[name] for name in NUMBERS}


def _rows(table: list[dict[str, Any]] | None) -> int | None:
    return None if table is None else len(table)


def prometheus(report: Report, made: Provenance, fleet: str) -> str:
    """Give the numbers in the text format of Prometheus; those that could not be made are left out.

    Parameters
    ----------
    report : Report
        The audit.
    made : Provenance
        Where it comes from.
    fleet : str
        What the fleet is called.
    """
    seconds = int(datetime.fromisoformat(made.made).timestamp())
    labels = {"fleet": fleet, "vmm": report.facts["vmm"], "scheme": report.facts["scheme"]}
    lines = []
    for name, number in numbers_of(report).items():
        if number is not None:
            lines += _metric(f"kvmfw_{name}", NUMBERS[name], labels, number)
    lines += _metric("kvmfw_audit_timestamp_seconds", "When the audit was made.", labels, seconds)
    lines += _metric("kvmfw_build_info", "The kvmfw that made it.", {"version": made.kvmfw}, 1)
    return "\n".join([*lines, ""])


def _metric(name: str, meaning: str, labels: dict[str, str], number: int) -> list[str]:
    told = ",".join(f'{key}="{_quoted(value)}"' for key, value in labels.items())
    return [f"# HELP {name} {meaning}", f"# TYPE {name} gauge", f"{name}{{{told}}} {number}"]


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
