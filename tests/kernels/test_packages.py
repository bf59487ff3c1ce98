"""Packages and packed images that no kernel comes in: one sentence each, and nothing that is larger is kept."""

from __future__ import annotations

import gzip
import lzma
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from kvmfw.errors import FormatError
from kvmfw.kernels import unpacking
from kvmfw.kernels.unpacking import unpacked_image
from tests.kernels.test_reading import PACKED, deb, member, rpm, zboot

IMAGE = bytes(56) + b"ARM\x64" + b"kernel" * 4096


def opened(data: bytes, tmp_path: Path) -> bytes:
    path = tmp_path / "file"
    path.write_bytes(data)
    return unpacked_image(path)


def sentence(data: bytes, tmp_path: Path) -> str:
    with pytest.raises(FormatError) as raised:
        opened(data, tmp_path)
    return str(raised.value).removeprefix(f"{tmp_path / 'file'}: ")


@pytest.mark.parametrize("packing", [None, *PACKED])
def test_no_image_larger_than_the_limit_is_kept(
    packing: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = PACKED[packing](IMAGE) if packing else IMAGE
    assert opened(data, tmp_path) == IMAGE
    monkeypatch.setattr(unpacking, "LARGEST_IMAGE", len(IMAGE))
    assert opened(data, tmp_path) == IMAGE
    monkeypatch.setattr(unpacking, "LARGEST_IMAGE", len(IMAGE) - 1)
    assert sentence(data, tmp_path) == unpacking._TOO_LARGE


@pytest.mark.parametrize("packing", ["deb xz", "rpm zstd"])
def test_a_package_that_unpacks_to_too_much_is_left(
    packing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "LARGEST_PACKAGE", 1 << 10)
    assert sentence(PACKED[packing](IMAGE), tmp_path).startswith("the package unpacks to more than 0 GiB")


def test_a_package_of_too_many_files_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MOST_FILES", -1)
    assert sentence(deb(IMAGE, bytes, ""), tmp_path) == unpacking._NO_KERNEL
    assert sentence(rpm(IMAGE, lzma.compress), tmp_path) == unpacking._NO_KERNEL


def _without_kernel(pack: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    return lambda data: pack(data.replace(b"vmlinuz", b"wmlinuz"))


def _edited(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data.replace(old, new)


CPIO = b"070701" + b"%08x" * 13


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            b"!<arch>\n" + member("debian-binary", b"2.0\n"),
            "this is an ar archive, but no Debian package: it has no member",
        ),
        (deb(IMAGE, bytes, "", "./boot/config"), unpacking._NO_KERNEL),
        (rpm(IMAGE, _without_kernel(lzma.compress)), unpacking._NO_KERNEL),
        (
            rpm(IMAGE, _edited(b"070701", b"070707")),
            "the payload of the RPM package is no cpio archive of the kind newc",
        ),
        (
            rpm(IMAGE, lambda data: CPIO % (*[0] * 11, 1 << 17, 0) + data),
            "the payload of the RPM package is damaged: a name has more than 64 KiB",
        ),
        (rpm(IMAGE, lambda data: CPIO % (*[0] * 11, 0, 0) + data[:50]), "the package is cut off"),
        (
            rpm(IMAGE, bytes).replace(b"\x8e\xad\xe8\x01", b"\x8e\xad\xe8\x02"),
            "the RPM package is damaged: a header does not begin where it should",
        ),
        (
            rpm(IMAGE, bytes).replace(struct.pack(">III", 0, 1, 5), struct.pack(">III", 0, 1 << 21, 5)),
            "the RPM package is damaged: a header does not begin where it should",
        ),
        (
            b"MZ\0\0zimg" + struct.pack("<II8x", 64, 5) + b"lzo".ljust(40, b"\0") + b"12345",
            "the EFI image is packed with `lzo`; gzip, zstd and xz are read",
        ),
        (zboot(IMAGE, "gzip")[:-1], "the EFI image is cut off: its payload ends behind the end of the file"),
        (
            gzip.compress(gzip.compress(gzip.compress(gzip.compress(gzip.compress(IMAGE))))),
            "this is packed more than 4 times",
        ),
        (
            bytes(24) + b"\x01" + bytes(31) + b"ARM\x64",
            "this is a big-endian arm64 kernel; only little-endian ones are read",
        ),
        (
            b"\x7fELF" + bytes(1024),
            "this is an ELF file (vmlinux, or a module); expected the image that boots",
        ),
        (bytes(0x202) + b"HdrS" + bytes(64), "this is a kernel for x86; expected one for arm64"),
    ],
)
def test_what_holds_no_kernel_says_what_it_is(data: bytes, said: str, tmp_path: Path) -> None:
    assert sentence(data, tmp_path).startswith(said)
