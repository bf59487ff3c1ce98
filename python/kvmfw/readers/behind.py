"""Working behind: what came is worked on while what comes next is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["behind"]

T = TypeVar("T")
R = TypeVar("R")


def behind(work: Callable[[T], R], items: Iterable[T], is_short: Callable[[T], bool]) -> Iterator[R]:
    """Give what ``work`` makes of each item, in order: by a thread of its own, while the next one is asked for here.

    Items are asked for by the caller's thread, as some sources belong to it. Work that is not short is done there too, where
    signals are seen; so is all of it where there can be no other thread.

    >>> list(behind(str, range(3), lambda item: item != 1))
    ['0', '1', '2']
    """
    with ThreadPoolExecutor(1, "kvmfw-behind") as worker:
        at_work: Future[R] | None = None
        has_thread = True
        try:
            for item in items:
                if at_work is not None:
                    done, at_work = at_work, None
                    yield done.result()
                if has_thread and is_short(item):
                    try:
                        at_work = worker.submit(work, item)
                    except RuntimeError:
                        # What is submitted to nobody stays undone; had there been a thread later, it would be done twice.
                        has_thread = False
                if at_work is None:
                    yield work(item)
        except Exception:
            # What was wrong with an earlier item comes first.
            if at_work is not None:
                at_work.result()
            raise
        if at_work is not None:
            yield at_work.result()
