"""Names of VMs by row: kept as Arrow arrays."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["Names"]


class Names(Sequence[str]):
    """Names by row, kept as Arrow arrays: a string is made when it is asked for."""

    __slots__ = ("_all", "_ascending", "_chunks", "_ends")

    def __init__(self, *chunks: pa.Array) -> None:
        self._chunks: list[pa.Array] = []
        self._ends: list[int] = []
        # How many names, from the first on, are known to ascend; while all do, none needs to be looked up.
        self._ascending = 0
        self._all: set[str] | None = None
        for chunk in chunks:
            self.append(chunk)

    def append(self, chunk: pa.Array) -> None:
        """Append names; an array of nulls stands for rows without one."""
        if (
            self._chunks
            and len(chunk) == 1
            and len(self._chunks[-1]) < 1024
            and chunk.type == self._chunks[-1].type
        ):
            # One VM at a time: many tiny arrays would take more than the names.
            self._chunks[-1] = pa.concat_arrays([self._chunks[-1], chunk])
            self._ends[-1] += 1
        elif len(chunk):
            self._chunks.append(chunk)
            self._ends.append(len(self) + len(chunk))
        if self._all is not None:
            self._all.update(str(name) for name in chunk.to_pylist())

    def repeated(self, names: pa.Array) -> list[int]:
        """Give the places of names that are here already, or stand earlier among these; no name occurs as often as it likes.

        >>> Names(pa.array(["b", "a"])).repeated(pa.array(["c", "a", "c", "", ""]))
        [1, 2]
        """
        if self._all is None and self._ascending == len(self) and self._ascend(names):
            self._ascending += len(names)
            return []
        if not any(names.to_pylist()):
            return []
        if self._all is None:
            self._all = set(self)
        new: set[str] = set()
        places = []
        for at, name in enumerate(str(name) for name in names.to_pylist()):
            if name and (name in self._all or name in new):
                places.append(at)
            new.add(name)
        return places

    def __contains__(self, name: object) -> bool:
        if self._all is None:
            self._all = set(self)
        return name in self._all

    def _ascend(self, names: pa.Array) -> bool:
        if len(names) == 0:
            return True
        if len(self):
            last, first = self._chunks[-1][-1].as_py(), names[0].as_py()
            if not isinstance(first, type(last)) or not last < first:
                return False
        return len(names) == 1 or bool(pc.all(pc.less(names[:-1], names[1:])).as_py())

    def remove(self, rows: npt.NDArray[np.intp]) -> None:
        """Take rows away; the ones after them move up."""
        keep = np.ones(len(self), dtype=bool)
        keep[rows] = False
        if self._all is not None:
            self._all.difference_update(self[int(row)] for row in rows)
        ascending = self._ascending == len(self)
        starts = [0, *self._ends[:-1]]
        parts = zip(self._chunks, starts, self._ends, strict=True)
        chunks = [chunk.filter(pa.array(keep[start:end])) for chunk, start, end in parts]
        self._chunks, self._ends = [], []
        for chunk in chunks:
            self.append(chunk)
        self._ascending = len(self) if ascending else 0

    @property
    def chunks(self) -> Sequence[pa.Array]:
        """The Arrow arrays, one after the other."""
        return tuple(self._chunks)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self[at] for at in range(*row.indices(len(self)))]
        at = int(row) + (len(self) if row < 0 else 0)
        if not 0 <= at < len(self):
            raise IndexError(f"row {row} is out of range; there are {len(self)}")
        chunk = bisect_right(self._ends, at)
        start = self._ends[chunk - 1] if chunk else 0
        name = self._chunks[chunk][at - start].as_py()
        return name if isinstance(name, str) else str(name)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __iter__(self) -> Iterator[str]:
        for chunk in self._chunks:
            for name in chunk.to_pylist():
                yield name if isinstance(name, str) else str(name)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Names: {len(self)}>"
