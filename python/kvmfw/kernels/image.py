"""A kernel image as it lies in memory before it moves itself: bytes, addresses, pointers."""

from __future__ import annotations

import re
from functools import cached_property

import numpy as np
import numpy.typing as npt

from kvmfw.errors import FormatError

__all__ = ["Image"]

Words = npt.NDArray[np.uint64]

_RELATIVE = 1027
"""R_AARCH64_RELATIVE, the one kind of relocation that a kernel has (arch/arm64/kernel/pi/relocate.c, 6.12 read)."""
# init/version-timestamp.c (linux_banner): release, who built it, with what, number and day of the build.
_BANNER = re.compile(
    rb"Linux version (?P<release>[0-9][!-~]{2,100}) \((?P<builder>[^\n\0]{0,400}?)\) (?P<build>#\d[^\n\0]{0,200})"
)


class Image:
    """The bytes of an image, and what its pointers mean.

    A pointer of a kernel that can move stands either in its place, from where RELR tells to add the distance, or in a record of
    .rela.dyn, and its place is 0. Both are read; records of .rela.dyn are known by their form, as no header tells where they are.

    Attributes
    ----------
    data : bytes
        The image.
    words : array of uint64
        The same, as far as it has whole words.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.words: Words = np.frombuffer(data, "<u8", len(data) // 8)

    @cached_property
    def banner(self) -> tuple[str, str]:
        """The release and what the kernel says of its build: `#1 SMP Debian 6.1.192-1 (2026-11-16)`."""
        found = list(_BANNER.finditer(self.data))
        if not found:
            raise FormatError("the image does not say which kernel it is: it has no text `Linux version ...`")
        # A second copy may be there, whose build the linker puts in place later.
        last = max(found, key=lambda match: len(match["build"]))
        return last["release"].decode("ascii"), last["build"].decode("ascii", "replace").strip()

    @cached_property
    def moved(self) -> dict[int, int]:
        """Address of a word -> the address that it will hold, by .rela.dyn."""
        where = np.flatnonzero(self.words == _RELATIVE)
        where = where[(where > 0) & (where < len(self.words) - 1)]
        places, values = self.words[where - 1], self.words[where + 1]
        kernels = (places >> np.uint64(47) == 0x1FFFF) & (values >> np.uint64(47) == 0x1FFFF)
        return dict(zip(places[kernels].tolist(), values[kernels].tolist(), strict=True))

    @cached_property
    def pointers(self) -> Words:
        """Whatever looks like the address of something in a kernel, ascending, each once."""
        there = self.words[self.words >> np.uint64(47) == 0x1FFFF]
        return np.unique(
            np.concatenate([there, np.fromiter(self.moved.values(), np.uint64, len(self.moved))])
        )
