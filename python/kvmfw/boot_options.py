"""A kernel's command line: the only place that reads one.

As the kernel does (`parse_args` in kernel/params.c, read in a tree of 6.x; quotes as its documentation has them): words stand
between spaces, but for those inside of double quotes; dashes and underscores of a name are the same; what follows `--` is for
init.
Options come in the order in which they are given, as most handlers keep what they are called with last, and some collect.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["BootOption", "given_options", "options_in_effect"]

_WORD = re.compile(r'(?:[^\s"]|"[^"]*(?:"|$))+')


@dataclass(frozen=True, slots=True)
class BootOption:
    """One option as it is given.

    Attributes
    ----------
    name : str
        Its name, with underscores for dashes.
    value : str or None
        What stands behind ``=``, without quotes; None where there is none.
    text : str
        The word itself.
    """

    name: str
    value: str | None
    text: str


def given_options(text: str) -> Iterator[BootOption]:
    """Read a command line, in its order.

    Examples
    --------
    >>> [(one.name, one.value) for one in given_options('kvm-arm.mode=nvhe dyndbg="file a +p" ro -- single')]
    [('kvm_arm.mode', 'nvhe'), ('dyndbg', 'file a +p'), ('ro', None)]
    """
    for word in _WORD.findall(text):
        if word == "--":
            return
        name, equals, value = word.replace('"', "").partition("=")
        yield BootOption(name.replace("-", "_"), value if equals else None, word)


def options_in_effect(text: str) -> dict[str, BootOption]:
    """Give the options of a command line by name: of one that is given several times the last.

    >>> options_in_effect("mitigations=off mitigations=auto")["mitigations"].value
    'auto'
    """
    return {one.name: one for one in given_options(text)}
