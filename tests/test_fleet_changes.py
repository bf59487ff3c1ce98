"""Fleets change: what readers see, and that a changed fleet is one built anew."""

from __future__ import annotations

import os
import random
import threading
import time

import numpy as np
import pytest

import kvmfw
from kvmfw.testing import tiny_host, tiny_set
from tests.support.children import ends_well
from tests.support.fleets import WAYS, check, direct, fleet_of, random_fleet, renamed


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
    ends_well(child, "threads that it does not have")


def test_what_changes_that_failed_had_is_let_go_of_with_the_next_one() -> None:
    """It stayed for ever, and each new capture was asked about it."""
    fleet = kvmfw.Fleet([tiny_set(name="known")], [tiny_host()])
    for round_ in range(8):
        values = range(1000 * round_, 1000 * round_ + 1000)
        sets = [
            kvmfw.RegisterSet.from_mapping({0x6030_0000_0013_C030: value}, name=f"vm{value}")
            for value in values
        ]
        with pytest.raises(kvmfw.errors.InputError):
            fleet.add_vms([*sets, tiny_set(name="known")])
    fleet.add_vms([tiny_set(name="next")])
    fleet.update_hosts({0: tiny_host(name="other")})
    assert fleet.class_shape == (1, 1)
