"""Working behind: what came is worked on while what comes next is made."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

__all__ = ["behind", "read_through"]

T = TypeVar("T")
R = TypeVar("R")

_MOST_AT_WORK = 2
"""Items of tables are in turn large and a single VM: with one alone the thread would wait for each of both."""


def behind(work: Callable[[T], R], items: Iterable[T], is_short: Callable[[T], bool]) -> Iterator[R]:
    """Give what ``work`` makes of each item, in order: by a thread of its own, while the next ones are asked for here.

    Items are asked for by the caller's thread, as some sources belong to it. Work that is not short is done there too, where
    signals are seen; so is all of it where there can be no other thread.

    >>> list(behind(str, range(3), lambda item: item != 1))
    ['0', '1', '2']
    """
    with ThreadPoolExecutor(1, "kvmfw-behind") as worker:
        at_work: deque[Future[R]] = deque()
        has_thread = True
        try:
            for item in _or_broken(items):
                if isinstance(item, _Broken):
                    # What was made of earlier ones, or was wrong with them, comes before what is wrong with the source.
                    while at_work:
                        yield at_work.popleft().result()
                    raise item.error
                if has_thread and is_short(item):
                    try:
                        at_work.append(worker.submit(work, item))
                    except RuntimeError:
                        # What is submitted to nobody stays undone; had there been a thread later, it would be done twice.
                        has_thread = False
                    else:
                        if len(at_work) > _MOST_AT_WORK:
                            yield at_work.popleft().result()
                        continue
                while at_work:
                    yield at_work.popleft().result()
                yield work(item)
            while at_work:
                yield at_work.popleft().result()
        finally:
            for waiting in at_work:
                waiting.cancel()


def read_through(items: Iterable[T]) -> Iterator[T]:
    """Read a source to its end now. What is wrong with it comes where it came: after the items before it."""
    return _given(list(_or_broken(items)))


def _given(items: Iterable[T | _Broken]) -> Iterator[T]:
    for item in items:
        if isinstance(item, _Broken):
            raise item.error
        yield item


@dataclass(frozen=True, slots=True)
class _Broken:
    """In place of the next item: why there is none."""

    error: Exception


def _or_broken(items: Iterable[T]) -> Iterator[T | _Broken]:
    try:
        yield from items
    except Exception as error:
        yield _Broken(error)
