"""QEMU migration streams, as `migrate file:` and `migrate exec:cat` write them, and libvirt's saved domains.

The layout of a stream is public and old: a magic number, then sections. Each device section ends with a
footer; the RAM sections say themselves how long they are. A trailing description (JSON) names every field
with its size; without it, the arrays of the ``cpu`` device are at a fixed place for section version 22.

With ``mapped-ram`` each block of RAM has a place of its own in the file, behind its name, and the stream goes on behind
that; with ``multifd`` pages are not in the main stream at all (`migration/ram.c`, read in 10.1, run in 11.1). libvirt puts a
header and its XML before the stream (`src/qemu/qemu_saveimage.h`, read in 12.0).
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO

from kvmfw.documents import parsed_json, typed
from kvmfw.errors import FormatError
from kvmfw.readers.format import Format
from kvmfw.readers.qemu_cpu import BESIDE, GICS, Description, Stream
from kvmfw.readers.saved import SavedVcpu, register_set
from kvmfw.readers.source import LIMITS, Limits, opened

__all__ = ["FORMAT", "read_stream", "stream_vcpus"]

MAGIC = b"QEVM"
_EOF, _START, _PART, _END, _FULL = 0, 1, 2, 3, 4
_DESCRIPTION, _CONFIGURATION, _COMMAND, _FOOTER = 6, 7, 8, 0x7E
_TYPES = frozenset((_EOF, _START, _PART, _END, _FULL, _CONFIGURATION, _COMMAND))
_VERSION = 3

_RAM_ZERO, _RAM_SIZES, _RAM_PAGE, _RAM_EOS, _RAM_SAME_BLOCK = 0x02, 0x04, 0x08, 0x10, 0x20
_RAM_FLUSH = 0x200
_RAM_VERSION = 4
_PAGE_BITS = 12
_CAPABILITIES = ("mapped-ram", "multifd", "x-ignore-shared")
_MAPPED_VERSION = 1
_LIBVIRT = b"LibvirtQemudSave"
_LIBVIRT_PARTIAL = b"LibvirtQemudPart"
_LIBVIRT_HEADER = struct.Struct("<16sIIIII56x")
_LIBVIRT_VERSIONS = (1, 2, 3)
_LIBVIRT_PACKED = {1: "gzip", 2: "bzip2", 3: "xz", 4: "lzop", 5: "zstd"}
_LIBVIRT_PADDING = 1 << 21


class _Walk:
    """Goes through a stream once, keeping only what is asked for."""

    def __init__(self, file: BinaryIO, limits: Limits) -> None:
        self.file = file
        self.limits = limits
        self.at = 0
        self.names: dict[int, tuple[str, int, int]] = {}
        self.found = Stream()
        self.pending = b""
        self.capabilities: set[str] = set()

    def take(self, size: int) -> bytes:
        data, self.pending = self.pending[:size], self.pending[size:]
        if len(data) < size:
            data += self.file.read(size - len(data))
        if len(data) < size:
            raise FormatError("the stream ends in the middle of a section; it is cut off", f"byte {self.at}")
        self.at += size
        return data

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def text(self, size: int | None = None) -> str:
        raw = self.take(self.number(1) if size is None else size)
        if not raw.isascii():
            raise FormatError(f"{raw[:32]!r} is not a name", f"byte {self.at}")
        return raw.decode("ascii")

    def run(self) -> Stream:
        self.pending = self.file.read(_LIBVIRT_HEADER.size)
        if self.pending.startswith((_LIBVIRT, _LIBVIRT_PARTIAL)):
            self._libvirt()
        start = self.at
        if self.take(4) != MAGIC:
            raise FormatError(
                "this is not a QEMU migration stream: it does not start with QEVM", f"byte {start}"
            )
        version = self.number(4)
        if version != _VERSION:
            raise FormatError(
                f"stream version {version} is not known; expected {_VERSION}", f"byte {start + 4}"
            )
        while (kind := self.number(1)) != _EOF:
            if kind in (_START, _FULL):
                self._begin()
            elif kind in (_PART, _END):
                self._body(self.number(4))
            elif kind == _CONFIGURATION:
                self._configuration()
            elif kind == _COMMAND:
                self.number(2)
                self.take(self.number(2))
            else:
                raise FormatError(f"{kind:#x} is not a kind of section", f"byte {self.at - 1}")
        self._description()
        return self.found

    def _libvirt(self) -> None:
        """Pass over what libvirt puts before the stream; one that was saved as sparse may start at a whole MiB."""
        header = self.take(_LIBVIRT_HEADER.size)
        magic, version, size, _, form, _ = _LIBVIRT_HEADER.unpack(header)
        if magic == _LIBVIRT_PARTIAL:
            raise FormatError("libvirt did not finish saving this domain", "byte 0")
        if version not in _LIBVIRT_VERSIONS:
            raise FormatError(f"version {version} of libvirt's saved domains is not known", "byte 16")
        if form in _LIBVIRT_PACKED:
            problem = f"libvirt packed this domain with {_LIBVIRT_PACKED[form]}"
            raise FormatError(f"{problem}; save it with save_image_format = raw or sparse", "byte 28")
        self._pass_over(size)
        end = self.at + _LIBVIRT_PADDING
        while self.at < end and not self.pending:
            self.pending = (read := self.file.read(1 << 12)).lstrip(b"\0")
            self.at += len(read) - len(self.pending)
            if not read:
                return

    def _begin(self) -> None:
        section = self.number(4)
        name = self.text()
        self.names[section] = name, self.number(4), self.number(4)
        self.found.vgic = GICS.get(name, self.found.vgic)
        self._body(section)

    def _body(self, section: int) -> None:
        name, instance, version = self.names.get(section, ("", 0, 0))
        if not name:
            raise FormatError(f"section {section} goes on but never began", f"byte {self.at}")
        if name == "ram":
            if version != _RAM_VERSION:
                raise FormatError(
                    f"RAM version {version} is not known; expected {_RAM_VERSION}", f"byte {self.at}"
                )
            self._ram()
            if self.take(5) != _footer(section):
                raise FormatError("a RAM section does not end with its footer", f"byte {self.at - 5}")
            return
        data = self._until_footer(section, name)
        if name == "cpu":
            if instance in self.found.cpus:
                raise FormatError("its section occurs twice", f"vCPU {instance}")
            self.found.cpus[instance] = data
            self.found.versions[instance] = version
        elif name in BESIDE:
            self.found.devices[name] = version, data

    def _ram(self) -> None:
        while True:
            word = self.number(8)
            flags = word & ((1 << _PAGE_BITS) - 1)
            if flags & _RAM_SIZES:
                self._ram_sizes(word - flags)
            elif flags & (_RAM_ZERO | _RAM_PAGE):
                if not flags & _RAM_SAME_BLOCK:
                    self.text()
                self.take(1 if flags & _RAM_ZERO else 1 << _PAGE_BITS)
            elif flags & _RAM_EOS:
                return
            elif flags != _RAM_FLUSH:
                problem = f"RAM is saved in a form that kvmfw does not read (flags {flags:#x})"
                raise FormatError(f"{problem}; save without compression", f"byte {self.at - 8}")

    def _ram_sizes(self, total: int) -> None:
        while total > 0:
            name, length = self.text(), self.number(8)
            self.found.blocks[name] = length
            total -= length
            if "x-ignore-shared" in self.capabilities:
                self.number(8)
            if "mapped-ram" in self.capabilities:
                self._mapped(length)
        if total < 0:
            raise FormatError("the sizes of the RAM blocks do not add up", f"byte {self.at}")

    def _mapped(self, length: int) -> None:
        """Pass over the place of a block in the file; one that is shared and left out has none."""
        version, _, bitmap, pages = self.number(4), self.number(8), self.number(8), self.number(8)
        if version != _MAPPED_VERSION:
            problem = f"version {version} of mapped-ram is not known; expected {_MAPPED_VERSION}"
            raise FormatError(problem, f"byte {self.at - 28}")
        if bitmap == pages == 0:
            return
        if pages < self.at or (pages + length) >> 60:
            raise FormatError(f"a block of RAM is said to be at byte {pages}", f"byte {self.at - 8}")
        self._pass_over(pages + length - self.at)

    def _pass_over(self, size: int) -> None:
        """Go on behind some bytes: in a file that is not packed without reading them."""
        self.at += size
        if size <= len(self.pending):
            self.pending = self.pending[size:]
            return
        self.file.seek(size - len(self.pending), os.SEEK_CUR)
        self.pending = b""

    def _until_footer(self, section: int, name: str) -> bytes:
        footer = _footer(section)
        data = bytearray()
        searched = 0
        while True:
            end = data.find(footer, searched)
            if 0 <= end < len(data) - 5:
                if data[end + 5] in _TYPES and self._goes_on(data, end + 5):
                    self.pending = bytes(data[end + 5 :])
                    self.at += end + 5
                    return bytes(data[:end])
                searched = end + 1
                continue
            searched = max(len(data) - 16, searched)
            more, self.pending = self.pending, b""
            more = more or self.file.read(1 << 16)
            if not more:
                raise FormatError(f"section `{name}` does not end; the stream is cut off", f"byte {self.at}")
            data += more
            if len(data) > self.limits.section:
                problem = f"section `{name}` is longer than {self.limits.section >> 20} MiB"
                raise FormatError(problem, f"byte {self.at}")

    def _goes_on(self, data: bytearray, at: int) -> bool:
        """Tell whether what follows a footer can be a section: chance footers in device data are told apart."""
        kind, rest = data[at], data[at + 1 : at + 10]
        if kind in (_START, _FULL) and len(rest) >= 6:
            return 0 < rest[4] < 0x80 and rest[5:].isascii() and rest[5] >= 0x20
        if kind in (_PART, _END) and len(rest) >= 4:
            return int.from_bytes(rest[:4], "big") in self.names
        if kind == _EOF:
            return len(rest) == 0 or rest[0] == _DESCRIPTION
        return True

    def _configuration(self) -> None:
        self.found.machine = self.text(min(self.number(4), 256))
        # Subsections follow: 5, their name, their version, their data; the next section has a smaller or
        # larger kind, and its first bytes tell it apart.
        while (kind := self.take(1)) == b"\x05":
            name = self.text()
            self.number(4)
            if name == "configuration/target-page-bits":
                self.number(4)
            elif name == "configuration/capabilities":
                for _ in range(self.number(4)):
                    self._capability(self.text())
            elif name == "configuration/uuid":
                self.take(16)
            else:
                raise FormatError(f"subsection `{name}` is not known", f"byte {self.at}")
        self.pending = kind + self.pending
        self.at -= 1

    def _capability(self, name: str) -> None:
        if name not in _CAPABILITIES:
            problem = f"the stream was saved with the capability `{name}`, which kvmfw does not read"
            raise FormatError(problem, f"byte {self.at}")
        self.capabilities.add(name)

    def _description(self) -> None:
        head = self.pending[:5] + self.file.read(max(5 - len(self.pending), 0))
        rest = self.pending[5:]
        if len(head) < 5 or head[0] != _DESCRIPTION:
            return
        size = int.from_bytes(head[1:], "big")
        if size > self.limits.section:
            raise FormatError(f"the description says that it has {size} bytes", f"byte {self.at}")
        text = rest[:size] + self.file.read(max(size - len(rest), 0))
        if len(text) < size:
            raise FormatError("the description is cut off", f"byte {self.at}")
        try:
            self.found.description = typed(parsed_json(text), Description)
        except FormatError as error:
            where = f" ({error.place})" if error.place else ""
            raise FormatError(f"the description: {error.problem}{where}", f"byte {self.at}") from error


def _footer(section: int) -> bytes:
    return bytes([_FOOTER]) + section.to_bytes(4, "big")


def read_stream(path: Path, limits: Limits = LIMITS) -> Stream:
    """Go through a stream once and keep its ``cpu`` sections; RAM is passed over, memory stays small.

    Raises
    ------
    FormatError
        When it is not such a stream, is cut off, or has no vCPU; the place is a byte of the unpacked stream.
    """
    with opened(path) as file:
        try:
            found = _Walk(file, limits).run()
        except FormatError as error:
            error.file = str(path)
            raise
    if not found.cpus:
        raise FormatError("the stream holds no vCPU: no section named `cpu`", file=str(path))
    if missing := found.described - found.cpus.keys():
        problem = "the description names it, and the stream has no section of it"
        raise FormatError(problem, f"vCPU {min(missing)}", file=str(path))
    return found


def stream_vcpus(path: Path, name: str, limits: Limits = LIMITS) -> list[SavedVcpu]:
    """Read all vCPUs of a stream."""
    stream = read_stream(path, limits)
    found = []
    for instance in sorted(stream.cpus):
        own = name if len(stream.cpus) == 1 else f"{name}/vcpu{instance}"
        try:
            registers = stream.registers(instance) | stream.beside(instance)
            made = register_set(registers, own, place=f"vCPU {instance}", vgic=stream.vgic)
        except FormatError as error:
            error.file = str(path)
            raise
        found.append(SavedVcpu(name, instance, made))
    return found


FORMAT = Format(
    "qemu-stream",
    "QEMU migration stream, or a domain that libvirt saved",
    lambda head: head.raw.startswith((MAGIC, _LIBVIRT, _LIBVIRT_PARTIAL)),
    vcpus=stream_vcpus,
    suffixes=(".bin", ".mig", ".qemu", ".save"),
)
