"""What the modes of `make live` have in common: which hosts they boot, and how they end."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from . import archive
from .hosts import Host, Hosts
from .machine import BootError, Emulator, stop_when_told
from .predict import EngineError


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def listed(text: str) -> list[str]:
    return [part for part in text.split(",") if part]


def common_parser(about: str | None, *, keep: str) -> argparse.ArgumentParser:
    """A parser with the arguments that every mode has."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--qemu", default="auto", help="a command, suite:NAME for the QEMU of a Debian suite, or auto"
    )
    parser.add_argument("--timeout", type=float, default=900, help="seconds for one boot")
    parser.add_argument("--keep", type=Path, default=Path(keep), metavar="FOLDER", help="for what was said")
    parser.add_argument("--log", type=Path, metavar="FILE", help="write the report there as well (markdown)")
    return parser


def parser_of(
    about: str | None, *, kernels: list[str], cpus: list[str], options: list[str], keep: str
) -> argparse.ArgumentParser:
    """A parser of a mode whose hosts are all kernels on all CPUs with all options."""
    parser = common_parser(about, keep=keep)
    parser.add_argument("--kernels", type=listed, default=kernels, help="releases or series, a,b,c")
    parser.add_argument("--cpus", nargs="+", default=cpus, help="CPU models, each with its options")
    parser.add_argument("--options", nargs="+", default=options, help="kernel options, one text each")
    parser.add_argument(
        "--machine", default="", metavar="OPTIONS", help="further machine options, such as mte=on"
    )
    return parser


def find_qemu(wanted: str, cache: Path) -> list[str]:
    """auto: the newest of Debian's that can be fetched, else the one that is installed."""
    if wanted.startswith("suite:"):
        return archive.fetched_qemu(cache, wanted.removeprefix("suite:"), say)
    if wanted != "auto":
        return wanted.split()
    for suite in ("trixie-backports", "trixie"):
        try:
            return archive.fetched_qemu(cache, suite, say)
        except archive.ArchiveError as error:
            say(str(error))
    if shutil.which("qemu-system-aarch64") is None:
        raise archive.ArchiveError("There is no qemu-system-aarch64: install qemu-system-arm.")
    return ["qemu-system-aarch64"]


def bootable(arguments: argparse.Namespace) -> tuple[Hosts, list[Host], str]:
    """(What boots them, every host of the run, what they run on); a kernel that the archive has not is said and left out."""
    cache = archive.cache_folder()
    emulator = Emulator(find_qemu(arguments.qemu, cache), arguments.timeout, arguments.machine)
    version = f"qemu {emulator.version()}"
    say(version)
    hosts = Hosts(emulator, cache, arguments.keep, say)
    kernels = archive.Kernels(cache, say)
    found = []
    for release in arguments.kernels:
        try:
            image = kernels.image(release)
        except archive.ArchiveError as error:
            say(f"{error} Going on without it.")
            continue
        hosts.know(image.name, image)
        found += [
            Host(image.name, cpu, options, arguments.machine)
            for cpu in arguments.cpus
            for options in arguments.options
        ]
    if not found:
        raise archive.ArchiveError("No kernel is left to boot.")
    return hosts, found, version


def lose(lost: dict[str, str], host: Host, error: BootError) -> None:
    """A host that could not be asked is told; the others still can."""
    say(f"{error}\nGoing on without {host.name}.")
    lost[host.name] = str(error).splitlines()[0]


def ended(mode: str, run: Callable[[], int]) -> int:
    """Run a mode to its end; what keeps it from running is one sentence, and exit 1."""
    stop_when_told()
    try:
        return run()
    except (archive.ArchiveError, BootError, EngineError) as error:
        say(f"{mode}: {error}")
    except KeyboardInterrupt:
        say(f"{mode}: interrupted")
    return 1
