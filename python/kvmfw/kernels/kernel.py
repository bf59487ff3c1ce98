"""A kernel, as its image tells: release, symbols, tables."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from kvmfw.errors import FormatError
from kvmfw.kernels.image import Image
from kvmfw.kernels.structures import structures_of
from kvmfw.kernels.symbols import read_symbols
from kvmfw.kernels.tables import Descriptor, FieldRow, Reader
from kvmfw.kernels.unpacking import unpacked_image

__all__ = ["Kernel", "read_kernel"]

T = TypeVar("T")


@dataclass(frozen=True)
class Kernel:
    """What an image tells of its kernel. A table that was not understood is None, and `problems` says why.

    Attributes
    ----------
    release : str
        As `uname -r` prints it.
    build : str
        What the kernel says of its build, such as `#1 SMP Debian 6.1.192-2 (2026-11-16)`: vendors name the point release here.
    symbols : int
        How many symbols the image names.
    fields : dict of int to tuple of FieldRow, or None
        `arm64_ftr_regs`: register id -> rows from the highest bit down.
    descriptors : dict of int to Descriptor, or None
        `sys_reg_descs`: register id -> what KVM has for it.
    invariants : tuple of int, or None
        `invariant_sys_regs`: registers that are the hardware's; empty where `sys_reg_descs` has them.
    firmware : tuple of int, or None
        The ids of firmware registers.
    structures : str
        Who says how structures lie.
    problems : dict of str to str
        Table -> why it is not there.
    """

    release: str
    build: str
    symbols: int
    fields: dict[int, tuple[FieldRow, ...]] | None
    descriptors: dict[int, Descriptor] | None
    invariants: tuple[int, ...] | None
    firmware: tuple[int, ...] | None
    structures: str
    problems: dict[str, str]

    @property
    def numbers(self) -> tuple[int, int, int]:
        """The numbers of the release; the build's, where the release names only the line and a vendor's ABI (`6.1.0-56`)."""
        major, minor, patch = _numbers(self.release)
        built = re.search(r"\b(\d+\.\d+\.\d+)", self.build.partition(" ")[2])
        if patch == 0 and built and _numbers(built[1])[:2] == (major, minor):
            return _numbers(built[1])
        return major, minor, patch


def _numbers(text: str) -> tuple[int, int, int]:
    found = re.match(r"(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?", text)
    if found is None:
        raise FormatError(f"the release `{text[:64]}` does not begin with two numbers")
    return int(found[1]), int(found[2]), int(found[3] or 0)


def read_kernel(path: Path) -> Kernel:
    """Read a kernel image, packed in any of the usual ways, or in a package.

    Parameters
    ----------
    path : Path
        A vmlinuz, Image, Image.gz, EFI image (zboot), .deb or .rpm of an arm64 kernel, 5.10 to 7.3.

    Raises
    ------
    InputError
        When the file cannot be read; `FormatError` when it is no such image.
    """
    image = Image(unpacked_image(path))
    try:
        release, build = image.banner
        line = _numbers(release)[:2]
        symbols = read_symbols(image)
    except FormatError as error:
        error.file = str(path)
        raise
    structures = structures_of(image, line)
    reader = Reader(image, symbols, structures)
    problems: dict[str, str] = {}

    def table(name: str, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except FormatError as error:
            problems[name] = error.problem
            return None

    fields = table("arm64_ftr_regs", reader.fields)
    descriptors = table("sys_reg_descs", reader.descriptors)
    invariants = table("invariant_sys_regs", reader.invariants)
    firmware = table("firmware registers", lambda: tuple(reader.firmware()))
    source = next((one.source for one in structures.values()), "nobody")
    return Kernel(release, build, len(symbols), fields, descriptors, invariants, firmware, source, problems)
