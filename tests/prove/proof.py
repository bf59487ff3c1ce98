"""Whether a setter takes exactly the values of a formula."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import claripy
import z3

from tests.prove.machine import End

BVS = "(declare-const value (_ BitVec 64))"


@dataclass(frozen=True)
class Proof:
    """What came of one question.

    Attributes
    ----------
    ends : int
        Ways through the code.
    counterexample : int or None
        A value of which code and formula say different things.
    taken : bool or None
        What the code says of it.
    uncovered : int or None
        A value for which no way was found.
    """

    ends: int
    counterexample: int | None = None
    taken: bool | None = None
    uncovered: int | None = None

    @property
    def holds(self) -> bool:
        return self.ends > 0 and self.counterexample is None and self.uncovered is None


def prove(ends: list[End], formula: str) -> Proof:
    """Compare what the code returns with a formula over `value`, for all values."""
    (term,) = z3.parse_smt2_string(f"{BVS} (assert {formula})")
    value = z3.BitVec("value", 64)
    ways = [(z3.And(*map(_z3, end.when)), _z3(end.returned == 0)) for end in ends]
    for when, taken in ways:
        solver = z3.Solver()
        solver.add(when, taken != term)
        if solver.check() != z3.unsat:
            found = solver.model()
            return Proof(len(ends), _word(found, value), z3.is_true(found.eval(taken, model_completion=True)))
    solver = z3.Solver()
    solver.add(z3.Not(z3.Or(*(when for when, _ in ways))))
    if solver.check() != z3.unsat:
        return Proof(len(ends), uncovered=_word(solver.model(), value))
    return Proof(len(ends))


def says(formula: str, word: int) -> bool:
    """What a formula says of one value."""
    (term,) = z3.parse_smt2_string(f"{BVS} (assert {formula})")
    bound = z3.substitute(term, (z3.BitVec("value", 64), z3.BitVecVal(word, 64)))
    return bool(z3.is_true(z3.simplify(bound)))


def _z3(expression: Any) -> Any:
    return claripy.backends.z3.convert(expression)


def _word(model: Any, value: Any) -> int:
    return model.eval(value, model_completion=True).as_long()  # type: ignore[no-any-return]


def flipped(formula: str, word: int) -> str:
    """The formula with the other answer for one value: what a proof must not let pass."""
    return f"(xor {formula} (= value #x{word:016x}))"


def boundaries(formula: str) -> list[int]:
    """Values next to which the answer changes, or that stand alone: of small numbers, versions and single bits."""
    tried = sorted({*range(0x21), *range(0x10000, 0x10005), *(1 << bit for bit in range(64)), (1 << 64) - 1})
    told = [says(formula, word) for word in tried]
    pairs = zip(tried, tried[1:], told, told[1:], strict=False)
    return sorted({word for one, other, here, there in pairs if here != there for word in (one, other)})
