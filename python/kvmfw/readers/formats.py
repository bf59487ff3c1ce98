"""Formats: found out by content, or named; each file gives VMs, hosts, or both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kvmfw.errors import ArgumentError, FormatError, InputError
from kvmfw.readers import analyze, cloud_hypervisor, facts, firecracker, qemu_stream
from kvmfw.readers.rejects import Intake
from kvmfw.readers.saved import SavedVcpu
from kvmfw.readers.source import LIMITS, Limits, head_of, opened, parsed_json, whole
from kvmfw.sets import Host, RegisterSet

__all__ = ["FORMATS", "TABLES", "check_format", "detect", "host_of", "lines_of", "name_of", "vcpus_of"]

FORMATS = {
    "register-set": "kvmfw register set, one JSON document or one in each line",
    "capture": "kvmfw capture",
    "parquet": "Parquet table of VMs",
    "arrow": "Arrow IPC file or stream of VMs",
    "csv": "CSV table of VMs",
    "qemu-stream": "QEMU migration stream",
    "qemu-analyze": "JSON of QEMU's analyze-migration.py",
    "firecracker-fingerprint": "fingerprint of Firecracker's cpu-template-helper",
    "firecracker-template": "CPU template of Firecracker",
    "cloud-hypervisor": "state.json of a cloud-hypervisor snapshot",
    "get-reg-list": "register list of the kernel's get-reg-list --list (facts about a host)",
    "qemu-props": "QEMU's answer to query-cpu-props-info (facts about a host)",
}
"""The formats that are read: name for ``--from``, and what it is."""

TABLES = ("parquet", "arrow", "csv")
_MAGIC = (
    (b"PAR1", "parquet"),
    (b"ARROW1", "arrow"),
    (b"\xff\xff\xff\xff", "arrow"),
    (b"QEVM", "qemu-stream"),
)
_HOSTS = ("capture", "firecracker-fingerprint")
_FACTS = ("get-reg-list", "qemu-props")


def detect(path: Path) -> str:
    """Find out the format of a file by what is in it.

    Raises
    ------
    FormatError
        When it is none of those that kvmfw reads; it tells how the file starts.
    """
    head = head_of(path)
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text:
        raise FormatError("the file is empty", file=str(path))
    if text[:1] in (b"{", b"["):
        return _json_format(path, text)
    if facts.is_register_list(text):
        return "get-reg-list"
    first, _, _ = text.partition(b"\n")
    if b"," in first and b"reg" in first.lower():
        return "csv"
    starts = text[:24].decode("ascii", "replace")
    known = ", ".join(FORMATS)
    raise FormatError(
        f"this is no format that kvmfw reads; it starts with `{starts}` (formats: {known})", file=str(path)
    )


def _json_format(path: Path, head: bytes) -> str:
    if b'"kvmfw-register-set"' in head:
        return "register-set"
    if b'"kvmfw-capture"' in head:
        return "capture"
    document = parsed_json(whole(path), path)
    parts = document.get("return", document) if isinstance(document, dict) else document
    keys = set(parts) if isinstance(parts, dict) else set()
    if "format" in keys:
        return "capture" if "vcpus" in keys else "register-set"
    if "guest_cpu_config" in keys:
        return "firecracker-fingerprint"
    if keys & {"reg_modifiers", "vcpu_features"}:
        return "firecracker-template"
    if "snapshots" in keys:
        return "cloud-hypervisor"
    if any(analyze.SECTION.fullmatch(key) for key in keys):
        return "qemu-analyze"
    if "SYSREG_" in json.dumps(parts):
        return "qemu-props"
    listed = ", ".join(sorted(keys)[:6]) or type(document).__name__
    raise FormatError(f"this JSON is no format that kvmfw reads; it has {listed}", file=str(path))


def check_format(name: str) -> None:
    """Raise when there is no format of this name."""
    if name not in FORMATS:
        raise ArgumentError(f"`{name}` is not a format; expected {', '.join(FORMATS)}")


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


def vcpus_of(
    path: Path, kind: str, intake: Intake, limits: Limits = LIMITS
) -> Iterator[tuple[int, list[SavedVcpu]]]:
    """Give the saved vCPUs of a file, VM by VM, with its row; documents that cannot be used are rejected.

    The row is the number of a line, from 1, or -1 where the file is one document.

    Raises
    ------
    ArgumentError
        When the format holds no VMs.
    """
    if kind == "register-set":
        yield from _own(path, intake, limits)
        return
    if kind == "capture" or kind in _FACTS:
        raise FormatError(f"a file of format {kind} holds no VMs", file=str(path))
    try:
        found = _document(path, kind, limits)
    except InputError as error:
        error.file = error.file or str(path)
        intake.reject_source(str(path), error)
        return
    yield -1, found


def _document(path: Path, kind: str, limits: Limits) -> list[SavedVcpu]:
    if kind == "qemu-stream":
        return qemu_stream.stream_vcpus(path, name_of(path), limits)
    document: Any = parsed_json(whole(path, limits), path)
    if kind == "qemu-analyze":
        return analyze.analyzed_vcpus(document, name_of(path))
    if kind == "firecracker-fingerprint":
        return firecracker.fingerprint_vcpus(document, name_of(path))
    if kind == "firecracker-template":
        return firecracker.template_vcpus(document, name_of(path))
    return cloud_hypervisor.snapshot_vcpus(document, _snapshot_name(path))


def _own(path: Path, intake: Intake, limits: Limits) -> Iterator[tuple[int, list[SavedVcpu]]]:
    for number, text in _texts(path, limits):
        place = f"{path}: line {number}" if number else str(path)
        try:
            found = RegisterSet.from_json(text)
        except FormatError as error:
            error.file = place
            if intake.on_error == "raise":
                raise
            intake.reject(
                str(path), number or -1, f"{error.place}: {error.problem}" if error.place else error.problem
            )
            continue
        yield number or -1, [SavedVcpu(found.name or name_of(path), 0, found)]


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


def host_of(path: Path, kind: str, limits: Limits = LIMITS) -> Host | None:
    """Give the host of a file; None where its format holds no host that can judge."""
    if kind not in _HOSTS:
        return None
    try:
        data = whole(path, limits)
        if kind == "capture":
            return Host.from_json(data)
        return firecracker.fingerprint_host(parsed_json(data, path), name_of(path))
    except FormatError as error:
        error.file = str(path)
        raise


def name_of(path: Path) -> str:
    """Name the VM or host of a file that does not name it: the file's name without its endings."""
    name = path.name
    for suffix in reversed(path.suffixes):
        if suffix not in (".gz", ".json", ".bin", ".mig", ".qemu", ".jsonl"):
            break
        name = name.removesuffix(suffix)
    return name


def _snapshot_name(path: Path) -> str:
    return path.resolve().parent.name if path.name == "state.json" else name_of(path)
