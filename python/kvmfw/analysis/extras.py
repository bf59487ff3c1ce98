"""Libraries that only reports need, imported when they are needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from kvmfw.errors import KvmfwError

__all__ = ["MissingExtraError", "need"]


class MissingExtraError(KvmfwError, ImportError):
    """A library that is not installed."""


def need(name: str) -> Any:
    """Import a library of the extra ``report``.

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
            f"{library} is not installed; `pip install 'kvmfw[report]'` brings it"
        ) from error
