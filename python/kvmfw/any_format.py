"""Where `RegisterSet.load` and `Host.load` ask for other formats: readers know sets, not the other way round."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["other_host", "other_set", "read_other_formats"]

_Read = Callable[[str | Path], Any]
_readers: list[tuple[_Read, _Read]] = []


def read_other_formats(sets: _Read, hosts: _Read) -> None:
    """Let files of other formats be read by these, which give None where a file is none of theirs."""
    _readers.append((sets, hosts))


def other_set(path: str | Path) -> Any:
    """Give the register set of a file of another format; None where it is of none."""
    return next((found for read, _ in _readers if (found := read(path)) is not None), None)


def other_host(path: str | Path) -> Any:
    """Give the host of a file of another format; None where it is of none."""
    return next((found for _, read in _readers if (found := read(path)) is not None), None)
