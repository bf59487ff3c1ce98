"""Lines of logs as what they tell: who says it, of which register, which value, which error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kvmfw.messages.forms import FORMS, About, Form

__all__ = ["Told", "read_messages"]


@dataclass(frozen=True, slots=True)
class Told:
    """One message.

    Attributes
    ----------
    line : int
        Its line, from 1.
    text : str
        The message, without what stands around it in the line.
    speaker : str
        Who prints it.
    about : About
        What it is about.
    register : int or None
        The register, where the message names one.
    field : str or None
        The field of the register, where the message names one.
    saved, own : int or None
        The value that was written, and that the target has, where the message has them.
    errno : str or None
        KVM's error, where the message has it.
    counts : tuple of int or None
        How many registers were saved, and how many the target lists, where the message is about that.
    """

    line: int
    text: str
    speaker: str
    about: About
    register: int | None = None
    field: str | None = None
    saved: int | None = None
    own: int | None = None
    errno: str | None = None
    counts: tuple[int, int] | None = None


def read_messages(lines: Iterable[str]) -> Iterator[Told]:
    """Read the messages in lines of a log; all other lines are passed over.

    Examples
    --------
    >>> told = next(read_messages(["qemu: Could not set register fw reg 3 to 2 (is 1)"]))
    >>> hex(told.register), told.saved, told.own, told.errno
    ('0x6030000000140003', 2, 1, 'EINVAL')
    """
    for number, line in enumerate(lines, start=1):
        rest = line
        found: list[tuple[int, Told]] = []
        for form in FORMS:
            rest = _taken_out(form, rest, number, found)
        yield from (told for _, told in sorted(found, key=lambda row: row[0]))


def _taken_out(form: Form, line: str, number: int, found: list[tuple[int, Told]]) -> str:
    """Read what is of this form and take it out of the line: a wider form does not read it again."""
    for match in form.pattern.finditer(line):
        parts = form.read(match)
        if parts is None:
            continue
        found.append((match.start(), Told(number, match[0].strip(), form.speaker, form.about, **parts)))
        line = line[: match.start()] + " " * len(match[0]) + line[match.end() :]
    return line
