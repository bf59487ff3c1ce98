"""Keys: whole numbers by which VMs are counted."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["counted", "numbered"]

Ints = npt.NDArray[np.int64]

# Up to so many numbers are counted in a table with a place for each, however few keys there are: it stays in a core's cache.
_FEW_KEYS = 1 << 16


def counted(keys: Ints, weight: Ints | None = None) -> tuple[Ints, Ints]:
    """Give distinct keys ascending, and how often each occurs; a key counts `weight` times, which is not 0."""
    if _is_sparse(keys):
        used, counts = np.unique(keys, return_counts=True)
        if weight is not None:
            counts = np.bincount(np.searchsorted(used, keys), weight, minlength=len(used))
        return used, counts.astype(np.int64)
    counts = np.bincount(keys, weight)
    used = np.flatnonzero(counts)
    return used, counts[used].astype(np.int64)


def numbered(keys: Ints, weight: Ints | None = None) -> tuple[Ints, Ints, Ints]:
    """Give distinct keys ascending, how often each occurs, and the number of each key among them."""
    if _is_sparse(keys):
        used, number_of = np.unique(keys, return_inverse=True)
        counts = np.bincount(number_of, weight, minlength=len(used))
        return used, counts.astype(np.int64), number_of
    used, counts = counted(keys, weight)
    places = np.empty(int(keys.max(initial=-1)) + 1, dtype=np.int64)
    places[used] = np.arange(len(used))
    return used, counts, places[keys]


def _is_sparse(keys: Ints) -> bool:
    """Tell whether a table with a place for each number up to the greatest would be too large."""
    return int(keys.max(initial=-1)) >= max(_FEW_KEYS, 4 * len(keys))
