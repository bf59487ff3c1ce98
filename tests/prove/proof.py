"""Whether a setter does with every value what formulas say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import claripy
import z3

from tests.prove.machine import End

NAMES = ("value", "limit", "hardware")
CONSTANTS = " ".join(f"(declare-const {name} (_ BitVec 64))" for name in NAMES)
EINVAL = 0xFFFF_FFEA
# In milliseconds. (Said to each solver by itself it takes longer than most answers.)
LONGEST = 120_000
z3.set_param("timeout", LONGEST)


@dataclass(frozen=True)
class Told:
    """What a rule says: which values are taken and which refused, as formulas. Of others it says nothing.

    Attributes
    ----------
    takes, refuses : str
        The formulas.
    digests : tuple of int
        Numbers by which the core knows these formulas again; of several rules, for one kind of hardware each, those of all.
    """

    takes: str
    refuses: str
    digests: tuple[int, ...] = ()


@dataclass(frozen=True)
class Terms:
    """The same, as terms of the solver."""

    takes: Any
    refuses: Any

    @classmethod
    def of(cls, told: Told) -> Terms:
        return cls(_parsed(told.takes), _parsed(told.refuses))

    def bent(self, when: Any) -> Terms:
        """The rule with the other answer there: what a proof must not let pass."""
        return Terms(z3.If(when, self.refuses, self.takes), z3.If(when, self.takes, self.refuses))


class Proof:
    """The ways through a setter, and what it does on them: asked with one rule after another.

    Parameters
    ----------
    ends : list of End
        The ways.
    given : str
        What limits and hardware are there, as a formula.
    """

    def __init__(self, ends: list[End], given: str = "true") -> None:
        ways = [(z3.And(*map(_z3, end.when)), _z3(end.returned)) for end in ends]
        self._given = _parsed(given)
        self.ends = len(ends)
        self._ends = z3.Or(*(when for when, _ in ways)) if ways else z3.BoolVal(False)
        self._taken = z3.Or(*(z3.And(when, code == 0) for when, code in ways))
        self._refused = z3.Or(*(z3.And(when, code == EINVAL) for when, code in ways))

    def uncovered(self) -> dict[str, int] | None:
        """Values for which no way was found."""
        return _value_of([self._given, z3.Not(self._ends)])

    def silent(self, told: Terms) -> dict[str, int] | None:
        """Values of which the rule says nothing."""
        return _value_of([self._given, z3.Not(z3.Or(told.takes, told.refuses))])

    def catches(self, told: Terms, bend: str) -> bool | None:
        """Whether the rule that is bent there is found to be wrong; None where the rule says nothing there."""
        when = _parsed(bend)
        if self.counterexample(told.bent(when)) is not None:
            return True
        speaks = _value_of([self._given, when, z3.Or(told.takes, told.refuses)])
        return None if speaks is None else False

    def takes(self, found: dict[str, int]) -> bool:
        """What the code does with these values."""
        bound = [(z3.BitVec(name, 64), z3.BitVecVal(word, 64)) for name, word in found.items()]
        return _value_of([z3.substitute(self._taken, *bound)]) is not None

    def counterexample(self, told: Terms) -> dict[str, int] | None:
        """Values with which the code does something else than the rule says."""
        wrong = z3.Or(z3.And(told.takes, z3.Not(self._taken)), z3.And(told.refuses, z3.Not(self._refused)))
        return _value_of([self._given, wrong])


class UndecidedError(Exception):
    """The solver gave no answer in time."""


def says(formula: str, word: int) -> bool:
    """What a formula over `value` says of one."""
    bound = z3.substitute(_parsed(formula), (z3.BitVec("value", 64), z3.BitVecVal(word, 64)))
    return bool(z3.is_true(z3.simplify(bound)))


def _parsed(formula: str) -> Any:
    # Of an assertion that is always true the parser keeps nothing.
    kept = z3.parse_smt2_string(f"{CONSTANTS} (assert {formula})")
    return kept[0] if len(kept) else z3.BoolVal(True)


def _z3(expression: Any) -> Any:
    return claripy.backends.z3.convert(expression)


def _value_of(terms: Iterable[Any]) -> dict[str, int] | None:
    solver = z3.Solver()
    solver.add(*terms)
    answer = solver.check()
    if answer == z3.unsat:
        return None
    if answer != z3.sat:
        raise UndecidedError(f"the solver gave no answer in {LONGEST // 1000} s")
    model = solver.model()
    return {name: model.eval(z3.BitVec(name, 64), model_completion=True).as_long() for name in NAMES}


def boundaries(formula: str) -> list[int]:
    """Values next to which the answer changes, or that stand alone: of small numbers, versions and single bits."""
    tried = sorted({*range(0x21), *range(0x10000, 0x10005), *(1 << bit for bit in range(64)), (1 << 64) - 1})
    told = [says(formula, word) for word in tried]
    pairs = zip(tried, tried[1:], told, told[1:], strict=False)
    return sorted({word for one, other, here, there in pairs if here != there for word in (one, other)})
