"""Names that were taken in: while they ascend, none needs to be looked up."""

from __future__ import annotations

import pyarrow as pa

from kvmfw.names import ascend

__all__ = ["Seen"]


class Seen:
    """The names of VMs that were taken in, in any order; those that came ascending are not made into objects."""

    def __init__(self) -> None:
        self._parts: list[pa.Array] = []
        self._last: str | None = None
        self._looked_up: set[str] | None = None

    def ascend(self, names: pa.Array) -> bool:
        """Take names that are greater than all before them, each than the one before it; False: nothing was taken.

        >>> seen = Seen()
        >>> seen.ascend(pa.array(["a", "c"])), seen.ascend(pa.array(["b"])), "c" in seen, "b" in seen
        (True, False, True, False)
        """
        if self._looked_up is not None:
            return False
        if len(names) == 0:
            return True
        first: str = names[0].as_py()
        if self._last is not None and not self._last < first:
            return False
        if not ascend(names):
            return False
        self._parts.append(names)
        self._last = names[-1].as_py()
        return True

    def add(self, name: str) -> None:
        """Take a name that came out of order."""
        self._set().add(name)

    def __contains__(self, name: str) -> bool:
        return name in self._set()

    def _set(self) -> set[str]:
        if self._looked_up is None:
            self._looked_up = {name for part in self._parts for name in part.to_pylist()}
            self._parts = []
        return self._looked_up

    def names(self) -> pa.Array:
        """Give all names."""
        if self._looked_up is not None:
            return pa.array(self._looked_up, pa.string())
        return pa.chunked_array(self._parts, pa.string()).combine_chunks()
