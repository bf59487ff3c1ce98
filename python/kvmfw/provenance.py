"""Where a result comes from: which kvmfw, when, from which inputs. What is printed for machines and for auditors says it."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from kvmfw import _native
from kvmfw.quoting import utf8

__all__ = ["Input", "Provenance", "digest", "provenance"]


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a result.

    Attributes
    ----------
    name : str
        The path, as it was given.
    sha256 : str or None
        Its `digest`; None for what is no file and no folder, which can be read only once.
    """

    name: str
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a result comes from.

    Attributes
    ----------
    kvmfw : str
        The version of kvmfw.
    made : str
        When, in UTC (ISO 8601, to the second); the environment variable ``SOURCE_DATE_EPOCH`` sets it.
    command : tuple of str
        The command line, without the path of the program.
    inputs : tuple of Input
        What it was made from.
    """

    kvmfw: str
    made: str
    command: tuple[str, ...]
    inputs: tuple[Input, ...]


def provenance(inputs: Iterable[Path] = ()) -> Provenance:
    """Say where the result of this run comes from.

    Examples
    --------
    >>> import os
    >>> os.environ["SOURCE_DATE_EPOCH"] = "1767225600"
    >>> provenance().made
    '2026-01-01T00:00:00Z'
    >>> del os.environ["SOURCE_DATE_EPOCH"]
    """
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    now = datetime.fromtimestamp(int(epoch), UTC) if epoch.isdecimal() else datetime.now(UTC)
    return Provenance(
        _native.build_info()[0],
        now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        ("kvmfw", *map(utf8, sys.argv[1:])),
        tuple(Input(utf8(str(path)), digest(path)) for path in inputs),
    )


def digest(path: Path) -> str | None:
    """Give the SHA-256 of a file, or of what a folder holds; None for what is neither (a pipe, standard input).

    That of a folder is what ``find -L . -type f ! -path './generations/*' ! -path './current/*' ! -path '*/.*' | LC_ALL=C
    sort | xargs sha256sum | sha256sum`` prints in it: of a fleet on disk, its newest generation.

    Raises
    ------
    OSError
        When it cannot be read.
    """
    if path.is_dir():
        whole = hashlib.sha256()
        for name in sorted(_names(path), key=os.fsencode):
            whole.update(b"%s  ./%s\n" % (_of_file(path / name).encode(), os.fsencode(name)))
        return whole.hexdigest()
    return _of_file(path) if path.is_file() else None


def _names(folder: Path) -> Iterator[str]:
    for place, folders, files in os.walk(folder, followlinks=True):
        top = Path(place) == folder
        others = {"generations", "current"} if top else set[str]()
        folders[:] = [name for name in folders if not name.startswith(".") and name not in others]
        for name in files:
            if not name.startswith(".") and (Path(place) / name).is_file():
                yield (Path(place) / name).relative_to(folder).as_posix()


def _of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
