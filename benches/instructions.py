"""Count the instructions of fixed workloads and compare them with the committed baseline: 1 %, and 1.25 % of own work.

``python benches/instructions.py`` compares; ``--update`` writes the baseline, which a commit must then justify.

Another compiler, C library or processor gives other counts. Where any of these is not the baseline's, the commit that wrote
the baseline is built and counted here, beside this one: the guard never passes because nothing was compared.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
BASELINE = HERE / "instructions.json"
ROOT = HERE.parent
WORKLOADS = (
    "build",
    "stream",
    "opened",
    "judge",
    "pairs",
    "matrix",
    "counts",
    "candidates",
    "audit",
    "names",
    "known",
    "add",
    "remove",
    "copied",
    "reboot",
    "snapshot",
    "event",
    "different",
    "bits",
    "class_row",
    "births",
)
TOLERANCE = 0.01
# What a workload does before its own work: a question's 20 M instructions come after 60 M of building the fleet, which would
# hide a third of a slower question. Own work is a difference of two counts: builds of the same code differ by up to 0.8 %.
SETUP = {"judge": "build", "known": "judge", "opened": "build"}
SETUP |= dict.fromkeys(("pairs", "matrix", "counts", "candidates", "audit", "names"), "judge")
SETUP |= dict.fromkeys(("add", "remove", "copied", "reboot", "snapshot", "event"), "known")
SETUP |= dict.fromkeys(("bits", "class_row", "births"), "different")
OWN_TOLERANCE = 0.0125


def text_of(command: list[str], folder: Path = ROOT) -> str:
    """Run a command; give what it prints."""
    ran = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
    return ran.stdout.strip()


def surroundings() -> dict[str, str]:
    """Tell what counts depend on besides the code; the C library chooses its copies by what the processor can."""
    cpu = Path("/proc/cpuinfo").read_text()
    flags = set(re.findall(r"\bavx2\b|\bavx512f\b|\berms\b|\bfsrm\b", cpu))
    return {
        "compiler": text_of(["rustc", "--version"]),
        "valgrind": text_of(["valgrind", "--version"]),
        "libc": " ".join(platform.libc_ver()),
        "processor": " ".join((platform.machine(), *sorted(flags))),
    }


def build(root: Path, target: Path) -> Path:
    """Build the workloads of a tree; give the program."""
    command = ["cargo", "build", "--release", "--locked", "-p", "kvmfw-core", "--example", "count"]
    made = text_of([*command, "--message-format", "json", "--target-dir", str(target)], root / "rust")
    messages = (json.loads(line) for line in made.splitlines())
    programs = [message["executable"] for message in messages if message.get("executable")]
    return Path(programs[-1])


def count(program: Path, workload: str) -> int:
    """Count the instructions of one workload, with no more around it than it needs: all of that lies on its stack."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program.name, workload]
    around = {"PATH": os.pathsep.join((str(program.parent), os.environ["PATH"]))}
    ran = subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True, env=around)
    found = re.search(r"Collected : (\d+)", ran.stderr)
    if found is None:
        raise SystemExit(f"callgrind gave no count for {workload}:\n{ran.stderr}")
    return int(found[1])


def counts_of(program: Path) -> dict[str, int]:
    """Count all workloads."""
    return {workload: count(program, workload) for workload in WORKLOADS}


def own_work(counts: dict[str, int], workload: str) -> int:
    """Give what a workload takes beside its setup."""
    return counts[workload] - counts.get(SETUP.get(workload, ""), 0)


def counts_of_baseline() -> dict[str, int]:
    """Count the commit that wrote the baseline, here and now."""
    path = BASELINE.relative_to(ROOT)
    commit = text_of(["git", "log", "-1", "--format=%H", "--", str(path)])
    if not commit:
        raise SystemExit(f"git does not know which commit wrote {path}: fetch the whole history")
    print(f"the baseline is of another machine: counting its commit {commit[:12]} here", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        text_of(["git", "worktree", "add", "--detach", str(tree), commit])
        try:
            return counts_of(build(tree, ROOT / "rust" / "target" / "baseline"))
        finally:
            text_of(["git", "worktree", "remove", "--force", str(tree)])


def main() -> int:
    """Compare or update."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--update", action="store_true", help="write the baseline")
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        print(
            "valgrind is not installed: the instructions of the hot path cannot be counted", file=sys.stderr
        )
        return 1
    here = surroundings()
    now = counts_of(build(ROOT, ROOT / "rust" / "target"))
    if options.update:
        BASELINE.write_text(json.dumps({**here, "instructions": now}, indent=2) + "\n")
        return 0
    baseline = json.loads(BASELINE.read_text())
    same = all(baseline.get(key) == value for key, value in here.items())
    before = baseline["instructions"] if same else counts_of_baseline()
    outside = []
    for workload, instructions in now.items():
        if workload not in before:
            print(f"{workload:12} {instructions:15,} instructions, not in the baseline  <-- outside")
            outside.append(workload)
            continue
        change = instructions / before[workload] - 1
        own = own_work(now, workload) / own_work(before, workload) - 1
        note = ""
        if abs(change) > TOLERANCE or abs(own) > OWN_TOLERANCE:
            note = "  <-- outside"
            outside.append(workload)
        print(f"{workload:12} {instructions:15,} instructions {change:+8.2%}, own work {own:+8.2%}{note}")
    if outside:
        print(
            f"outside of the baseline: {', '.join(outside)}. Slower: find out why. Meant, or faster: "
            "python benches/instructions.py --update, and say in the commit what changed",
            file=sys.stderr,
        )
    return int(bool(outside))


if __name__ == "__main__":
    sys.exit(main())
