"""Makes a disagreement small: the fewest writes after which KVM still answers what was not predicted.

The algorithm asks in rounds, because a round is a boot: every search that is still open proposes some smaller
restores, all are asked in one boot, and the smallest that still fails is where the search goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from .questions import RESTORE, SINGLE, Case

# A restore of 300 registers comes down to a few in about ten rounds.
ROUNDS = 24
Write = tuple[int, int]


@dataclass
class Search:
    """One disagreement: a case, the register that was answered otherwise, and how small it is by now."""

    case: Case
    register: int | None
    parts: int = 2
    open: bool = True
    reproduced: bool = False
    tried: set[frozenset[Write]] = field(default_factory=set)

    def proposals(self) -> list[Case]:
        """Smaller cases to ask next, the smallest first; the first round asks the case as it is."""
        writes = self.case.writes
        if not self.reproduced:
            return [self.case]
        must = [one for one in writes if one[0] == self.register]
        rest = [one for one in writes if one[0] != self.register]
        if not rest:
            return []
        while not (found := self._parts(must, rest)) and self.parts < len(rest):
            self.parts = min(2 * self.parts, len(rest))
        return found

    def _parts(self, must: list[Write], rest: list[Write]) -> list[Case]:
        """The writes that must be there alone, with one part of the rest, and with all parts but one."""
        size = max(1, -(-len(rest) // self.parts))
        chunks = [rest[at : at + size] for at in range(0, len(rest), size)]
        sets = [[], *chunks, *[[one for one in rest if one not in chunk] for chunk in chunks]]
        found = []
        for chosen in sorted(sets, key=len):
            keep = {*chosen, *must}
            if frozenset(keep) not in self.tried and len(keep) < len(self.case.writes):
                self.tried.add(frozenset(keep))
                found.append(replace(self.case, writes=[one for one in self.case.writes if one in keep]))
        return found

    def take(self, proposed: list[Case], failed: list[bool]) -> None:
        """Go on with the smallest case that still fails."""
        if not self.reproduced:
            self.reproduced = failed[0]
            self.open = failed[0] and self.case.kind == RESTORE
            return
        smaller = next((case for case, fails in zip(proposed, failed, strict=True) if fails), None)
        if smaller is not None:
            # Parts stay about as large as they were.
            self.parts = max(2, self.parts * len(smaller.writes) // len(self.case.writes))
            self.case = smaller


def searches(cases: list[tuple[Case, int | None]]) -> list[Search]:
    """A search for each (case, index of the write that was answered otherwise; None: the vCPU)."""
    found = []
    for case, index in cases:
        if case.kind == SINGLE and index is not None:
            found.append(Search(replace(case, writes=[case.writes[index]]), case.writes[index][0]))
        else:
            found.append(Search(case, None if index is None else case.writes[index][0]))
    return found


def minimise(
    open_searches: list[Search], fails: Callable[[list[tuple[Case, int | None]]], list[bool]]
) -> int:
    """Bring all searches to their end, a boot a round; how many rounds it took.

    ``fails`` tells of every (case, register) whether KVM's answer there is still not the predicted one.
    """
    for number in range(ROUNDS):
        plans = [(search, search.proposals()) for search in open_searches if search.open]
        for search, proposed in plans:
            search.open = bool(proposed)
        plans = [(search, proposed) for search, proposed in plans if proposed]
        if not plans:
            return number
        said = iter(fails([(case, search.register) for search, proposed in plans for case in proposed]))
        for search, proposed in plans:
            search.take(proposed, [next(said) for _ in proposed])
    return ROUNDS
