"""One long call of a library, on a thread for which an interrupt need not wait."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["aside"]

R = TypeVar("R")

_MANY = 1 << 18
"""Rows: what is done with fewer is over before somebody notices."""


def aside(rows: int, work: Callable[[], R]) -> R:
    """Give what ``work`` makes of so many rows. Signals are seen meanwhile: what the thread makes then is thrown away.

    >>> aside(10**6, lambda: "made")
    'made'
    """
    if rows < _MANY:
        return work()
    worker = ThreadPoolExecutor(1, "kvmfw-aside")
    try:
        made = worker.submit(work)
    except RuntimeError:
        # There can be no other thread.
        return work()
    finally:
        worker.shutdown(wait=False)
    return made.result()
