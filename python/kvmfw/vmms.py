"""The table of VMMs: whose restore is known, and from where. The core holds it; this gives it names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from kvmfw import _native
from kvmfw.errors import ArgumentError

__all__ = ["OWN", "Surrounding", "Vmm", "beside_registers", "find_vmm", "vmm_of_all", "vmms"]

OWN = "own"
"""The name of no VMM: each pair is judged by that of its host, else by that of its VM."""


@dataclass(frozen=True, slots=True)
class Surrounding:
    """What a VMM restores beside registers, or relies on, and no verdict judges.

    Attributes
    ----------
    word : str
        Its stable name, such as ``vgic``.
    what : str
        What it is, in a few words.
    why : str
        What happens where source and target differ in it; empty where that is not known.
    judged_by : str or None
        The register, or what stands beside registers, by which it is judged where a set and a capture both have it.
    """

    word: str
    what: str
    why: str
    judged_by: str | None

    def __str__(self) -> str:
        return self.what


@dataclass(frozen=True, slots=True)
class Vmm:
    """One name for ``vmm=``.

    Attributes
    ----------
    name : str
        The name.
    family : str
        The name without a release.
    releases : tuple of str
        As which releases it is judged, where the name says none: unknown where they differ.
    source : str
        Where the rule is known from.
    measured : bool
        Whether real loads were compared.
    not_judged : tuple of Surrounding
        What it restores beside registers, or relies on, and no verdict says.
    rule : dict of str to str
        What it does, in words.
    """

    name: str
    family: str
    releases: tuple[str, ...]
    source: str
    measured: bool
    not_judged: tuple[Surrounding, ...]
    rule: dict[str, str]


def vmms() -> tuple[Vmm, ...]:
    """Give all VMMs.

    Examples
    --------
    >>> [one.releases for one in vmms() if one.name == "cloud-hypervisor"]
    [('cloud-hypervisor-52', 'cloud-hypervisor-53')]
    """
    return tuple(one for one in _names() if one.name != OWN)


@cache
def _names() -> tuple[Vmm, ...]:
    return tuple(
        Vmm(
            name,
            family,
            tuple(releases),
            source,
            measured,
            tuple(Surrounding(*one) for one in beside),
            dict(rule),
        )
        for name, family, releases, source, measured, beside, rule in _native.vmms()
    )


def find_vmm(name: str) -> Vmm:
    """Give the VMM of this name; of `OWN` what no VMM of any pair says is not judged.

    Raises
    ------
    ArgumentError
        When there is none; the sentence names the nearest, or all.

    Examples
    --------
    >>> find_vmm("crosvm").measured
    False
    """
    problem = _native.vmm_problem(name)
    if problem is not None:
        raise ArgumentError(problem)
    return next(one for one in _names() if one.name == name)


def vmm_of_all(names: Iterable[str]) -> str | None:
    """Give the name that speaks for VMs of all these; ``None`` where they have no rule in common, nor a name for them all.

    Releases that restore alike are judged as one of them; others as the name without a release that is judged by the
    rules of them all.

    Raises
    ------
    ArgumentError
        When one of them is not known.

    Examples
    --------
    >>> vmm_of_all(["qemu-8.2", "qemu-7.2"]), vmm_of_all(["qemu-7.2", "qemu-11.1"])
    ('qemu-7.2', 'qemu')
    >>> vmm_of_all(["qemu-7.2", "crosvm"])
    """
    return _native.vmm_of_all(list(names))


def beside_registers() -> list[tuple[Surrounding, tuple[str, ...]]]:
    """List what is not judged beside registers, each with the names it holds for; a VMM's name stands for all its releases.

    Examples
    --------
    >>> [names for beside, names in beside_registers() if beside.word == "no-pmu"]
    [('crosvm',)]
    """
    names: dict[Surrounding, list[str]] = {}
    for one in vmms():
        for beside in one.not_judged:
            names.setdefault(beside, []).append(one.name)
    return [
        (beside, tuple(name for name in listed if name.rpartition("-")[0] not in listed))
        for beside, listed in names.items()
    ]
