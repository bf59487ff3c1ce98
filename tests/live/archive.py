"""Debian packages for the live runs: arm64 kernels, an arm64 Python, and a newer QEMU.

A second apt root per purpose keeps the machine's own packages out of it: apt checks the
signature of every index and the checksum of every package, nothing is installed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
LISTS_ARE_FRESH = 24 * 3600


class ArchiveError(Exception):
    """Something is not to be had; one sentence."""


def cache_folder() -> Path:
    """Where downloads and built files are kept between runs."""
    given = os.environ.get("KVMFW_LIVE_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "kvmfw-live"


def machine_mirrors() -> dict[str, str]:
    """Label -> address of the Debian archives that this machine itself uses."""
    targets = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(LABEL)|$(REPO_URI)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    return dict(line.split("|", 1) for line in targets.splitlines() if line.startswith("Debian"))


def mirrors() -> tuple[str, str]:
    """(archive, security archive): KVMFW_LIVE_MIRROR and KVMFW_LIVE_SECURITY_MIRROR or the machine's own."""
    known = machine_mirrors()
    main = os.environ.get("KVMFW_LIVE_MIRROR") or known.get("Debian")
    if not main:
        raise ArchiveError("This machine's apt has no Debian archive: set KVMFW_LIVE_MIRROR to one.")
    main = main.rstrip("/")
    security = (
        os.environ.get("KVMFW_LIVE_SECURITY_MIRROR") or known.get("Debian-Security") or f"{main}-security"
    )
    return main, security.rstrip("/")


class Root:
    """An apt root for one architecture and some suites."""

    def __init__(
        self, folder: Path, architecture: str, suites: Iterable[str], say: Callable[[str], None]
    ) -> None:
        if not KEYRING.exists():
            raise ArchiveError(f"{KEYRING} is missing: install debian-archive-keyring.")
        self.folder = folder
        self._architecture = architecture
        self._suites = list(suites)
        self._say = say
        parts = ("etc/apt/apt.conf.d", "etc/apt/preferences.d", "var/lib/apt/lists/partial", "var/lib/dpkg")
        for part in (*parts, "var/cache/apt/archives/partial"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        (folder / "var/lib/dpkg/status").touch()
        (folder / "apt.conf").write_text(
            f'Dir "{folder}";\nDir::State::status "{folder}/var/lib/dpkg/status";\n'
            f'APT::Architecture "{architecture}";\nAPT::Architectures {{ "{architecture}"; }};\n'
            'Acquire::Languages "none";\nAPT::Sandbox::User "root";\nAPT::Install-Recommends "false";\n'
        )
        main, security = mirrors()
        lines = [
            f"deb [signed-by={KEYRING}] {security if suite.endswith('-security') else main} {suite} main\n"
            for suite in self._suites
        ]
        (folder / "etc/apt/sources.list").write_text("".join(lines))

    def apt(self, *words: str, at: Path | None = None) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "APT_CONFIG": str(self.folder / "apt.conf"), "LC_ALL": "C"}
        return subprocess.run(
            words,
            cwd=at,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def update(self) -> None:
        """Bring the package lists up to date, once a day; say which suites are not to be had, and why."""
        stamp = self.folder / "updated.json"
        known = json.loads(stamp.read_text()) if stamp.exists() else {}
        old = not stamp.exists() or time.time() - stamp.stat().st_mtime > LISTS_ARE_FRESH
        if old or known.get("suites") != self._suites:
            said = self.apt("apt-get", "update").stderr.splitlines()
            missing = {suite: reason(suite, said) for suite in self._suites if not self._has(suite)}
            known = {"suites": self._suites, "missing": missing}
            stamp.write_text(json.dumps(known))
        for suite, why in known["missing"].items():
            self._say(f"suite {suite} is not usable, going on without it ({why})")
        if len(known["missing"]) == len(self._suites):
            stamp.unlink()
            raise ArchiveError(f"The archive has none of {', '.join(self._suites)}.")

    def _has(self, suite: str) -> bool:
        pattern = f"*_dists_{suite}_main_binary-{self._architecture}_Packages*"
        return any((self.folder / "var/lib/apt/lists").glob(pattern))

    def names(self, pattern: str) -> list[str]:
        """Package names that match a regular expression as a whole."""
        known = self.apt("apt-cache", "pkgnames").stdout.split()
        return [name for name in known if re.fullmatch(pattern, name)]

    def download(self, package: str, to: Path) -> Path:
        """The package file; apt has compared it with the signed index."""
        to.mkdir(parents=True, exist_ok=True)
        answer = self.apt("apt-get", "download", package, at=to)
        found = sorted(to.glob(f"{package}_*.deb"), key=lambda path: path.stat().st_mtime)
        if answer.returncode or not found:
            raise ArchiveError(f"{package} could not be downloaded ({errors(answer.stderr)})")
        return found[-1]

    def download_with_dependencies(self, package: str, suite: str) -> list[Path]:
        """The package and everything that it needs."""
        answer = self.apt(
            "apt-get", "install", "--yes", "--download-only", "--target-release", suite, package
        )
        if answer.returncode:
            raise ArchiveError(f"{package} of {suite} could not be downloaded ({errors(answer.stderr)})")
        return sorted((self.folder / "var/cache/apt/archives").glob("*.deb"))


def errors(said: str) -> str:
    """The last error that apt told."""
    if "404" in said:
        return "listed, but no longer in the archive's pool"
    lines = [line.removeprefix("E: ") for line in said.splitlines() if line.startswith("E: ")]
    return lines[-1] if lines else said.strip()


def reason(suite: str, said: list[str]) -> str:
    """Why a suite is missing, from apt's own lines."""
    lines = [line.removeprefix("E: ") for line in said if f"/{suite}" in line and line.startswith("E: ")]
    return lines[0] if lines else "the archive does not have it"


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Two runs may share the cache: the second one waits, and finds what the first one made."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def whole(tree: Path, make: Callable[[], None]) -> Path:
    """A folder that ``make`` fills, once; one that was left half full is emptied and filled anew."""
    marker = tree / "whole"
    with alone(tree):
        if not marker.exists():
            shutil.rmtree(tree, ignore_errors=True)
            tree.mkdir()
            make()
            marker.touch()
    return tree


def unpack(package: Path, to: Path, *patterns: str) -> None:
    """Unpack the files of a package (all, or those that match the patterns); all of them, or ArchiveError."""
    to.mkdir(parents=True, exist_ok=True)
    chosen = ["--wildcards", *patterns] if patterns else []
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as source:
        words = ["tar", "--extract", "--directory", str(to), *chosen]
        answer = subprocess.run(
            words,
            stdin=source.stdout,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    # tar complains about patterns that match nothing; the caller looks for what it wants.
    lines = answer.stderr.splitlines()
    problems = [
        line for line in lines if "Not found in archive" not in line and "previous errors" not in line
    ]
    # tar ends early where dpkg-deb does, and finds the end of an archive in nothing.
    if source.returncode or problems:
        raise ArchiveError(f"{package.name} could not be unpacked ({'; '.join(problems) or 'it is damaged'})")


def natural(text: str) -> list[int | str]:
    """Sort key under which 5.10.0-9 comes before 5.10.0-32."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", text)]


def flavoured(release: str) -> str:
    """The release as the kernel itself is named."""
    plain = release.removesuffix("-16k")
    return f"{plain}-arm64{release[len(plain) :]}"


def _without_flavour(release: str) -> tuple[str, str, str]:
    """Version, and what stands before and after `arm64` in the name of a package."""
    before, _, after = flavoured(release).partition("-arm64")
    version = before.removesuffix("-cloud")
    return version, before[len(version) :], after


class Kernels:
    """Debian's arm64 kernels by release."""

    SUITES = (
        "bullseye",
        "bullseye-security",
        "bookworm",
        "bookworm-security",
        "bookworm-backports",
        "trixie",
        "trixie-security",
        "trixie-backports",
        "sid",
    )

    def __init__(self, cache: Path, say: Callable[[str], None]) -> None:
        self._folder = cache / "kernels"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._say = say
        self._root = Root(cache / "apt-kernels", "arm64", self.SUITES, say)
        self._updated = False

    def image(self, release: str) -> Path:
        """The Image of a release: "6.1" for the newest of a series, "6.1.0-56" for one, "7.3-16k" or "7.3-cloud" of a flavour."""
        with alone(self._folder):
            return self._image(release)

    def _image(self, release: str) -> Path:
        exact = self._folder / flavoured(release)
        if exact.exists():
            return exact
        if not self._updated:
            self._root.update()
            self._updated = True
        for package in self._packages(release):
            name = re.sub(r"^linux-(image|binary)-", "", package)
            if (self._folder / name).exists():
                return self._folder / name
            try:
                return self._fetch(package, name)
            except ArchiveError as error:
                self._say(f"{error}; trying the next older one")
        raise ArchiveError(f"The archive has no kernel {release}.")

    def _packages(self, release: str) -> list[str]:
        """Packages that may hold the release's Image, newest first."""
        version, cloud, pages = _without_flavour(release)
        version = re.escape(version) + r"([.+-][0-9a-z.+]*?)?(-\d+)?"
        packages = self._root.names(rf"linux-(image|binary)-{version}{cloud}-arm64{pages}")
        # Since 6.19 the Image is in linux-binary-*; linux-image-* of the same name only depends on it.
        binaries = {
            name.replace("linux-binary-", "") for name in packages if name.startswith("linux-binary-")
        }
        packages = [name for name in packages if name.replace("linux-image-", "") not in binaries]
        own = [name for name in packages if "~" not in name and "deb11" not in name and "deb12" not in name]
        releases = {re.sub(r"^linux-(image|binary)-", "", name): name for name in own or packages}
        return [
            releases[name]
            for name in sorted(releases, key=natural, reverse=True)
            # Two numbers alone name a package that only depends on others.
            if re.search(rf"^\d+\.\d+\.\S*\d{cloud}-arm64{pages}$", name)
        ]

    def _fetch(self, package: str, name: str) -> Path:
        self._say(f"fetching {package}")
        downloaded = self._root.download(package, self._folder / "packages")
        places = ("./boot/vmlinuz*", "./usr/lib/modules/*/vmlinuz", "./lib/modules/*/vmlinuz")
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=".unpacked-") as folder:
            unpack(downloaded, Path(folder), *places)
            downloaded.unlink()
            images = [path for path in Path(folder).rglob("vmlinuz*") if path.is_file()]
            if not images:
                raise ArchiveError(f"{package} holds no kernel image")
            # In one step: a kernel that is there is whole.
            return images[0].replace(self._folder / name)


def fetched_qemu(cache: Path, suite: str, say: Callable[[str], None]) -> list[str]:
    """Command words of a QEMU from another Debian suite, run by its own loader; nothing is installed."""
    asked = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True)
    return qemu_words(qemu_tree(cache, suite, asked.stdout.strip(), say))


def qemu_tree(cache: Path, suite: str, architecture: str, say: Callable[[str], None]) -> Path:
    """A folder with the QEMU of a Debian suite and all that it needs."""
    name = suite if architecture == "amd64" else f"{suite}-{architecture}"

    def make() -> None:
        base = suite.removesuffix("-backports")
        root = Root(
            cache / f"apt-qemu-{name}", architecture, dict.fromkeys((base, f"{base}-security", suite)), say
        )
        root.update()
        say(f"fetching qemu-system-arm of {suite} for {architecture}")
        for package in root.download_with_dependencies("qemu-system-arm", suite):
            unpack(package, cache / "qemu" / name)
            package.unlink()

    return whole(cache / "qemu" / name, make)


def qemu_words(tree: Path) -> list[str]:
    """How the QEMU of a folder is started."""
    binary = tree / "usr/bin/qemu-system-aarch64"
    places = ("lib64/ld-linux*", "usr/lib*/ld-linux*", "usr/lib/*/ld-linux*", "lib/ld-linux*")
    loaders = [path for place in places for path in sorted(tree.glob(place))]
    if not loaders or not binary.exists():
        raise ArchiveError(f"{tree.name}: QEMU could not be unpacked.")
    libraries = [*sorted(tree.glob("usr/lib/*-linux-gnu")), *sorted(tree.glob("lib/*-linux-gnu"))]
    # Some libraries live in folders of their own.
    extra = [path for path in tree.glob("usr/lib/*-linux-gnu/*") if path.is_dir() and any(path.glob("*.so*"))]
    search = ":".join(str(path) for path in [*libraries, *extra])
    return [str(loaders[0]), "--library-path", search, str(binary), "-L", str(tree / "usr/share/qemu")]
