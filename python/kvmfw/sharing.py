"""Sharing: of vCPUs that no host can tell apart the set of the first is kept, and of the others what differs from it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kvmfw import _native
from kvmfw.readers.blocks import Block, Wide

__all__ = ["NewSet", "Sharing"]

_Ints = npt.NDArray[np.int64]
_Words = npt.NDArray[np.uint64]
_MOST_SHARED = 1 << 17
"""So many sets are remembered with their values, of which others may differ; later ones stand by themselves."""
_SHAPE_BITS = 32


@dataclass(frozen=True, slots=True)
class NewSet:
    """A set that was not there: its name, how the vCPU is made, ids, values, registers wider than 8 bytes."""

    name: str
    words: str
    register: _Words
    value: _Words
    wide: Wide


@dataclass
class Sharing:
    """The sets of a fleet on disk.

    Attributes
    ----------
    names : list of str
        The name of each set: a digest of its content.
    """

    names: list[str] = field(default_factory=list)
    _numbers: dict[str, int] = field(default_factory=dict)
    _kinds: dict[bytes, int] = field(default_factory=dict)
    _shapes: dict[bytes, int] = field(default_factory=dict)
    _shared: dict[int, tuple[int, _Words]] = field(default_factory=dict)

    def take(self, block: Block, kept: _Ints) -> tuple[pa.Array, list[pa.Array], list[NewSet]]:
        """Give for some vCPUs of a block which set each has, the registers and values in which it differs, and the new sets."""
        kinds = {kind: self._kinds.setdefault(key, len(self._kinds)) for kind, key in block.keys.items()}
        numbers = np.zeros(max(kinds, default=0) + 1, dtype=np.int64)
        numbers[list(kinds)] = list(kinds.values())
        shapes = self._shapes_of(block)[kept]
        keys = numbers[block.kinds[kept]] << _SHAPE_BITS | shapes
        if block.wide:
            # What no column of words holds is not compared: such a vCPU has a set of its own.
            keys[np.isin(kept, list(block.wide))] = -1 - np.arange(np.isin(kept, list(block.wide)).sum())
        distinct, first, of = np.unique(keys, return_index=True, return_inverse=True)
        sets = np.empty(len(distinct), dtype=np.int64)
        new: list[NewSet] = []
        bases: dict[int, _Words] = {}
        own = np.zeros(len(kept), dtype=np.bool_)
        for at in np.argsort(first).tolist():
            key = int(distinct[at])
            if key in self._shared:
                sets[at], bases[at] = self._shared[key]
                continue
            sets[at], made = self._added(block, int(kept[first[at]]), new)
            if key >= 0 and len(self._shared) < _MOST_SHARED:
                self._shared[key] = int(sets[at]), made.copy()
                bases[at] = made
            else:
                own |= of == at
        numbers_of = sets[of]
        places = np.flatnonzero(own)
        for place in places.tolist():
            numbers_of[place], _ = self._added(block, int(kept[place]), new)
        differing = self._differing(block, kept, of, bases)
        used, place_of = np.unique(numbers_of, return_inverse=True)
        names = pa.array([self.names[number] for number in used.tolist()], pa.string())
        return names.take(pa.array(place_of)), differing, new

    def _shapes_of(self, block: Block) -> _Ints:
        """Give each vCPU the number of its ids."""
        count = len(block)
        lengths = np.diff(block.starts)
        if count and (lengths == lengths[0]).all():
            table = block.register.reshape(count, -1)
            if (table == table[0]).all():
                number = self._shapes.setdefault(table[0].tobytes(), len(self._shapes))
                return np.full(count, number, dtype=np.int64)
        ids = (
            block.register[start:end].tobytes()
            for start, end in zip(block.starts, block.starts[1:], strict=False)
        )
        return np.array([self._shapes.setdefault(one, len(self._shapes)) for one in ids], dtype=np.int64)

    def _added(self, block: Block, at: int, new: list[NewSet]) -> tuple[int, _Words]:
        """Give the number of the set of one vCPU, and its values."""
        rows = slice(int(block.starts[at]), int(block.starts[at + 1]))
        register, value = block.register[rows], block.value[rows]
        words, wide = block.words[int(block.kinds[at])], block.wide.get(at, [])
        state = hashlib.blake2b(words.encode(), digest_size=16)
        state.update(np.stack([register, value], axis=1).astype("<u8", copy=False).tobytes())
        for id_, content in wide:
            state.update(id_.to_bytes(8, "little") + content)
        name = state.hexdigest()
        number = self._numbers.setdefault(name, len(self.names))
        if number == len(self.names):
            self.names.append(name)
            new.append(NewSet(name, words, register, value, wide))
        return number, value

    @staticmethod
    def _differing(block: Block, kept: _Ints, of: _Ints, bases: dict[int, _Words]) -> list[pa.Array]:
        """Give registers and values in which vCPUs differ from their sets, as lists."""
        base_of = np.full(int(of.max(initial=-1)) + 1, -1, dtype=np.int64)
        base_of[list(bases)] = np.arange(len(bases))
        starts = np.cumsum([0, *map(len, bases.values())])
        words = np.concatenate(list(bases.values())) if bases else np.zeros(0, np.uint64)
        offsets, *columns = _native.differing(
            block.starts, block.register, block.value, kept, base_of[of], starts, words
        )
        return [pa.ListArray.from_arrays(pa.array(offsets), pa.array(column)) for column in columns]
