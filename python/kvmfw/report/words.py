"""The size of an audit in words."""

from __future__ import annotations

from kvmfw.analysis import TABLES, Report

__all__ = ["headline", "in_one_sentence", "not_done"]


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


def in_one_sentence(report: Report) -> str:
    """Say what matters most, for who reads one sentence: how many VMs cannot leave, and what holds most of them."""
    facts, tables = report.facts, report.tables
    vms, stranded = facts["vms"], tables.get("stranded")
    if stranded is None:
        return f"Whether {vms:,} VMs can leave their hosts could not be judged"
    if not stranded:
        return f"Each of {vms:,} VMs has another host that takes it"
    said = f"{len(stranded):,} of {vms:,} VMs ({len(stranded) / (vms or 1):.1%}) cannot leave their host"
    blockers = tables["blockers"]
    alone = max(blockers, key=lambda row: row["freed"], default=None)
    if alone is not None and alone["freed"]:
        said += f"; {alone['unit']} by itself holds {alone['freed']:,} of them"
    plan = tables["plan"]
    if plan:
        steps = "step" if len(plan) == 1 else "steps"
        said += f"; {len(plan)} {steps} of cures would free {plan[-1]['freed']:,}"
    return said
