"""Numbers as formats write them: ASCII digits and nothing else.

Python's own `int` takes more: underscores, blanks, signs, digits of any script.
"""

from __future__ import annotations

import re

__all__ = ["decimal", "hexadecimal", "number"]

_HEXADECIMAL = re.compile(r"0[xX][0-9a-fA-F]{1,512}", re.ASCII)
"""As many digits as the widest register has."""
_DECIMAL = re.compile(r"[0-9]{1,20}", re.ASCII)
"""As many digits as 64 bits have."""


def hexadecimal(text: str) -> int | None:
    """Give the number that is written as 0x and hexadecimal digits; None for any other text.

    >>> hexadecimal("0x1F"), hexadecimal("1F"), hexadecimal("0x1_0")
    (31, None, None)
    """
    return int(text, 16) if _HEXADECIMAL.fullmatch(text) else None


def decimal(text: str) -> int | None:
    """Give the number that is written as decimal digits; None for any other text.

    >>> decimal("017"), decimal("+7"), decimal("\u0667")
    (17, None, None)
    """
    return int(text) if _DECIMAL.fullmatch(text) else None


def number(text: str) -> int | None:
    """Give the number that is written as decimal digits, or as 0x and hexadecimal ones.

    >>> number("0x10"), number("10"), number("0b10")
    (16, 10, None)
    """
    found = hexadecimal(text)
    return decimal(text) if found is None else found
