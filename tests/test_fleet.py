"""Fleets say what the direct judge says, pair by pair, whichever way they take."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

import kvmfw
from kvmfw.errors import ArgumentError, RowError
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
            hex(register): "EINVAL" for register in listed if rng.random() < 0.1
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


def check(fleet: kvmfw.Fleet, outcomes: np.ndarray) -> None:
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


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seed", range(6))
def test_fleets_and_the_direct_judge_agree(way: str, seed: int) -> None:
    sets, hosts, host_of = random_fleet(seed)
    outcomes, _ = direct(sets, hosts, host_of)
    assert len(np.unique(outcomes)) > 1
    check(fleet_of(sets, hosts, host_of, way=way), outcomes)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("hosts", [1023, 1024, 1025, 2500])
def test_fleets_of_many_hosts_agree(way: str, hosts: int) -> None:
    """Bit rows go by strips of 1,024 hosts, bytes of 8."""
    sets, kinds, _ = random_fleet(11, vms=12, hosts=9)
    host_of = [number * 7 % len(kinds) for number in range(hosts)]
    outcomes, _ = direct(sets, kinds, host_of)
    check(fleet_of(sets, kinds, host_of, way=way), outcomes)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "options", [{"scheme": "signed4"}, {"scheme": "equal"}, {"vmm": "qemu-10.2"}, {"vmm": "crosvm"}]
)
def test_schemes_and_policies_agree(way: str, options: dict[str, str]) -> None:
    sets, hosts, host_of = random_fleet(7, vms=20, hosts=6)
    outcomes, _ = direct(sets, hosts, host_of, **options)
    check(fleet_of(sets, hosts, host_of, way=way, **options), outcomes)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seed", range(3))
def test_the_deciding_unit_is_in_the_verdict(way: str, seed: int) -> None:
    sets, hosts, host_of = random_fleet(seed, vms=20)
    outcomes, verdicts = direct(sets, hosts, host_of)
    fleet = fleet_of(sets, hosts, host_of, way=way)
    rows, columns = (axis.ravel() for axis in np.indices(outcomes.shape))
    units = np.empty(rows.size, dtype=np.uint16)
    fleet.validate_pairs(rows, columns, units=units)
    names = fleet.units
    for vm, host, unit in zip(rows, columns, units, strict=True):
        verdict = verdicts[vm][host_of[host]]
        decisive = {f.name for f in verdict.findings if f.outcome == verdict.outcome}
        if unit == 65535:
            assert not decisive
        elif names[unit] not in ("vCPU", "register list"):
            assert names[unit] in decisive


@pytest.mark.parametrize("way", WAYS)
def test_audits_count_what_all_pairs_say(way: str) -> None:
    sets, hosts, host_of = random_fleet(3)
    outcomes, _ = direct(sets, hosts, host_of)
    audit = fleet_of(sets, hosts, host_of, way=way).audit()
    wanted = {
        name: int((outcomes == at).sum()) for at, name in enumerate(("ACCEPT", "CHANGE", "UNKNOWN", "REFUSE"))
    }
    assert audit.to_dict()["totals"] == wanted
    assert audit.to_dict() == fleet_of(sets, hosts, host_of).audit().to_dict()


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_class_numbers_do_not_depend_on_threads(threads: int) -> None:
    sets, hosts, host_of = random_fleet(1)
    sets = narrow(sets)
    rng = np.random.default_rng(0)
    chosen = [sets[at] for at in rng.integers(0, len(sets), 9000)]
    table = nested_table(chosen).drop_columns(["vm"]).append_column("vm", pa.array(np.arange(9000)))
    one, many = (fleet_of(table, hosts, host_of, threads=count) for count in (1, threads))
    np.testing.assert_array_equal(one.vm_classes, many.vm_classes)
    vm, host = rng.integers(0, 9000, 200_000), rng.integers(0, len(host_of), 200_000)
    assert one.validate_pairs(vm, host).tobytes() == many.validate_pairs(vm, host).tobytes()
    assert one.validate_matrix(unknown="refuse").tobytes() == many.validate_matrix(unknown="refuse").tobytes()
    axes: tuple[Literal["vm", "host"], ...] = ("vm", "host")
    for axis in axes:
        assert one.counts(axis).tobytes() == many.counts(axis).tobytes()


@pytest.mark.parametrize("seed", range(3))
def test_every_form_of_input_gives_the_same_fleet(seed: int) -> None:
    sets, hosts, host_of = random_fleet(seed)
    sets = narrow(sets)
    outcomes, _ = direct(sets, hosts, host_of)
    long = long_table(sets)
    codes = long.set_column(0, "vm", long["vm"].combine_chunks().dictionary_encode())
    numbers = long.set_column(0, "vm", pa.array([int(str(name)[2:]) for name in long["vm"]], pa.int64()))
    scattered = numbers.set_column(0, "vm", pa.array(numbers["vm"].to_numpy() * 7919 % 10007, pa.uint16()))
    chunked = pa.concat_tables([long.slice(0, 13), long.slice(13)])
    forms = [
        sets,
        long,
        long_table(sets, shuffled=True),
        nested_table(sets),
        codes,
        numbers,
        scattered,
        chunked,
    ]
    forms += [
        pa.RecordBatchReader.from_batches(long.schema, table.to_batches(max_chunksize=size))
        for table, size in ((long, 7), (long, 100), (numbers, 1))
        if table.schema == long.schema
    ]
    forms.append(
        pa.RecordBatchReader.from_batches(
            nested_table(sets).schema, nested_table(sets).to_batches(max_chunksize=3)
        )
    )
    for form in forms:
        fleet = fleet_of(form, hosts, host_of)
        assert fleet.shape == outcomes.shape
        check(fleet, outcomes)
    assert list(fleet_of(long, hosts, host_of).vm_names) == [vm.name for vm in sets]
    assert fleet_of(long_table(sets, shuffled=True), hosts, host_of).vm_names == [vm.name for vm in sets]


def renamed(vm: kvmfw.RegisterSet, name: str) -> kvmfw.RegisterSet:
    return kvmfw.RegisterSet.from_mapping(
        vm.to_mapping(), features=vm.features, vgic=vm.vgic, enabled=vm.enabled, name=name
    )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seed", range(3))
def test_changing_a_fleet_is_building_it(way: str, seed: int) -> None:
    sets, hosts, host_of = random_fleet(seed)
    rng = random.Random(seed)
    fleet = fleet_of(sets[:5], hosts, host_of, way=way)
    now = list(sets[:5])
    host_of = list(host_of)
    for step in range(12):
        before = fleet.generation
        fleet.validate_pairs([0], [0], units=np.empty(1, dtype=np.uint16))
        if step % 4 == 3:
            gone = rng.sample(range(len(now)), 2)
            fleet.remove_vms(gone)
            now = [vm for row, vm in enumerate(now) if row not in gone]
        elif step % 4 == 2:
            row, kind = rng.randrange(len(host_of)), rng.randrange(len(hosts))
            fleet.update_hosts({row: hosts[kind]})
            host_of[row] = kind
        else:
            more = sets[5 + 4 * step : 9 + 4 * step] or [renamed(vm, f"{step}.{vm.name}") for vm in sets[:3]]
            fleet.add_vms(more)
            now += more
        assert fleet.generation > before
        assert list(fleet.vm_names) == [vm.name for vm in now]
        outcomes, _ = direct(now, hosts, host_of)
        check(fleet, outcomes)


def test_a_new_capture_is_a_new_class_of_its_own() -> None:
    fleet = kvmfw.Fleet(
        [tiny_set(workaround_3=level) for level in (0, 1, 2)], [tiny_host(workaround_3=1)] * 3
    )
    row = fleet.class_row(2)
    for count in range(1, 40):
        fleet.update_hosts({1: tiny_host(workaround_3=count % 3, workaround_1=count)})
        wanted = [
            int(
                kvmfw.validate(
                    tiny_set(workaround_3=2), tiny_host(workaround_3=count % 3, workaround_1=count)
                ).outcome
            )
        ]
        assert list(fleet.validate_pairs([2], [1])) == wanted
    assert list(row) == [3]


def test_readers_never_see_half_a_change() -> None:
    low, high = tiny_host(workaround_3=0), tiny_host(workaround_3=1)
    fleet = kvmfw.Fleet([tiny_set(workaround_3=1)] * 64, [low] * 64, threads=2)
    rows = np.repeat(np.arange(64), 64)
    columns = np.tile(np.arange(64), 64)
    stop = threading.Event()
    seen: set[bytes] = set()

    def read() -> None:
        while not stop.is_set():
            outcomes = fleet.validate_pairs(rows, columns)
            seen.add(np.unique(outcomes).tobytes())

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for turn in range(60):
        fleet.update_hosts(dict.fromkeys(range(64), high if turn % 2 == 0 else low))
    stop.set()
    for reader in readers:
        reader.join()
    assert seen <= {b"\x00", b"\x03"}


def test_the_gil_is_released() -> None:
    fleet = kvmfw.Fleet([tiny_set()] * 1000, [tiny_host()] * 1000, threads=1)
    vm = np.random.default_rng(0).integers(0, 1000, 20_000_000)
    out = np.empty(vm.size, dtype=np.uint8)
    ticks: list[float] = []
    stop = threading.Event()

    def tick() -> None:
        while not stop.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0)

    other = threading.Thread(target=tick)
    other.start()
    start = time.perf_counter()
    for _ in range(3):
        fleet.validate_pairs(vm, vm, out=out)
    end = time.perf_counter()
    stop.set()
    other.join()
    assert sum(start < at < end for at in ticks) > 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_has_its_own_threads() -> None:
    fleet = kvmfw.Fleet([tiny_set()] * 1000, [tiny_host()] * 1000, threads=2)
    vm = np.arange(1000).repeat(1000)
    host = np.tile(np.arange(1000), 1000)
    wanted = fleet.validate_pairs(vm, host)
    child = os.fork()
    if child == 0:
        same = np.array_equal(fleet.validate_pairs(vm, host), wanted)
        os._exit(0 if same else 1)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    pytest.fail("the child waits for threads that it does not have")


@pytest.mark.parametrize("size", [1, 10_000, 200_000])
@pytest.mark.parametrize("dtype", [np.int64, np.uint32])
def test_pairs_out_of_range_are_named(size: int, dtype: type) -> None:
    fleet = kvmfw.Fleet([tiny_set()] * 5, [tiny_host()] * 3)
    good: npt.NDArray[Any] = np.zeros(size, dtype=dtype)
    for place, vm, host in ((size // 2, 5, 0), (size - 1, 0, 3)):
        vms, hosts = good.copy(), good.copy()
        vms[place], hosts[place] = vm, host
        vms[-1] = max(vms[-1], vm)
        with pytest.raises(RowError, match=rf"VM row {vm}, host row {host}") as raised:
            fleet.validate_pairs(vms, hosts)
        assert raised.value.row == place
    if dtype is np.int64:
        with pytest.raises(RowError, match="VM row -1"):
            fleet.validate_pairs(np.array([-1]), np.array([0]))


INTEGERS = (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_rows_may_be_integers_of_any_two_kinds(dtype: type) -> None:
    fleet = kvmfw.Fleet(
        [tiny_set(workaround_3=level) for level in (0, 2)], [tiny_host(workaround_3=one) for one in (2, 1)]
    )
    rows = [0, 0, 1, 1], [0, 1, 0, 1]
    wanted = fleet.validate_pairs(*rows)
    assert len(set(wanted.tolist())) > 1
    for other in INTEGERS:
        vms: npt.NDArray[Any] = np.array(rows[0], dtype=dtype)
        hosts: npt.NDArray[Any] = np.array(rows[1], dtype=other)
        np.testing.assert_array_equal(fleet.validate_pairs(vms, hosts), wanted)
        if np.dtype(dtype).kind == "u":
            vms[2] = np.iinfo(dtype).max
            with pytest.raises(RowError, match="out of range"):
                fleet.validate_pairs(vms, hosts)


@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.int64, np.uint64])
def test_rows_may_start_anywhere_in_memory(dtype: type) -> None:
    """Buffers of Arrow that come over Flight start where the message does."""
    fleet = kvmfw.Fleet([tiny_set()] * 3, [tiny_host()] * 3)
    width = np.dtype(dtype).itemsize
    memory = np.zeros(3 * width + 1, dtype=np.uint8)
    rows: npt.NDArray[Any] = np.frombuffer(memory[1:], dtype=dtype)
    assert not rows.flags.aligned
    np.testing.assert_array_equal(fleet.validate_pairs(rows, rows), [0, 0, 0])


def test_wrong_arguments_are_typed() -> None:
    fleet = kvmfw.Fleet([tiny_set()] * 5, [tiny_host()] * 3)
    two = np.zeros(2, dtype=np.int64)
    with pytest.raises(ArgumentError, match="dtype"):
        fleet.validate_pairs(two.astype(float), two)
    with pytest.raises(ArgumentError, match="dtype"):
        fleet.validate_pairs(two, two.astype(bool))
    with pytest.raises(ArgumentError, match="contiguous"):
        fleet.validate_pairs(np.zeros(4, dtype=np.int64)[::2], two)
    with pytest.raises(ArgumentError, match="lengths differ"):
        fleet.validate_pairs(two, np.zeros(3, dtype=np.int64))
    outs: list[Any] = [np.zeros(2), np.zeros((2, 1), dtype=np.uint8), np.zeros(3, dtype=np.uint8)]
    for out in outs:
        with pytest.raises(ArgumentError):
            fleet.validate_pairs(two, two, out=out)
    with pytest.raises(ArgumentError, match="out"):
        fleet.validate_matrix(unknown="refuse", out=np.zeros((5, 2), dtype=np.uint8))
    with pytest.raises(ArgumentError, match="out"):
        fleet.counts(out=np.zeros((5, 4)))  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="step"):
        fleet.validate_matrix(unknown="refuse", vms=slice(0, 5, 2))
    with pytest.raises(ArgumentError, match="unknown"):
        fleet.candidates(0, unknown="maybe")  # type: ignore[arg-type]
    for ask in (lambda: fleet.class_row(5), lambda: fleet.class_row(-1), lambda: fleet.remove_vms([5])):
        with pytest.raises(RowError, match="out of range"):
            ask()
    with pytest.raises(RowError, match="out of range"):
        fleet.candidates(5, unknown="refuse")
    with pytest.raises(RowError, match="out of range"):
        fleet.update_hosts({3: tiny_host()})
    with pytest.raises(ArgumentError, match=r"expected a kvmfw\.Host"):
        fleet.update_hosts({0: "host"})  # type: ignore[dict-item]


@pytest.mark.parametrize("nested", [False, True])
def test_rows_that_cannot_be_used_are_named_and_unknown(nested: bool) -> None:
    good = {FIRMWARE[1]: 1, CCSIDR: 2, PC: 5}
    vms = [dict(good), {**good, CCSIDR: 1 << 32}, dict(good)]
    table = pa.table(
        {
            "vm": ["a", "b", "c"],
            "register": pa.array([list(vm) for vm in vms], pa.list_(pa.uint64())),
            "value": pa.array([list(vm.values()) for vm in vms], pa.list_(pa.uint64())),
        }
    )
    if not nested:
        rows = [(name, *item) for name, vm in zip("abc", vms, strict=True) for item in vm.items()]
        rows.append(("c", FIRMWARE[1], 0))
        vm, register, value = zip(*rows, strict=True)
        table = pa.table(
            {"vm": vm, "register": pa.array(register, pa.uint64()), "value": pa.array(value, pa.uint64())}
        )
    host = kvmfw.Host.from_json(json.dumps(capture_document(good)))
    with pytest.raises(RowError, match="wider than register") as raised:
        kvmfw.Fleet(table, [host])
    # In nested form a row of the table is a VM.
    assert raised.value.row == (1 if nested else 4)
    fleet = kvmfw.Fleet(table, [host], on_error="collect")
    assert [row for row, _ in fleet.rejected] == ([1] if nested else [4, 9])
    assert list(fleet.validate_pairs([0, 1, 2], [0, 0, 0])) == [0, 2, 0 if nested else 2]
    with pytest.raises(RowError):
        fleet.add_vms(table)
    assert fleet.shape == (3, 1)


def test_streams_must_keep_vms_together() -> None:
    table = pa.table(
        {
            "vm": ["a", "b", "a"],
            "register": pa.array([FIRMWARE[1]] * 3, pa.uint64()),
            "value": pa.array([1, 1, 1], pa.uint64()),
        }
    )
    stream = pa.RecordBatchReader.from_batches(table.schema, table.to_batches())
    with pytest.raises(RowError, match="`a` occurs twice; its rows must be together"):
        kvmfw.Fleet(stream, [tiny_host()])


def test_an_empty_side_is_no_error() -> None:
    for vms, hosts in (([], [tiny_host()]), ([tiny_set()], []), ([], [])):
        fleet = kvmfw.Fleet(vms, hosts)
        assert fleet.shape == (len(vms), len(hosts))
        assert fleet.validate_matrix(unknown="refuse").shape == (len(vms), (len(hosts) + 7) // 8)
        assert fleet.counts("host").shape == (len(hosts), 4)
        if vms:
            assert fleet.candidates(0, unknown="refuse").size == 0
        fleet.add_vms([tiny_set(name="new")])
        assert fleet.shape[0] == len(vms) + 1
        assert fleet.counts("vm").sum() == fleet.shape[0] * fleet.shape[1]
