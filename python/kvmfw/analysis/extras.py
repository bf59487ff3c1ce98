"""Libraries of extras, imported when they are needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from kvmfw.errors import KvmfwError

__all__ = ["MissingExtraError", "need"]


class MissingExtraError(KvmfwError, ImportError):
    """A library that is not installed."""


def need(name: str, extra: str) -> Any:
    """Import a library of an extra.

    Raises
    ------
    MissingExtraError
        When it is not installed; the sentence says how to get it.
    """
    try:
        return import_module(name)
    except ImportError as error:
        library = name.partition(".")[0]
        raise MissingExtraError(
            f"{library} is not installed; `pip install 'kvmfw[{extra}]'` brings it"
        ) from error
