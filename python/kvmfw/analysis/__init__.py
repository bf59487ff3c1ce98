"""Audits in full: what a fleet's outcomes mean for its VMs, hosts and updates."""

from kvmfw.analysis.blockers import Blocker, Cure, Cures, Step, blockers, cures
from kvmfw.analysis.drain import Drain, drain_groups, drain_hosts
from kvmfw.analysis.frame import Frame, make_frame
from kvmfw.analysis.not_judged import NotJudged, homeless
from kvmfw.analysis.opened import OpenedFleet, open_fleet
from kvmfw.analysis.policy import policy_refusals
from kvmfw.analysis.report import Report, examine
from kvmfw.analysis.tables import SHOWN, TABLES, Column, Table
from kvmfw.analysis.traps import Passage, Trap, circles, passages, traps
from kvmfw.analysis.units import Census, Samples, UnitOutcomes, take_census, unit_outcomes
from kvmfw.analysis.unknowns import Missing, missing_inputs
from kvmfw.analysis.upgrades import Upgrade, best_upgrades

__all__ = [
    "SHOWN",
    "TABLES",
    "Blocker",
    "Census",
    "Column",
    "Cure",
    "Cures",
    "Drain",
    "Frame",
    "Missing",
    "NotJudged",
    "OpenedFleet",
    "Passage",
    "Report",
    "Samples",
    "Step",
    "Table",
    "Trap",
    "UnitOutcomes",
    "Upgrade",
    "best_upgrades",
    "blockers",
    "circles",
    "cures",
    "drain_groups",
    "drain_hosts",
    "examine",
    "homeless",
    "make_frame",
    "missing_inputs",
    "open_fleet",
    "passages",
    "policy_refusals",
    "take_census",
    "traps",
    "unit_outcomes",
]
