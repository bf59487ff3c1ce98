"""A small image with the tables of a kernel: made after docs/kernels.md, with nothing of a kernel in it."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

BASE = 0xFFFF_8000_8000_0000
SAFE = ("exact", "lower", "higher", "higher_or_zero")

Row = tuple[int, int, bool, str, int]
"""Lowest bit, width, signed, what is safe, the safe value."""


@dataclass
class Made:
    """What an image is made with.

    Attributes
    ----------
    layout : str
        Where symbols are, as kernels of this age have it: 5.10, 6.4 or 7.0.
    relocations : str
        "rela": pointers are 0 and stand in records; "relr": they stand in their places.
    """

    release: str = "7.3.4"
    build: str = "#1 SMP Debian 7.3.4-1 (2026-11-15)"
    layout: str = "7.0"
    relocations: str = "relr"
    types: bool = True
    data_symbols: bool = True
    fields: Mapping[int, Sequence[Row]] = field(default_factory=dict)
    masks: Mapping[int, int] = field(default_factory=dict)
    firmware: Sequence[int] = tuple(0x6030_0000_0014_0000 + at for at in range(4))
    base: int = BASE


def code_of(register: int) -> tuple[int, int, int, int, int]:
    """The encoding in a register id."""
    return register >> 14 & 3, register >> 11 & 7, register >> 7 & 15, register >> 3 & 15, register & 7


class Writer:
    """Bytes that grow, and the pointers in them."""

    def __init__(self, made: Made) -> None:
        self.made = made
        self.data = bytearray(0x1000)
        self.symbols: list[tuple[int, str]] = [(0, "T_text")]
        self.pointers: list[tuple[int, int]] = []

    def put(self, piece: bytes, align: int = 8, symbol: str = "") -> int:
        self.data += b"\0" * (-len(self.data) % align)
        at = len(self.data)
        self.data += piece
        if symbol:
            self.symbols.append((at, symbol))
        return at

    def point(self, slot: int, target: int) -> None:
        self.pointers.append((slot, target))

    def functions(self, names: Sequence[str]) -> dict[str, int]:
        return {name: self.put(b"\x1f\x20\x03\xd5" * 4, 8, f"t{name}") for name in names}

    def field_tables(self) -> None:
        registers = {}
        for register, rows in self.made.fields.items():
            packed = b"".join(
                struct.pack("<BBBxIBB6xq", signed, 1, 0, SAFE.index(safe), shift, width, value)
                for shift, width, signed, safe, value in rows
            )
            table = self.put(packed + bytes(24))
            registers[register] = self.put(bytes(56))
            self.point(registers[register] + 48, table)
        entries = b"".join(struct.pack("<IIQ", self._word(register), 0, 0) for register in registers)
        at = self.put(entries, 8, "darm64_ftr_regs" if self.made.data_symbols else "")
        for row, register in enumerate(registers.values()):
            self.point(at + 16 * row + 8, register)

    @staticmethod
    def _word(register: int) -> int:
        op0, op1, crn, crm, op2 = code_of(register)
        return op0 << 19 | op1 << 16 | crn << 12 | crm << 8 | op2 << 5

    def descriptors(self) -> None:
        functions = self.functions(
            ["access_id_reg", "reset_val", "get_id_reg", "set_id_reg", "id_visibility"]
        )
        rows = {register: self.made.masks.get(register, 0) for register in self.made.masks}
        for op2 in range(8):  # debug registers come first
            for crm in range(16):
                rows.setdefault(0x6030_0000_0013_0000 | 2 << 14 | crm << 3 | op2, 0)
        places = (24, 32, 56, 64, 72)
        packed, used = b"", []
        for register in sorted(rows):
            op0, *rest = code_of(register)
            packed += struct.pack("<8xI5B7xQQI4xQ", 0, op0, *rest, 0, 0, 0, rows[register]).ljust(80, b"\0")
            used.append(op0 == 3)
        at = self.put(packed, 8, "dsys_reg_descs" if self.made.data_symbols else "")
        for row, is_id in enumerate(used):
            for place, target in zip(places, functions.values(), strict=True):
                if is_id:
                    self.point(at + 80 * row + place, target)

    def write_types(self) -> None:
        """BTF with the three structures, and one type before them."""
        text, places = bytearray(b"\0"), {}

        def name(word: str) -> int:
            if word not in places:
                places[word] = len(text)
                text.extend(word.encode() + b"\0")
            return places[word]

        types = struct.pack("<IIII", name("int"), 1 << 24, 4, 32)
        for structure, size, members in STRUCTURES:
            types += struct.pack("<III", name(structure), 4 << 24 | len(members), size)
            types += b"".join(struct.pack("<III", name(member), 1, 8 * at) for member, at in members.items())
        text += b"\0" * 64
        header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(text))
        self.put(header + types + text, 8)

    def kallsyms(self) -> None:
        made = self.made
        for number in range(700):
            self.symbols.append((0x100 + 4 * number, f"tfiller_of_the_test_{number}"))
        if made.layout != "5.10":
            self.symbols.append((0xF00, "t" + "long_name_" * 20))
        symbols = sorted(self.symbols)
        places = [place for place, _ in symbols]
        if made.layout == "5.10":
            self.put(b"".join(struct.pack("<I", place) for place in places))
            self._base_slot()
        else:
            self.put(b"\xff" * 8)
        count = struct.pack("<I", len(symbols))
        self.put(count + (bytes(4) if made.layout != "7.0" else b""), 8)
        names, markers = bytearray(), []
        for row, (_, text) in enumerate(symbols):
            if row % 256 == 0:
                markers.append(len(names))
            length = len(text)
            names += bytes([length]) if length < 128 else bytes([length & 0x7F | 0x80, length >> 7])
            names += text.encode()
        self.put(bytes(names), 4)
        self.put(b"".join(struct.pack("<I", marker) for marker in markers), 4)
        tokens = [chr(byte) if chr(byte).isalnum() or byte == 95 else f"~{byte}" for byte in range(128)]
        tokens += [f"~{byte}" for byte in range(128, 256)]
        table, index = bytearray(), []
        for token in tokens:
            index.append(len(table))
            table += token.encode() + b"\0"
        self.put(bytes(table), 8)
        self.put(struct.pack("<256H", *index), 8)
        if made.layout == "6.4":
            self.put(b"".join(struct.pack("<I", place) for place in places))
            self._base_slot()
        if made.layout == "7.0":
            at = self.put(b"", 4)
            self.data += b"".join(struct.pack("<i", place - at - 4 * row) for row, place in enumerate(places))

    def _base_slot(self) -> None:
        self.point(self.put(bytes(8)), 0)

    def relocate(self) -> None:
        records = b""
        for slot, target in self.pointers:
            if self.made.relocations == "relr":
                struct.pack_into("<Q", self.data, slot, self.made.base + target)
            else:
                records += struct.pack("<QQQ", self.made.base + slot, 1027, self.made.base + target)
        self.put(records)


STRUCTURES: list[tuple[str, int, dict[str, int]]] = [
    (
        "arm64_ftr_bits",
        24,
        {"sign": 0, "visible": 1, "strict": 2, "type": 4, "shift": 8, "width": 9, "safe_val": 16},
    ),
    ("arm64_ftr_reg", 56, {"name": 0, "ftr_bits": 48}),
    (
        "sys_reg_desc",
        80,
        dict(
            zip(
                ("name", "aarch32_map", "Op0", "Op1", "CRn", "CRm", "Op2"),
                (0, 8, 12, 13, 14, 15, 16),
                strict=True,
            )
        )
        | dict(
            zip(
                ("access", "reset", "reg", "val", "__get_user", "set_user", "visibility"),
                (24, 32, 40, 48, 56, 64, 72),
                strict=True,
            )
        ),
    ),
]


def kernel_image(made: Made) -> bytes:
    """Make an image."""
    writer = Writer(made)
    banner = f"Linux version {made.release} (somebody@example.org) (gcc 14) {made.build}\n\0"
    writer.put(banner.encode())
    writer.field_tables()
    writer.descriptors()
    writer.put(b"".join(struct.pack("<Q", register) for register in made.firmware) + bytes(8))
    if made.types:
        writer.write_types()
    writer.kallsyms()
    writer.relocate()
    writer.data[:2] = b"MZ"
    struct.pack_into("<QQQ", writer.data, 8, 0, len(writer.data), 0xA)
    writer.data[56:60] = b"ARM\x64"
    return bytes(writer.data)
