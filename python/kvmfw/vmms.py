"""The table of VMMs: whose restore is known, and from where. The core holds it; this gives it names."""

from __future__ import annotations

from dataclasses import dataclass

from kvmfw import _native

__all__ = ["Vmm", "vmms"]


@dataclass(frozen=True, slots=True)
class Vmm:
    """One name for ``vmm=``.

    Attributes
    ----------
    name : str
        The name.
    releases : tuple of str
        As which releases it is judged, where the name says none: unknown where they differ.
    source : str
        Where the rule is known from.
    measured : bool
        Whether real loads were compared.
    not_judged : str
        What the VMM checks besides, and no verdict says; empty where that is not known.
    rule : dict of str to str
        What it does, in words.
    """

    name: str
    releases: tuple[str, ...]
    source: str
    measured: bool
    not_judged: str
    rule: dict[str, str]


def vmms() -> tuple[Vmm, ...]:
    """Give all VMMs.

    Examples
    --------
    >>> [one.releases for one in vmms() if one.name == "cloud-hypervisor"]
    [('cloud-hypervisor-52', 'cloud-hypervisor-53')]
    """
    return tuple(
        Vmm(name, tuple(releases), source, measured, not_judged, dict(rule))
        for name, releases, source, measured, not_judged, rule in _native.vmms()
    )
