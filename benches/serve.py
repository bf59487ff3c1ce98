"""The service under load: one VM's candidates over HTTP beside a handler that does nothing on the same server; pairs over Flight.

    python -m benches.serve                  # 100,000 VMs, 10,000 hosts; needs wrk (Debian has it)
    python -m benches.serve --seconds 30     # for the tail

They take turns, and the turn with the least CPU time of each stands: what other processes do only ever adds.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import flight
from tests.serve.running import running

from benches.fleets import SHAPES, Synthetic, capture

# The least that a server of this kind does for a request.
IDLE = """
import socket, sys, uvicorn
async def app(scope, receive, send):
    if scope["type"] == "http":
        headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{}"})
config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", server_header=False)
listening = config.bind_socket(); listening.listen()
print(listening.getsockname()[1], flush=True)
uvicorn.Server(config).run([listening])
"""
# And the least that one of Flight does for a batch of pairs: it reads it, and writes zeros.
IDLE_FLIGHT = """
import pyarrow as pa
from pyarrow import flight
class Server(flight.FlightServerBase):
    def do_exchange(self, context, descriptor, reader, writer):
        schema = pa.schema([("outcome", pa.uint8())])
        writer.begin(schema)
        for chunk in reader:
            zeros = pa.repeat(pa.scalar(0, pa.uint8()), chunk.data.num_rows)
            writer.write_batch(pa.record_batch([zeros], schema=schema))
server = Server("grpc://127.0.0.1:0")
print(server.port, flush=True)
server.serve()
"""
ASKED = 1000
QUERY = "unknown=refuse&change=accept"


class Loaded(NamedTuple):
    """What a server did under load."""

    requests: float
    cpu: float
    p50: str
    p99: str


def write(folder: Path, made: Synthetic) -> None:
    """Write a synthetic fleet as a fleet folder."""
    for part in ("captures", "vms"):
        (folder / part).mkdir()
    for at, row in enumerate(made.host_values):
        (folder / "captures" / f"c{at}.json").write_text(json.dumps(capture(row, at)))
    names = [capture(row, at)["host"]["name"] for at, row in enumerate(made.host_values)]  # type: ignore[index]
    rows = [f"host-{row:05},{names[number]}" for row, number in enumerate(made.host_class.tolist())]
    (folder / "hosts.csv").write_text("\n".join(["host,capture", *rows]) + "\n")
    table = made.long_table()
    vms = pa.DictionaryArray.from_arrays(
        table["vm"].chunk(0), [f"vm-{row:06}" for row in range(len(made.vm_class))]
    )
    pq.write_table(table.set_column(0, "vm", vms), folder / "vms" / "all.parquet")


def cpu_of(process: int) -> float:
    """Give the CPU seconds that a process has had."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def loaded(process: int, port: int, paths: list[str], seconds: int) -> Loaded:
    """Ask these paths in turn with wrk, 16 connections."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        listed = ",".join(f'wrk.format("GET", "{path}")' for path in paths)
        script.write(
            f"init = function() asked = {{{listed}}}; at = 0 end\n"
            "request = function() at = at % #asked + 1; return asked[at] end\n"
            "done = function(summary) local e = summary.errors;"
            " print('failed', e.connect + e.read + e.write + e.status + e.timeout, 'requests', summary.requests) end\n"
        )
        script.flush()
        url = f"http://127.0.0.1:{port}"
        before = cpu_of(process)
        command = ["wrk", "-t1", "-c16", f"-d{seconds}s", "--latency", "-s", script.name, url]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    spent = cpu_of(process) - before
    failed, requests = re.search(r"failed\s+(\d+)\s+requests\s+(\d+)", said).groups()  # type: ignore[union-attr]
    assert failed == "0", said
    rate, p50, p99 = (
        re.search(pattern, said, re.MULTILINE).group(1)  # type: ignore[union-attr]
        for pattern in (r"Requests/sec:\s+([\d.]+)", r"^ +50% +(\S+)", r"^ +99% +(\S+)")
    )
    return Loaded(float(rate), spent / int(requests), p50, p99)


@contextmanager
def idle(program: str) -> Iterator[tuple[int, int]]:
    """Run a server that does nothing; give its process and its port."""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.pid, int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()


def pairs(process: int, port: int, made: Synthetic, batches: int) -> tuple[float, float]:
    """Judge batches of a million pairs over Flight; give pairs for each second of the server's CPU, and of the clock."""
    schema = pa.schema([("vm", pa.uint32()), ("host", pa.uint32())])
    arrays = [pa.array(rows) for rows in made.pairs(1_000_000, np.uint32)]
    batch = pa.record_batch(arrays, schema=schema)
    client = flight.connect(f"grpc://127.0.0.1:{port}")
    writer, reader = client.do_exchange(flight.FlightDescriptor.for_command(b"pairs"))
    before, started, found = cpu_of(process), time.perf_counter(), 0
    with writer:
        writer.begin(schema)
        for _ in range(batches):
            writer.write_batch(batch)
            found += len(reader.read_chunk().data)
        writer.done_writing()
    assert found == 1_000_000 * batches
    return found / (cpu_of(process) - before), found / (time.perf_counter() - started)


def main() -> int:
    """Print a table."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--seconds", type=int, default=5, help="how long each of three turns takes")
    words.add_argument("--fleets", choices=SHAPES, default="full")
    seconds, fleets = (given := words.parse_args()).seconds, given.fleets
    made = Synthetic.make(SHAPES[fleets][0])
    print(
        "| what | requests a second | CPU a request, us | of nothing's | p50 | p99 |\n|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as place, idle(IDLE) as (nothing, port_of_nothing):
        write(Path(place), made)
        with running(Path(place), "--every", "3600") as one:
            server = one.process.pid
            chosen = np.random.default_rng(5).integers(0, made.shape.vms, ASKED).tolist()
            asked = {
                shape: [f"/v1/candidates?vm=vm-{row:06}&{QUERY}&shape={shape}" for row in chosen]
                for shape in ("classes", "names")
            }
            targets = {
                "a handler that does nothing": (nothing, port_of_nothing, ["/"]),
                "health": (server, one.port, ["/healthz"]),
                "candidates, as host classes": (server, one.port, asked["classes"]),
                "candidates, as names of hosts": (server, one.port, asked["names"]),
            }
            for _, port, paths in targets.values():
                for path in paths:
                    urlopen(
                        f"http://127.0.0.1:{port}{path}"
                    ).read()  # what is kept for VMs of one kind is made
            turns = [{name: loaded(*target, seconds) for name, target in targets.items()} for _ in range(3)]
            least = min(turn["a handler that does nothing"].cpu for turn in turns)
            for name in targets:
                best = min((turn[name] for turn in turns), key=lambda turn: turn.cpu)
                cells = (
                    f"{best.requests:,.0f}",
                    f"{best.cpu * 1e6:.0f}",
                    f"{best.cpu / least:.1f}",
                    best.p50,
                    best.p99,
                )
                print(f"| {' | '.join((name, *cells))} |")
            print("\n| Flight | M pairs for each second of CPU | M a second |\n|---|---|---|")
            with idle(IDLE_FLIGHT) as empty:
                servers = {"a server that writes zeros": empty, "do_exchange": (server, one.flight)}
                rates = [{name: pairs(*at, made, 50) for name, at in servers.items()} for _ in range(3)]
            for name in servers:
                of_cpu, of_clock = max(turn[name] for turn in rates)
                print(f"| {name} | {of_cpu / 1e6:.0f} | {of_clock / 1e6:.0f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
