"""What a comparison found as issues: the gate in front of an update, for dashboards."""

from __future__ import annotations

from collections.abc import Iterator

from kvmfw.analysis.compare import CaptureDiff, FleetDiff
from kvmfw.report.issues import Issue
from kvmfw.verdict import Finding, Outcome

__all__ = ["issues_of_captures", "issues_of_fleets"]

_WORDS = {Outcome.REFUSE: "refuse", Outcome.UNKNOWN: "unknown"}


def issues_of_fleets(result: FleetDiff) -> list[Issue]:
    """List VMs that are newly stranded, and ways of hosts that VMs cannot go back."""
    found = [
        Issue(
            "stranded",
            "KVMFW-STRANDED",
            vm,
            host,
            None,
            f"{vm} on {host or 'no known host'} is newly stranded",
            1,
        )
        for vm, host in result.newly_stranded
    ]
    for one in result.back:
        vcpu = ", ".join((*one.features, *one.enabled))
        words = f"VMs ({vcpu}) that start on {one.hosts[0]} after the change cannot come back: {one.finding.sentence}"
        found.append(_issue(one.finding, one.hosts[0], words, len(one.hosts)))
    return found


def issues_of_captures(result: CaptureDiff, before: str, after: str) -> list[Issue]:
    """List registers that are refused, or not known, on the way there and back."""
    return [*_ways(result, before, after)]


def _ways(result: CaptureDiff, before: str, after: str) -> Iterator[Issue]:
    for one in result.registers:
        for finding, source, target in (
            (one.forward_finding, before, after),
            (one.back_finding, after, before),
        ):
            if finding is not None and finding.outcome in _WORDS:
                yield _issue(finding, target, f"VMs of {source} on {target}: {finding.sentence}", one.vcpus)


def _issue(finding: Finding, host: str, words: str, count: int) -> Issue:
    return Issue(_WORDS[finding.outcome], finding.rule, host, host, finding.name, words, count)
