"""QEMU's streams, section by section: what is passed over changes nothing, and what is not known is refused with its place."""

from __future__ import annotations

import gzip
import json
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kvmfw import readers
from kvmfw.errors import FormatError
from kvmfw.readers.qemu_stream import read_stream
from kvmfw.readers.source import LIMITS
from tests.support.samples import STREAM

EOF, START, PART, END, FULL, SUBSECTION, CONFIGURATION, COMMAND = 0, 1, 2, 3, 4, 5, 7, 8
DESCRIPTION, FOOTER = 6, 0x7E
HEAD = b"QEVM" + struct.pack(">I", 3)
CPU = read_stream(STREAM).cpus[0]
WANTED = read_stream(STREAM).registers(0)
ZERO, SIZES, PAGE, ENDS, SAME, FLUSH = 0x02, 0x04, 0x08, 0x10, 0x20, 0x200


def name(text: str) -> bytes:
    return bytes([len(text)]) + text.encode("latin-1")


def foot(section: int) -> bytes:
    return struct.pack(">BI", FOOTER, section)


def device(section: int, called: str, data: bytes, *, version: int = 22, instance: int = 0) -> bytes:
    head = struct.pack(">BI", FULL, section) + name(called) + struct.pack(">II", instance, version)
    return head + data + foot(section)


def word(number: int) -> bytes:
    return struct.pack(">Q", number)


def ram(*parts: bytes, kind: int = START, version: int = 4, end: bytes = word(ENDS) + foot(2)) -> bytes:
    head = struct.pack(">BI", kind, 2)
    head += name("ram") + struct.pack(">II", 0, version) if kind == START else b""
    return head + b"".join(parts) + end


def sizes(total: int, **blocks: int) -> bytes:
    return word(total | SIZES) + b"".join(name(block) + word(size) for block, size in blocks.items())


def configured(*subsections: tuple[str, bytes]) -> bytes:
    found = bytes([CONFIGURATION]) + struct.pack(">I", 8) + b"virt-9.2"
    for called, data in subsections:
        found += bytes([SUBSECTION]) + name(called) + struct.pack(">I", 1) + data
    return found


def capabilities(*names: str) -> tuple[str, bytes]:
    return "configuration/capabilities", struct.pack(">I", len(names)) + b"".join(map(name, names))


def stream(*sections: bytes, end: bytes = bytes([EOF])) -> bytes:
    return HEAD + b"".join(sections) + end


def described(text: bytes, size: int | None = None) -> bytes:
    return struct.pack(">BBI", EOF, DESCRIPTION, len(text) if size is None else size) + text


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vm.mig"


VCPU = device(7, "cpu", CPU)
LENGTHS = {"name": "cpreg_vmstate_array_len", "size": 4}
IDS = {"name": "cpreg_vmstate_indexes", "size": 8}


def test_a_vcpu_alone_is_a_stream_and_is_read_as_the_whole_one(path: Path) -> None:
    path.write_bytes(stream(VCPU))
    assert readers.detect(path) == "qemu-stream"
    assert read_stream(path).registers(0) == WANTED
    assert len(WANTED) > 200


def _passed_over(chance: random.Random) -> Iterator[bytes]:
    """Sections of which nothing is kept: RAM in every form that is read, commands, devices whose data looks like footers."""
    pages: dict[int, Callable[[], bytes]] = {
        ZERO: lambda: name("mach-virt.ram") + b"\0",
        ZERO | SAME: lambda: b"\0",
        PAGE: lambda: name("mach-virt.ram") + chance.randbytes(4096),
        PAGE | SAME: lambda: chance.randbytes(4096),
        FLUSH: lambda: b"",
    }
    yield ram(sizes(0x5000, flash0=0x4000, **{"mach-virt.ram": 0x1000}))
    for _ in range(chance.randrange(1, 5)):
        flags = chance.choices(list(pages), k=6)
        yield ram(*(word(0x40000000 | one) + pages[one]() for one in flags), kind=PART)
        yield struct.pack(">BHH", COMMAND, 3, 5) + chance.randbytes(5)
    # A footer is one only if a section can begin behind it: of an unknown kind, a section that never began, one whose name has no
    # letters, an end with more behind it.
    looks = [
        b"\x55",
        b"\x02\xff\xff\xff\xff",
        b"\x01\0\0\0\x09\0\0",
        b"\x04\0\0\0\x09\x03\xff\xff\xff",
        b"\0\x01",
    ]
    data = b"".join(chance.randbytes(9) + foot(31) + look + chance.randbytes(40) for look in looks)
    yield device(31, "pl011", data, version=2)
    yield ram(kind=END)


@pytest.mark.parametrize("seed", range(8))
def test_what_stands_beside_the_vcpu_changes_nothing_of_it(path: Path, seed: int) -> None:
    chance = random.Random(seed)
    beside = [*_passed_over(chance)]
    at = chance.randrange(1, len(beside))
    settings = [("configuration/target-page-bits", struct.pack(">I", 12)), ("configuration/uuid", bytes(16))]
    chance.shuffle(settings)
    path.write_bytes(stream(configured(*settings), *beside[:at], VCPU, *beside[at:]))
    found = read_stream(path)
    assert found.registers(0) == WANTED
    assert (found.machine, [*found.cpus]) == ("virt-9.2", [0])
    assert found.blocks == {"flash0": 0x4000, "mach-virt.ram": 0x1000}


def test_memory_that_is_shared_and_left_out_has_no_place_in_the_file(path: Path) -> None:
    shared = (
        word(0x1000 | SIZES)
        + name("ram0")
        + word(0x1000)
        + word(0x40000000)
        + struct.pack(">IQQQ", 1, 4096, 0, 0)
    )
    both = capabilities("x-ignore-shared", "mapped-ram")
    path.write_bytes(stream(configured(both), ram(shared), VCPU))
    found = read_stream(path)
    assert (found.registers(0), found.blocks) == (WANTED, {"ram0": 0x1000})


def test_an_xml_shorter_than_what_was_read_ahead_is_passed_over(path: Path) -> None:
    """A word of a stream that stands in the bytes that were read with the header is not lost."""
    path.write_bytes(b"LibvirtQemudSave" + struct.pack("<5I", 2, 0, 1, 0, 0) + bytes(56) + stream(VCPU))
    assert read_stream(path).registers(0) == WANTED


SHORT = device(7, "cpu", CPU[:100])
OTHER = device(7, "cpu", CPU, version=23)


def _without_registers(*fields: dict[str, Any]) -> bytes:
    devices = {"devices": [{"name": "cpu", "instance_id": 0, "fields": [*fields]}]}
    return described(json.dumps(devices).encode())


REFUSED: dict[str, tuple[bytes, str]] = {
    "name that is none": (
        stream(struct.pack(">BI", FULL, 7) + name("c\xffu") + bytes(8)),
        "byte 17: b'c\\xffu' is not a name",
    ),
    "libvirt's version unknown": (
        b"LibvirtQemudSave" + struct.pack("<5I", 9, 0, 1, 0, 0) + bytes(56) + stream(VCPU),
        "byte 16: version 9 of libvirt's saved domains is not known",
    ),
    "section that never began": (
        stream(struct.pack(">BI", PART, 9)),
        "byte 13: section 9 goes on but never began",
    ),
    "version of RAM unknown": (stream(ram(version=3)), "byte 25: RAM version 3 is not known; expected 4"),
    "RAM without its end": (
        stream(ram(end=word(ENDS) + foot(3))),
        "byte 33: a RAM section does not end with its footer",
    ),
    "pages in a form unknown": (
        stream(ram(word(0x100))),
        "byte 25: RAM is saved in a form that kvmfw does not read (flags 0x100); save without compression",
    ),
    "blocks larger than their sum": (
        stream(ram(sizes(0x1000, flash0=0x4000))),
        "byte 48: the sizes of the RAM blocks do not add up",
    ),
    "place of a block before itself": (
        stream(
            configured(capabilities("mapped-ram")),
            ram(sizes(4096, a=4096) + struct.pack(">IQQQ", 1, 1, 1, 8)),
        ),
        "a block of RAM is said to be at byte 8",
    ),
    "version of places unknown": (
        stream(
            configured(capabilities("mapped-ram")),
            ram(sizes(4096, a=4096) + struct.pack(">IQQQ", 2, 1, 1, 8)),
        ),
        "version 2 of mapped-ram is not known; expected 1",
    ),
    "capability unknown": (
        stream(configured(capabilities("xbzrle")), VCPU),
        "the stream was saved with the capability `xbzrle`, which kvmfw does not read",
    ),
    "configuration unknown": (
        stream(configured(("configuration/colour", b"")), VCPU),
        "subsection `configuration/colour` is not known",
    ),
    "description too long": (
        stream(VCPU, end=described(b"{}", 0xFFFFFFFF)),
        "the description says that it has 4294967295 bytes",
    ),
    "description cut off": (stream(VCPU, end=described(b"{}", 3)), "the description is cut off"),
    "no vCPU": (stream(ram()), "the stream holds no vCPU: no section named `cpu`"),
    "section without an end": (
        stream(VCPU[:-5]),
        "section `cpu` does not end; the stream is cut off",
    ),
    "too few bytes": (stream(SHORT), "vCPU 0: the cpu section has 100 bytes, too few to hold registers"),
    "version of the vCPU unknown": (
        stream(configured(), OTHER),
        "vCPU 0: the cpu section has version 23, and no description tells of registers of KVM in it; expected that of an"
        " arm64 VM, version 22 (machine `virt-9.2`)",
    ),
    "description without registers": (
        stream(OTHER, end=_without_registers({"name": "env.pc", "size": 8})),
        "vCPU 0: the cpu section has version 23, and its description names no registers of KVM in it; expected that of an"
        " arm64 VM, version 22",
    ),
    "description of another number": (
        stream(VCPU, end=_without_registers({"name": "env", "size": 568}, LENGTHS, IDS | {"array_len": 3})),
        f"vCPU 0: the cpu section holds {len(WANTED)} registers, its description says 3",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_known_is_refused_with_its_place(path: Path, what: str) -> None:
    data, sentence = REFUSED[what]
    path.write_bytes(data)
    with pytest.raises(FormatError) as raised:
        list(readers.register_sets(path, from_="qemu-stream"))
    assert sentence in str(raised.value)
    packed = path.with_name("vm.mig.gz")
    packed.write_bytes(gzip.compress(data))
    with pytest.raises(FormatError) as again:
        list(readers.register_sets(packed, from_="qemu-stream"))
    assert sentence in str(again.value)


def test_a_section_longer_than_its_limit_is_not_kept(path: Path) -> None:
    path.write_bytes(stream(device(31, "pl011", bytes(1 << 21)), VCPU))
    assert read_stream(path).registers(0) == WANTED
    with pytest.raises(FormatError, match="section `pl011` is longer than 1 MiB"):
        read_stream(path, replace(LIMITS, section=1 << 20))
