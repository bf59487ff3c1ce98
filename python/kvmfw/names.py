"""Names of VMs or hosts by row: a string is made when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from operator import index
from typing import overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from kvmfw import _native

__all__ = ["Names", "Texts", "arrow_texts", "ascend", "names_of", "texts_of"]

Texts = tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]
"""Where each text starts, with the end of the last one, and the bytes of all."""

_BLOCK = 1 << 16


def texts_of(names: pa.Array) -> Texts:
    """Give the buffers of names; what has none is empty."""
    names = names.cast(pa.large_string())
    if names.null_count:
        names = names.fill_null("")
    _, starts, text = names.buffers()
    if len(names) == 0 or starts is None:
        return np.zeros(len(names) + 1, dtype=np.int64), np.empty(0, dtype=np.uint8)
    ends = np.frombuffer(starts, dtype=np.int64)[names.offset : names.offset + len(names) + 1]
    first, last = int(ends[0]), int(ends[-1])
    if text is None or first == last:
        return ends - first, np.empty(0, dtype=np.uint8)
    return ends - first, np.frombuffer(text, dtype=np.uint8)[first:last]


def names_of(names: pa.Array) -> Texts | npt.NDArray[np.int64]:
    """Give the buffers of names; of numbers themselves, whose digits are the names.

    >>> names_of(pa.array([7, 12], pa.uint8()))
    array([ 7, 12])
    """
    if pa.types.is_integer(names.type) and not names.null_count:
        with suppress(pa.ArrowInvalid):
            numbers: npt.NDArray[np.int64] = names.cast(pa.int64()).to_numpy()
            return np.require(numbers, requirements=["C", "A"])
    return texts_of(names)


def ascend(names: pa.Array) -> bool:
    """Tell whether each name is greater than the one before it.

    >>> ascend(pa.array(["a", "b"])), ascend(pa.array(["a", "a"])), ascend(pa.array([], pa.string()))
    (True, False, True)
    """
    return len(names) < 2 or bool(pc.all(pc.less(names[:-1], names[1:])).as_py())


def arrow_texts(texts: Texts) -> pa.Array:
    """Give texts as an Arrow array."""
    starts, text = texts
    buffers = [None, pa.py_buffer(starts), pa.py_buffer(text)]
    return pa.Array.from_buffers(pa.large_string(), len(starts) - 1, buffers)


class Names(Sequence[str]):
    """The names of all VMs, or of all hosts, of one version of a fleet."""

    __slots__ = ("_native", "_of_hosts")

    def __init__(self, native: _native.Snapshot, *, of_hosts: bool) -> None:
        self._native = native
        self._of_hosts = of_hosts

    def to_arrow(self, rows: slice = slice(None)) -> pa.Array:
        """Give the names of some rows, which follow each other, as an Arrow array."""
        start, stop, _ = rows.indices(len(self))
        return arrow_texts(self._native.names(self._of_hosts, start, max(start, stop)))

    def take(self, rows: npt.NDArray[np.int64]) -> list[str]:
        """Give the names in some rows, in any order: many take a tenth of the time of one after the other.

        Parameters
        ----------
        rows : array of int64
            Rows, each from 0 on.

        Raises
        ------
        IndexError
            When there is no such row.

        Examples
        --------
        >>> import kvmfw
        >>> from kvmfw.testing import tiny_host, tiny_set
        >>> fleet = kvmfw.Fleet([tiny_set(name="a"), tiny_set(name="b")], [tiny_host()])
        >>> fleet.vm_names.take(np.array([1, 0, 1]))
        ['b', 'a', 'b']
        """
        # A row below zero is none: as a number without a sign it is far beyond the last.
        names = arrow_texts(self._native.names_at(self._of_hosts, rows.astype(np.uint64)))
        if len(names) != len(rows):
            stray = int(rows[(rows < 0) | (rows >= len(self))][0])
            raise IndexError(f"row {stray} is out of range; there are {len(self)}")
        taken: list[str] = names.to_pylist()
        return taken

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return self.take(np.arange(*row.indices(len(self))))
        count, at = len(self), index(row)
        name = self._native.name(self._of_hosts, at % count) if -count <= at < count else None
        if name is None:
            raise IndexError(f"row {row} is out of range; there are {count}")
        return name

    def __len__(self) -> int:
        return self._native.sizes()[int(self._of_hosts)]

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _BLOCK):
            yield from self.to_arrow(slice(start, start + _BLOCK)).to_pylist()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    def __copy__(self) -> Names:
        return self

    def __deepcopy__(self, memo: object) -> Names:
        # A version does not change: a copy would be the same.
        return self

    def __reduce__(self) -> tuple[type[list[str]], tuple[list[str]]]:
        # The version stays where it is; names go as what they are equal to.
        return list, (list(self),)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Names: {len(self)}>"
