"""kvmfw's own documents: register sets, one or one in each line, and captures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kvmfw.errors import FormatError
from kvmfw.readers.format import Format, Head, name_of
from kvmfw.readers.rejects import Intake
from kvmfw.readers.saved import SavedVcpu
from kvmfw.readers.source import LIMITS, Limits, opened, whole
from kvmfw.sets import Host, RegisterSet

__all__ = ["CAPTURE", "REGISTER_SET", "lines_of", "own_vcpus"]


def _is_set(head: Head) -> bool:
    if b'"kvmfw-capture"' in head.raw:
        return False
    return b'"kvmfw-register-set"' in head.raw or ("format" in head.keys and "vcpus" not in head.keys)


def _is_capture(head: Head) -> bool:
    return b'"kvmfw-capture"' in head.raw or {"format", "vcpus"} <= head.keys


def lines_of(path: Path, limits: Limits = LIMITS) -> Iterator[tuple[int, bytes]]:
    """Give the lines of a file that are not empty, numbered from 1."""
    with opened(path) as file:
        number = 0
        while line := file.readline(limits.line + 1):
            number += 1
            if len(line) > limits.line:
                problem = f"the line is longer than {limits.line >> 20} MiB"
                raise FormatError(problem, f"line {number}", file=str(path))
            if line.strip():
                yield number, line


def own_vcpus(path: Path, intake: Intake, limits: Limits) -> Iterator[tuple[int, list[SavedVcpu]]]:
    """Read the register sets of a file, each with its line; those that cannot be used are rejected."""
    for number, text in _texts(path, limits):
        place = f"{path}: line {number}" if number else str(path)
        try:
            found = RegisterSet.from_json(text)
            if not len(found) and not found.surroundings:
                raise FormatError("nothing was saved of the vCPU: it has no registers", "registers")
        except FormatError as error:
            error.file = place
            if intake.on_error == "raise":
                raise
            intake.reject(
                str(path), number or -1, f"{error.place}: {error.problem}" if error.place else error.problem
            )
            continue
        yield number or -1, [SavedVcpu(found.name or name_of(path, REGISTER_SET.suffixes), 0, found)]


def _texts(path: Path, limits: Limits) -> Iterator[tuple[int, bytes]]:
    """Give the documents of a file: one, or one in each line."""
    if _is_lines(path):
        yield from lines_of(path, limits)
    else:
        yield 0, whole(path, limits)


def _is_lines(path: Path) -> bool:
    if ".jsonl" in path.suffixes or ".ndjson" in path.suffixes:
        return True
    with opened(path) as file:
        first = file.readline(1 << 20)
        return first.rstrip().endswith(b"}") and bool(file.readline(1 << 20).strip())


def _host(path: Path, name: str, limits: Limits) -> Host:
    del name
    return Host.from_json(whole(path, limits))


REGISTER_SET = Format(
    "register-set",
    "kvmfw register set, one JSON document or one in each line",
    _is_set,
    rows=True,
    suffixes=(".json", ".jsonl", ".ndjson"),
)
CAPTURE = Format("capture", "kvmfw capture", _is_capture, host=_host)
