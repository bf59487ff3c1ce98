"""Symbols of an image, from the table that a kernel has of its own (kallsyms).

How it lies in an image: `scripts/kallsyms.c` and `kernel/kallsyms.c`, read in 5.10, 6.1, 6.4, 6.12; what differs since is seen in
images (7.0 and later keep the distance of a symbol from its own entry). Always there and in this order are the names (length,
then tokens), a marker for each 256 of them, the 256 tokens and where each of those begins.
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from kvmfw.errors import FormatError
from kvmfw.kernels.image import Image

__all__ = ["Symbols", "read_symbols"]

_PAGE = 2 << 20
"""An image is linked to begin at a multiple of 2 MiB."""
_WINDOW = 16 << 20
_BLOCK = 256
_NO_SYMBOLS = "the image has no table of symbols (kallsyms) that is understood"
# Every digit is a token of itself.
_DIGITS = re.compile(b"".join(b"%d\0" % digit for digit in range(10)))


@dataclass(frozen=True)
class Symbols:
    """What is where in an image.

    Attributes
    ----------
    base : int
        The address at which the image is linked to begin.
    places : tuple of int
        Offsets in the image, ascending.
    names : tuple of str
        The name at each of them.
    """

    base: int
    places: tuple[int, ...]
    names: tuple[str, ...]

    @cached_property
    def _by_name(self) -> dict[str, int]:
        return dict(zip(reversed(self.names), reversed(self.places), strict=True))

    def __len__(self) -> int:
        return len(self.names)

    def place(self, name: str) -> int | None:
        """Give the offset of a symbol, of the first one where several have the name."""
        return self._by_name.get(name)

    def at(self, place: int) -> str | None:
        """Give a symbol that begins exactly here."""
        row = bisect_right(self.places, place) - 1
        return self.names[row] if row >= 0 and self.places[row] == place else None


def read_symbols(image: Image) -> Symbols:
    """Read the table of symbols.

    Raises
    ------
    FormatError
        When there is none, or none that is understood.
    """
    table, index, tokens = _tokens(image.data)
    markers, count_of_markers = _markers(image.data, table)
    names, start, places = _names(image.data, markers, count_of_markers)
    at, base = _offsets(image, start, index, len(names))
    texts = (_text(image.data, *name, tokens) for name in zip(names, places, strict=True))
    found = Symbols(base, tuple(at), tuple(texts))
    if found.place("_text") not in (None, 0):
        raise FormatError(f"{_NO_SYMBOLS}: `_text` is not at the beginning of the image")
    return found


def _tokens(data: bytes) -> tuple[int, int, list[bytes]]:
    """Find the tokens: where they begin, where the table of their beginnings ends, the tokens."""
    for match in _DIGITS.finditer(data):
        starts = [match.start()]
        while (
            len(starts) <= _BLOCK - ord("0")
            and (end := data.find(b"\0", starts[-1], starts[-1] + _BLOCK)) >= 0
        ):
            starts.append(end + 1)
        if len(starts) <= _BLOCK - ord("0"):
            continue
        end = starts.pop()
        for at in range(end + end % 2, end + 16, 2):
            row = data[at : at + 2 * _BLOCK]
            index = struct.unpack(f"<{len(row) // 2}H", row[: len(row) // 2 * 2])
            if len(index) < _BLOCK or index[0]:
                continue
            begin = starts[0] - index[ord("0")]
            if begin > 0 and [begin + one for one in index[ord("0") :]] == starts:
                return (
                    begin,
                    at + 2 * _BLOCK,
                    [data[begin + one : data.index(b"\0", begin + one)] for one in index],
                )
    raise FormatError(f"{_NO_SYMBOLS}: there are no tokens")


def _markers(data: bytes, table: int) -> tuple[int, list[int]]:
    """Find the markers before the tokens: the longest row of small steps up from 0."""
    begin = max(0, table - _WINDOW) // 4 * 4
    numbers = np.frombuffer(data, "<u4", (table - begin) // 4, begin).astype(np.int64)
    steps = np.diff(numbers)
    # 256 names have 2 to some 100 bytes each.
    grows = (steps >= 2 * _BLOCK) & (steps < 512 * _BLOCK)
    ends = np.flatnonzero(~np.append(grows, False))
    best = (0, 0)
    for start in np.flatnonzero((numbers[:-1] == 0) & grows).tolist():
        best = max(best, (int(ends[np.searchsorted(ends, start)]) - start + 1, start))
    length, start = best
    if length < 2:
        raise FormatError(f"{_NO_SYMBOLS}: there are no markers")
    return begin + 4 * start, numbers[start : start + length].tolist()


def _names(data: bytes, end: int, markers: list[int]) -> tuple[list[int], int, list[int]]:
    """Find the names before the markers, by their number, which stands before them."""
    last = markers[-1]
    for start in range((end - last) // 4 * 4, max(8, end - last - 512 * _BLOCK), -4):
        for before in (4, 8):
            (count,) = struct.unpack_from("<I", data, start - before)
            if (len(markers) - 1) * _BLOCK < count <= len(markers) * _BLOCK:
                found = _walked(data, start, count, markers)
                if found is not None and 0 <= end - found[2] < 8:
                    return found[0], start - before, found[1]
    raise FormatError(f"{_NO_SYMBOLS}: names and markers do not fit")


def _walked(
    data: bytes, start: int, count: int, markers: list[int]
) -> tuple[list[int], list[int], int] | None:
    at = start
    lengths, places = [], []
    for row in range(count):
        if row % _BLOCK == 0 and at - start != markers[row // _BLOCK]:
            return None
        length = data[at]
        at += 1
        if length & 0x80:  # since 6.1 long names have a second byte of length
            length = length & 0x7F | data[at] << 7
            at += 1
        lengths.append(length)
        places.append(at)
        at += length
        if at >= len(data):
            return None
    return lengths, places, at


def _text(data: bytes, length: int, at: int, tokens: list[bytes]) -> str:
    # The first letter is the symbol's kind.
    return b"".join([tokens[token] for token in data[at : at + length]])[1:].decode("ascii", "replace")


def _offsets(image: Image, start: int, index: int, count: int) -> tuple[list[int], int]:
    """Find where the symbols are: offsets in the image, and the address of its beginning."""
    data = image.data
    at = index + -index % 4
    if at + 4 * count <= len(data):
        own = np.frombuffer(data, "<i4", count, at).astype(np.int64) + np.arange(at, at + 4 * count, 4)
        # Since 7.0 from the entry itself, and the first symbols are code, which comes before all tables.
        if 0 <= own[0] < min(at, _PAGE) and (np.diff(own) >= 0).all():
            return own.tolist(), _base(image, own)
    at = index + -index % 8
    behind = at + 4 * count + -(4 * count) % 8
    if behind + 8 <= len(data) and (plain := _relative(image, at, count, behind)) is not None:  # since 6.4
        return plain
    for padding in (0, 4):
        at = start - 8 - 4 * count - padding
        if at >= 0 and (plain := _relative(image, at, count, start - 8)) is not None:
            return plain
    raise FormatError(f"{_NO_SYMBOLS}: the places of symbols were not found")


def _relative(image: Image, at: int, count: int, base_at: int) -> tuple[list[int], int] | None:
    """Read offsets from an address of their own, that of the first symbol, which stands behind them."""
    offsets = np.frombuffer(image.data, "<u4", count, at).astype(np.int64)
    if (np.diff(offsets) < 0).any() or offsets[0] >= _PAGE or offsets[-1] == offsets[0]:
        return None
    (first,) = struct.unpack_from("<Q", image.data, base_at)
    if first == 0:
        # In .rela.dyn, under the slot's own address, which follows from what it holds.
        rows = image.moved.items()
        first = next((value for slot, value in rows if slot == value // _PAGE * _PAGE + base_at), 0)
    if first >> 47 != 0x1FFFF:
        return None
    base = first // _PAGE * _PAGE
    return (offsets + (first - base)).tolist(), base


def _base(image: Image, places: npt.NDArray[np.int64]) -> int:
    """Find the address of the beginning: the one under which most pointers point at symbols."""
    pointers = image.pointers
    sample = np.unique(places)[:: max(1, len(places) // 8192)].astype(np.uint64)
    best = (0, 0)
    for candidate in _pages(pointers):
        moved = sample + np.uint64(candidate)
        near = np.minimum(np.searchsorted(pointers, moved), len(pointers) - 1)
        best = max(best, (int((pointers[near] == moved).sum()), candidate))
    if not best[0]:
        raise FormatError(
            "the address at which the image begins was not found: no pointer points at a symbol"
        )
    return best[1]


def _pages(pointers: npt.NDArray[np.uint64]) -> Iterator[int]:
    """Give the pages of 2 MiB into which many pointers point: the image begins with one of them."""
    pages, counts = np.unique(pointers // np.uint64(_PAGE), return_counts=True)
    for page, times in zip(pages.tolist(), counts.tolist(), strict=True):
        if times >= 4:
            yield page * _PAGE
