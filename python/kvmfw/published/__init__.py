"""What verbs print for machines (`--format json`): the type of every document; schemas are made from it.

A document is the `Envelope` and the body of its format. The version of a format grows when something that was there goes or
means something else; what is added does not change it (docs/stability.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kvmfw.provenance import Provenance

__all__ = ["FORMATS", "published"]

FORMATS: Mapping[str, tuple[int, str]] = {
    "verdicts": (1, "published.lists:Verdicts"),
    "audit": (1, "published.audits:Audit"),
    "capture-diff": (1, "published.changes:CaptureDiffDocument"),
    "fleet-diff": (1, "published.changes:FleetDiffDocument"),
    "upgrades": (1, "published.changes:Upgrades"),
    "baseline": (1, "published.changes:BaselineDocument"),
    "schemes": (1, "published.lists:Schemes"),
    "registers": (1, "published.lists:Registers"),
    "rules": (1, "published.lists:Rules"),
    "vmms": (1, "published.lists:Vmms"),
    "messages": (1, "published.lists:Messages"),
    "ingest": (1, "ingest:Ingested"),
    "trend": (1, "published.lists:TrendDocument"),
    "collect": (1, "collect.collection:Collected"),
    "kernel": (1, "published.kernels:KernelDocument"),
    "prediction": (1, "published.kernels:PredictionDocument"),
    "rollout": (1, "published.rollouts:RolloutDocument"),
}
"""Version and body of each format; their full names have ``kvmfw-`` before. A body is the type of what is printed, where that is
one already."""


def published(name: str, body: Mapping[str, Any], made: Provenance) -> dict[str, Any]:
    """Give a document of a format: its body, with who made it, when and from which inputs before it.

    Examples
    --------
    >>> from kvmfw.provenance import provenance
    >>> list(published("rules", {"rules": []}, provenance()))
    ['format', 'version', 'kvmfw', 'made', 'command', 'inputs', 'rules']
    """
    return {
        "format": f"kvmfw-{name}",
        "version": FORMATS[name][0],
        "kvmfw": made.kvmfw,
        "made": made.made,
        "command": list(made.command),
        "inputs": [{"name": one.name, "sha256": one.sha256} for one in made.inputs],
        **body,
    }
