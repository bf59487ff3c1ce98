"""The part of a VM that writes change."""

from __future__ import annotations

from .facts import Answer, Facts, accept


class State:
    """Current register values of one VM with one vCPU."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.values: dict[int, int] = dict(facts.registers)
        self.doubtful: set[int] = set()  # an unknown answer left these in one of two states
        self.has_run = False
        self.sve_finalized = True

    def current(self, register: int) -> int | None:
        """The value that GET returns, None when it is not listed or in doubt."""
        return None if register in self.doubtful else self.values.get(register)

    def store(self, register: int, value: int) -> Answer:
        self.values[register] = value
        self.doubtful.discard(register)
        return accept(value)

    def lose(self, register: int, *, altered: bool = False) -> Answer:
        """Accepted, but what is read back cannot be told, only whether it must be another value."""
        self.doubtful.add(register)
        return Answer(altered=altered)

    def moves(self, register: int, *, altered: bool = False) -> Answer:
        """Accepted, and what is read back moves by itself."""
        self.doubtful.add(register)
        return Answer(moves=True, altered=altered)

    def copy(self) -> State:
        other = State(self.facts)
        other.values, other.doubtful = dict(self.values), set(self.doubtful)
        other.has_run, other.sve_finalized = self.has_run, self.sve_finalized
        return other
