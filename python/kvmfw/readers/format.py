"""What a format is: a name, how a file of it is told, and what it gives. Each reader registers its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from kvmfw.documents import parsed_json
from kvmfw.inventory.told import Told
from kvmfw.quoting import utf8
from kvmfw.readers.saved import SavedVcpu
from kvmfw.readers.source import Limits, whole
from kvmfw.sets import Host

__all__ = ["Format", "Head", "name_of"]


@dataclass(frozen=True)
class Head:
    """The start of a file, unpacked, by which its format is told."""

    path: Path
    raw: bytes
    columns: Mapping[str, str] = field(default_factory=dict)
    """What columns of a table are called that have names of their own."""

    @cached_property
    def text(self) -> bytes:
        """The start without what may stand before text."""
        return self.raw.removeprefix(b"\xef\xbb\xbf").lstrip()

    @cached_property
    def document(self) -> Any:
        """The JSON document, or what QEMU wraps in ``return``; None where it is none.

        Raises
        ------
        FormatError
            When the file starts like JSON and is none.
        """
        if self.text[:1] not in (b"{", b"["):
            return None
        document = parsed_json(whole(self.path), self.path)
        return document.get("return", document) if isinstance(document, dict) else document

    @cached_property
    def keys(self) -> frozenset[str]:
        """The keys of the JSON document."""
        return frozenset(self.document) if isinstance(self.document, dict) else frozenset()


@dataclass(frozen=True)
class Format:
    """One format that is read.

    Attributes
    ----------
    name : str
        The name for ``--from``.
    what : str
        What it is, in words.
    is_it : callable
        Tells by its head whether a file is of this format.
    vcpus : callable or None
        Reads the only VM of a file: path, name, limits.
    host : callable or None
        Reads the host of a file: path, name, limits.
    told : callable or None
        Reads what an inventory tells of VMs, without registers: path, name, limits.
    moves_of : str
        The format of those VMs of which one never moved if such a file does not name it.
    table : bool
        Whether a file is a table of VMs.
    rows : bool
        Whether a file may hold many VMs, one in each row.
    suffixes : tuple of str
        Endings that do not belong to the name of a VM.
    """

    name: str
    what: str
    is_it: Callable[[Head], bool]
    vcpus: Callable[[Path, str, Limits], list[SavedVcpu]] | None = None
    host: Callable[[Path, str, Limits], Host] | None = None
    told: Callable[[Path, str, Limits], list[Told]] | None = None
    moves_of: str = ""
    table: bool = False
    rows: bool = False
    suffixes: tuple[str, ...] = field(default=(".json",))


_PACKED = re.compile(r"\.gz\Z")


def name_of(path: Path, suffixes: tuple[str, ...]) -> str:
    """Name the VM or host of a file that does not name it: the file's name without its endings.

    >>> name_of(Path("dumps/web-17.v2.json.gz"), (".json",))
    'web-17.v2'
    """
    name = _PACKED.sub("", utf8(path.name))
    for suffix in suffixes:
        name = name.removesuffix(suffix)
    return name
