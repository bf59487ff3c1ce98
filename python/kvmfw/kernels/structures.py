"""How structures of a kernel lie: from the types in the image (BTF), or as they were read for a release.

BTF: Documentation/bpf/btf.rst, read in 6.12. Vendors may move members, so what the image says of itself comes first.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from kvmfw.kernels.image import Image

__all__ = ["CODE", "Structure", "structures_of"]

_HEADER = struct.Struct("<HBBIIIII")
# Magic, version 1, no flags, length of the header.
_MAGIC = re.compile(rb"\x9f\xeb\x01\x00[\x18-\x40]\x00\x00\x00")
_STRUCT, _UNION = 4, 5
# Words after the three of every type, by kind: fixed, and for each member.
_EXTRA = {
    1: (1, 0),
    3: (3, 0),
    4: (0, 3),
    5: (0, 3),
    6: (0, 2),
    13: (0, 2),
    14: (1, 0),
    15: (0, 3),
    17: (1, 0),
    19: (0, 3),
}
_KINDS = 19

CODE = ("Op0", "Op1", "CRn", "CRm", "Op2")
"""The members that encode a register, one byte each and in this order."""
_CALLS = ("access", "reset", "reg", "val", "__get_user", "set_user", "visibility")
NEEDED = {
    "arm64_ftr_bits": ("sign", "visible", "strict", "type", "shift", "width", "safe_val"),
    "arm64_ftr_reg": ("ftr_bits",),
    "sys_reg_desc": (*CODE, *_CALLS),
}
"""The members that are read, by structure."""


@dataclass(frozen=True, slots=True)
class Structure:
    """A structure: its size, where each member begins, and who says so."""

    size: int
    members: dict[str, int]
    source: str


def structures_of(image: Image, line: tuple[int, int]) -> dict[str, Structure]:
    """Give the structures that tables are made of, by name, for a kernel of a line such as (6, 12)."""
    found = _from_btf(image)
    if NEEDED.keys() <= found.keys():
        return found
    return _read_in(line) | found


def _from_btf(image: Image) -> dict[str, Structure]:
    for match in _MAGIC.finditer(image.data):
        if match.start() % 4 == 0 and (found := _walked(image.data, match.start())):
            return found
    return {}


def _walked(data: bytes, at: int) -> dict[str, Structure]:
    """Walk through all types; nothing where these are none, or the needed ones are not among them."""
    _, _, _, header, type_at, type_size, text_at, text_size = _HEADER.unpack_from(data, at)
    types, texts = at + header + type_at, at + header + text_at
    if texts + text_size > len(data) or types + type_size > len(data) or not 64 < text_size < 1 << 28:
        return {}
    text = data[texts : texts + text_size]
    wanted = {text.find(b"\0%s\0" % name.encode()) + 1: name for name in NEEDED}
    words = struct.unpack(f"<{type_size // 4}I", data[types : types + type_size // 4 * 4])
    found: dict[str, Structure] = {}
    row = 0
    while row + 3 <= len(words) and len(found) < len(NEEDED):
        name, info, size = words[row : row + 3]
        kind, count = info >> 24 & 0x1F, info & 0xFFFF
        if not 1 <= kind <= _KINDS:
            return {}
        fixed, each = _EXTRA.get(kind, (0, 0))
        row += 3
        if kind == _STRUCT and name in wanted and row + 3 * count <= len(words):
            members = {
                _text(text, words[member]): (words[member + 2] & 0xFFFFFF) // 8
                for member in range(row, row + 3 * count, 3)
            }
            if set(NEEDED[wanted[name]]) <= members.keys() and max(members.values()) < size <= 4096:
                found[wanted[name]] = Structure(size, members, "BTF in the image")
        row += fixed + each * count
    return found


def _text(text: bytes, at: int) -> str:
    end = text.find(b"\0", at)
    return text[at:end].decode("ascii", "replace") if at < len(text) and end >= 0 else ""


def _read_in(line: tuple[int, int]) -> dict[str, Structure]:
    """Give the structures as Debian's kernels have them in BTF: 5.10, and alike 6.1 and 6.12 to 7.3; else none."""
    if line != (5, 10) and not (6, 1) <= line <= (7, 3):
        return {}
    source = "seen in Debian's kernels of this age"
    # Since 5.12 an override stands before the fields of a register, since 5.11 the half of an AArch32 register before its name.
    fields, code = (40, 8) if line == (5, 10) else (48, 12)
    after = code + 5 + -(code + 5) % 8
    row = {"sign": 0, "visible": 1, "strict": 2, "type": 4, "shift": 8, "width": 9, "safe_val": 16}
    codes = {name: code + at for at, name in enumerate(CODE)}
    return {
        "arm64_ftr_bits": Structure(24, row, source),
        "arm64_ftr_reg": Structure(fields + 8, {"ftr_bits": fields}, source),
        "sys_reg_desc": Structure(
            after + 56, codes | {name: after + 8 * at for at, name in enumerate(_CALLS)}, source
        ),
    }
