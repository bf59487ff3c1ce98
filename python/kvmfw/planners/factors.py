"""Snapshots of microVMs: may this one be restored on that node, factor by factor."""

from __future__ import annotations

import msgspec

from kvmfw.roster import On, Vm
from kvmfw.snapshot import View
from kvmfw.verdict import Outcome

__all__ = ["Compatibility", "Factor", "why_not"]


class Factor(msgspec.Struct, frozen=True):
    """One thing that a restore depends on.

    Attributes
    ----------
    name : str
        The register, ``vCPU`` or ``register list``.
    outcome : str
        ``ACCEPT``, ``CHANGE``, ``UNKNOWN`` or ``REFUSE``.
    match : bool
        Whether the node takes it as it was saved.
    required : str
        What the node's KVM asks for.
    saved, host : str or None
        What the snapshot holds, and what a fresh vCPU of the node has; hexadecimal.
    rule, evidence : str
        Which rule speaks, and whether that was measured.
    sentence : str
        All of it in words.
    """

    name: str
    outcome: str
    match: bool
    required: str
    saved: str | None
    host: str | None
    rule: str
    evidence: str
    sentence: str


class Compatibility(msgspec.Struct, frozen=True):
    """Whether a node takes a snapshot, every factor that does not simply match, and in words what was not looked at."""

    outcome: str
    factors: tuple[Factor, ...]
    not_judged: tuple[str, ...]


def why_not(view: View, vm: Vm, host: On) -> Compatibility:
    """Tell for one snapshot and one node what matches not, each factor as if the node took all others.

    Examples
    --------
    >>> from kvmfw import Fleet
    >>> from kvmfw.testing import tiny_host, tiny_set
    >>> fleet = Fleet([tiny_set(workaround_3=2, name="snapshot")], [tiny_host(name="node")])
    >>> found = why_not(fleet, "snapshot", "node")
    >>> found.outcome, found.factors[0].name, found.factors[0].saved, found.factors[0].host
    ('REFUSE', 'SMCCC_ARCH_WORKAROUND_3', '0x2', '0x1')
    >>> "devices" in found.not_judged
    True
    """
    verdict = view.explain_units(vm, host)
    factors = tuple(
        Factor(
            name=one.name,
            outcome=one.outcome.name,
            match=one.outcome is Outcome.ACCEPT,
            required=one.offers,
            saved=None if one.saved is None else f"{one.saved:#x}",
            host=None if one.own is None else f"{one.own:#x}",
            rule=one.rule,
            evidence=one.evidence,
            sentence=one.sentence,
        )
        for one in verdict.findings
    )
    whole = view.explain(vm, host)
    return Compatibility(whole.outcome.name, factors, tuple(map(str, whole.not_judged)))
