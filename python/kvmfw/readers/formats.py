"""Formats: found out by content, or named; each file gives VMs, hosts, or both."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from kvmfw.errors import ArgumentError, FormatError, InputError
from kvmfw.inventory import births, kubevirt, libvirt, nova, proxmox
from kvmfw.inventory.told import Told
from kvmfw.readers import analyze, cloud_hypervisor, facts, firecracker, own, qemu_stream, tables, vmstate
from kvmfw.readers import format as formats
from kvmfw.readers.format import Format, Head
from kvmfw.readers.rejects import Intake
from kvmfw.readers.saved import SavedVcpu
from kvmfw.readers.source import LIMITS, Limits, head_of
from kvmfw.sets import Host

__all__ = [
    "FORMATS",
    "INVENTORIES",
    "MOVES_OF",
    "TABLES",
    "check_format",
    "detect",
    "holds_vms",
    "host_of",
    "name_of",
    "told_of",
    "vcpus_of",
]

_ALL: Final[tuple[Format, ...]] = (
    own.REGISTER_SET,
    own.CAPTURE,
    tables.PARQUET,
    tables.ARROW,
    qemu_stream.FORMAT,
    analyze.FORMAT,
    firecracker.FINGERPRINT,
    firecracker.TEMPLATE,
    vmstate.FORMAT,
    cloud_hypervisor.FORMAT,
    facts.REGISTER_LIST,
    facts.PROPERTIES,
    libvirt.FORMAT,
    kubevirt.FORMAT,
    nova.MIGRATIONS,
    nova.SERVERS,
    proxmox.FORMAT,
    births.FORMAT,
    tables.CSV,
)
"""Every format, in the order in which a file is tried."""
_BY_NAME: Final = {one.name: one for one in _ALL}
FORMATS: Final = {one.name: one.what for one in _ALL}
"""The formats that are read: name for ``--from``, and what it is."""
TABLES: Final = tuple(one.name for one in _ALL if one.table)
INVENTORIES: Final = tuple(one.name for one in _ALL if one.told is not None)
MOVES_OF: Final = {one.name: one.moves_of for one in _ALL if one.moves_of}
_SUFFIXES: Final = tuple(dict.fromkeys(suffix for one in _ALL for suffix in one.suffixes))


_NOT_READ: Final = {
    b"\x28\xb5\x2f\xfd": "packed with zstd",
    b"\xfd7zXZ\x00": "packed with xz",
    b"BZh": "packed with bzip2",
    b"\x04\x22\x4d\x18": "packed with lz4",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "packed with gzip twice",
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
}
"""How files begin that would be read if they were not packed or written so."""


def detect(path: Path, columns: Mapping[str, str] = MappingProxyType({})) -> str:
    """Find out the format of a file by what is in it; `columns` names columns of tables that are called otherwise.

    Raises
    ------
    FormatError
        When it is none of those that kvmfw reads; it tells how the file starts.
    """
    head = Head(path, head_of(path), columns)
    if not head.text:
        raise FormatError("the file is empty", file=str(path))
    for one in _ALL:
        if one.is_it(head):
            return one.name
    if head.document is not None:
        keys = ", ".join(f"`{key[:64]}`" for key in sorted(head.keys)[:6])
        listed = f"it has the keys {keys}" if keys else f"it is {json.dumps(head.document)[:24]}"
        raise FormatError(f"this JSON is no format that kvmfw reads; {listed}", file=str(path))
    packed = next((what for start, what in _NOT_READ.items() if head.raw.startswith(start)), None)
    if packed is not None:
        raise FormatError(
            f"this is {packed}; expected it unpacked, or packed with gzip, and text in UTF-8", file=str(path)
        )
    if (separator := _separator(head)) is not None:
        raise FormatError(
            f"this is a table with {separator} between its cells; expected commas", "line 1", file=str(path)
        )
    starts = head.text[:24].decode("ascii", "replace")
    known = ", ".join(FORMATS)
    raise FormatError(
        f"this is no format that kvmfw reads; it starts with `{starts}` (formats: {known})", file=str(path)
    )


def _separator(head: Head) -> str | None:
    """Name what stands between the cells of a table that would be read if commas stood there."""
    first = head.text.partition(b"\n")[0]
    for letter, name in ((b";", "semicolons"), (b"\t", "tabs"), (b"|", "bars")):
        with_commas = Head(head.path, first.replace(letter, b","), head.columns)
        if (
            letter in first
            and first.isascii()
            and any(one.is_it(with_commas) for one in (births.FORMAT, tables.CSV))
        ):
            return name
    return None


def check_format(name: str) -> None:
    """Raise when there is no format of this name."""
    if name not in FORMATS:
        raise ArgumentError(f"`{name}` is not a format; expected {', '.join(FORMATS)}")


def holds_vms(kind: str) -> bool:
    """Tell whether files of this format hold VMs, also such that have no registers by themselves."""
    read = _BY_NAME[kind]
    return read.vcpus is not None or read.rows or read.table or read.told is not None


def vcpus_of(
    path: Path, kind: str, intake: Intake, limits: Limits = LIMITS
) -> Iterator[tuple[int, list[SavedVcpu]]]:
    """Give the saved vCPUs of a file, VM by VM, with its row; documents that cannot be used are rejected.

    The row is the number of a line, from 1, or -1 where the file is one document.

    Raises
    ------
    FormatError
        When the format holds no VMs.
    """
    read = _BY_NAME[kind]
    if read.rows:
        yield from own.own_vcpus(path, intake, limits)
        return
    if read.told is not None:
        problem = f"a file of format {kind} names VMs without their registers"
        raise FormatError(
            f"{problem}; `kvmfw ingest` derives them from captures (docs/inventory.md)", file=str(path)
        )
    if read.vcpus is None:
        raise FormatError(f"a file of format {kind} holds no VMs", file=str(path))
    try:
        found = read.vcpus(path, formats.name_of(path, read.suffixes), limits)
    except InputError as error:
        error.file = error.file or str(path)
        intake.reject_source(str(path), error)
        return
    yield -1, found


def told_of(path: Path, kind: str, limits: Limits = LIMITS) -> list[Told]:
    """Give what a file of an inventory tells of VMs."""
    read = _BY_NAME[kind].told
    if read is None:
        return []
    try:
        return read(path, formats.name_of(path, _BY_NAME[kind].suffixes), limits)
    except InputError as error:
        error.file = error.file or str(path)
        raise


def host_of(path: Path, kind: str, limits: Limits = LIMITS) -> Host | None:
    """Give the host of a file; None where its format holds no host that can judge."""
    read = _BY_NAME[kind]
    if read.host is None:
        return None
    try:
        return read.host(path, formats.name_of(path, read.suffixes), limits)
    except FormatError as error:
        error.file = str(path)
        raise


def name_of(path: Path) -> str:
    """Name the VM or host of a file whose format is not asked."""
    return formats.name_of(path, _SUFFIXES)
