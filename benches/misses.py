"""Count what random pairs of a large fleet miss in caches: 2,000,000 VMs x 20,000 hosts, 20,000 x 400 classes.

    python -m benches.misses

Caches are simulated (cachegrind, without what the processor fetches ahead) in the sizes that this machine has: the first
level's, and the second's in place of the last. Building is counted by itself and taken away.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from benches.instructions import ROOT, build

PAIRS = 4_000_000
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
COUNTED = {
    "data references": "D   refs",
    "first-level misses": "D1  misses",
    "second-level misses": "LLd misses",
}


def cache(index: int) -> str:
    """Give the size, the ways and the line of a cache, as cachegrind takes them."""
    folder = CACHES / f"index{index}"
    size, ways, line = (
        (folder / name).read_text().strip()
        for name in ("size", "ways_of_associativity", "coherency_line_size")
    )
    return f"{int(size.removesuffix('K')) << 10},{ways},{line}"


def counted(program: Path, pairs: int) -> dict[str, int]:
    """Count one run of so many pairs."""
    simulated = ["--cache-sim=yes", f"--D1={cache(0)}", f"--LL={cache(2)}", "--cachegrind-out-file=/dev/null"]
    command = ["valgrind", "--tool=cachegrind", *simulated, str(program), "far", str(pairs)]
    said = subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True).stderr
    found = {name: re.search(rf"{words}: +([\d,]+)", said) for name, words in COUNTED.items()}
    return {name: int(match[1].replace(",", "")) for name, match in found.items() if match}


def main() -> None:
    program = build(ROOT, ROOT / "rust" / "target")
    before, after = (counted(program, pairs) for pairs in (0, PAIRS))
    print(f"caches: first level {cache(0)}, second level {cache(2)} (bytes, ways, line)")
    for name in COUNTED:
        print(f"{name:>20}: {(after[name] - before[name]) / PAIRS:5.2f} for each pair")


if __name__ == "__main__":
    main()
