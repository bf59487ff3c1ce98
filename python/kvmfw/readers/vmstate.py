"""Firecracker's own snapshot file: the state of a microVM, ``vmstate``.

Two layouts: bincode with numbers of fixed width (read in 1.12.0; up to 1.14), and bitcode, which writes each field of all
vCPUs as one packed column (read in 1.15.0 and 1.16.1). In both the registers of a vCPU stand in the order of KVM's list,
which starts with X0. No length that the file says is trusted: ids say how wide values are, and a checksum ends the file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from kvmfw.errors import FormatError
from kvmfw.ids import CORE, is_arm64, make_id, size_of
from kvmfw.readers.beside import NO_STEAL_TIME, beside
from kvmfw.readers.format import Format
from kvmfw.readers.saved import LARGEST_REGISTER, SavedVcpu, register_set
from kvmfw.readers.source import whole
from kvmfw.readers.vcpu import FEATURES, derived_vcpu

__all__ = ["FORMAT", "checksum", "is_vmstate", "vmstate_vcpus"]

_MAGIC: Final = bytes.fromhex("0000aaaa84191007")
_X86_MAGIC: Final = bytes.fromhex("0000648684191007")
_X0: Final = make_id(CORE, 0).to_bytes(8, "little")
_MOST_REGISTERS: Final = 4096
_MOST_VCPUS: Final = 512
_SEEN_VCPUS: Final = 2
_POLYNOMIAL: Final = 0x95AC9329AC4BC9B5
_KVI_SIZE: Final = 32
_LONG: Final = 255
"""A length that stands elsewhere."""
_KVM_TARGET: Final = 5
"""``KVM_ARM_TARGET_GENERIC_V8``: what every kernel gives as preferred target."""


def is_vmstate(head: bytes) -> bool:
    """Tell whether a file that starts so is a snapshot of Firecracker; bitcode puts one byte before the magic number."""
    return head.startswith((_MAGIC, b"\0" + _MAGIC, _X86_MAGIC, b"\0" + _X86_MAGIC))


def _crc_table() -> tuple[int, ...]:
    table = []
    for number in range(256):
        word = number
        for _ in range(8):
            word = word >> 1 ^ (_POLYNOMIAL if word & 1 else 0)
        table.append(word)
    return tuple(table)


_CRC = _crc_table()


def checksum(data: bytes) -> int:
    """Give the CRC64 that ends a snapshot (reflected, polynomial of Jones, from 0)."""
    crc = 0
    for byte in data:
        crc = _CRC[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc


@dataclass(slots=True)
class _Vcpu:
    registers: dict[int, int]
    features: int | None
    beside: dict[int, int] = field(default_factory=dict)


def vmstate_vcpus(data: bytes, name: str) -> list[SavedVcpu]:
    """Read all vCPUs of a snapshot; their registers keep the order of the file, in which Firecracker writes them.

    Raises
    ------
    FormatError
        When the file is damaged or of another layout; the place is a byte of the file.
    """
    body = _checked(data)
    found = _bincode(body) if data.startswith(_MAGIC) else _bitcode(body)
    if not found:
        raise FormatError("there is no vCPU in it: no register list that starts with X0")
    saved = []
    for number, vcpu in enumerate(found):
        own = name if len(found) == 1 else f"{name}/vcpu{number}"
        features = _feature_names(vcpu)
        made = register_set(vcpu.registers | vcpu.beside, own, features=features)
        if not made.vgic:
            # Firecracker makes a GICv3, else a GICv2, and without either no VM (`create_gic`, read in 1.12 to 1.16).
            both = vcpu.registers | vcpu.beside | beside(VGIC_V2=1)
            made = register_set(both, own, features=features)
        saved.append(SavedVcpu(name, number, made))
    return saved


def _checked(data: bytes) -> bytes:
    start = 0 if data.startswith((_MAGIC, _X86_MAGIC)) else 1
    if data[start : start + 8] == _X86_MAGIC:
        raise FormatError("this is a Firecracker snapshot of an x86_64 VM; expected one of arm64", "byte 0")
    if data[start : start + 8] != _MAGIC:
        raise FormatError(
            "this is no Firecracker snapshot: it does not start with its magic number", "byte 0"
        )
    if len(data) < start + 24:
        raise FormatError(f"the file has {len(data)} bytes, too few for a snapshot; it is cut off")
    body, said = data[:-8], int.from_bytes(data[-8:], "little")
    if checksum(body) != said:
        raise FormatError("the checksum at its end does not fit; the file is damaged or cut off")
    return body


def _feature_names(vcpu: _Vcpu) -> list[str]:
    if vcpu.features is not None:
        return [word for bit, word in enumerate(FEATURES) if vcpu.features >> bit & 1]
    # Firecracker never makes a PMU, though kernels before 6.1 show one in ID_AA64DFR0_EL1.
    features, *_ = derived_vcpu(vcpu.registers)
    return [word for word in features if word != "pmu_v3"]


# --- both layouts ---------------------------------------------------------------------------------


def _is_id(register: int) -> bool:
    return is_arm64(register) and size_of(register) <= LARGEST_REGISTER and not register >> 28 & 0xFFFFFF


def _ids(body: bytes, at: int) -> list[int]:
    """Give the run of ids that starts at a byte."""
    found: list[int] = []
    while at + 8 <= len(body) and len(found) <= _MOST_REGISTERS * _MOST_VCPUS:
        (register,) = struct.unpack_from("<Q", body, at)
        if not _is_id(register):
            break
        found.append(register)
        at += 8
    return found


def _values(body: bytes, at: int, ids: list[int]) -> dict[int, int]:
    values: dict[int, int] = {}
    for register in ids:
        if register in values:
            raise FormatError(f"register {register:#x} occurs twice", f"byte {at}")
        values[register] = int.from_bytes(body[at : at + size_of(register)], "little")
        at += size_of(register)
    if at > len(body):
        raise FormatError(
            "the values end before the list of ids does; the file is damaged", f"byte {len(body)}"
        )
    return values


# --- bincode: up to 1.14 --------------------------------------------------------------------------


def _bincode(body: bytes) -> list[_Vcpu]:
    found = []
    at = body.find(_X0)
    while at >= 8:
        (count,) = struct.unpack_from("<Q", body, at - 8)
        ids = _ids(body, at)[: min(count, _MOST_REGISTERS)]
        end = at + 8 * len(ids)
        total = sum(map(size_of, ids))
        if count != len(ids) or body[end : end + 8] != total.to_bytes(8, "little"):
            problem = (
                f"the file says {count} registers, but {len(ids)} ids with {total} bytes of values follow"
            )
            raise FormatError(problem, f"byte {at - 8}")
        values = _values(body, end + 8, ids)
        end += 8 + total
        # Behind the values: MPIDR, then the vCPU's init structure as bytes, with their number before them.
        found.append(_Vcpu(values, _features(body[end + 8 :], _KVI_SIZE.to_bytes(8, "little"))))
        at = body.find(_X0, end)
    controls = list(_bincode_controls(body))
    if len(controls) == len(found):
        for vcpu, control in zip(found, controls, strict=True):
            vcpu.beside = beside(ICC_CTLR_EL1=control)
    return found


def _bincode_controls(body: bytes) -> Iterator[int]:
    """Find CPU interfaces: seven registers of one word each, SRE (always 7) and CTLR first (`icc_regs.rs`)."""
    at = 0
    start = struct.pack("<4Q", 7, 1, 7, 1)
    while (at := body.find(start, at)) >= 0 and at + 8 * 15 <= len(body):
        words = struct.unpack_from("<15Q", body, at)
        if words[1::2] == (1,) * 7:
            yield words[4]
        at += 8


def _features(rest: bytes, length: bytes) -> int | None:
    if not rest.startswith(length):
        return None
    target, features = struct.unpack_from("<II", rest.ljust(len(length) + _KVI_SIZE, b"\0"), len(length))
    return features if target == _KVM_TARGET else None


# --- bitcode: since 1.15 --------------------------------------------------------------------------


def _bitcode(body: bytes) -> list[_Vcpu]:
    at = body.find(_X0)
    if at < 0:
        return []
    ids = _ids(body, at)
    starts = [place for place, register in enumerate(ids) if register == ids[0]]
    if len(starts) > _MOST_VCPUS:
        raise FormatError(f"the file lists {len(starts)} vCPUs, more than a VM can have", f"byte {at}")
    lists = [ids[start:end] for start, end in zip(starts, [*starts[1:], len(ids)], strict=True)]
    sizes = [sum(map(size_of, one)) for one in lists]
    end = at + 8 * len(ids)
    column = _Column(body, end)
    try:
        told = column.lengths(len(lists))
        unpacked = column.take(1) == b"\0"
    except IndexError:
        told, unpacked = [], False
    if told != sizes or not unpacked:
        raise FormatError(
            f"the sizes of the vCPUs' values ({', '.join(map(str, sizes[:4]))} bytes) do not follow the ids",
            f"byte {end}",
        )
    end = column.at
    features, steal_times = _behind_values(body, end + sum(sizes), len(lists))
    found = []
    for one, size, word, address in zip(lists, sizes, features, steal_times, strict=True):
        found.append(_Vcpu(_values(body, end, one), word, beside(PVTIME_IPA=address)))
        end += size
    return found


def _behind_values(body: bytes, at: int, vcpus: int) -> tuple[list[int | None], list[int | None]]:
    """Give of each vCPU its feature word and where its steal time is.

    MPIDRs as a packed column, then 32 bytes of each init structure, then whether there is steal time, then the addresses.
    """
    column = _Column(body, at)
    try:
        column.integers(vcpus)
        lengths = column.packed_bytes(vcpus)
        made = column.packed_bytes(_KVI_SIZE * vcpus)
    except IndexError:
        return [None] * vcpus, [None] * vcpus
    if lengths != bytes([_KVI_SIZE]) * vcpus:
        return [None] * vcpus, [None] * vcpus
    features = [_features(made[_KVI_SIZE * number :], b"") for number in range(vcpus)]
    return features, _steal_times(column, vcpus)


def _steal_times(column: _Column, vcpus: int) -> list[int | None]:
    """Seen of one and of two vCPUs (1.16.1), whose columns are not packed; of more nothing is told."""
    nothing: list[int | None] = [None] * vcpus
    try:
        has = column.packed_bytes(vcpus) if vcpus <= _SEEN_VCPUS else b""
        if not has or max(has) > 1 or len({*has}) > 1:
            return nothing
        addresses = column.integers(vcpus) if has[0] else [NO_STEAL_TIME] * vcpus
    except IndexError:
        return nothing
    return [*addresses] if all(address % 64 == 0 or not has[0] for address in addresses) else nothing


class _Column:
    """Packed columns, one after another from the byte `at` on; IndexError where they end too early.

    The byte before a column is twice how far it is packed, less one if what follows is less the least (bitcode 0.6.9, read).
    """

    def __init__(self, body: bytes, at: int) -> None:
        self._body, self.at = body, at

    def take(self, size: int) -> bytes:
        """Read bytes as they are."""
        data = self._body[self.at : self.at + size]
        if len(data) < size:
            raise IndexError
        self.at += size
        return data

    def lengths(self, count: int) -> list[int]:
        """Read lengths: a byte each, and those that are 255 or more as numbers behind all bytes."""
        short = self.packed_bytes(count)
        long = iter(self.integers(short.count(_LONG)))
        return [next(long) if length == _LONG else length for length in short]

    def integers(self, count: int) -> list[int]:
        """Read numbers of 64 bits; more than five that are near each other are written as their distance from the least."""
        if not count:
            return []
        packing = self.take(1)[0]
        width = 8 >> (packing + 1 >> 1)
        least = int.from_bytes(self.take(8), "little") if packing & 1 else 0
        if width == 1:
            return [least + byte for byte in self.packed_bytes(count)]
        if not width:
            raise IndexError
        data = self.take(width * count)
        parts = (data[start : start + width] for start in range(0, len(data), width))
        return [least + int.from_bytes(part, "little") for part in parts]

    def packed_bytes(self, count: int) -> bytes:
        """Read bytes: up to two as they are, more as digits of the base that holds them all."""
        if count <= 2:
            return self.take(count)
        packing = self.take(1)[0]
        bases = ((256, 1), (16, 2), (6, 3), (4, 4), (3, 5), (2, 8))
        if packing + 1 >> 1 >= len(bases):
            raise IndexError
        base, digits = bases[packing + 1 >> 1]
        least = self.take(1)[0] if packing & 1 else 0
        found = bytearray()
        for byte in self.take(-(-count // digits)):
            found.extend((byte // base**place % base + least) & 0xFF for place in range(digits))
        return bytes(found[:count])


FORMAT = Format(
    "firecracker-vmstate",
    "snapshot file of Firecracker (vmstate)",
    lambda head: is_vmstate(head.raw),
    vcpus=lambda path, name, limits: vmstate_vcpus(whole(path, limits), name),
    suffixes=(".vmstate",),
)
