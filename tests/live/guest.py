"""The initramfs of the live runs: a Debian arm64 Python and the probe, nothing else.

The archive (newc cpio) is written here, so neither root nor a cpio program is needed.
"""

from __future__ import annotations

import json
import py_compile
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from . import archive

# Python release -> the Debian suite that has it.  The one of the running interpreter is preferred:
# its bytecode can then be made here, and the emulated machine need not compile the library.
SUITES = {(3, 9): "bullseye", (3, 11): "bookworm", (3, 13): "trixie"}
FALLBACK = (3, 11)
PACKAGES = ("libc6", "zlib1g", "libexpat1", "libgcc-s1")
PROBE = Path(__file__).resolve().parents[2] / "python" / "kvmfw" / "probe.py"
INIT = Path(__file__).with_name("guest_init.py")
FUZZ = Path(__file__).with_name("guest_fuzz.py")
LOADS = Path(__file__).with_name("guest_loads.py")
# Parts of the library that neither Python's start nor the probe needs.
LEFT_OUT = {
    *(
        "test",
        "idlelib",
        "lib2to3",
        "distutils",
        "ensurepip",
        "pydoc_data",
        "asyncio",
        "unittest",
        "xml",
        "sqlite3",
    ),
    *("tkinter", "turtledemo", "multiprocessing", "concurrent", "email", "http", "venv", "wsgiref"),
}
LIBRARIES = [
    *(
        "ld-linux-aarch64.so.1",
        "libc.so.6",
        "libm.so.6",
        "libdl.so.2",
        "libpthread.so.0",
        "libutil.so.1",
        "librt.so.1",
    ),
    *("libz.so.1", "libexpat.so.1", "libffi.so.8", "libffi.so.7", "libgcc_s.so.1"),
]


class Cpio:
    """A newc archive under construction."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._inode = 0
        self._folders: set[str] = set()

    def _add(self, name: str, mode: int, body: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        self._inode += 1
        path = name.encode() + b"\0"
        fields = (self._inode, mode, 0, 0, 1, 0, len(body), 0, 0, *device, len(path), 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields) + path
        self._parts.append(header + bytes(-len(header) % 4) + body + bytes(-len(body) % 4))

    def folder(self, name: str) -> None:
        parts = name.split("/")
        for count in range(1, len(parts) + 1):
            path = "/".join(parts[:count])
            if path and path not in self._folders:
                self._folders.add(path)
                self._add(path, stat.S_IFDIR | 0o755)

    def file(self, name: str, body: bytes, mode: int = 0o644) -> None:
        if "/" in name:
            self.folder(name.rpartition("/")[0])
        self._add(name, stat.S_IFREG | mode, body)

    def link(self, name: str, target: str) -> None:
        if "/" in name:
            self.folder(name.rpartition("/")[0])
        self._add(name, stat.S_IFLNK | 0o777, target.encode())

    def device(self, name: str, major: int, minor: int) -> None:
        self.folder(name.rpartition("/")[0])
        self._add(name, stat.S_IFCHR | 0o600, device=(major, minor))

    def bytes(self) -> bytes:
        self._add("TRAILER!!!", 0)
        body = b"".join(self._parts)
        return body + bytes(-len(body) % 512)


def python_release() -> tuple[int, int]:
    running = sys.version_info[:2]
    return running if running in SUITES else FALLBACK


def fetch_python(cache: Path, say: Callable[[str], None]) -> Path:
    """A tree with an arm64 Python, unpacked from Debian's packages."""
    release = python_release()
    suite = SUITES[release]
    name = f"{release[0]}.{release[1]}"
    tree = cache / "python" / name

    def make() -> None:
        root = archive.Root(cache / f"apt-python-{suite}", "arm64", (suite, f"{suite}-security"), say)
        root.update()
        foreign = "libffi7" if suite == "bullseye" else "libffi8"
        parts = [f"python{name}-minimal", f"libpython{name}-minimal", f"libpython{name}-stdlib"]
        say(f"fetching Python {name} for arm64 from {suite}")
        for package in [*parts, foreign, *PACKAGES]:
            archive.unpack(root.download(package, cache / "python" / "packages"), tree)
        if release == sys.version_info[:2]:
            for source in library_files(tree, name):
                if source.suffix == ".py":
                    py_compile.compile(
                        str(source), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
                    )

    return archive.whole(tree, make)


def library_files(tree: Path, name: str) -> Iterator[Path]:
    folder = tree / "usr" / "lib" / f"python{name}"
    for path in sorted(folder.rglob("*")):
        part = path.relative_to(folder).parts[0]
        if part in LEFT_OUT or part.startswith("config-") or path.suffix == ".a" or not path.is_file():
            continue
        if part == "encodings" and path.stem.split(".")[0] not in (
            "__init__",
            "aliases",
            "utf_8",
            "latin_1",
            "ascii",
        ):
            continue
        yield path


def base_image(cache: Path, say: Callable[[str], None]) -> bytes:
    """The part of the initramfs that all boots share."""
    tree = fetch_python(cache, say)
    name = tree.name
    cpio = Cpio()
    for folder in ("dev", "proc", "sys", "tmp", "jobs"):
        cpio.folder(folder)
    cpio.device("dev/console", 5, 1)
    cpio.link("lib", "usr/lib")
    cpio.file(f"usr/bin/python{name}", (tree / "usr/bin" / f"python{name}").read_bytes(), 0o755)
    for path in library_files(tree, name):
        cpio.file(str(path.relative_to(tree)), path.read_bytes())
    for path in shared_libraries(tree):
        cpio.file(f"usr/lib/aarch64-linux-gnu/{path.name}", path.read_bytes(), 0o755)
    cpio.link("usr/lib/ld-linux-aarch64.so.1", "aarch64-linux-gnu/ld-linux-aarch64.so.1")
    cpio.file("init", f"#!/usr/bin/python{name} -ISu\n".encode() + INIT.read_bytes(), 0o755)
    cpio.file("kvmfw_probe.py", PROBE.read_bytes())
    cpio.file("kvmfw_fuzz.py", FUZZ.read_bytes())
    cpio.file("kvmfw_loads.py", LOADS.read_bytes())
    return cpio.bytes()


def qemu_image(tree: Path) -> tuple[bytes, list[str]]:
    """The part of the initramfs that holds a QEMU for arm64, and how it is started there."""
    cpio = Cpio()
    loader, option, search, binary, *_ = archive.qemu_words(tree)
    folders = [Path(folder) for folder in search.split(":")]
    for path in [Path(loader), Path(binary), *(path for folder in folders for path in folder.glob("*.so*"))]:
        if path.is_file():
            cpio.file(f"qemu/{path.relative_to(tree)}", path.read_bytes(), 0o755)

    def inside(path: str | Path) -> str:
        return f"/qemu/{Path(path).relative_to(tree)}"

    return cpio.bytes(), [inside(loader), option, ":".join(map(inside, folders)), inside(binary)]


def shared_libraries(tree: Path) -> Iterator[Path]:
    """The C library's and the other shared objects under the names by which they are asked for."""
    for name in LIBRARIES:
        for folder in ("lib/aarch64-linux-gnu", "usr/lib/aarch64-linux-gnu"):
            if (tree / folder / name).exists():
                yield tree / folder / name
                break


def job_image(jobs: list[dict[str, object]], files: dict[str, bytes]) -> bytes:
    """The part of the initramfs of one boot: what to run, and the files that it reads."""
    cpio = Cpio()
    cpio.file("jobs/jobs.json", json.dumps(jobs).encode())
    for name, body in files.items():
        cpio.file(f"jobs/{name}", body)
    return cpio.bytes()
