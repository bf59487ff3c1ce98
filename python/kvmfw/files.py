"""Files that appear whole or not at all, and what is written to when it is no file."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["umask", "whole_file", "write_whole"]


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
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG | 0o666 & ~umask()
    if not stat.S_ISREG(mode):
        yield path
        return
    target = path.resolve()
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    draft = Path(name)
    try:
        yield draft
        os.fsync(handle)
        draft.chmod(stat.S_IMODE(mode))
        draft.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
    finally:
        os.close(handle)


def write_whole(path: Path, text: str) -> None:
    """Write a text file in UTF-8."""
    with whole_file(path) as draft:
        draft.write_text(text, encoding="utf-8")
