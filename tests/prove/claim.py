"""What is to be proved: a rule of the core, and the setter of an image that must do as it says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import cast

from kvmfw import _native
from kvmfw.testing import capture_document
from tests.prove.machine import End, Machine
from tests.prove.proof import Told


@dataclass(frozen=True)
class Claim:
    """A rule for one state of a host.

    Attributes
    ----------
    register : int
        The register.
    state : str
        The state, in words.
    told : Told or None
        What the core says; None where its rule is no formula.
    run : function
        Runs the setter in this state to all its ends.
    bends : function
        Where the rule is bent for the controls, as formulas.
    given : str
        What limits and hardware are there, as a formula.
    unable : str
        Why the core has no formula, where it has none.
    """

    register: int
    state: str
    told: Told | None
    run: Callable[[Machine], list[End]]
    bends: Callable[[], Iterator[str]]
    given: str = "true"
    unable: str = "the core has no formula for its rule"


def rule_of(
    release: str,
    values: Mapping[int, int],
    register: int,
    features: Sequence[str] = ("psci_0_2",),
    enabled: Sequence[str] = (),
    *,
    any_limit: bool = False,
) -> Told | None:
    """What the core says of a register of a fresh vCPU with these values, under a kernel."""
    made = _host(release, tuple(values.items()), tuple(features), tuple(enabled))
    (formulas,) = made.smt(register, any_limit)
    if formulas is None:
        return None
    takes, refuses, digest = formulas
    return Told(takes, refuses, (digest,))


def by_case(cases: Iterable[tuple[str, Told | None]]) -> Told | None:
    """What the core says of all hardware: formulas of each case of it, and what it says of such a host."""
    takes: list[str] = []
    refuses: list[str] = []
    digests: list[int] = []
    for when, told in cases:
        if told is None:
            return None
        takes.append(f"(and {when} {told.takes})")
        refuses.append(f"(and {when} {told.refuses})")
        digests += told.digests
    return Told(f"(or {' '.join(takes)})", f"(or {' '.join(refuses)})", tuple(dict.fromkeys(digests)))


@cache
def _host(
    release: str, values: tuple[tuple[int, int], ...], features: tuple[str, ...], enabled: tuple[str, ...]
) -> _native.Host:
    capture = capture_document(dict(values), kernel=release, features=features)
    (vcpu,) = cast("list[dict[str, object]]", capture["vcpus"])
    vcpu["enabled"] = [*enabled]
    return _native.Host.from_json(json.dumps(capture).encode())
