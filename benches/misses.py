"""Count what random pairs take, and what they miss in caches: of `small` with units, and of `large` (benches/README.md).

    python -m benches.misses

Caches are simulated (cachegrind, without what the processor fetches ahead) in the sizes that this machine has: the first
level's, and the second's in place of the last. What is told is what it takes to ask once more:
building the fleet and making the pairs are taken away.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from benches.instructions import ROOT, build

PAIRS = 4_000_000
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
SHAPES = {"small, with units": "near", "large": "far"}
COUNTED = {
    "instructions": "I   refs",
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


def counted(program: Path, shape: str, times: int) -> dict[str, int]:
    """Count one run in which the pairs are asked for so many times."""
    simulated = ["--cache-sim=yes", f"--D1={cache(0)}", f"--LL={cache(2)}", "--cachegrind-out-file=/dev/null"]
    command = ["valgrind", "--tool=cachegrind", *simulated, str(program), shape, str(times)]
    said = subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True).stderr
    found = {name: re.search(rf"{words}: +([\d,]+)", said) for name, words in COUNTED.items()}
    return {name: int(match[1].replace(",", "")) for name, match in found.items() if match}


def main() -> None:
    program = build(ROOT, ROOT / "rust" / "target")
    print(f"caches: first level {cache(0)}, second level {cache(2)} (bytes, ways, line)")
    for title, shape in SHAPES.items():
        before, after = (counted(program, shape, times) for times in (1, 2))
        print(f"{title}, for each pair:")
        for name in COUNTED:
            print(f"{name:>20}: {(after[name] - before[name]) / PAIRS:5.2f}")


if __name__ == "__main__":
    main()
