"""The figures of a fleet that lives: changes, snapshots, and questions by name. Answers are checked in the same run."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import kvmfw
from benches.fleets import REGISTERS, Synthetic

Made = Callable[[str], Synthetic]
Note = Callable[..., None]
pytestmark = pytest.mark.timeout(3600)


def is_full(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--fleets") == "full")


def each(work: Callable[[int], Any], count: int) -> float:
    """Give microseconds of CPU of one call: the best third of all, as other processes and first calls only ever add."""
    thirds = []
    for part in range(3):
        turns = range(part * count // 3, (part + 1) * count // 3)
        start = time.thread_time()
        for turn in turns:
            work(turn)
        thirds.append((time.thread_time() - start) * 1e6 / len(turns))
    return min(thirds)


def named(made: Synthetic) -> pa.Table:
    """VMs with names as clouds give them."""
    table = made.nested_table()
    names = [f"vm-{row:08x}-{row * 2654435761 % (1 << 32):08x}" for row in range(len(table))]
    return table.set_column(0, "vm", pa.array(names))


def names_of(fleet: kvmfw.Fleet, count: int) -> list[str]:
    rows = np.random.default_rng(3).permutation(fleet.shape[0])[:count]
    return [fleet.vm_names[int(row)] for row in rows]


@dataclass
class Stall:
    """The longest time for which a thread that has nothing to do with the fleet did not run."""

    longest: float = 0.0
    reads: int = 0
    _over: threading.Event = field(default_factory=threading.Event)

    def during(self, fleet: kvmfw.Fleet, work: Callable[[], Any]) -> None:
        def tick() -> None:
            last = time.perf_counter()
            while not self._over.is_set():
                time.sleep(0.0005)
                now = time.perf_counter()
                self.longest, last = max(self.longest, now - last), now

        def read() -> None:
            while not self._over.is_set():
                _ = (fleet.generation, fleet.shape, fleet.class_shape, fleet.class_row(0), fleet.units)
                self.reads += 1

        threads = [threading.Thread(target=one) for one in (tick, read)]
        for one in threads:
            one.start()
        work()
        self._over.set()
        for one in threads:
            one.join()


def test_an_unrelated_thread_runs_while_many_are_added(
    made: Made, request: pytest.FixtureRequest, note: Note
) -> None:
    fleet = made("small").fleet(threads=2)
    rows = 300_000 if is_full(request) else 30_000
    table = named(made("small")).take(pa.array(np.arange(rows) % made("small").shape.vms))
    table = table.set_column(0, "vm", pa.array([f"new-{row}" for row in range(rows)]))
    before = fleet.shape[0]
    stall = Stall()
    stall.during(fleet, lambda: fleet.add_vms(table))
    assert fleet.shape[0] == before + rows
    classes = fleet.vm_classes
    np.testing.assert_array_equal(classes[before:], classes[np.arange(rows) % before])
    note(
        f"adding {rows:,} VMs", "longest stall of another thread", f"{stall.longest * 1e3:.0f} ms", "<= 50 ms"
    )
    note(f"adding {rows:,} VMs", "reads beside it", f"{stall.reads:,}")


@pytest.mark.parametrize("name", ["small", "large"])
def test_one_vm(name: str, made: Made, note: Note) -> None:
    one = made(name)
    fleet = kvmfw.Fleet(named(one), one.named_hosts, threads=2)
    size = f"{fleet.shape[0]:,} VMs"
    first = names_of(fleet, 1)[0]
    fleet.vm(first)
    note(f"one VM: {size}", "snapshot", f"{each(lambda _: fleet.snapshot(), 20_000):.2f} us", "<= 50 us")
    known = names_of(fleet, 3_000)
    by_name = each(lambda turn: fleet.candidates(known[turn], unknown="refuse", change="accept"), 2_000)
    note(f"one VM: {size}", f"candidates by name, {fleet.shape[1]:,} hosts", f"{by_name:.2f} us", "<= 5 us")
    sets = [[one.set_of(row % 100, f"new-{row}")] for row in range(3_000)]
    add = each(lambda turn: fleet.add_vms(sets[turn]), len(sets))
    note(f"one VM: {size}", "add, known class, names included", f"{add:.2f} us", "<= 4 us")
    move = each(lambda turn: fleet.move(known[turn], turn % fleet.shape[1]), 2_000)
    note(f"one VM: {size}", "move", f"{move:.2f} us")
    remove = each(lambda turn: fleet.remove_vms([known[turn]]), len(known))
    note(f"one VM: {size}", "remove, by name", f"{remove:.2f} us", "<= 5 us")
    kinds, _ = one.hosts
    reboot = each(lambda turn: fleet.update_hosts({turn: kinds[turn % len(kinds)]}), 500)
    note(f"one VM: {size}", "reboot of a host, known capture", f"{reboot:.2f} us")
    assert fleet.shape[0] == one.shape.vms
    table = fleet.class_table()
    for turn in range(50):
        of_class = fleet.vm_classes[fleet.vm_row(f"new-{turn}")]
        wanted = kvmfw.Fleet([one.set_of(turn % 100)], [kinds[0]]).class_row(0)
        assert table[of_class][fleet.host_classes[kinds.index(kinds[0])]] == wanted[0]


def test_sparse_matrices(made: Made, note: Note) -> None:
    fleet = made("small").fleet(threads=2)
    fleet.class_table()
    arcs = fleet.arcs(unknown="refuse", change="accept")
    took = each(lambda _: fleet.arcs(unknown="refuse", change="accept"), 200)
    note("sparse matrices: small", "classes, with members", f"{took / 1e3:.2f} ms", "<= 0.5 ms")
    rows = np.arange(min(10_000, fleet.shape[0]))
    start = time.thread_time()
    starts, hosts = arcs.expand(rows)
    took = time.thread_time() - start
    note(
        "sparse matrices: small",
        f"{len(rows):,} VMs, {len(hosts):,} pairs",
        f"{took * 1e3:.0f} ms",
        "<= 60 ms",
    )
    bits = np.unpackbits(fleet.validate_matrix(unknown="refuse", change="accept"), axis=1, bitorder="little")[
        :, : fleet.shape[1]
    ]
    np.testing.assert_array_equal(np.diff(starts.astype(np.int64)), bits[rows].sum(axis=1))
    np.testing.assert_array_equal(hosts[: int(starts[50])], np.nonzero(bits[:50])[1])


def script_of(
    rng: random.Random, alive: list[str], hosts: int, kinds: int, count: int
) -> list[tuple[str, str, int, int]]:
    """Write down what happens before the clock runs: 40 % arrive, 40 % leave, 19.5 % migrate, 0.5 % reboot.

    Each event has a word, a name to ask for, and two numbers: for a reboot the host and its kind, for the others a turn.
    """
    alive, script = list(alive), []
    words = rng.choices(("arrive", "leave", "migrate", "reboot"), weights=(40, 40, 19.5, 0.5), k=count)
    for turn, word in enumerate(words):
        if word == "arrive":
            alive.append(f"vm-{turn}")
            script.append((word, alive[-1], turn, turn))
        elif word == "reboot":
            script.append((word, alive[-1], rng.randrange(hosts), rng.randrange(kinds)))
        else:
            at = rng.randrange(len(alive))
            script.append((word, alive[at], turn, turn))
            if word == "leave":
                alive[at] = alive[-1]
                alive.pop()
    return script


def run_script(
    fleet: kvmfw.Fleet,
    script: list[tuple[str, str, int, int]],
    sets: dict[str, kvmfw.RegisterSet],
    kinds: list[kvmfw.Host],
) -> float:
    """Live through a script, and give the seconds of CPU that it took."""
    start = time.thread_time()
    for word, name, first, second in script:
        if word == "arrive":
            fleet.add_vms([sets[name]])
            fleet.candidates(name, unknown="refuse", change="accept")
        elif word == "leave":
            fleet.candidates(name, unknown="refuse", change="accept")
            fleet.remove_vms([name])
        elif word == "migrate":
            rows = fleet.candidates(name, unknown="refuse", change="accept")
            if len(rows):
                fleet.move(name, int(rows[first % len(rows)]))
        else:
            fleet.update_hosts({first: kinds[second]})
            fleet.candidates(name, unknown="refuse", change="accept")
    return time.thread_time() - start


def test_event_stream(made: Made, request: pytest.FixtureRequest, note: Note) -> None:
    one = made("small")
    count = 1_000_000 if is_full(request) else 20_000
    kinds, host_of = one.hosts
    rng = random.Random(5)
    old = [f"old-{row}" for row in range(1_000)]
    sets = {name: one.set_of(at % 100, name) for at, name in enumerate(old)}
    fleet = kvmfw.Fleet(list(sets.values()), one.named_hosts, threads=1)
    script = script_of(rng, old, len(host_of), len(kinds), count)
    pool = [dict(zip(REGISTERS, (int(word) for word in row), strict=True)) for row in one.vm_values[:100]]
    spent, arrived, on = 0.0, 0, host_of.tolist()
    # Register sets of a million arrivals at once would be what memory is measured by.
    for start in range(0, count, 20_000):
        part = script[start : start + 20_000]
        for word, name, turn, kind in part:
            if word == "arrive":
                # One arrival in seven has values of its own: a class that was never there.
                values = pool[turn % 100]
                if turn % 7 == 0:
                    own = turn * 2654435761 % (1 << 32) & 0x5555_5555
                    values = {**values, REGISTERS[9 + turn % 30]: own}
                    arrived += 1
                sets[name] = kvmfw.RegisterSet.from_mapping(values, name=name)
            elif word == "reboot":
                on[turn] = kind
        spent += run_script(fleet, part, sets, list(kinds))
        for word, name, _, _ in part:
            if word == "leave":
                del sets[name]
    note(f"{count:,} events", "each, with a question by name", f"{spent * 1e6 / count:.2f} us", "<= 8 us")
    classes, used = fleet.class_shape[0], fleet.used_classes[0]
    note(f"{count:,} events", f"classes used, of {classes} numbers", f"{used}", f"{arrived} came")
    note(f"{count:,} events", "classes without members that can be asked", "0", "0")
    # The same from scratch.
    anew = kvmfw.Fleet([sets[name] for name in fleet.vm_names], (kinds, np.array(on, dtype=np.uint32)))
    np.testing.assert_array_equal(fleet.counts(), anew.counts())
    np.testing.assert_array_equal(fleet.counts("host"), anew.counts("host"))
    assert used == anew.class_shape[0] == len(np.unique(fleet.vm_classes))


def test_readers_beside_a_writer(made: Made, request: pytest.FixtureRequest, note: Note) -> None:
    """Readers ask native snapshots for pairs, which lets the GIL go; a writer adds and removes meanwhile."""
    one = made("small")
    fleet = one.fleet(threads=1)
    vm, host = one.pairs(200_000)
    seconds = 4.0 if is_full(request) else 1.0
    wanted = fleet.validate_pairs(vm, host)

    def speed(writes: bool) -> float:
        over, done = threading.Event(), [0] * 8
        used = [0.0] * 8

        def read(at: int) -> None:
            out = np.empty(len(vm), dtype=np.uint8)
            start = time.thread_time()
            while not over.is_set():
                fleet.snapshot().validate_pairs(vm, host, out=out)
                assert out[at] == wanted[at]
                done[at] += 1
            used[at] = time.thread_time() - start

        readers = [threading.Thread(target=read, args=(at,)) for at in range(8)]
        for reader in readers:
            reader.start()
        end, turn = time.perf_counter() + seconds, 0
        while time.perf_counter() < end:
            if writes:
                fleet.add_vms([one.set_of(turn % 100, f"w{turn}")])
                fleet.remove_vms([fleet.shape[0] - 1])
                turn += 1
                time.sleep(0.0005)
            else:
                time.sleep(0.01)
        over.set()
        for reader in readers:
            reader.join()
        return sum(done) / sum(used)

    alone, beside = speed(False), speed(True)
    note("8 readers", "beside a writer, of their speed alone", f"{beside / alone:.2f}", ">= 0.9")
