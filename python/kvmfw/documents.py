"""The one door for JSON: parsed strictly, then converted to a type, so that nobody walks what was not checked."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import msgspec

from kvmfw.errors import FormatError

__all__ = ["parsed_json", "typed"]

T = TypeVar("T")

_LONGEST_NUMBER = 400
"""Digits; the widest register has 2048 bits, which no format writes as a number."""
_VALIDATION = re.compile(r"(?P<problem>.*?)(?: - at `(?P<place>[^`]*)`)?\Z", re.DOTALL)


def parsed_json(data: bytes | str, path: Path | None = None) -> Any:
    """Parse JSON; errors name line and column.

    Stricter than Python's own: an object with one name twice, NaN and infinities, and numbers without bound are errors.

    Raises
    ------
    FormatError
        When it is not such a document.

    Examples
    --------
    >>> parsed_json('{"a": [1, 2]}')
    {'a': [1, 2]}
    >>> parsed_json('{"a": 1, "a": 2}')
    Traceback (most recent call last):
    ...
    kvmfw.errors.FormatError: the name `a` stands twice in one object
    """
    file = None if path is None else str(path)
    try:
        found = json.loads(
            data,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_int=_integer,
            parse_float=_float,
        )
        if "\\u" in data if isinstance(data, str) else b"\\u" in data:
            _check_texts(found)
        return found
    except FormatError as error:
        error.file = file
        raise
    except UnicodeDecodeError as error:
        raise FormatError(
            f"the text is not UTF-8: {error.reason}", f"byte {error.start}", file=file
        ) from error
    except json.JSONDecodeError as error:
        early = " (the document ends too early)" if error.pos >= len(error.doc.rstrip()) else ""
        raise FormatError(
            f"this is not JSON: {error.msg}{early}", f"line {error.lineno} column {error.colno}", file=file
        ) from error
    except RecursionError as error:
        raise FormatError("the document is nested too deeply", file=file) from error


def _check_texts(found: Any) -> None:
    r"""Find escapes that are no letters: half of a pair, such as `\ud800`, is text that nobody can write on."""
    if isinstance(found, str):
        try:
            found.encode()
        except UnicodeEncodeError as error:
            half = f"\\u{ord(found[error.start]):04x}"
            raise FormatError(f"`{half}` is no letter but half of a pair") from error
    elif isinstance(found, dict):
        for name, value in found.items():
            _check_texts(name)
            _check_texts(value)
    elif isinstance(found, list):
        for one in found:
            _check_texts(one)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for at, name in enumerate(names) if name in names[:at])
        raise FormatError(f"the name `{twice[:64]}` stands twice in one object")
    return found


def _constant(text: str) -> NoReturn:
    raise FormatError(f"`{text}` is not a number of JSON")


def _integer(text: str) -> int:
    if len(text) > _LONGEST_NUMBER:
        raise FormatError(f"a number of {len(text)} digits is longer than any that is expected")
    return int(text)


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise FormatError(f"the number `{text[:32]}` is too large")
    return number


def typed(document: Any, kind: type[T], place: str = "") -> T:
    """Convert a parsed document to a type; an error names the place in it and what was expected.

    Parameters
    ----------
    document
        What `parsed_json` gave, or a part of it.
    kind : type
        A `msgspec.Struct`, a dict or list of types, ...
    place : str
        Where the part stands in its document.

    Raises
    ------
    FormatError
        When it is not of this type.

    Examples
    --------
    >>> typed({"a": [1, "x"]}, dict[str, list[int]], "vm")
    Traceback (most recent call last):
    ...
    kvmfw.errors.FormatError: vm[...][1]: expected `int`, got `str`
    """
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        match = _VALIDATION.match(str(error))
        problem, where = (match["problem"], match["place"] or "") if match else (str(error), "")
        found = (place + where.removeprefix("$")).lstrip(".")
        raise FormatError(problem[:1].lower() + problem[1:], found) from error
    except RecursionError as error:
        raise FormatError("the document is nested too deeply", place) from error
