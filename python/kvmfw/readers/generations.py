"""A fleet on disk as immutable generations, and one pointer that says which of them holds.

``generations/000007`` has the tables of the seventh generation and is never written again; ``current`` is a link to it
that an intake exchanges in one step. Whoever reads follows the link once and then reads one generation.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from kvmfw.errors import InputError
from kvmfw.files import umask

__all__ = ["Generations", "read_one", "snapshot"]

T = TypeVar("T")

_CURRENT = "current"
_GENERATIONS = "generations"
_LOCK = ".lock"
_OWNER = ".owner"
_DRAFT = ".draft-"
_DROPPED = ".dropped-"


def snapshot(folder: Path) -> Path:
    """Give the folder of the generation that holds now; `folder` itself where its tables stand in it."""
    try:
        return folder / (folder / _CURRENT).readlink()
    except (OSError, ValueError):
        return folder


def read_one(folder: Path, read: Callable[[Path], T]) -> T:
    """Read one generation of a fleet; the next one if that was dropped meanwhile."""
    while True:
        at = snapshot(folder)
        try:
            return read(at)
        except InputError:
            if at.exists() or snapshot(folder) == at:
                raise


class Generations:
    """The generations of one fleet on disk, as its writers see them.

    Parameters
    ----------
    folder : Path
        The fleet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._home = self.folder / _GENERATIONS
        # Arrow writes only where names are UTF-8: what is not fails here, before anything is made.
        str(self.folder).encode()

    def is_begun(self) -> bool:
        """Tell whether nothing stands in the folder but what an intake that was not finished left."""
        return not self.folder.exists() or (
            self.folder.is_dir() and {path.name for path in self.folder.iterdir()} <= {_GENERATIONS}
        )

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other writers out: of any number of processes one is inside."""
        handle = self._locked()
        try:
            yield
        finally:
            os.close(handle)

    def _locked(self) -> int:
        path = self._home / _LOCK
        while True:
            self._home.mkdir(parents=True, exist_ok=True)
            try:
                handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            except FileNotFoundError:
                continue
            fcntl.flock(handle, fcntl.LOCK_EX)
            # Whoever leaves an empty place removes the lock with it: then this is the lock of nothing.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), path.stat()):
                    return handle
            os.close(handle)

    @contextmanager
    def draft(self) -> Iterator[Path]:
        """Give an empty folder for a generation in the making; what is not published of it is removed.

        Drafts whose process has died, however it died, are removed first: a draft's owner holds a lock on it.
        """
        with self.lock():
            self._sweep()
            path = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=self._home))
            # The umask decides who may read, as for all that a program writes; mkdtemp shuts everybody out.
            path.chmod(0o777 & ~umask())
            owner = _owner(path)
        try:
            yield path
        finally:
            with self.lock():
                os.close(owner)
                shutil.rmtree(path, ignore_errors=True)
                if not (self.folder / _CURRENT).is_symlink():
                    self._leave()

    def _sweep(self) -> None:
        for path in self._home.glob(f"{_DROPPED}*"):
            shutil.rmtree(path, ignore_errors=True)
        for path in self._home.glob(f"{_DRAFT}*"):
            with suppress(OSError):
                handle = os.open(path / _OWNER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path, ignore_errors=True)
                finally:
                    os.close(handle)

    def _leave(self) -> None:
        """Remove an empty place, so that an intake that failed leaves nothing."""
        if {path.name for path in self._home.iterdir()} == {_LOCK}:
            (self._home / _LOCK).unlink()
            with suppress(OSError):
                self._home.rmdir()
                self.folder.rmdir()

    def publish(self, draft: Path, number: int, names: Iterable[str], keep: int) -> None:
        """Make a draft the generation that holds; `lock` must be held.

        All of it is on the disk before the pointer changes, and the pointer is before this returns.

        Parameters
        ----------
        draft : Path
            The folder that `draft` gave.
        number : int
            Its number, greater than those of all before it.
        names : iterable of str
            What is in it: the fleet shows each under its own name too, for other tools.
        keep : int
            How many generations before it stay, for those who read them.
        """
        place = self._home / f"{number:06}"
        (draft / _OWNER).unlink()
        _to_disk(draft)
        if place.exists():
            self._drop(place)  # a writer died between this and the next step: it never held
        draft.rename(place)
        _to_disk_entry(self._home)
        self._point(self.folder / _CURRENT, Path(_GENERATIONS, place.name))
        _to_disk_entry(self.folder)
        for name in names:
            self._show(name, number - 1)
        for old in self._home.glob("[0-9]*"):
            if old.name.isdecimal() and int(old.name) < number - keep:
                self._drop(old)

    def _point(self, link: Path, target: Path) -> None:
        with tempfile.TemporaryDirectory(prefix=_DROPPED, dir=self._home) as room:
            fresh = Path(room) / link.name
            fresh.symlink_to(target)
            fresh.replace(link)

    def _show(self, name: str, before: int) -> None:
        link, target = self.folder / name, Path(_CURRENT, name)
        if link.is_symlink() and link.readlink() == target:
            return
        if link.exists() and not link.is_symlink():
            # Before there were generations the tables stood here: they are the generation before this one.
            old = self._home / f"{before:06}"
            old.mkdir(exist_ok=True)
            link.rename(old / name)
        self._point(link, target)

    def _drop(self, place: Path) -> None:
        # Renamed first: whoever reads it sees that it is gone, never a half of it.
        away = place.with_name(f"{_DROPPED}{place.name}-{os.getpid()}")
        place.rename(away)
        shutil.rmtree(away, ignore_errors=True)


def _owner(draft: Path) -> int:
    handle = os.open(draft / _OWNER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def _to_disk(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        _to_disk_entry(path)
    _to_disk_entry(folder)


def _to_disk_entry(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
