"""Names, quoted for where they go. No name is restricted, so each output says here what it does with one."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import quote

__all__ = ["csv_cell", "json_text", "markdown_cell", "printable", "shell_word", "uri", "utf8"]

# What a spreadsheet takes for the start of a formula (OWASP, CSV injection).
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
# What GitHub's Markdown reads as more than the letter, inside a cell of a table.
_MARKDOWN = re.compile(r"[\\|`*~\[\]]")


def printable(text: str) -> str:
    r"""Give a text as one line that steers no terminal.

    >>> printable("vm\x1b[2J")
    'vm�[2J'
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def utf8(path: str) -> str:
    r"""Give the name of a file as text that every format can hold: bytes that are not UTF-8 are told by number.

    >>> utf8("vm\udcff")
    'vm\\xff'
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def shell_word(text: str) -> str:
    """Give a text as one word of a POSIX shell.

    >>> shell_word("a b")
    "'a b'"
    """
    return shlex.quote(printable(text))


def csv_cell(text: str) -> str:
    """Give a text as a cell that no spreadsheet computes: an apostrophe before what begins like a formula.

    >>> csv_cell("=1+1"), csv_cell("vm-1")
    ("'=1+1", 'vm-1')
    """
    return f"'{text}" if text.startswith(_FORMULA) else text


def markdown_cell(text: str) -> str:
    r"""Give a text as a cell of a Markdown table: no link, no image, no HTML, nobody mentioned.

    >>> markdown_cell("a|b @all")
    'a\\|b &#64;all'
    """
    escaped = _MARKDOWN.sub(r"\\\g<0>", printable(text.replace("\n", " ")))
    return escaped.replace("<", "&lt;").replace("@", "&#64;")


def uri(path: Path) -> str:
    """Give a path as a URI reference: relative paths stay relative.

    >>> uri(Path("my fleet"))
    'my%20fleet'
    """
    return path.as_uri() if path.is_absolute() else quote(os.fsencode(path))


def json_text(data: Any) -> str:
    r"""Give JSON as people read it, with what steers a terminal escaped as JSON can.

    >>> print(json_text({"name": "vm\x9b"}))
    {
     "name": "vm\u009b"
    }
    """
    text = json.dumps(data, indent=1, ensure_ascii=False)
    return "".join(letter if letter.isprintable() or letter == "\n" else _escaped(letter) for letter in text)


def _escaped(letter: str) -> str:
    return json.dumps(letter)[1:-1]
