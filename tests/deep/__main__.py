"""Run faults again and again, and print what became of them: one row of docs/reliability.md for each."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from tests.deep.injected import disk, memory
from tests.deep.stored import killed_records, killed_reloads, kills, two_intakes

ROWS = {
    "kills": ("SIGKILL in `ingest` at random moments", kills),
    "killed-records": ("SIGKILL in `audit --record` at random moments", killed_records),
    "killed-reloads": ("SIGKILL of a service while it reads its fleet anew", killed_reloads),
    "two-intakes": ("two intakes into one fleet at once", two_intakes),
    "disk": ("the n-th open, read, write, sync or change of a folder fails, for every n", disk),
    "memory": ("the n-th request for room is refused, for every n", memory),
}


def main() -> None:
    """Run one row, or all of them."""
    parser = argparse.ArgumentParser(prog="python -m tests.deep", description=__doc__)
    parser.add_argument("rows", nargs="*", choices=[[], *ROWS], default=[], metavar="|".join(ROWS))
    parser.add_argument("--rounds", type=int, default=200)
    asked = parser.parse_args()
    for name in asked.rows or ROWS:
        words, run = ROWS[name]
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            tries, survived, lost = run(Path(folder), asked.rounds)
        command = f"`python -m tests.deep {name} --rounds {asked.rounds}`"
        print(f"| {words} | {tries:,} | {survived:,} | {lost:,} | {command} |", flush=True)
        print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
