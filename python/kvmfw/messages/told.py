"""Lines of logs as what they tell: who says it, of which register, which value, which error."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from kvmfw.messages.forms import FORMS, About, Form

__all__ = ["Told", "in_the_way", "read_messages"]

_LISTS = re.compile(r"There are \d+ (new|missing) registers\.")
_ASIDE = frozenset({About.PASSED, About.LOAD, About.MOVE, About.NAMED})


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
    are_new = False
    for number, line in enumerate(lines, start=1):
        rest = line
        found: list[tuple[int, Told]] = []
        for form in FORMS:
            rest = _taken_out(form, rest, number, found)
        if heading := _LISTS.search(line):
            are_new = heading[1] == "new"
        for _, told in sorted(found, key=lambda row: row[0]):
            is_new = are_new and (told.speaker, told.about) == ("get-reg-list", About.ABSENT)
            yield replace(told, about=About.EXTRA) if is_new else told


def _taken_out(form: Form, line: str, number: int, found: list[tuple[int, Told]]) -> str:
    """Read what is of this form and take it out of the line: a wider form does not read it again."""

    def read(match: re.Match[str]) -> str:
        parts = form.read(match)
        if parts is None:
            return match[0]
        found.append((match.start(), Told(number, match[0].strip(), form.speaker, form.about, **parts)))
        return " " * len(match[0])

    return form.pattern.sub(read, line)


def in_the_way(found: Sequence[Told]) -> list[Told]:
    """Give the messages that tell of something refused; where there are none, all.

    A log that names a register that was refused also has lines that only follow from it, and registers that were taken.

    >>> [told.text for told in in_the_way([*read_messages(["fw reg 3", "load of migration failed: Invalid argument"])])]
    ['fw reg 3']
    """
    return [told for told in found if told.about not in _ASIDE] or [*found]
