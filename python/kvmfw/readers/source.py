"""Sources: files opened by content, unpacked within limits."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from kvmfw.errors import FormatError, InputError
from kvmfw.files import LARGEST_DOCUMENT, open_file, read_within

__all__ = ["HEAD", "LIMITS", "Limits", "head_of", "is_gzip", "opened", "whole"]

HEAD = 1 << 16
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a source may declare or unpack to before it is refused: hostile files stay small in memory.

    Attributes
    ----------
    document : int
        Bytes of one document (JSON, text) after unpacking.
    line : int
        Bytes of one line of a table or of a ``.jsonl`` file.
    chunk_values : int
        Values that one column chunk of a Parquet file, or one batch of an Arrow file, may declare.
    chunk_bytes : int
        Bytes that one row group of a Parquet file may declare to unpack to.
    section : int
        Bytes of one device section of a QEMU stream.
    """

    document: int = LARGEST_DOCUMENT
    line: int = 16 << 20
    chunk_values: int = 1 << 28
    chunk_bytes: int = 4 << 30
    section: int = 64 << 20


LIMITS = Limits()


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading; a gzip file is unpacked on the way.

    Raises
    ------
    InputError
        When it cannot be read; `FormatError` when a gzip file is cut off or damaged, also while it is read.
    """
    try:
        with open_file(path) as raw:
            if raw.read(2) != _GZIP:
                raw.seek(0)
                yield raw
                return
            raw.seek(0)
            with gzip.GzipFile(fileobj=raw) as unpacked:
                yield cast("BinaryIO", io.BufferedReader(unpacked, 1 << 20))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FormatError(f"the gzip file is damaged: {error}", file=str(path)) from error
    except OSError as error:
        raise InputError(error.strerror or "cannot be read", file=str(path)) from error


def is_gzip(path: Path) -> bool:
    """Tell whether a file is packed with gzip."""
    with open_file(path) as raw:
        return raw.read(2) == _GZIP


def head_of(path: Path) -> bytes:
    """Read the first bytes of a file, unpacked, for finding out its format."""
    with opened(path) as file:
        return file.read(HEAD)


def whole(path: Path, limits: Limits = LIMITS) -> bytes:
    """Read a document whole, unpacked.

    Raises
    ------
    FormatError
        When it is larger than a document may be.
    """
    with opened(path) as file:
        return read_within(file, path, limits.document)
