"""Build, count and query 50 M VMs x 10 k hosts, and print the peak memory of the process.

``python -m benches.memory [VMS]``: VMs come as a stream of Arrow batches, as from a file.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

import kvmfw
from benches.fleets import SHAPES, Synthetic

BATCH = 100_000


def batches(made: Synthetic, vms: int) -> Iterator[pa.RecordBatch]:
    """Give the VMs of the fleet over and over, with numbers that go on."""
    table = made.long_table(0, BATCH).combine_chunks()
    numbers = table["vm"].to_numpy()
    for first in range(0, vms, BATCH):
        columns = [
            pa.array(numbers + np.uint32(first)),
            *(table[name].chunk(0) for name in ("register", "value")),
        ]
        yield pa.RecordBatch.from_arrays(columns, names=["vm", "register", "value"])


def peak_kib() -> int:
    """Give the peak memory of this program; what `getrusage` tells includes that of the one which started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def main() -> None:
    """Run once."""
    vms = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000_000
    made = Synthetic.make(SHAPES["full"][0])
    schema = made.long_table(0, 1).schema
    start = time.perf_counter()
    stream = pa.RecordBatchReader.from_batches(schema, batches(made, vms))
    fleet = kvmfw.Fleet(stream, made.hosts)
    built = time.perf_counter()
    totals = fleet.counts("host").sum(axis=0)
    by_vm = fleet.counts("vm")
    assert (by_vm.sum(axis=0) == totals).all()
    del by_vm
    counted = time.perf_counter()
    rng = np.random.default_rng(0)
    outcomes = fleet.validate_pairs(
        rng.integers(0, vms, 10_000_000), rng.integers(0, fleet.shape[1], 10_000_000)
    )
    found = fleet.candidates(vms - 1, unknown="refuse", change="accept").size
    peak = peak_kib() / (1 << 20)
    print(fleet)
    print(f"built in {built - start:.1f} s, counted in {counted - built:.1f} s: {totals.tolist()}")
    print(f"10 M pairs: {np.bincount(outcomes, minlength=4).tolist()}; {found} candidates of the last VM")
    print(f"peak memory: {peak:.2f} GiB")


if __name__ == "__main__":
    main()
