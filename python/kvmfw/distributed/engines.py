"""Engines: who runs one function on many items, anywhere, and again where a worker died."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from typing import Any, Protocol, TypeVar

from kvmfw.errors import ArgumentError, KvmfwError

__all__ = ["ENGINES", "Run", "attempted", "engine"]

ENGINES = ("local", "ray", "spark")
"""This process, one file after another; a Ray cluster (``RAY_ADDRESS``, else one of this machine); the Spark of
``spark-submit``, else one of this machine."""

T = TypeVar("T")
U = TypeVar("U")


class Run(Protocol):
    """Who runs a function on items."""

    def __call__(self, function: Callable[[T], U], items: Sequence[T]) -> Iterator[tuple[int, U]]:
        """Give the number of each item with its result, in any order."""
        ...


def engine(name: str) -> Run:
    """Give an engine by its name.

    Raises
    ------
    ArgumentError
        When there is no such engine, or what it needs is not installed.
    """
    if name == "local":
        return _local
    if name not in ENGINES:
        raise ArgumentError(f"`{name}` is no engine; expected {', '.join(ENGINES)}")
    try:
        run: Run = import_module(f"kvmfw.distributed.{name}").run
    except ImportError as error:
        raise ArgumentError(f"the engine {name} is not installed: pip install 'kvmfw[{name}]'") from error
    return run


def _local(function: Callable[[T], U], items: Sequence[T]) -> Iterator[tuple[int, U]]:
    yield from enumerate(map(function, items))


def attempted(
    run: Run, function: Callable[..., U], items: Sequence[T], *args: Any
) -> Iterator[tuple[int, U]]:
    """Run a function, and raise here what it raises of input there: engines wrap what they hand back in words of their own."""
    for at, result in run(partial(_attempt, function, args), items):
        if isinstance(result, KvmfwError):
            raise result
        yield at, result


def _attempt(function: Callable[..., U], args: tuple[Any, ...], item: Any) -> U | KvmfwError:
    try:
        return function(item, *args)
    except KvmfwError as error:
        return error
