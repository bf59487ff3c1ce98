"""What verbs print for machines (`--format json`): the type of every document; schemas are made from it.

A document is the `Envelope` and the body of its format. The version of a format grows when something that was there goes or
means something else; what is added does not change it (docs/stability.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kvmfw.provenance import provenance

__all__ = ["FORMATS", "published"]

FORMATS: Mapping[str, tuple[int, str]] = {
    "verdicts": (1, "lists:Verdicts"),
    "audit": (1, "audits:Audit"),
    "capture-diff": (1, "changes:CaptureDiffDocument"),
    "fleet-diff": (1, "changes:FleetDiffDocument"),
    "upgrades": (1, "changes:Upgrades"),
    "baseline": (1, "changes:BaselineDocument"),
    "schemes": (1, "lists:Schemes"),
    "registers": (1, "lists:Registers"),
    "rules": (1, "lists:Rules"),
    "vmms": (1, "lists:Vmms"),
    "messages": (1, "lists:Messages"),
    "ingest": (1, "lists:IngestDocument"),
    "trend": (1, "lists:TrendDocument"),
    "collect": (1, "lists:CollectDocument"),
    "rollout": (1, "rollouts:RolloutDocument"),
}
"""Version and body of each format; their full names have ``kvmfw-`` before."""


def published(name: str, body: Mapping[str, Any], inputs: Iterable[Path] = ()) -> dict[str, Any]:
    """Give a document of a format: its body, with who made it, when and from which inputs before it.

    Examples
    --------
    >>> list(published("rules", {"rules": []}))
    ['format', 'version', 'kvmfw', 'made', 'command', 'inputs', 'rules']
    """
    made = provenance(inputs)
    return {
        "format": f"kvmfw-{name}",
        "version": FORMATS[name][0],
        "kvmfw": made.kvmfw,
        "made": made.made,
        "command": list(made.command),
        "inputs": [{"name": one.name, "sha256": one.sha256} for one in made.inputs],
        **body,
    }
