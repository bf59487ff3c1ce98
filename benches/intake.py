"""Intake at scale: a Parquet file of a million VMs to verdict counts, twenty million streamed, beside DuckDB.

    python benches/intake.py                  # 1,000,000 VMs x 40 registers, and 20,000,000 generated
    python benches/intake.py --ray            # also 5,000,000 VMs with 4 workers, one of which is killed
    python benches/intake.py --vms 100000 --streamed 1000000

Each figure is taken in a process of its own; memory is its highest resident size.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import kvmfw
from kvmfw import Fleet, Host, readers
from kvmfw.ingest import ingest

EXAMPLES = Path(__file__).parents[1] / "examples"
REGISTERS = 40
BATCH, FEW = 25_000, 3
WORKAROUND_1, WORKAROUND_3 = 0x6030000000140001, 0x6030000000140003
WORDS = (1 << 64) - 1


def hosts() -> list[Host]:
    return readers.hosts(EXAMPLES / "captures")[0]


def template() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Give 40 registers of a real set: firmware and ID registers first."""
    vm = next(readers.register_sets(EXAMPLES / "vms.jsonl")).to_mapping()
    judged = [register.id for register in kvmfw.registers() if register.id in vm]
    others = [register for register in vm if register not in judged]
    ids = sorted((judged[: REGISTERS - 10] + others)[:REGISTERS])
    return np.array(ids, np.uint64), np.array([vm[register] & WORDS for register in ids], np.uint64)


def batches(count: int, *, named: bool) -> Iterator[pa.RecordBatch]:
    """Make VMs in long form: two levels and an ID register vary, and two counters that no host looks at."""
    random = np.random.default_rng(1)
    ids, values = template()
    looked_at = {register.id for register in kvmfw.registers()}
    free = [at for at, register in enumerate(ids.tolist()) if register not in looked_at][-2:]
    places = {register: int(np.flatnonzero(ids == register)[0]) for register in (WORKAROUND_1, WORKAROUND_3)}
    for start in range(0, count, BATCH):
        size = min(BATCH, count - start)
        table = np.tile(values, (size, 1))
        for place in places.values():
            table[:, place] = random.integers(0, 3, size)
        for place in free:
            table[:, place] = random.integers(0, 1 << 62, size)
        table[:, 5] += random.integers(0, 50, size, dtype=np.uint64)
        numbers = np.arange(start, start + size)
        vm = pa.array(np.repeat(numbers, REGISTERS))
        if named:
            names = pa.array([f"vm-{number:09}" for number in numbers])
            owner = np.repeat(np.arange(size, dtype=np.int32), REGISTERS)
            vm = pa.DictionaryArray.from_arrays(pa.array(owner), names).dictionary_decode()
        columns = [vm, pa.array(np.tile(ids, size)), pa.array(table.reshape(-1))]
        yield pa.RecordBatch.from_arrays(columns, names=["vm", "register", "value"])


def write(path: Path, count: int) -> None:
    made = batches(count, named=True)
    first = next(made)
    with pq.ParquetWriter(path, first.schema, compression="zstd") as writer:
        writer.write_batch(first)
        for batch in made:
            writer.write_batch(batch)


def from_file(path: str) -> str:
    fleet = Fleet(path, hosts())
    return _said(fleet, fleet.counts().sum(axis=0))


def numbered(count: int) -> Iterator[pa.RecordBatch]:
    """Give VMs as an engine does that is faster than its reader: a few batches, more than caches hold, under ever new numbers.

    The last batch may have some VMs more than were asked for.
    """
    few = list(batches(FEW * BATCH, named=False))
    numbers = few[0].column("vm").to_numpy()
    for start in range(0, count, BATCH):
        batch = few[start // BATCH % FEW]
        columns = [pa.array(numbers + start), *batch.columns[1:]]
        yield pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def streamed(count: str) -> str:
    made = numbered(int(count))
    first = next(made)

    def chained() -> Iterator[pa.RecordBatch]:
        yield first
        yield from made

    fleet = Fleet(pa.RecordBatchReader.from_batches(first.schema, chained()), hosts())
    return _said(fleet, fleet.counts("host").sum(axis=0))


def generated(count: str) -> str:
    """Make the VMs only: what the figure of `streamed` has of it."""
    return f"{sum(batch.num_rows for batch in numbered(int(count))):,} rows"


def _said(fleet: Fleet, counts: Any) -> str:
    names = ("accept", "change", "unknown", "refuse")
    words = ", ".join(f"{count:,} {name}" for name, count in zip(names, counts.tolist(), strict=True))
    return f"{fleet.class_shape[0]:,} classes; {words}"


def distinct(path: str) -> str:
    import duckdb  # noqa: PLC0415

    (row,) = duckdb.connect().execute(f"select count(distinct register) from '{path}'").fetchall()
    return f"{row[0]} registers"


def whole(path: str) -> str:
    import duckdb  # noqa: PLC0415

    query = f"select count(distinct register), count(distinct vm), bit_xor(value) from '{path}'"
    (row,) = duckdb.connect().execute(query).fetchall()
    return f"{row[0]} registers, {row[1]:,} VMs"


def to_disk(path: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        found = ingest([path, EXAMPLES / "captures"], Path(folder) / "fleet")
    return f"{found.vms:,} VMs, {found.sets:,} sets"


def with_ray(folder: str) -> str:
    import ray  # noqa: PLC0415

    from kvmfw.distributed.ray import validate  # noqa: PLC0415

    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, object_store_memory=3 << 30)
    killed: list[int] = []
    threading.Thread(target=_kill_one, args=(killed,), daemon=True).start()
    found = pa.concat_tables(ray.get(validate([folder], EXAMPLES / "captures").to_arrow_refs()))
    ray.shutdown()
    single = Fleet(folder, hosts())
    wanted = np.stack(
        [found.sort_by("vm").column(name).to_numpy() for name in found.column_names[3:]], axis=1
    )
    order = np.argsort(np.array(list(single.vm_names)))
    same = bool(np.array_equal(wanted, single.counts()[order]))
    return f"{found.num_rows:,} VMs, killed worker {killed}, same as one machine: {same}"


def _kill_one(killed: list[int]) -> None:
    """Kill one worker of this cluster while it reads a file."""
    time.sleep(12)
    while not killed:
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                name = (entry / "cmdline").read_bytes()
                if name.startswith(b"ray::MapBatches(_classify") and descends(int(entry.name)):
                    os.kill(int(entry.name), signal.SIGKILL)
                    killed.append(int(entry.name))
                    return
        time.sleep(0.2)


def descends(process: int) -> bool:
    """Tell whether a process is of this one: its child, or a child of that."""
    while process > 1:
        if process == os.getpid():
            return True
        process = int((Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()[1])
    return False


FIGURES = {
    "file": from_file,
    "distinct": distinct,
    "whole": whole,
    "streamed": streamed,
    "generated": generated,
    "ingest": to_disk,
    "ray": with_ray,
}


def figure(name: str, argument: str, rows: int) -> float:
    """Take one figure in a process of its own, print it, and give its seconds."""
    command = [sys.executable, __file__, "--figure", name, argument]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{name:>10}: not measured ({done.stderr.strip().splitlines()[-1]})")
        return float("nan")
    said = json.loads(done.stdout.splitlines()[-1])
    rate = rows / said["seconds"] / 1e6
    print(
        f"{name:>10}: {said['seconds']:6.1f} s  {said['mib']:6,.0f} MiB  {rate:6.1f} M rows/s  {said['said']}"
    )
    return float(said["seconds"])


def one(name: str, argument: str) -> None:
    start = time.perf_counter()
    said = FIGURES[name](argument)
    seconds = time.perf_counter() - start
    mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "mib": mib, "said": said}))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vms", type=int, default=1_000_000)
    parser.add_argument("--streamed", type=int, default=20_000_000)
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--figure", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.figure:
        one(*given.figure)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vms.parquet"
        write(path, given.vms)
        rows = given.vms * REGISTERS
        print(f"{given.vms:,} VMs x {REGISTERS} registers, {path.stat().st_size >> 20} MiB of Parquet")
        own, other = figure("file", str(path), rows), figure("distinct", str(path), rows)
        all_columns = figure("whole", str(path), rows)
        print(
            f"{'':>10}  verdict counts take {own / other:.1f} times as long as DuckDB's count(distinct register), "
            f"{own / all_columns:.1f} times as long as DuckDB reading all three columns"
        )
        figure("ingest", str(path), rows)
        if given.streamed:
            figure("streamed", str(given.streamed), given.streamed * REGISTERS)
            figure("generated", str(given.streamed), given.streamed * REGISTERS)
        if given.ray:
            files = Path(folder) / "files"
            files.mkdir()
            for number in range(20):
                # Names differ from file to file, as those of one fleet do.
                part = pq.read_table(path).slice(0, 250_000 * REGISTERS)
                names = pa.compute.binary_join_element_wise(part.column("vm"), f"{number:02}", "-")
                pq.write_table(
                    part.set_column(0, "vm", names), files / f"{number:02}.parquet", compression="zstd"
                )
            figure("ray", str(files), 5_000_000 * REGISTERS)


if __name__ == "__main__":
    main()
