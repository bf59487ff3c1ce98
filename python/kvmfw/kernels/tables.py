"""The tables of an image: fields of ID registers (cpufeature.c), KVM's system registers (sys_regs.c), firmware registers.

Where an image has no symbols of data (Debian's before 6.12) a table is found by what is in it: registers in the order of their
encoding, a structure apart. A table that does not read as one is not there: nothing is guessed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kvmfw.errors import FormatError
from kvmfw.ids import FIRMWARE, SYSTEM, make_id, system_number
from kvmfw.kernels.image import Image
from kvmfw.kernels.structures import CODE, Structure
from kvmfw.kernels.symbols import Symbols

__all__ = ["Descriptor", "FieldRow", "Reader"]

SAFE = ("exact", "lower", "higher", "higher_or_zero")
"""enum ftr_type of arch/arm64/include/asm/cpufeature.h, 5.10 to 7.3 read."""
_MOST = 2048
"""Entries of a table; the longest, KVM's, has some 700."""
# ID_PFR0_EL1, ID_PFR1_EL1 and ID_DFR0_EL1 follow one another in both tables, in all kernels.
_FIRST = ((3, 0, 0, 1, 0), (3, 0, 0, 1, 1), (3, 0, 0, 1, 2))
_MIDR, _REVIDR = (3, 0, 0, 0, 0), (3, 0, 0, 0, 6)
_FIRST_FIRMWARE = make_id(FIRMWARE, 0)

Code = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class FieldRow:
    """One row of a register's table of fields.

    Attributes
    ----------
    shift, width : int
        Its bits.
    signed, visible, strict : bool
        Whether it is compared as a signed number, shown to user space, and warned about where CPUs differ.
    safe : str
        What is safe: ``lower``, ``higher``, ``higher_or_zero``, or ``exact``.
    value : int
        The value that is safe where two differ.
    """

    shift: int
    width: int
    signed: bool
    visible: bool
    strict: bool
    safe: str
    value: int


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What KVM has for one system register: functions by their symbols, None where there is none.

    Attributes
    ----------
    register : int
        The id of KVM_GET_ONE_REG.
    stored : bool
        Whether KVM keeps a value for it; a register with neither this nor `get` is in no list (walk_one_sys_reg).
    mask : int
        `val`: of ID registers the bits that may be written (since 6.6), of others the value after a reset.
    place : int
        Where it stands in the image.
    """

    register: int
    access: str | None
    reset: str | None
    get: str | None
    set: str | None
    visibility: str | None
    stored: bool
    mask: int
    place: int


def _id_of(code: Code) -> int:
    return make_id(SYSTEM, system_number(*code))


def _code_of(word: int) -> Code | None:
    """Read what `sys_reg()` makes; None where it is none (arch/arm64/include/asm/sysreg.h, 5.10 to 7.3 read)."""
    if word & ~0x1FFFE0:
        return None
    return word >> 19 & 3, word >> 16 & 7, word >> 12 & 15, word >> 8 & 15, word >> 5 & 7


class Reader:
    """Reads the tables of one image."""

    def __init__(self, image: Image, symbols: Symbols, structures: dict[str, Structure]) -> None:
        self._image = image
        self._symbols = symbols
        self._structures = structures

    # --- pointers ---------------------------------------------------------------------------------

    def _pointed(self, at: int) -> int | None:
        """Give the offset that a pointer means: None for NULL and for what is no place in the kernel."""
        (word,) = struct.unpack_from("<Q", self._image.data, at)
        word = word or self._image.moved.get(self._symbols.base + at, 0)
        place: int = word - self._symbols.base
        return place if word and 0 <= place < 1 << 30 else None

    def _function(self, at: int) -> str | None:
        place = self._pointed(at)
        if place is None:
            return None
        return self._symbols.at(place) or f"{place:#x}"

    def _structure(self, name: str) -> Structure:
        if name not in self._structures:
            raise FormatError(
                f"how `struct {name}` lies is not known for this kernel, and it has no types (BTF) to tell"
            )
        return self._structures[name]

    # --- fields of ID registers -------------------------------------------------------------------

    def fields(self) -> dict[int, tuple[FieldRow, ...]]:
        """Read `arm64_ftr_regs`: the rows of each register that has a table, from the highest bit down."""
        at = self._ftr_regs()
        pointers = self._structure("arm64_ftr_reg").members["ftr_bits"]
        found: dict[int, tuple[FieldRow, ...]] = {}
        for entry in range(at, min(at + 16 * _MOST, len(self._image.data) - 16), 16):
            word, padding = struct.unpack_from("<II", self._image.data, entry)
            register = self._pointed(entry + 8)
            code = _code_of(word)
            if padding or code is None or register is None or not word:
                break
            if register + pointers + 8 > len(self._image.data):
                break
            rows = self._pointed(register + pointers)
            if rows is None:
                break
            if _id_of(code) in found:
                raise FormatError(f"a register stands twice in `arm64_ftr_regs`: {_id_of(code):#x}")
            found[_id_of(code)] = tuple(self._rows(rows))
        if len(found) < len(_FIRST):
            raise FormatError("the table `arm64_ftr_regs` was not understood")
        return found

    def _ftr_regs(self) -> int:
        """Find `arm64_ftr_regs`: sorted by encoding, the AArch32 registers come first."""
        words = self._image.words
        first, second, third = (code[3] << 8 | code[4] << 5 | 3 << 19 for code in _FIRST)
        hits = np.flatnonzero((words[:-4] == first) & (words[2:-2] == second) & (words[4:] == third))
        places = [8 * hit for hit in hits.tolist()]
        named = self._symbols.place("arm64_ftr_regs")
        if named is not None and named not in places:
            raise FormatError("the symbol `arm64_ftr_regs` and what the table begins with do not fit")
        if len(places) != 1:
            raise FormatError(f"the table `arm64_ftr_regs` was found {len(places)} times, expected once")
        return places[0]

    def _rows(self, at: int) -> Iterator[FieldRow]:
        lies = self._structure("arm64_ftr_bits")
        place = lies.members
        above = 64
        for row in range(at, at + 65 * lies.size, lies.size):
            entry = self._image.data[row : row + lies.size]
            if len(entry) < lies.size:
                break
            width, shift = entry[place["width"]], entry[place["shift"]]
            if not width:
                return
            flags = [entry[place[name]] for name in ("sign", "visible", "strict")]
            (kind,) = struct.unpack_from("<I", entry, place["type"])
            (value,) = struct.unpack_from("<q", entry, place["safe_val"])
            if shift + width > above or max(flags) > 1 or kind >= len(SAFE):
                break
            above = shift
            signed, visible, strict = map(bool, flags)
            yield FieldRow(shift, width, signed, visible, strict, SAFE[kind], value)
        raise FormatError(
            f"a table of fields at {at:#x} was not understood: its rows are none, or not in order"
        )

    # --- KVM's registers --------------------------------------------------------------------------

    def descriptors(self) -> dict[int, Descriptor]:
        """Read `sys_reg_descs`: every system register that KVM knows."""
        lies = self._structure("sys_reg_desc")
        found = max(map(self._table, self._descs(lies)), key=len, default={})
        if len(found) < 100:
            raise FormatError("the table `sys_reg_descs` was not found, or not understood")
        return found

    def _codes(self, at: int, lies: Structure) -> Code | None:
        op0, op1, crn, crm, op2 = (self._image.data[at + lies.members[name]] for name in CODE)
        return (
            (op0, op1, crn, crm, op2)
            if 2 <= op0 <= 3 and op1 < 8 and crn < 16 and crm < 16 and op2 < 8
            else None
        )

    def _descs(self, lies: Structure) -> Iterator[int]:
        """Find tables of this structure that have the first ID registers; give where they begin."""
        named = self._symbols.place("sys_reg_descs")
        if named is not None:
            yield named
            return
        data, pattern = self._image.data, bytes(_FIRST[0])
        at = data.find(pattern)
        while at >= 0:
            entry = at - lies.members["Op0"]
            if entry % 8 == 0 and all(
                data[at + row * lies.size : at + row * lies.size + 5] == bytes(code)
                for row, code in enumerate(_FIRST)
            ):
                yield self._beginning(entry, lies)
            at = data.find(pattern, at + 1)

    def _beginning(self, at: int, lies: Structure) -> int:
        code = self._codes(at, lies)
        while code and (before := self._codes(at - lies.size, lies)) and before < code:
            at, code = at - lies.size, before
        return at

    def _table(self, at: int) -> dict[int, Descriptor]:
        lies = self._structure("sys_reg_desc")
        place = lies.members
        found: dict[Code, Descriptor] = {}
        end = min(at + _MOST * lies.size, len(self._image.data) - lies.size)
        for entry in range(at, end, lies.size):
            code = self._codes(entry, lies)
            if code is None or (found and code <= next(reversed(found))):
                break
            access, reset, get, put, visibility = (
                self._function(entry + place[name])
                for name in ("access", "reset", "__get_user", "set_user", "visibility")
            )
            (stored,) = struct.unpack_from("<I", self._image.data, entry + place["reg"])
            (mask,) = struct.unpack_from("<Q", self._image.data, entry + place["val"])
            found[code] = Descriptor(
                _id_of(code), access, reset, get, put, visibility, bool(stored), mask, entry
            )
        return {one.register: one for one in found.values()}

    def invariants(self) -> tuple[int, ...]:
        """Read `invariant_sys_regs`: registers that are the hardware's; none where KVM's table has them (from 6.13 on)."""
        lies = self._structure("sys_reg_desc")
        data, first = self._image.data, lies.members["Op0"]
        at = data.find(bytes(_MIDR))
        while at >= 0:
            entry = at - first
            if entry % 8 == 0 and self._codes(entry + lies.size, lies) == _REVIDR:
                table = tuple(self._table(entry))
                if len(table) < 16:
                    return table
            at = data.find(bytes(_MIDR), at + 1)
        return ()

    # --- firmware registers -----------------------------------------------------------------------

    def firmware(self) -> list[int]:
        """Read `kvm_arm_fw_reg_ids` and `kvm_arm_fw_reg_bmap_ids`, or as it is called: the ids of firmware registers."""
        words = self._image.words
        starts = np.flatnonzero((words[:-1] == _FIRST_FIRMWARE) & (words[1:] == _FIRST_FIRMWARE + 1)).tolist()
        runs = []
        for start in starts:
            run = [_FIRST_FIRMWARE]
            for word in words[start + 1 : start + 64].tolist():
                if word >> 24 != _FIRST_FIRMWARE >> 24 or word <= run[-1]:
                    break
                run.append(word)
            runs.append(run)
        if not runs:
            raise FormatError("the list of firmware registers was not found")
        return max(runs, key=len)
