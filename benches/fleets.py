"""Synthetic fleets: 8 firmware registers, 32 ID registers, hosts as captures with recorded answers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import kvmfw
from kvmfw.testing import capture_document

PSCI = 0x6030000000140000
LEVELS = [PSCI + index for index in (1, 2, 3)]
BITMAPS = [0x6030000000160000 + index for index in range(4)]
IDENTIFICATION = [0x603000000013C020 + number for number in range(32)]
REGISTERS = [PSCI, *LEVELS, *BITMAPS, *IDENTIFICATION]
FIRMWARE_UNITS = 8
PSCI_VERSIONS = (0x2, 0x10000, 0x10001, 0x10002, 0x10003)
# WORKAROUND_2 depends on this nibble (SSBS), so all VMs and hosts have the same one.
SSBS_UNIT, SSBS_MASK, SSBS = REGISTERS.index(0x603000000013C021), np.uint64(0xF0), np.uint64(0x10)

Words = npt.NDArray[np.uint64]


def _vcpu(rows: int) -> pa.DictionaryArray:
    """How all vCPUs are made: random ID registers do not tell it."""
    return pa.DictionaryArray.from_arrays(np.zeros(rows, dtype=np.int8), ["psci_0_2,vgic"])


@dataclass(frozen=True)
class Shape:
    """How large a fleet is; no classes: every VM and every host differs."""

    name: str
    vms: int
    hosts: int
    vm_classes: int | None = None
    host_classes: int | None = None


SHAPES = {
    "tiny": [
        Shape("small", 10_000, 1_000, 200, 30),
        Shape("large", 50_000, 2_000, 2_000, 100),
        Shape("hostile", 20_000, 500),
    ],
    "full": [
        Shape("small", 100_000, 10_000, 500, 60),
        Shape("large", 2_000_000, 20_000, 20_000, 400),
        Shape("hostile", 1_000_000, 10_000),
    ],
}


def _words(rng: np.random.Generator, rows: int, low: int, high: int) -> Words:
    """Make words whose nibbles are from ``low`` to ``high``."""
    digits = rng.integers(low, high + 1, (rows, 16), dtype=np.uint64)
    shifted = digits << (np.arange(16, dtype=np.uint64) * np.uint64(4))
    return np.asarray(np.bitwise_or.reduce(shifted, axis=1), dtype=np.uint64)


def _side(rng: np.random.Generator, rows: int, pools: list[Words], distinct: bool, host: bool) -> Words:
    values = np.stack([pool[rng.integers(0, len(pool), rows)] for pool in pools], axis=1)
    if distinct:
        # One register is different in every VM and in every host, and mostly acceptable.
        values[:, -1] = _words(rng, rows, 9, 15) if host else _words(rng, rows, 0, 10)
        assert len(np.unique(values[:, -1])) == rows
    values[:, SSBS_UNIT] = (values[:, SSBS_UNIT] & ~SSBS_MASK) | SSBS
    return values


def _pools(rng: np.random.Generator, host: bool, size: int) -> list[Words]:
    """Give the values that VMs save, or the values that hosts have fresh: hosts have mostly more."""
    word = np.uint64
    pools = [np.array(PSCI_VERSIONS[1 if host else 0 :], dtype=word)]
    pools += [np.array([1, 2, 2, 3] if host else [0, 0, 1, 2], dtype=word)] * 3
    pools += [np.array([1, 1, 1, 0] if host else [0, 1], dtype=word)] * 2
    pools += [np.array([3, 3, 1] if host else [0, 1, 3], dtype=word)] * 2
    for _ in IDENTIFICATION:
        pool = _words(rng, size, *((5, 12) if host else (0, 5)))
        if not host:
            pool[0] |= word(0x7000)
        pools.append(pool)
    return pools


@dataclass(frozen=True)
class Synthetic:
    """The values of all VMs and hosts of a fleet, by class."""

    shape: Shape
    vm_values: Words
    host_values: Words
    vm_class: npt.NDArray[np.int64]
    host_class: npt.NDArray[np.int64]

    @classmethod
    def make(cls, shape: Shape, seed: int = 1) -> Synthetic:
        """Make a fleet; the same for the same seed."""
        rng = np.random.default_rng(seed)
        vm_classes, host_classes = shape.vm_classes or shape.vms, shape.host_classes or shape.hosts
        distinct = shape.vm_classes is None
        vm_values = _side(rng, vm_classes, _pools(rng, False, 6), distinct, False)
        host_values = _side(rng, host_classes, _pools(rng, True, 6), distinct, True)
        if distinct:
            return cls(shape, vm_values, host_values, np.arange(shape.vms), np.arange(shape.hosts))
        vm_class = np.concatenate(
            [np.arange(vm_classes), rng.integers(0, vm_classes, shape.vms - vm_classes)]
        )
        host_class = np.concatenate(
            [np.arange(host_classes), rng.integers(0, host_classes, shape.hosts - host_classes)]
        )
        rng.shuffle(vm_class)
        rng.shuffle(host_class)
        return cls(shape, vm_values, host_values, vm_class, host_class)

    def long_table(self, first: int = 0, count: int | None = None) -> pa.Table:
        """Give VMs in long form: one row for each VM and register."""
        rows = self.vm_class[first : None if count is None else first + count]
        return pa.table(
            {
                "vm": np.repeat(np.arange(first, first + len(rows), dtype=np.uint32), len(REGISTERS)),
                "register": np.tile(np.array(REGISTERS, dtype=np.uint64), len(rows)),
                "value": self.vm_values[rows].ravel(),
                "vcpu": _vcpu(len(rows) * len(REGISTERS)),
            }
        )

    def nested_table(self) -> pa.Table:
        """Give VMs in nested form: lists of registers and values."""
        long = self.long_table()
        offsets = pa.array(np.arange(len(self.vm_class) + 1, dtype=np.int32) * len(REGISTERS))
        lists = {
            name: pa.ListArray.from_arrays(offsets, long[name].chunk(0)) for name in ("register", "value")
        }
        names = np.arange(len(self.vm_class), dtype=np.uint32)
        return pa.table({"vm": names, **lists, "vcpu": _vcpu(len(names))})

    @cached_property
    def hosts(self) -> tuple[list[kvmfw.Host], npt.NDArray[np.uint32]]:
        """Captures, and which of them speaks for each host."""
        made = [kvmfw.Host.from_json(json.dumps(capture(row, at))) for at, row in enumerate(self.host_values)]
        return made, self.host_class.astype(np.uint32)

    @property
    def named_hosts(self) -> list[kvmfw.Host]:
        """Hosts with names of their own, as homes want them."""
        made, kinds = self.hosts
        return [made[kind].renamed(f"host{row}") for row, kind in enumerate(kinds.tolist())]

    def set_of(self, vm_class: int, name: str = "vm") -> kvmfw.RegisterSet:
        """Give the register set of a class."""
        values = (int(value) for value in self.vm_values[vm_class])
        return kvmfw.RegisterSet.from_mapping(dict(zip(REGISTERS, values, strict=True)), name=name)

    def fleet(self, **options: Any) -> kvmfw.Fleet:
        """Build the fleet."""
        return kvmfw.Fleet(self.long_table(), self.hosts, **options)

    def pairs(self, count: int, dtype: type = np.int64) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Give random pairs of rows."""
        rng = np.random.default_rng(2)
        vm = rng.integers(0, self.shape.vms, count, dtype=dtype)
        return vm, rng.integers(0, self.shape.hosts, count, dtype=dtype)


def capture(values: Words, number: int = 0) -> dict[str, object]:
    """Make a capture whose answers are recorded: levels and bitmaps by value, ID registers by nibble."""
    own = {register: int(value) for register, value in zip(REGISTERS, values, strict=True)}
    document = capture_document(own, name=f"host{number}", kernel="6.12.8")
    document["answers"] = [_answers(register, value) for register, value in own.items()]
    return document


def _answers(register: int, own: int) -> dict[str, object]:
    asked = {
        "register": hex(register),
        "asked_on": [{"vcpus": ["vm"], "states": ["fresh"]}],
        "value": hex(own),
    }
    if register in IDENTIFICATION:
        digits = [own >> 4 * at & 15 for at in range(16)]
        nibbles = {
            str(4 * at): "." * (digit + 1) + "i" * (15 - digit) for at, digit in enumerate(digits) if digit
        }
        ones = "." if own == (1 << 64) - 1 else "i"
        return asked | {"nibbles": nibbles, "same": ".", "other": "i", "zero": ".", "ones": ones}
    if register in LEVELS:
        kept, changed, refused = [own], list(range(own)), list(range(own + 1, 4))
    elif register == PSCI:
        kept, changed = [version for version in PSCI_VERSIONS if version <= own], []
        refused = [version for version in PSCI_VERSIONS if version > own]
    else:
        kept, changed = [value for value in range(4) if value & ~own == 0], []
        refused = [value for value in range(4) if value & ~own]
    return asked | {
        "kept": [hex(value) for value in kept],
        "changed": {hex(value): hex(own) for value in changed},
        "refused": {"EINVAL": [hex(value) for value in refused]},
    }
