"""The figures of fleets, each beside its peers in one run. Results are compared before anything is timed."""

from __future__ import annotations

import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import kvmfw
from benches import peers
from benches.fleets import REGISTERS, Synthetic, capture
from benches.race import Race

Made = Callable[[str], Synthetic]
NAMES = ("small", "large", "hostile")
pytestmark = pytest.mark.timeout(3600)
# How many times as fast at least as others that do the same work, in CPU time: about a third of what tiny fleets give on two
# quiet cores. Limits of memory have none: tiny fleets take microseconds, in which they say nothing. What slows a path by less
# than that the instruction counts tell (benches/instructions.py); these tell what the memory does.
GUARDS: dict[str, dict[str, float]] = {
    "pairs, random: small": {"numba_direct": 11, "numpy_classes": 1.6},
    "pairs, random: large": {"numba_direct": 11, "numpy_classes": 1.5},
    "pairs, random: hostile": {"numba_direct": 3.7},
    "matrix, packed bits: small": {"numpy_packbits": 40},
    "matrix, packed bits: large": {"numpy_packbits": 90},
}


def pair_count(made: Synthetic) -> int:
    return min(10_000_000, 200 * made.shape.vms)


def table_of(made: Synthetic) -> npt.NDArray[np.uint8] | None:
    return None if made.shape.vm_classes is None else peers.class_table(made)


@pytest.mark.parametrize("name", NAMES)
def test_random_pairs(name: str, made: Made, benchmark: Any) -> None:
    fleet_made = made(name)
    fleet = fleet_made.fleet(threads=2)
    count = pair_count(fleet_made)
    vm, host = fleet_made.pairs(count)
    out, units = np.empty(count, dtype=np.uint8), np.empty(count, dtype=np.uint16)
    table = table_of(fleet_made)
    contenders: dict[str, Callable[[Any, Any], Any]] = {
        "numpy_rules": peers.numpy_rules(fleet_made),
        "numba_direct": peers.numba_direct(fleet_made),
    }
    if table is not None:
        contenders["bare_look_ups"] = peers.look_ups(fleet_made, table)
        contenders["numpy_classes"] = peers.numpy_classes(fleet_made, table)
        contenders["duckdb_join"] = peers.duckdb_join(fleet_made, table)
        contenders["polars_join"] = peers.polars_join(fleet_made, table)
    some = slice(0, 100_000)
    wanted = fleet.validate_pairs(vm[some], host[some])
    for contender, judge in contenders.items():
        np.testing.assert_array_equal(judge(vm[some], host[some]), wanted, err_msg=contender)
    np.testing.assert_array_equal(
        contenders["numba_direct"](vm, host), fleet.validate_pairs(vm, host, units=units)
    )
    peers.stream(vm, host, out)
    slow = slice(0, count // 20)
    amounts = dict.fromkeys(("numpy_rules", "duckdb_join", "polars_join"), float(count // 20))
    runs: dict[str, Callable[[], Any]] = {
        "kvmfw": lambda: fleet.validate_pairs(vm, host, out=out),
        "kvmfw_with_units": lambda: fleet.validate_pairs(vm, host, out=out, units=units),
        "limit_stream": lambda: peers.stream(vm, host, out),
    }
    for contender, judge in contenders.items():
        part = slow if contender in amounts else slice(None)
        runs[contender] = partial(judge, vm[part], host[part])
    one = Race(f"pairs, random: {name}", "pairs", count)
    one.run(5, before=lambda: peers.stream(vm, host, out), **runs)
    goals: dict[str, dict[str, float]] = {
        "small": {"limit_stream": 0.5, "numpy_classes": 8, "numba_direct": 20},
        "large": {"numpy_classes": 4},
        "hostile": {"numba_direct": 5},
    }
    one.report(amounts, **goals[name])
    benchmark.pedantic(runs["kvmfw"], rounds=3)
    one.guard(GUARDS[one.figure])


@pytest.mark.parametrize("name", NAMES)
def test_matrices(name: str, made: Made, benchmark: Any) -> None:
    fleet_made = made(name)
    fleet = fleet_made.fleet(threads=2)
    width = (fleet.shape[1] + 7) // 8
    rows = min(fleet.shape[0], (1 << 30) // width)
    out = np.ones((rows, width), dtype=np.uint8)
    fleet.validate_matrix(unknown="refuse", change="accept", vms=slice(0, rows), out=out)
    for row in np.linspace(0, rows - 1, 20).astype(int):
        saved = fleet_made.vm_values[fleet_made.vm_class[row]]
        taken = (
            peers.judge_classes(np.broadcast_to(saved, fleet_made.host_values.shape), fleet_made.host_values)
            < 2
        )
        bits = np.packbits(taken[fleet_made.host_class], bitorder="little")
        np.testing.assert_array_equal(out[row], bits)
    one = Race(f"matrix, packed bits: {name}", "pairs", float(rows * fleet.shape[1]))
    runs: dict[str, Callable[[], Any]] = {
        "kvmfw": lambda: fleet.validate_matrix(
            unknown="refuse", change="accept", vms=slice(0, rows), out=out
        ),
        "limit_fill": lambda: peers.fill(out),
    }
    amounts: dict[str, float] = {}
    table = table_of(fleet_made)
    if table is not None:
        packed, some = peers.numpy_packbits(fleet_made, table), range(max(rows // 20, 1))
        np.testing.assert_array_equal(packed(some), out[: len(some)])
        runs["numpy_packbits"] = lambda: packed(some)
        amounts["numpy_packbits"] = float(len(some) * fleet.shape[1])
    one.run(5, before=lambda: peers.fill(out), **runs)
    one.report(amounts, limit_fill=0 if name == "hostile" else 0.75)
    one.guard(GUARDS.get(one.figure, {}), amounts)
    benchmark.pedantic(runs["kvmfw"], rounds=3)


def test_hostile_matrix_with_everything(made: Made, note: Callable[..., None]) -> None:
    fleet_made = made("hostile")
    table, hosts = fleet_made.long_table(), fleet_made.hosts
    start = time.perf_counter()
    fleet = kvmfw.Fleet(table, hosts, threads=2)
    built = time.perf_counter()
    for _ in fleet.iter_matrix(unknown="refuse", change="accept"):
        pass
    end = time.perf_counter()
    speed = fleet.shape[0] * fleet.shape[1] / (end - start) / 1e9
    note("matrix, hostile, build included", "kvmfw", f"{speed:.2f} G pairs/s", ">= 3")
    note("matrix, hostile, build included", "of which build", f"{built - start:.2f} of {end - start:.2f} s")


@pytest.mark.parametrize("name", NAMES)
def test_counts(name: str, made: Made, note: Callable[..., None], benchmark: Any) -> None:
    fleet = made(name).fleet(threads=2)
    by_vm, by_host = (np.ones((rows, 4), dtype=np.uint64) for rows in fleet.shape)

    def both() -> None:
        fleet.counts("vm", out=by_vm)
        fleet.counts("host", out=by_host)

    both()
    assert (by_vm.sum(axis=0) == by_host.sum(axis=0)).all()
    benchmark.pedantic(both, rounds=5)
    goal = "< 0.2 s" if name == "large" else ""
    note(f"counts per VM and per host: {name}", "kvmfw", f"{benchmark.stats.stats.median:.3f} s", goal)


@pytest.mark.parametrize("name", NAMES)
def test_build_from_arrow(name: str, made: Made, benchmark: Any) -> None:
    fleet_made = made(name)
    long, nested = fleet_made.long_table(), fleet_made.nested_table()
    forms = {
        "kvmfw": (long, 2),
        "long_one_thread": (long, 1),
        "nested": (nested, 2),
        "nested_one_thread": (nested, 1),
    }
    classes = [
        kvmfw.Fleet(table, fleet_made.hosts, threads=threads).vm_classes for table, threads in forms.values()
    ]
    for other in classes[1:]:
        np.testing.assert_array_equal(classes[0], other)
    tenth = long.slice(0, long.num_rows // 10 // len(REGISTERS) * len(REGISTERS))
    runs: dict[str, Callable[[], Any]] = {
        form: partial(kvmfw.Fleet, table, fleet_made.hosts, threads=threads)
        for form, (table, threads) in forms.items()
    }
    runs["a_tenth"] = partial(kvmfw.Fleet, tenth, fleet_made.hosts, threads=2)
    one = Race(f"build from Arrow: {name}", "rows", float(long.num_rows))
    one.run(3, before=gc.collect, **runs)
    one.report({"a_tenth": float(tenth.num_rows)}, long_one_thread=1.7, a_tenth=10 / 11)
    benchmark.pedantic(runs["kvmfw"], rounds=1)


def per_call(work: Callable[[], Any], calls: int) -> float:
    """Give the median time of a call, in microseconds."""
    times = []
    for _ in range(7):
        start = time.perf_counter()
        for _ in range(calls):
            work()
        times.append((time.perf_counter() - start) / calls * 1e6)
    return statistics.median(times)


@pytest.mark.parametrize("name", NAMES)
def test_single_questions_and_changes(
    name: str, made: Made, note: Callable[..., None], benchmark: Any
) -> None:
    fleet_made = made(name)
    fleet = fleet_made.fleet(threads=2)
    fleet.validate_pairs(np.zeros(1 << 14, dtype=np.int64), np.zeros(1 << 14, dtype=np.int64))
    calls = 50 if name == "hostile" else 1000
    note(
        f"candidates: {name}", "class row", f"{per_call(lambda: fleet.class_row(5), calls):.2f} us", "< 1 us"
    )
    rows = per_call(lambda: fleet.candidates(5, unknown="refuse", change="accept"), calls)
    note(f"candidates: {name}", f"rows of {fleet.shape[1]} hosts", f"{rows:.1f} us", "< 15 us at 10 k hosts")
    rows_of = range(min(len(fleet_made.vm_values), 100))
    batches = iter([[fleet_made.set_of(row, f"{at}-{row}") for row in rows_of] for at in range(70)])
    known = per_call(lambda: fleet.add_vms(next(batches)), 10) / len(rows_of)
    mixed = dict(zip(REGISTERS, (int(word) for word in fleet_made.vm_values[0]), strict=True))
    others = []
    for row in range(1, 101):
        mixed[REGISTERS[8 + row % 30]] = int(fleet_made.vm_values[row, 8 + row % 30])
        others.append(kvmfw.RegisterSet.from_mapping(mixed, name=f"other-{row}"))
    classes = fleet.class_shape[0]
    start = time.perf_counter()
    fleet.add_vms(others)
    new = (time.perf_counter() - start) * 1e6 / len(others)
    added = fleet.class_shape[0] - classes
    note(f"adding VMs, each: {name}", "of known classes", f"{known:.2f} us", "< 5 us")
    note(f"adding VMs, each: {name}", f"{added} new classes", f"{new:.2f} us", "< 5 us")
    kinds, _ = fleet_made.hosts
    turn = iter(range(10**9))
    back = per_call(lambda: fleet.update_hosts({7: kinds[next(turn) % len(kinds)]}), 100)
    note(f"changing a host: {name}", "to a known capture", f"{back:.1f} us", "< 200 us")
    times, changed = [], {}
    for number in range(9):
        values = fleet_made.host_values[number % len(kinds)].copy()
        values[8 + number] = fleet_made.host_values[(number + 1) % len(kinds)][8 + number]
        if name == "hostile":
            # A value of the register that is different in every host: of a unit that is split.
            values[-1] ^= np.uint64(1 << 4 * number)
        host = kvmfw.Host.from_json(json.dumps(capture(values, number)))
        start = time.perf_counter()
        fleet.update_hosts({number: host})
        times.append((time.perf_counter() - start) * 1e6)
        changed[number] = values
    saved = fleet_made.vm_values[fleet_made.vm_class[:5000]]
    for number, values in changed.items():
        wanted = peers.judge_classes(saved, np.broadcast_to(values, saved.shape))
        vms = np.arange(len(saved))
        np.testing.assert_array_equal(fleet.validate_pairs(vms, np.full_like(vms, number)), wanted)
    note(f"changing a host: {name}", "to a new capture", f"{statistics.median(times):.1f} us", "< 200 us")
    benchmark.pedantic(lambda: fleet.class_row(5), rounds=3)


def test_memory(request: pytest.FixtureRequest, note: Callable[..., None], benchmark: Any) -> None:
    """50 M VMs in a process of its own: what this one has read would count as well."""
    vms = 50_000_000 if request.config.getoption("--fleets") == "full" else 1_000_000
    command = [sys.executable, "-m", "benches.memory", str(vms)]
    run = partial(
        subprocess.run, command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[1]
    )
    ran = benchmark.pedantic(run, rounds=1)
    peak = float(ran.stdout.rsplit("peak memory: ", 1)[1].split()[0])
    note(f"{vms:,} VMs x 10,000 hosts", "built, counted, queried", f"peak {peak:.2f} GiB", "< 8 GiB")
    assert peak < 8
