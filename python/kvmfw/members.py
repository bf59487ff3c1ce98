"""Members of a batch: VMs or hosts that are told by rows, or one by one in any way."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from kvmfw.errors import ArgumentError
from kvmfw.roster import On, Vm

__all__ = ["Members", "members_of", "rows_of"]

Members = npt.ArrayLike | Iterable[Vm | On]
"""Some VMs, or some hosts: an array of rows, or rows, names and handles one by one."""


def rows_of(rows: npt.ArrayLike, name: str) -> npt.NDArray[Any]:
    """Give rows from outside as an array of integers that lie where the native module can read them.

    Buffers that came over a network need not start at a multiple of their width.
    """
    array = np.asarray(rows)
    if array.size and array.dtype.kind not in "iu":
        raise ArgumentError(f"`{name}` is of dtype {array.dtype}; expected integers")
    if array.ndim != 1:
        raise ArgumentError(f"`{name}` has {array.ndim} dimensions; expected one")
    return np.require(array, requirements=["A"])


def members_of(members: Members, name: str, row: Callable[[Any], int]) -> npt.NDArray[Any]:
    """Give the rows of members, who come as an array of rows, or one by one in any way; ``row`` finds one.

    Raises
    ------
    MissingError
        When one is not there.
    """
    if hasattr(members, "__array__"):
        array = np.asarray(members)
        if array.dtype.kind not in "OUT":
            return rows_of(array, name)
        members = array.tolist()
    if isinstance(members, str | bytes) or not isinstance(members, Iterable):
        raise ArgumentError(f"`{name}` is {members!r}; expected rows, names or handles")
    listed = list(members)
    if all(type(one) is int for one in listed):
        with suppress(OverflowError):
            return np.array(listed, dtype=np.int64)
    return np.fromiter((row(one) for one in listed), dtype=np.int64, count=len(listed))
