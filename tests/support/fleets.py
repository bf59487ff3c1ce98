"""Random fleets, and what the direct judge says of all their pairs."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import kvmfw
from kvmfw.testing import capture_document, tiny_host, tiny_set

FIRMWARE = [0x6030000000140000 + index for index in range(4)]
BITMAPS = [0x6030000000160000 + index for index in range(4)]
SVE_VLS = 0x606000000015FFFF
CCSIDR = 0x6020000000110000
PC = 0x6030000000100040
IDENTIFICATION = [0x603000000013C000 + number for number in (0x08, 0x20, 0x21, 0x28, 0x30, 0x31, 0x38, 0x3A)]
TCR2 = 0x603000000013C103
KERNELS = ("5.4.0", "5.10.13", "6.1.4", "6.6.30", "6.12.8", "6.17.8", "7.3.4", "no number")
# (unit cells, group rows, class cells, unpacked cells): every way a fleet can take.
WAYS = {
    "table": None,
    "packed table": (1 << 22, 64, 1 << 28, 0),
    "masks": (1 << 22, 64, 0, 0),
    "single parts": (1 << 22, 1, 0, 0),
    "split units": (0, 1 << 16, 0, 0),
    "split units and table": (0, 8, 1 << 28, 1 << 19),
}


def word(rng: random.Random, register: int) -> int:
    if register in FIRMWARE:
        return rng.choice([0x2, 0x10000, 0x10001]) if register == FIRMWARE[0] else rng.randrange(4)
    if register in BITMAPS:
        return rng.randrange(4)
    if register == SVE_VLS:
        return rng.choice([1, 3, 11, 1 << 100])
    if register == CCSIDR:
        return rng.randrange(8)
    if rng.random() < 0.2:
        return rng.choice([0, (1 << 64) - 1])
    return sum(rng.randrange(3) << 4 * nibble for nibble in range(16))


def answers(rng: random.Random, register: int, own: int) -> dict[str, Any]:
    asked: dict[str, Any] = {
        "register": hex(register),
        "asked_on": [{"vcpus": ["vm"], "states": ["fresh"]}],
        "value": hex(own),
    }
    if register in IDENTIFICATION and rng.random() < 0.8:
        codes = "".join
        nibbles = {
            str(4 * at): codes(rng.choice("..!ib") for _ in range(16))
            for at in range(16)
            if rng.random() < 0.5
        }
        one = {key: rng.choice(".!i") for key in ("same", "other", "zero", "ones")}
        return asked | {"nibbles": nibbles} | one
    kept: list[str] = []
    changed: list[str] = []
    refused: list[str] = []
    for value in {word(rng, register) for _ in range(6)}:
        rng.choice([kept, changed, refused]).append(hex(value))
    return asked | {"kept": kept, "changed": dict.fromkeys(changed, hex(own)), "refused": {"EINVAL": refused}}


def random_host(
    rng: random.Random, number: int, registers: list[int], values: dict[int, list[int]]
) -> kvmfw.Host:
    listed = {register: rng.choice(values[register]) for register in registers if rng.random() < 0.95}
    document: dict[str, Any] = capture_document(listed, name=f"host{number}", kernel=rng.choice(KERNELS))
    if rng.random() < 0.3:
        document["vcpus"].append(
            {
                "name": "pmu",
                "features": ["psci_0_2", "pmu_v3"],
                **rng.choice(
                    [{"refused": "EINVAL"}, {"vgic": True, "values": document["vcpus"][0]["values"]}]
                ),
            }
        )
    if rng.random() < 0.3:
        document["vcpus"][0]["same_value_refused"] = {
            hex(register): "EINVAL" for register in listed if rng.random() < 0.1 and register != PC
        }
    measured = [register for register in listed if register not in (PC, SVE_VLS, TCR2) and rng.random() < 0.5]
    document["answers"] = [answers(rng, register, listed[register]) for register in measured]
    return kvmfw.Host.from_json(json.dumps(document))


Sets = list[kvmfw.RegisterSet]
Hosts = list[kvmfw.Host]


def random_fleet(seed: int, vms: int = 40, hosts: int = 12) -> tuple[Sets, Hosts, list[int]]:
    """Make VMs and hosts; some registers have a value of their own in nearly every VM and host."""
    rng = random.Random(seed)
    registers = [*FIRMWARE, *BITMAPS, *IDENTIFICATION, SVE_VLS, CCSIDR, PC, TCR2]
    registers = [register for register in registers if rng.random() < 0.9]
    own = {register: rng.choice([2, 3, 100]) for register in registers}
    values = {register: [word(rng, register) for _ in range(own[register])] for register in registers}
    made = [random_host(rng, number, registers, values) for number in range(hosts)]
    sets = []
    for number in range(vms):
        kept = [register for register in registers if rng.random() < (0.97 if number % 3 else 1)]
        registers_of = {register: rng.choice(values[register]) for register in kept}
        features = ("psci_0_2", "pmu_v3") if rng.random() < 0.2 else ("psci_0_2",)
        sets.append(kvmfw.RegisterSet.from_mapping(registers_of, features=features, name=f"vm{number}"))
    return sets, made, [rng.randrange(hosts) for _ in range(hosts + 5)]


def fleet_of(
    sets: Any, hosts: Hosts, host_of: Sequence[int], *, way: str = "table", **options: Any
) -> kvmfw.Fleet:
    kind: type[kvmfw.Fleet] = type("Fleet", (kvmfw.Fleet,), {"_limits": WAYS[way]})
    return kind(sets, (hosts, np.array(host_of, dtype=np.uint32)), **options)


def direct(
    sets: Sets, hosts: Hosts, host_of: Sequence[int], **options: Any
) -> tuple[npt.NDArray[np.uint8], list[list[kvmfw.Verdict]]]:
    """Give outcomes and the first deciding register of all pairs, from the direct judge."""
    by_kind = [[kvmfw.validate(vm, host, **options) for host in hosts] for vm in sets]
    outcomes = np.array([[int(row[kind].outcome) for kind in host_of] for row in by_kind], dtype=np.uint8)
    return outcomes, by_kind


def check(fleet: kvmfw.Fleet | kvmfw.Snapshot, outcomes: np.ndarray) -> None:
    """Compare every kind of answer with the outcomes of all pairs."""
    vms, hosts = outcomes.shape
    assert fleet.shape == (vms, hosts)
    rows, columns = (axis.ravel() for axis in np.indices(outcomes.shape))
    for dtype in (np.int64, np.uint32, np.int32, np.uint64):
        found = fleet.validate_pairs(rows.astype(dtype), columns.astype(dtype))
        np.testing.assert_array_equal(found, outcomes.ravel())
    units = np.empty(rows.size, dtype=np.uint16)
    found = fleet.validate_pairs(rows, columns, units=units)
    np.testing.assert_array_equal(found, outcomes.ravel())
    np.testing.assert_array_equal(units == 65535, outcomes.ravel() == 0)
    host_classes = fleet.host_classes
    for vm in range(vms):
        np.testing.assert_array_equal(fleet.class_row(vm)[host_classes], outcomes[vm])
    np.testing.assert_array_equal(fleet.class_table()[fleet.vm_classes][:, host_classes], outcomes)
    for change in ("accept", "refuse"):
        for unknown in ("accept", "refuse"):
            takes = (outcomes == 0) | ((outcomes == 1) & (change == "accept"))
            takes |= (outcomes == 2) & (unknown == "accept")
            packed = fleet.validate_matrix(change=change, unknown=unknown)
            np.testing.assert_array_equal(packed, np.packbits(takes, axis=1, bitorder="little"))
            part = fleet.validate_matrix(change=change, unknown=unknown, vms=slice(1, vms - 1))
            np.testing.assert_array_equal(part, packed[1:-1])
            blocks = [
                (at, block.copy())
                for at, block in fleet.iter_matrix(
                    change=change, unknown=unknown, block_bytes=3 * packed.shape[1]
                )
            ]
            np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), packed)
            for vm in range(vms):
                takers = fleet.candidates(vm, change=change, unknown=unknown)
                np.testing.assert_array_equal(takers, np.flatnonzero(takes[vm]))
    axes: tuple[tuple[int, Literal["vm", "host"]], ...] = ((1, "vm"), (0, "host"))
    for axis, name in axes:
        wanted = np.stack([(outcomes == outcome).sum(axis=axis) for outcome in range(4)], axis=1)
        np.testing.assert_array_equal(fleet.counts(name), wanted)


def long_table(sets: Sets, *, shuffled: bool = False) -> pa.Table:
    rows = [
        (vm.name, register, value & (1 << 64) - 1, ",".join([*vm.features, "vgic"]))
        for vm in sets
        for register, value in vm.to_mapping().items()
    ]
    if shuffled:
        first: dict[str, tuple[str, int, int, str]] = {}
        for row in rows:
            first.setdefault(row[0], row)
        rest = [row for row in rows if first[row[0]] is not row]
        random.Random(0).shuffle(rest)
        rows = [*first.values(), *rest]
    vm, register, value, vcpu = zip(*rows, strict=True)
    return pa.table(
        {
            "vm": list(vm),
            "register": pa.array(register, pa.uint64()),
            "value": pa.array(value, pa.uint64()),
            "vcpu": list(vcpu),
        }
    )


def nested_table(sets: Sets) -> pa.Table:
    mappings = [vm.to_mapping() for vm in sets]
    words = [[value & (1 << 64) - 1 for value in mapping.values()] for mapping in mappings]
    return pa.table(
        {
            "vm": [vm.name for vm in sets],
            "register": pa.array([list(mapping) for mapping in mappings], pa.list_(pa.uint64())),
            "value": pa.array(words, pa.list_(pa.uint64())),
            "vcpu": [",".join([*vm.features, "vgic"]) for vm in sets],
        }
    )


def narrow(sets: Sets) -> Sets:
    """Take registers that do not fit into 8 bytes away: a table has no room for them."""
    return [
        kvmfw.RegisterSet.from_mapping(
            {register: value for register, value in vm.to_mapping().items() if value < 1 << 64},
            features=vm.features,
            name=vm.name,
        )
        for vm in sets
    ]


def renamed(vm: kvmfw.RegisterSet, name: str) -> kvmfw.RegisterSet:
    return kvmfw.RegisterSet.from_mapping(
        vm.to_mapping(), features=vm.features, vgic=vm.vgic, enabled=vm.enabled, name=name
    )


def small() -> kvmfw.Fleet:
    """Three VMs on two hosts: `a` and `b` on `old`, which takes all; `new` takes `a` and `c`."""
    vms = [
        kvmfw.RegisterSet.from_mapping(tiny_set(workaround_3=level).to_mapping(), name=name, host=home)
        for name, level, home in (("a", 1, "old"), ("b", 2, "old"), ("c", 0, None))
    ]
    return kvmfw.Fleet(vms, [tiny_host(workaround_3=2, name="old"), tiny_host(workaround_3=1, name="new")])
