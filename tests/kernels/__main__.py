"""Compare the tables in kernel images with the rules, and captures that follow from them with recordings (`make tables`)."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from kvmfw.errors import KvmfwError
from kvmfw.kernels import Fit, Kernel, fits, read_kernel
from tests.kernels.answers import compare, report
from tests.kernels.dumps import compare as compare_dumps
from tests.live.archive import cache_folder, natural

IMAGE = re.compile(r"\d+\.\d+.*arm64.*|vmlinuz.*|Image.*|.*\.(deb|rpm)")


def own_fit(kernel: Kernel, likes: list[Fit]) -> Fit | None:
    """What the kernel is to be like: the known release that it is, else the last of its line before it."""
    line = [fit for fit in likes if numbers(fit)[:2] == kernel.numbers[:2]]
    before = [fit for fit in line if numbers(fit) <= kernel.numbers]
    return max(before, key=numbers, default=min(line, key=numbers, default=None))


def numbers(fit: Fit) -> tuple[int, ...]:
    return tuple(map(int, fit.release.split(".")))


def main(folder: Path, recordings: Path | None = None, dumps: Path | None = None) -> int:
    """Compare the tables of all images of a folder, and the captures that follow from them with recordings."""
    images = (
        [path for path in folder.iterdir() if path.is_file() and IMAGE.fullmatch(path.name)]
        if folder.is_dir()
        else []
    )
    if not images:
        print(f"{folder} holds no kernel image: nothing was compared; `make live` fetches kernels")
        return 1
    wrong, compared, rows = 0, 0, 0
    kernels: dict[str, Kernel] = {}
    for path in sorted(images, key=lambda path: natural(path.name)):
        try:
            kernel = read_kernel(path)
        except KvmfwError as error:
            print(f"NOT READ {error}")
            wrong += 1
            continue
        kernels[kernel.release] = kernel
        for table, problem in kernel.problems.items():
            print(f"{kernel.release}: {table}: {problem}")
        fit = own_fit(kernel, fits(kernel))
        if fit is None:
            print(
                f"{kernel.release} ({kernel.build}): read, not compared: the rules have no tables of its line"
            )
            wrong += kernel.numbers[:2] >= (6, 7)
            continue
        compared, rows = compared + 1, rows + fit.rows
        wrong += bool(fit.differences)
        print(f"{kernel.release}: as {fit.release}: {fit.rows} rows, {len(fit.differences)} differences")
        for difference in fit.differences:
            print(f"    {difference}")
    print(
        f"{compared} of {len(images)} images compared, {rows} rows; {wrong} images differ or were not understood"
    )
    return 1 if wrong or not predictions_are_right(recordings, kernels, dumps) else 0


def predictions_are_right(recordings: Path | None, kernels: dict[str, Kernel], dumps: Path | None) -> bool:
    """Compare predicted captures with recordings, and say what was compared."""
    if recordings is None or not recordings.is_dir():
        print(f"predictions: NOT COMPARED: there are no recordings in {recordings}")
        return recordings is None
    right = [
        report(compare(recordings, kernels), "image"),
        report(compare(recordings, None), "release"),
    ]
    if dumps is None or not dumps.is_dir():
        print(f"public dumps: NOT COMPARED: there are none in {dumps}")
    else:
        right.append(report(compare_dumps(dumps), "release, of public dumps"))
    return all(right)


if __name__ == "__main__":
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("images", nargs="?", type=Path, default=cache_folder() / "kernels")
    given.add_argument("--recordings", type=Path, required=True, help="folder of recordings of real kernels")
    given.add_argument("--dumps", type=Path, help="folder of public dumps of Firecracker's project")
    words = given.parse_args()
    sys.exit(main(words.images, words.recordings, words.dumps))
