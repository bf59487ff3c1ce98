"""Change functions of Python in one place at a time, and tell what no test notices.

``python -m tests.mutants [FILES] [--sample N]``: each change is made in a child of the process that has all tests loaded, by
exchange of the code of functions, and judged by the tests that reach its line. What other processes do that a test starts is
not changed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest

import kvmfw
from tests.mutants.judges import Judges

HERE = Path(kvmfw.__file__).parent
FILES = [*HERE.glob("readers/*.py"), *HERE.glob("analysis/*.py")]
FILES += [HERE / name for name in ("store.py", "saving.py", "ingest.py")]
# They start processes for what they do, take minutes, or reach none of these files.
APART = (
    *("live", "probe", "ray", "spark", "injected", "memory", "interrupts", "containers", "house", "readme"),
    *("mixed", "collect", "vectors", "oracle", "mutants"),
)
TESTS = [
    file for file in sorted(Path("tests").glob("test_*.py")) if not any(word in file.name for word in APART)
]
TESTS += [Path("tests/planners"), Path("tests/serve"), HERE / "readers", HERE / "analysis"]


def main() -> int:
    """Judge changes; 1 where fewer than 95 of a hundred are noticed."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, default=FILES)
    parser.add_argument("--sample", type=int, help="how many changes, by chance (default: all)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--again", type=Path, help="what an earlier run printed: only what it missed")
    parser.add_argument(
        "--seconds", type=float, default=20, help="of tests for one change (default: %(default)s)"
    )
    parser.add_argument(
        "--tests", nargs="*", type=Path, default=TESTS, help="default: all that work in their own process"
    )
    asked = parser.parse_args()
    files, again = sorted(file.resolve() for file in asked.files), asked.again and asked.again.read_text()
    judges = Judges(files, asked.sample, asked.seed, again, asked.seconds)
    pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:xdist", *map(str, asked.tests)], plugins=[judges])
    judged = sum(judges.ends.values()) - judges.ends["unchanged"]
    ends = ", ".join(f"{count} {end}" for end, count in judges.ends.most_common())
    print(f"{judges.every} changes, {judged} judged: {ends}")
    return int(judges.ends["caught"] < 0.95 * judged)


if __name__ == "__main__":
    sys.exit(main())
