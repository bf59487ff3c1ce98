"""Kernel images are read: in every packing, every layout of symbols, with either kind of pointers; others give one sentence."""

from __future__ import annotations

import gzip
import io
import lzma
import struct
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner

from kvmfw import _native
from kvmfw.cli import main
from kvmfw.errors import FormatError
from kvmfw.kernels import Kernel, fits, read_kernel
from kvmfw.registers import named
from tests.kernels.__main__ import main as compare
from tests.support.kernel_image import kernel_image
from tests.support.kernels import image_like, made_like

NEWEST = _native.known_releases()[-1]
SECOND = 0x603000000013C020


@pytest.fixture(scope="module")
def image() -> bytes:
    return image_like(NEWEST)


def read(data: bytes, folder: Path, name: str = "vmlinuz") -> Kernel:
    path = folder / name
    path.write_bytes(data)
    return read_kernel(path)


@pytest.mark.parametrize("relocations", ["rela", "relr"])
@pytest.mark.parametrize("layout", ["5.10", "6.4", "7.0"])
@pytest.mark.parametrize("data_symbols", [True, False])
def test_every_layout_gives_the_tables_that_were_put_in(
    layout: str, relocations: str, data_symbols: bool, tmp_path: Path
) -> None:
    made = made_like(NEWEST, layout=layout, relocations=relocations, data_symbols=data_symbols)
    kernel = read(kernel_image(made), tmp_path)
    assert kernel.problems == {}
    assert (kernel.release, kernel.numbers) == ("7.3.4", NEWEST)
    assert kernel.fields is not None
    assert kernel.descriptors is not None
    found = {
        register: [(row.shift, row.width, row.signed, row.safe, row.value) for row in rows]
        for register, rows in kernel.fields.items()
    }
    assert found == {register: [*rows] for register, rows in made.fields.items()}
    assert {one.register: one.mask for one in kernel.descriptors.values() if one.set} == made.masks
    assert {one.set for one in kernel.descriptors.values()} == {"set_id_reg", None}
    assert kernel.firmware == tuple(made.firmware)


def test_names_longer_than_127_letters_are_read(tmp_path: Path) -> None:
    assert read(image_like(NEWEST, layout="6.4"), tmp_path).symbols > 700


@pytest.mark.parametrize("numbers", _native.known_releases())
def test_an_image_fits_the_release_whose_tables_it_has(numbers: tuple[int, int, int], tmp_path: Path) -> None:
    best, *others = fits(read(image_like(numbers), tmp_path))
    same = [fit.release for fit in (best, *others) if not fit.differences]
    assert ".".join(map(str, numbers)) in same
    assert best.rows > 300
    assert any(fit.differences for fit in others), "releases differ, or nothing was compared"


def test_one_bent_row_is_found(tmp_path: Path) -> None:
    made = made_like(NEWEST)
    shift, width, signed, safe, value = made.fields[SECOND][0]
    bent = [(shift, width, not signed, safe, value), *made.fields[SECOND][1:]]
    kernel = read(kernel_image(replace(made, fields={**made.fields, SECOND: bent})), tmp_path)
    (difference,) = fits(kernel)[0].differences
    assert str(difference) == (
        "ID_AA64PFR0_EL1 bits 63:60 CSV3: image signed, 4 bits, lower is safe, rules unsigned, 4 bits, lower is safe"
    )


def test_the_mask_of_one_register_is_compared(tmp_path: Path) -> None:
    made = made_like(NEWEST)
    kernel = read(kernel_image(replace(made, masks={**made.masks, SECOND: 0xFF})), tmp_path)
    (difference,) = fits(kernel)[0].differences
    assert (difference.place, difference.image) == ("writable mask", "0xff")


def test_without_types_structures_lie_as_in_kernels_of_this_age(tmp_path: Path) -> None:
    kernel = read(image_like(NEWEST, types=False), tmp_path)
    assert kernel.problems == {}
    assert kernel.structures == "seen in Debian's kernels of this age"
    assert not fits(kernel)[0].differences


def test_a_kernel_of_another_age_without_types_has_no_tables(tmp_path: Path) -> None:
    kernel = read(kernel_image(replace(made_like(NEWEST), types=False, release="8.1.2")), tmp_path)
    assert kernel.fields is None
    assert kernel.descriptors is None
    assert "how `struct arm64_ftr_reg` lies is not known" in kernel.problems["arm64_ftr_regs"]
    assert fits(kernel) == []


def test_a_table_out_of_order_is_none(tmp_path: Path) -> None:
    made = made_like(NEWEST)
    rows = {**made.fields, SECOND: [*reversed(made.fields[SECOND])]}
    kernel = read(kernel_image(replace(made, fields=rows)), tmp_path)
    assert kernel.fields is None
    assert "was not understood" in kernel.problems["arm64_ftr_regs"]


def test_kernels_before_6_7_compare_no_fields(tmp_path: Path) -> None:
    made = replace(made_like(NEWEST), release="6.1.0-56-arm64", build="#1 SMP Debian 6.1.192-2 (2026-11-16)")
    kernel = read(kernel_image(made), tmp_path)
    assert kernel.numbers == (6, 1, 192)
    assert fits(kernel) == []


# --- packing --------------------------------------------------------------------------------------


def zstd(data: bytes) -> bytes:
    packed: bytes = pa.compress(data, codec="zstd", asbytes=True)
    return packed


def zboot(data: bytes, codec: str) -> bytes:
    payload = {"gzip": gzip.compress, "zstd": zstd}[codec](data)
    return b"MZ\0\0zimg" + struct.pack("<II8x", 64, len(payload)) + codec.encode().ljust(40, b"\0") + payload


def member(name: str, data: bytes) -> bytes:
    return (
        f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode()
        + data
        + b"\n" * (len(data) % 2)
    )


def deb(
    data: bytes, pack: Callable[[bytes], bytes], suffix: str, name: str = "./boot/vmlinuz-7.3.4"
) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, content in (("./usr/share/doc/vmlinuz-notes", b"no kernel"), (name, data)):
            told = tarfile.TarInfo(path)
            told.size = len(content)
            archive.addfile(told, io.BytesIO(content))
    parts = (
        member("debian-binary", b"2.0\n")
        + member("control.tar.xz", b"odd")
        + member(f"data.tar{suffix}", pack(buffer.getvalue()))
    )
    return b"!<arch>\n" + parts


def rpm(data: bytes, pack: Callable[[bytes], bytes]) -> bytes:
    def header(pads: bool) -> bytes:
        made = b"\x8e\xad\xe8\x01" + struct.pack(">III", 0, 1, 5) + bytes(21)
        return made + bytes(-len(made) % 8 if pads else 0)

    def file(name: str, content: bytes) -> bytes:
        numbers = [0] * 13
        numbers[6], numbers[11] = len(content), len(name) + 1
        entry = b"070701" + b"".join(b"%08x" % number for number in numbers) + name.encode() + b"\0"
        entry += bytes(-len(entry) % 4) + content
        return entry + bytes(-len(entry) % 4)

    files = [
        ("./lib/modules/7.3.4/config", b"CONFIG_KVM=y"),
        ("./lib/modules/7.3.4/vmlinuz", data),
        ("TRAILER!!!", b""),
    ]
    return (
        b"\xed\xab\xee\xdb"
        + bytes(92)
        + header(True)
        + header(False)
        + pack(b"".join(file(*one) for one in files))
    )


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "Image.gz": gzip.compress,
    "Image.zst": zstd,
    "zboot gzip": lambda data: zboot(data, "gzip"),
    "zboot zstd": lambda data: zboot(data, "zstd"),
    "deb xz": lambda data: deb(data, lzma.compress, ".xz"),
    "deb zst": lambda data: deb(data, zstd, ".zst"),
    "deb": lambda data: deb(data, bytes, ""),
    "deb usr": lambda data: deb(data, gzip.compress, ".gz", "./usr/lib/modules/7.3.4+deb13-arm64/vmlinuz"),
    "rpm zstd": lambda data: rpm(data, zstd),
    "rpm xz": lambda data: rpm(data, lzma.compress),
    "rpm of zboot": lambda data: rpm(zboot(data, "zstd"), zstd),
}


@pytest.mark.parametrize("packing", PACKED)
def test_every_packing_gives_the_same_kernel(packing: str, image: bytes, tmp_path: Path) -> None:
    assert read(PACKED[packing](image), tmp_path) == read(image, tmp_path, "plain")


@pytest.mark.parametrize("packing", PACKED)
def test_packings_that_are_cut_off_say_so(packing: str, image: bytes, tmp_path: Path) -> None:
    whole = PACKED[packing](image)
    for part in (len(whole) // 2, 100, 9):
        with pytest.raises(FormatError) as told:
            read(whole[:part], tmp_path)
        assert str(tmp_path) in str(told.value)
        assert "\n" not in str(told.value)


def test_what_is_no_kernel_for_arm64_gives_one_sentence(image: bytes, tmp_path: Path) -> None:
    big = bytearray(image)
    big[24] |= 1
    silent = image.replace(b"Linux version", b"Minix version")
    for data, words in (
        (b"", "no arm64 kernel image"),
        (b"hello" * 100, "no arm64 kernel image"),
        (b"\x7fELF" + bytes(100), "ELF file (vmlinux"),
        (bytes(0x202) + b"HdrS" + bytes(100), "a kernel for x86"),
        (bytes(big), "big-endian"),
        (silent, "does not say which kernel"),
        (image.replace(b"0\x001\x002\x003\x00", b"4\x005\x006\x007\x00"), "no table of symbols"),
        (deb(image, lzma.compress, ".xz", "./boot/config"), "linux-binary-*"),
        (b"!<arch>\n" + member("other", b"x"), "no Debian package"),
        (
            gzip.compress(gzip.compress(gzip.compress(gzip.compress(gzip.compress(image))))),
            "packed more than 4 times",
        ),
        (
            zboot(image, "gzip").replace(b"gzip\0", b"lzo\0\0").replace(b"\x1f\x8b\x08", b"???", 1),
            "packed with `lzo`",
        ),
    ):
        with pytest.raises(FormatError, match=r".") as told:
            read(data, tmp_path)
        assert words in str(told.value)


def test_damage_anywhere_gives_a_kernel_or_a_sentence(image: bytes, tmp_path: Path) -> None:
    """Bytes are overwritten all over the image: nothing but a FormatError ends the reading."""
    for at in range(0, len(image), len(image) // 97):
        broken = bytearray(image)
        broken[at : at + 64] = b"\xff" * len(broken[at : at + 64])
        try:
            kernel = read(bytes(broken), tmp_path)
        except FormatError:
            continue
        assert kernel.fields or kernel.problems


def test_the_sign_of_the_pmu_version_is_the_images(tmp_path: Path) -> None:
    version = named("ID_AA64DFR0_EL1")
    for numbers, signed in (((6, 12, 43), True), (NEWEST, False)):
        kernel = read(image_like(numbers), tmp_path)
        assert kernel.fields is not None
        assert [row.signed for row in kernel.fields[version] if row.shift == 8] == [signed]


def test_the_verb_says_what_fits_and_what_was_not_compared(image: bytes, tmp_path: Path) -> None:
    (tmp_path / "vmlinuz").write_bytes(image)
    result = CliRunner().invoke(main, ["kernel", str(tmp_path / "vmlinuz")])
    assert result.exit_code == 0, result.output
    assert "#1 SMP Debian 7.3.4-1" in result.stdout
    assert "PSCI_VERSION, SMCCC_ARCH_WORKAROUND_1" in result.stdout
    assert "not compared, as KVM does not check their fields" in result.stdout
    (tmp_path / "notes").write_text("no kernel")
    result = CliRunner().invoke(main, ["kernel", str(tmp_path / "notes")])
    assert (result.exit_code, result.stdout) == (1, "")


def test_tables_of_images_are_compared_or_the_command_fails(
    image: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(tmp_path) == 1
    assert "nothing was compared" in capsys.readouterr().out
    (tmp_path / "vmlinuz").write_bytes(image)
    assert compare(tmp_path) == 0
    assert "1 of 1 images compared" in capsys.readouterr().out
    made = made_like(NEWEST)
    (tmp_path / "vmlinuz").write_bytes(kernel_image(replace(made, masks={**made.masks, SECOND: 0xFF})))
    assert compare(tmp_path) == 1
    (tmp_path / "vmlinuz").write_bytes(image[:5000])
    assert compare(tmp_path) == 1
    assert "NOT READ" in capsys.readouterr().out
