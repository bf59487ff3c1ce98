"""What it takes to remove one VM by its name, in a fleet that grows: ``python -m benches.flat 250000 2000000 20000000``."""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import pyarrow as pa

import kvmfw
from benches.fleets import Shape, Synthetic

PART = 250_000
REMOVED = 3_000


def main() -> None:
    """Grow a fleet to each size, remove some VMs of the last part by name, and print what one took."""
    parser = argparse.ArgumentParser(prog="python -m benches.flat", description=__doc__)
    parser.add_argument("sizes", nargs="+", type=int)
    made = Synthetic.make(Shape("flat", PART, 200, 500, 60))
    table = made.nested_table()
    captures, host_of = made.hosts
    fleet = kvmfw.Fleet([], (captures, np.asarray(host_of, dtype=np.uint32)))
    chance, count, removed = np.random.default_rng(1), 0, 0
    for size in parser.parse_args().sizes:
        while count < size:
            names = pa.array([f"vm-{row:08x}" for row in range(count, count + PART)])
            fleet.add_vms(table.set_column(0, "vm", names))
            count += PART
        rows = count - PART + chance.choice(PART, REMOVED, replace=False)
        gone = [f"vm-{row:08x}" for row in rows.tolist()]
        fleet.vm(gone[0])
        took = []
        for name in gone:
            started = time.thread_time_ns()
            fleet.remove_vms([name])
            took.append(time.thread_time_ns() - started)
        removed += REMOVED
        assert fleet.shape[0] == count - removed
        assert not set(gone) & set(fleet.vm_names[-PART:])
        median, late = np.percentile(np.array(took) / 1e3, [50, 99])
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
        print(
            f"{count:,} VMs: median {median:.1f} us of CPU, 99th of 100 {late:.1f} us; {resident:.1f} GiB",
            flush=True,
        )


if __name__ == "__main__":
    main()
