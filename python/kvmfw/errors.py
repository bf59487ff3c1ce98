"""What can go wrong with input: one hierarchy. A refused pair is data, never an exception."""

from __future__ import annotations

from typing import Any

__all__ = [
    "ArgumentError",
    "CopyError",
    "ForkError",
    "FormatError",
    "InputError",
    "InternalError",
    "KvmfwError",
    "MissingError",
    "RowError",
    "TruthError",
]


class KvmfwError(Exception):
    """Base of everything that kvmfw raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors come back from other processes as they were raised there, whatever they are made of.
        return _again, (type(self), self.args), self.__dict__


def _again(kind: type[KvmfwError], args: tuple[Any, ...]) -> KvmfwError:
    made = kind.__new__(kind)
    made.args = args
    return made


class InputError(KvmfwError, ValueError):
    """Input that cannot be used.

    Attributes
    ----------
    problem : str
        One sentence: what was found and what was expected.
    file : str or None
        The file it stands in, where there is one.
    """

    def __init__(self, problem: str, *, file: str | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.file = file

    def __str__(self) -> str:
        return self.problem if self.file is None else f"{self.file}: {self.problem}"


class ArgumentError(InputError):
    """An argument of a wrong type, dtype, length or name."""


class FormatError(InputError):
    """A document that is not what it says, or contradicts itself.

    Attributes
    ----------
    place : str
        Where in the document: a path such as ``answers[3].register``, or line and column.
    """

    def __init__(self, problem: str, place: str = "", *, file: str | None = None) -> None:
        super().__init__(problem, file=file)
        self.place = place

    def __str__(self) -> str:
        parts = [part for part in (self.file, self.place) if part]
        return ": ".join([*parts, self.problem])


class RowError(InputError):
    """A row of a batch that cannot be used.

    Attributes
    ----------
    row : int
        Number of the row in its input, from 0; -1 where the input is one document.
    others : tuple of tuple[int, str]
        Further bad rows of the same input: (row, problem).
    """

    def __init__(
        self, problem: str, row: int, others: tuple[tuple[int, str], ...] = (), *, file: str | None = None
    ) -> None:
        super().__init__(problem, file=file)
        self.row = row
        self.others = others

    def __str__(self) -> str:
        more = f" (and {len(self.others)} more bad rows)" if self.others else ""
        # A file of one document has no rows.
        place = f"row {self.row}: " if self.row >= 0 else ""
        said = f"{place}{self.problem}{more}"
        return said if self.file is None else f"{self.file}: {said}"


class MissingError(RowError, ArgumentError):
    """A VM, host or class that there is not: a row out of range, a name that nobody or several have, a handle of one that left.

    Attributes
    ----------
    row : int
        The row that was asked for, or the place of a pair in its batch; -1 where it was neither.
    """

    def __init__(self, problem: str, row: int | None = None) -> None:
        super().__init__(problem, -1 if row is None else row)

    def __str__(self) -> str:
        return self.problem


class TruthError(KvmfwError, ValueError):
    """Something that is neither true nor false stands where one of them is asked for, such as in an ``if``."""


class CopyError(KvmfwError, TypeError):
    """Something that cannot be copied or pickled."""


class ForkError(KvmfwError, RuntimeError):
    """Something that was made before its process was forked, while another thread was in a call: it may be half changed.

    What a child makes itself can be used, and so can what it inherits from a parent that was in no call.
    """


class InternalError(KvmfwError, RuntimeError):
    """A bug of kvmfw; please report it."""
