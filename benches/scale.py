"""An audit beyond one machine: files of VMs counted by workers, one of which is killed, beside the audit of one process.

    python -m benches.scale                                # 2,000,000 VMs in 8 files, this process
    python -m benches.scale --engine ray --kill            # also a local Ray cluster of 4 workers, one of them killed
    python -m benches.scale --engine ray --kill --files 400 --vms 250000 --hosts 10000

Each figure is taken in a process of its own; memory is that of the driver. The reports are compared.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benches.intake import EXAMPLES, REGISTERS, batches, descends
from kvmfw import Fleet
from kvmfw.analysis import examine, make_frame
from kvmfw.distributed.auditing import survey_fleet
from kvmfw.distributed.engines import engine
from kvmfw.readers import fleet_sources
from kvmfw.report.html import html_report

WORKERS = 4


def write(folder: Path, files: int, vms: int, hosts: int) -> None:
    """Write a fleet folder: hosts with the captures of the examples, files of VMs that live on hosts by chance."""
    (folder / "vms").mkdir(parents=True)
    (folder / "captures").symlink_to(EXAMPLES / "captures")
    captures = [json.loads(path.read_text()) for path in sorted((EXAMPLES / "captures").glob("*.json"))]
    names = [one["host"]["name"] for one in captures if one.get("format") == "kvmfw-capture"]
    rows = [f"host-{row:07},{names[row % len(names)]}" for row in range(hosts)]
    (folder / "hosts.csv").write_text("\n".join(["host,capture", *rows]) + "\n")
    chance = np.random.default_rng(2)
    for number in range(files):
        path = folder / "vms" / f"{number:05}.parquet"
        writer = None
        for batch in batches(vms, named=False):
            size = batch.num_rows // REGISTERS
            owner = np.repeat(np.arange(size, dtype=np.int32), REGISTERS)
            first = int(batch.column(0)[0].as_py())
            told = {
                "vm": pa.array([f"vm-{number:05}-{vm:08}" for vm in range(first, first + size)]),
                "host": pa.array([f"host-{row:07}" for row in chance.integers(0, hosts, size).tolist()]),
            }
            columns = {
                name: pa.DictionaryArray.from_arrays(pa.array(owner), texts) for name, texts in told.items()
            }
            table = pa.table(columns | {name: batch.column(name) for name in ("register", "value")})
            writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table)
        if writer is not None:
            writer.close()


def audit(folder: Path, name: str, kill: bool) -> dict[str, Any]:
    """Audit a folder, and say what it cost; `one` is the whole fleet in this process."""
    killed: list[int] = []
    if name == "ray":
        import ray  # noqa: PLC0415

        ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, object_store_memory=1 << 30)
        if kill:
            threading.Thread(target=_kill_one, args=(killed,), daemon=True).start()
    clock = time.perf_counter()
    if name == "one":
        _, hosts = fleet_sources(folder)
        frame = make_frame(Fleet(folder / "vms", hosts))
    else:
        opened, survey = survey_fleet(folder, engine(name))
        frame = make_frame(opened.fleet, survey=survey)
    read = time.perf_counter() - clock
    report = examine(frame)
    page = html_report(report, (), title="scale")
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    text = json.dumps(report.to_dict(), default=str) + page
    return {
        "clock": time.perf_counter() - clock,
        "read": read,
        "cpu": used[0].ru_utime + used[0].ru_stime,
        "mib": used[0].ru_maxrss / 1024,
        "vms": report.facts["vms"],
        "classes": report.facts["vm_classes"],
        "rows": len(frame.homes),
        "stranded": len(report.tables["stranded"]),
        "report": hashlib.sha256(text.encode()).hexdigest()[:16],
        "killed": len(killed),
    }


def _kill_one(killed: list[int]) -> None:
    """Kill one worker of this cluster while it counts a file."""
    while not killed:
        time.sleep(0.1)
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (entry / "cmdline").read_bytes().startswith(b"ray::_called") and descends(int(entry.name)):
                    time.sleep(0.2)
                    os.kill(int(entry.name), signal.SIGKILL)
                    killed.append(int(entry.name))
                    return


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--vms", type=int, default=250_000, help="of each file")
    parser.add_argument("--hosts", type=int, default=10_000)
    parser.add_argument("--engine", action="append", default=["local"])
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--without-one", action="store_true", help="leave out the audit of one fleet")
    parser.add_argument("--figure", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.figure:
        print(json.dumps(audit(Path(given.figure[1]), given.figure[0], given.kill)))
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "fleet"
        write(folder, given.files, given.vms, given.hosts)
        size = sum(path.stat().st_size for path in (folder / "vms").iterdir())
        print(
            f"{given.files * given.vms:,} VMs x {REGISTERS} registers, {size >> 20} MiB; {given.hosts:,} hosts"
        )
        reports = set()
        for name in (*([] if given.without_one else ["one"]), *given.engine):
            command = [sys.executable, "-m", "benches.scale", "--figure", name, str(folder)]
            done = subprocess.run(
                [*command, *(["--kill"] if given.kill else [])], capture_output=True, text=True, check=False
            )
            if done.returncode:
                print(f"{name:>6}: not measured ({done.stderr.strip().splitlines()[-1]})")
                continue
            said = json.loads(done.stdout.splitlines()[-1])
            reports.add(said["report"])
            print(
                f"{name:>6}: {said['clock']:6.1f} s ({said['read']:.1f} s until VMs are counted), driver {said['cpu']:.1f} s CPU,"
                f" {said['mib']:,.0f} MiB; {said['vms']:,} VMs, {said['classes']:,} classes, {said['rows']:,} rows,"
                f" {said['stranded']:,} stranded, {said['killed']} workers killed",
                flush=True,
            )
        print("the reports are one" if len(reports) == 1 else "THE REPORTS DIFFER")


if __name__ == "__main__":
    main()
