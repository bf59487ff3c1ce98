"""Whether names that different workers read are all different, found out without bringing them together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kvmfw.names import ascend, texts_of

__all__ = ["Span", "apart", "hashes_of"]

_Words = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Span:
    """The names of a file: the first and the last, and whether each is greater than the one before."""

    first: str = ""
    last: str = ""
    ascends: bool = True

    @classmethod
    def join(cls, spans: Iterable[Span]) -> Span:
        """Join those of parts that follow each other."""
        every = [span for span in spans if span.last]
        if not every:
            return cls()
        ascends = all(span.ascends for span in every) and all(a.last < b.first for a, b in pairwise(every))
        return cls(every[0].first, every[-1].last, ascends)


def span_of(names: pa.Array) -> Span:
    """Look at names in their order."""
    if len(names) == 0:
        return Span()
    return Span(names[0].as_py(), names[-1].as_py(), ascend(names))


def apart(spans: Iterable[Span]) -> bool:
    """Tell whether no name can be in two of these files: each ascends, and none begins before another ends."""
    every = sorted((span for span in spans if span.last), key=lambda span: span.first)
    return all(span.ascends for span in every) and all(a.last < b.first for a, b in pairwise(every))


def hashes_of(names: pa.Array) -> _Words:
    """Give a hash of each name, the same on every machine: its bytes, each times a number of its place."""
    starts, text = texts_of(names)
    lengths = np.diff(starts)
    if len(text) == 0:
        return lengths.astype(np.uint64)
    place = np.arange(len(text), dtype=np.int64) - np.repeat(starts[:-1], lengths)
    factors = np.random.default_rng(0).integers(0, 1 << 64, int(lengths.max()) + 1, dtype=np.uint64)
    # Bytes count from 1, so that no byte is like none.
    products = (text.astype(np.uint64) + np.uint64(1)) * factors[place]
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(products, dtype=np.uint64)])
    hashes: _Words = sums[starts[1:]] - sums[starts[:-1]]
    return hashes ^ hashes >> np.uint64(29)
