"""Readers: files, folders and tables become register sets, hosts and columns."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kvmfw.errors import ArgumentError, FormatError, InputError, RowError
from kvmfw.sets import Host, RegisterSet

__all__ = ["fleet_folder", "hosts", "register_sets", "rows_rejected", "vcpu_config"]

FEATURES = (
    "power_off",
    "el1_32bit",
    "psci_0_2",
    "pmu_v3",
    "sve",
    "ptrauth_address",
    "ptrauth_generic",
    "has_el2",
    "has_el2_e2h0",
    "pmu_v3_strict",
)
ENABLED = ("mte", "writable_imp_id_regs")
DEFAULT_VCPU = "psci_0_2,vgic"
LISTED_ROWS = 1000


def rows_rejected(rejected: list[tuple[int, str]]) -> RowError:
    """Make one exception of all rejected rows."""
    (row, problem), *others = rejected
    return RowError(problem, row, tuple(others[:LISTED_ROWS]))


def _sets_of_file(path: Path) -> Iterator[RegisterSet]:
    if path.suffix != ".jsonl":
        yield RegisterSet.load(path)
        return
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                try:
                    yield RegisterSet.from_json(line)
                except FormatError as error:
                    error.file = f"{path}: line {number}"
                    raise
    except OSError as error:
        raise InputError(error.strerror or "cannot be read", file=str(path)) from error


def _files(path: Path, patterns: Sequence[str], what: str) -> list[Path]:
    if not path.exists():
        raise InputError(f"there is no such file or folder; expected {what}", file=str(path))
    if path.is_file():
        return [path]
    found = sorted(file for pattern in patterns for file in path.glob(pattern))
    if not found:
        raise InputError(f"the folder holds no {what} ({', '.join(patterns)})", file=str(path))
    return found


def register_sets(path: str | Path) -> Iterator[RegisterSet]:
    """Read the register sets of a file (``.json``, ``.jsonl``) or of all such files in a folder, in name order."""
    for file in _files(Path(path), ("*.json", "*.jsonl"), "register sets"):
        yield from _sets_of_file(file)


def _captures(path: Path) -> list[Host]:
    return [Host.load(file) for file in _files(path, ("*.json",), "captures")]


def hosts(source: Any) -> tuple[list[Host], npt.NDArray[np.uint32], list[str]]:
    """Give distinct captures, the number of its capture for each host, and the hosts' names."""
    if isinstance(source, str | Path):
        source = _captures(Path(source))
    if isinstance(source, tuple) and len(source) == 2 and not isinstance(source[1], Host):
        kinds = list(source[0])
        kind_of = np.ascontiguousarray(source[1])
        if kind_of.ndim != 1 or kind_of.dtype.kind not in "iu":
            raise ArgumentError(f"capture numbers are {kind_of.dtype}; expected a one-dimensional array of integers")
        bad = np.flatnonzero((kind_of < 0) | (kind_of >= len(kinds)))
        if bad.size:
            row = int(bad[0])
            raise RowError(f"capture number {kind_of[row]} is out of range; there are {len(kinds)}", row)
        return kinds, kind_of.astype(np.uint32), [kinds[number].name for number in kind_of]
    listed = list(source)
    known: dict[int, int] = {}
    kinds = []
    numbers = []
    for row, host in enumerate(listed):
        if not isinstance(host, Host):
            raise ArgumentError(f"host {row} is a {type(host).__name__}; expected a kvmfw.Host")
        number = known.setdefault(id(host._native), len(kinds))
        if number == len(kinds):
            kinds.append(host)
        numbers.append(number)
    return kinds, np.array(numbers, dtype=np.uint32), [host.name for host in listed]


def fleet_folder(folder: Path) -> tuple[list[RegisterSet], list[Host]]:
    """Read a fleet folder: its register sets and its hosts."""
    if not folder.is_dir():
        raise InputError("there is no such folder; expected a fleet folder (docs/formats.md)", file=str(folder))
    captures = {host.name: host for host in _captures(folder / "captures")}
    vms = folder / "vms.jsonl"
    sets = list(register_sets(vms if vms.exists() else folder / "vms"))
    table = folder / "hosts.csv"
    if not table.exists():
        return sets, list(captures.values())
    named: list[Host] = []
    with table.open(newline="", encoding="utf-8") as lines:
        rows = csv.DictReader(lines)
        if not {"host", "capture"} <= set(rows.fieldnames or ()):
            raise FormatError("expected the columns host and capture", "line 1", file=str(table))
        for number, row in enumerate(rows, start=2):
            capture = captures.get(row["capture"])
            if capture is None:
                problem = f"there is no capture named `{row['capture']}`"
                raise FormatError(problem, f"line {number}", file=str(table))
            named.append(capture.renamed(row["host"]))
    return sets, named


def vcpu_config(words: str) -> tuple[int, bool, int]:
    """Give feature word, vGIC and enabled capabilities of the words of a `vcpu` column."""
    features, enabled, vgic = 0, 0, False
    for word in filter(None, (word.strip() for word in words.split(","))):
        if word in FEATURES:
            features |= 1 << FEATURES.index(word)
        elif word in ENABLED:
            enabled |= 1 << ENABLED.index(word)
        elif word == "vgic":
            vgic = True
        else:
            known = ", ".join((*FEATURES, *ENABLED, "vgic"))
            raise ArgumentError(f"`{word}` in column `vcpu` is not known; expected {known}")
    return features, vgic, enabled
