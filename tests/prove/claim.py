"""What is to be proved: a rule of the core, and the setter of an image that must do as it says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

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
    """

    register: int
    state: str
    told: Told | None
    run: Callable[[Machine], list[End]]
    bends: Callable[[], Iterator[str]]
    given: str = "true"


def rule_of(
    release: str,
    values: Mapping[int, int],
    register: int,
    features: Sequence[str] = ("psci_0_2",),
    *,
    any_limit: bool = False,
) -> Told | None:
    """What the core says of a register of a fresh vCPU with these values, under a kernel."""
    (formulas,) = _host(release, tuple(values.items()), tuple(features)).smt(register, any_limit)
    return None if formulas is None else Told(*formulas)


@cache
def _host(release: str, values: tuple[tuple[int, int], ...], features: tuple[str, ...]) -> _native.Host:
    capture = capture_document(dict(values), kernel=release, features=features)
    return _native.Host.from_json(json.dumps(capture).encode())
