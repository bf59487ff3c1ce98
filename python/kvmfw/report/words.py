"""The size of an audit in words."""

from __future__ import annotations

from kvmfw.analysis import TABLES, Report

__all__ = ["headline", "not_done"]


def not_done(report: Report) -> dict[str, list[str]]:
    """Give the titles of the parts that could not be made, by the reason."""
    titles = {table.name: table.title for table in TABLES}
    reasons: dict[str, list[str]] = {}
    for table, why in report.not_done.items():
        if table in titles:
            reasons.setdefault(why, []).append(titles[table].lower())
    return reasons


def headline(report: Report) -> str:
    """Give the size of the fleet and how it was judged in one line."""
    facts = report.facts
    return (
        f"{facts['vms']:,} VMs in {facts['vm_classes']:,} classes, {facts['hosts']:,} hosts in"
        f" {facts['host_classes']:,} classes (vmm {facts['vmm']}, scheme {facts['scheme']})"
    )
