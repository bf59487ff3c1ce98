"""Count the instructions of fixed workloads and compare them with the committed baseline, to within 1 %.

``python benches/instructions.py`` compares; ``--update`` writes the baseline, which a commit must then justify.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
BASELINE = HERE / "instructions.json"
RUST = HERE.parent / "rust"
WORKLOADS = ("build", "judge", "pairs", "matrix", "counts", "candidates")
TOLERANCE = 0.01


def build() -> Path:
    """Build the workloads; give the program."""
    command = ["cargo", "build", "--release", "--locked", "--example", "count", "--message-format", "json"]
    made = subprocess.run(command, cwd=RUST, check=True, stdout=subprocess.PIPE, text=True)
    messages = (json.loads(line) for line in made.stdout.splitlines())
    programs = [message["executable"] for message in messages if message.get("executable")]
    return Path(programs[-1])


def count(program: Path, workload: str) -> int:
    """Count the instructions of one workload."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", str(program), workload]
    ran = subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True)
    found = re.search(r"Collected : (\d+)", ran.stderr)
    if found is None:
        raise SystemExit(f"callgrind gave no count for {workload}:\n{ran.stderr}")
    return int(found[1])


def main() -> int:
    """Compare or update."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--update", action="store_true", help="write the baseline")
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        print("valgrind is not installed: instructions are not counted", file=sys.stderr)
        return 1 if os.environ.get("CI") else 0
    compiler = subprocess.run(
        ["rustc", "--version"], check=True, stdout=subprocess.PIPE, text=True
    ).stdout.strip()
    program = build()
    counts = {workload: count(program, workload) for workload in WORKLOADS}
    if options.update:
        BASELINE.write_text(json.dumps({"compiler": compiler, "instructions": counts}, indent=2) + "\n")
        return 0
    baseline = json.loads(BASELINE.read_text())
    if baseline["compiler"] != compiler:
        print(
            f"the baseline is of {baseline['compiler']}, this is {compiler}: counts do not compare",
            file=sys.stderr,
        )
        return 1 if os.environ.get("CI") else 0
    failed = False
    for workload, now in counts.items():
        change = now / baseline["instructions"][workload] - 1
        failed |= abs(change) > TOLERANCE
        print(
            f"{workload:12} {now:15,} instructions {change:+8.2%}{'  <-- outside 1 %' if abs(change) > TOLERANCE else ''}"
        )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
