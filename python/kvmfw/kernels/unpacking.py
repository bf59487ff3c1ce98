"""From a file to the image that boots: packages and compression taken off, within limits."""

from __future__ import annotations

import io
import lzma
import re
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, BinaryIO, cast

import pyarrow as pa

from kvmfw.errors import FormatError
from kvmfw.files import open_file

__all__ = ["unpacked_image"]

LARGEST_IMAGE = 512 << 20
"""Bytes of an image after unpacking; those of distributions have 30 to 60 MiB."""
_TOO_LARGE = f"the image has more than {LARGEST_IMAGE >> 20} MiB, which no kernel has"
LARGEST_PACKAGE = 4 << 30
"""Bytes of a package after unpacking; the image stands among the modules."""
MOST_FILES = 200_000
DEEPEST = 4
"""Layers of packing: a package with an EFI image with a packed image in it has three."""

_KERNEL = re.compile(
    r"(?:\./|/)?(?:usr/)?(?:boot/(?:vmlinuz|Image)[^/]*|lib/modules/[^/]+/(?:vmlinuz|Image)[^/]*)\Z"
)
_AR = b"!<arch>\n"
_RPM = b"\xed\xab\xee\xdb"
_RPM_HEADER = b"\x8e\xad\xe8\x01"
_NO_KERNEL = (
    "the package holds no kernel image in boot/ or lib/modules/; "
    "of Debian's kernels since 6.19 it is in the package linux-binary-*"
)


def unpacked_image(path: Path) -> bytes:
    """Read the image that a file holds: an Image, one that is packed, an EFI image or a package with one of them.

    Raises
    ------
    InputError
        When the file cannot be read; `FormatError` when it holds no arm64 kernel, is damaged or larger than any.
    """
    with open_file(path) as file:
        try:
            data = _first_layer(file)
            for _ in range(DEEPEST):
                if (inner := _next_layer(data)) is None:
                    return _checked(data)
                data = inner
        except (EOFError, lzma.LZMAError, tarfile.TarError, struct.error, ValueError, OSError) as error:
            if isinstance(error, FormatError):
                error.file = str(path)
                raise
            raise FormatError(f"the kernel image cannot be unpacked: {error}", file=str(path)) from error
    raise FormatError(f"this is packed more than {DEEPEST} times", file=str(path))


def _first_layer(file: BinaryIO) -> bytes:
    head = file.read(8)
    file.seek(0)
    if head == _AR:
        return _from_deb(file)
    if head.startswith(_RPM):
        return _from_rpm(file)
    return _within(file)


def _next_layer(data: bytes) -> bytes | None:
    """Take one layer off; None where there is none."""
    if data[:2] == b"MZ" and data[4:8] == b"zimg":
        return _from_zboot(data)
    if (opened := _decompressor(data[:8])) is not None:
        return _within(opened(io.BytesIO(data)))
    return None


def _checked(data: bytes) -> bytes:
    # Documentation/arch/arm64/booting.rst: magic at 56, flags at 24.
    if data[56:60] == b"ARM\x64":
        if data[24] & 1:
            raise FormatError("this is a big-endian arm64 kernel; only little-endian ones are read")
        return data
    if data[:4] == b"\x7fELF":
        raise FormatError(
            "this is an ELF file (vmlinux, or a module); expected the image that boots, such as vmlinuz"
        )
    if data[0x202:0x206] == b"HdrS":
        raise FormatError("this is a kernel for x86; expected one for arm64")
    raise FormatError("this is no arm64 kernel image: the magic number `ARM\\x64` is not at byte 56")


def _within(file: IO[bytes]) -> bytes:
    data = file.read(LARGEST_IMAGE + 1)
    if len(data) > LARGEST_IMAGE:
        raise FormatError(_TOO_LARGE)
    return data


def _decompressor(head: bytes) -> Callable[[BinaryIO], IO[bytes]] | None:
    """Tell by its first bytes how something is packed."""
    if head.startswith(b"\x1f\x8b"):
        return _arrow("gzip")
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return _arrow("zstd")
    if head.startswith(b"\xfd7zXZ\x00"):
        return lambda file: cast("IO[bytes]", lzma.LZMAFile(file))
    return None


def _arrow(codec: str) -> Callable[[BinaryIO], IO[bytes]]:
    return lambda file: cast("IO[bytes]", pa.CompressedInputStream(pa.PythonFile(file, mode="r"), codec))


def _from_zboot(data: bytes) -> bytes:
    """Take the payload out of an EFI zboot image (drivers/firmware/efi/libstub/zboot-header.S, read in 6.12 and 7.3)."""
    start, size = struct.unpack_from("<II", data, 8)
    codec = data[24:56].split(b"\0")[0].decode("ascii", "replace")
    payload = data[start : start + size]
    if len(payload) != size or not size:
        raise FormatError("the EFI image is cut off: its payload ends behind the end of the file")
    if (opened := _decompressor(payload[:8])) is None:
        raise FormatError(f"the EFI image is packed with `{codec[:16]}`; gzip, zstd and xz are read")
    return _within(opened(io.BytesIO(payload)))


def _from_deb(file: BinaryIO) -> bytes:
    """Find the image in a Debian package: an ar archive with a tar archive in it (deb(5))."""
    file.seek(len(_AR))
    while len(header := file.read(60)) == 60:
        name, size = header[:16].decode("ascii", "replace").strip().rstrip("/"), int(header[48:58])
        if name.startswith("data.tar"):
            head = file.read(8)
            file.seek(-len(head), io.SEEK_CUR)
            opened = _decompressor(head)
            return _from_tar(opened(file) if opened else file)
        file.seek(size + size % 2, io.SEEK_CUR)
    raise FormatError("this is an ar archive, but no Debian package: it has no member data.tar")


def _from_tar(stream: IO[bytes]) -> bytes:
    with tarfile.open(fileobj=cast("IO[bytes]", _Bounded(stream, LARGEST_PACKAGE)), mode="r|") as archive:
        for number, member in enumerate(archive):
            if member.isreg() and _KERNEL.match(member.name):
                if member.size > LARGEST_IMAGE:
                    raise FormatError(_TOO_LARGE)
                content = archive.extractfile(member)
                return content.read() if content else b""
            if number > MOST_FILES:
                break
    raise FormatError(_NO_KERNEL)


def _from_rpm(file: BinaryIO) -> bytes:
    """Find the image in an RPM package: lead, signature, header, then a packed cpio archive (rpm's format, version 3 and 4)."""
    file.seek(96)
    for pads in (True, False):
        magic, _, entries, size = struct.unpack(">4sIII", file.read(16))
        if magic != _RPM_HEADER or entries > 1 << 20 or size > 1 << 28:
            raise FormatError("the RPM package is damaged: a header does not begin where it should")
        file.seek(16 * entries + size + (-size % 8 if pads else 0), io.SEEK_CUR)
    head = file.read(8)
    file.seek(-len(head), io.SEEK_CUR)
    opened = _decompressor(head)
    return _from_cpio(_Bounded(opened(file) if opened else file, LARGEST_PACKAGE))


def _from_cpio(stream: _Bounded) -> bytes:
    """Find the image in a cpio archive of the newc kind (cpio(5))."""
    for _ in range(MOST_FILES):
        header = stream.exactly(110)
        if header[:5] != b"07070" or header[5:6] not in b"12":
            raise FormatError("the payload of the RPM package is no cpio archive of the kind newc")
        numbers = [int(header[at : at + 8], 16) for at in range(6, 110, 8)]
        size, name_size = numbers[6], numbers[11]
        if name_size > 1 << 16:
            raise FormatError("the payload of the RPM package is damaged: a name has more than 64 KiB")
        name = stream.exactly(name_size + -(110 + name_size) % 4)[: name_size - 1].decode("utf-8", "replace")
        if name == "TRAILER!!!":
            break
        if size and _KERNEL.match(name):
            if size > LARGEST_IMAGE:
                raise FormatError(_TOO_LARGE)
            return stream.exactly(size)
        stream.skip(size + -size % 4)
    raise FormatError(_NO_KERNEL)


class _Bounded:
    """A stream that ends a package which unpacks to more than any has."""

    def __init__(self, stream: IO[bytes], most: int) -> None:
        self._stream = stream
        self._left = most

    def read(self, size: int = 1 << 20) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise FormatError(
                f"the package unpacks to more than {LARGEST_PACKAGE >> 30} GiB before a kernel image"
            )
        return data

    def exactly(self, size: int) -> bytes:
        parts = []
        while size and (part := self.read(min(size, 1 << 20))):
            parts.append(part)
            size -= len(part)
        if size:
            raise FormatError("the package is cut off")
        return b"".join(parts)

    def skip(self, size: int) -> None:
        while size:
            size -= len(self.exactly(min(size, 1 << 20)))
