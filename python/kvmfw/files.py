"""Files that are read, files that appear whole or not at all, and what is written to when it is no file."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from kvmfw.errors import FormatError, InputError

__all__ = [
    "LARGEST_DOCUMENT",
    "alone_in",
    "open_file",
    "read_document",
    "read_within",
    "umask",
    "whole_file",
    "whole_files",
    "write_whole",
]

LARGEST_DOCUMENT = 256 << 20
"""Bytes of one document (JSON, text) after unpacking."""


@contextlib.contextmanager
def open_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading.

    Raises
    ------
    InputError
        When it cannot be read, or is a pipe or a device: those may keep their reader waiting, or never end.
    """
    try:
        # Without waiting for a writer, should it be a pipe; what is read from a file is read as always.
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb")
    except OSError as error:
        raise InputError(error.strerror or "cannot be read", file=str(path)) from error
    except ValueError as error:
        raise InputError(f"no file has such a name: {error}", file=str(path)) from error
    with file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise InputError("this is a pipe or a device; expected a file", file=str(path))
        yield file


def read_document(path: Path) -> bytes:
    """Read a document whole.

    Raises
    ------
    InputError
        When it cannot be read; `FormatError` when it is larger than a document may be.
    """
    with open_file(path) as file:
        try:
            return read_within(file, path, LARGEST_DOCUMENT)
        except OSError as error:
            raise InputError(error.strerror or "cannot be read", file=str(path)) from error


def read_within(file: BinaryIO, path: Path, most: int) -> bytes:
    """Read a file to its end, which comes before `most` bytes.

    Raises
    ------
    FormatError
        When it does not.
    """
    data = file.read(most + 1)
    if len(data) > most:
        raise FormatError(
            f"the document unpacks to more than {most >> 20} MiB, which no document needs", file=str(path)
        )
    return data


def umask() -> int:
    """Give the umask, which only setting it tells."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give the path of a draft that takes the place of `path` at the end; after an error nothing has changed.

    A link stays: what it names is written. A device, a pipe or a socket is not replaced: it is given itself. A file keeps
    its mode, a new one has what the umask leaves.
    """
    with whole_files([path]) as (draft,):
        yield draft


@contextlib.contextmanager
def whole_files(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """`whole_file` for some that belong together: after an error none of them has changed."""
    with contextlib.ExitStack() as opened:
        drafts = [opened.enter_context(_draft(path)) for path in paths]
        yield [draft.path for draft in drafts]
        files = [draft for draft in drafts if draft.mode is not None]
        for draft in files:
            draft.finish()
        with contextlib.ExitStack() as undo:
            for number, draft in enumerate(files, 1):
                # The last one takes its place or does not: there is nothing after it to be undone for.
                if number < len(files):
                    undo.callback(draft.undo)
                    draft.keep()
                draft.path.replace(draft.target)
            undo.pop_all()


@dataclass(frozen=True)
class _Draft:
    """A draft of a file, and what was there before; without a mode the target itself, which is no file."""

    path: Path
    target: Path
    mode: int | None

    @property
    def before(self) -> Path:
        return self.path.with_name(f"{self.path.name}.before")

    def finish(self) -> None:
        assert self.mode is not None
        handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        self.path.chmod(stat.S_IMODE(self.mode))

    def keep(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.link(self.target, self.before)

    def undo(self) -> None:
        if self.path.exists():
            return
        if self.before.exists():
            self.before.replace(self.target)
        else:
            self.target.unlink()


@contextlib.contextmanager
def _draft(path: Path) -> Iterator[_Draft]:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG | 0o666 & ~umask()
    with _named(path):
        if not stat.S_ISREG(mode):
            yield _Draft(path, path, None)
            return
        target = path.resolve()
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        os.close(handle)
        with _removed_at_last(_Draft(Path(name), target, mode)) as draft:
            yield draft


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Let errors of the system name the file that was asked for: not its draft, and not nothing."""
    try:
        yield
    except OSError as error:
        if error.filename is None or Path(error.filename).name.startswith(f".{path.name}."):
            error.filename = str(path)
        raise


@contextlib.contextmanager
def _removed_at_last(draft: _Draft) -> Iterator[_Draft]:
    try:
        yield draft
    finally:
        for left in (draft.path, draft.before):
            with contextlib.suppress(OSError):
                left.unlink()


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep out whoever else is here for the same folder: of any number of processes one is inside."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def write_whole(path: Path, text: str) -> None:
    """Write a text file in UTF-8."""
    with whole_file(path) as draft:
        draft.write_text(text, encoding="utf-8")
