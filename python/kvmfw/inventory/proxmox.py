"""Proxmox: what `qm config` prints, and the files in ``/etc/pve/nodes/NODE/qemu-server``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from kvmfw.errors import FormatError
from kvmfw.inventory.making import Making, making_of_arguments, making_of_cpu, words_of_machine
from kvmfw.inventory.told import Told
from kvmfw.readers.format import Format
from kvmfw.readers.source import Limits, whole

__all__ = ["FORMAT", "settings_of"]

_FOLDER: Final = "qemu-server"
_LINE: Final = re.compile(rb"(?:#[^\n]*\n)*[a-z][a-z0-9_-]*: ?[^\n]*\r?\n")
# Options of a machine that change no register of a vCPU.
_MACHINES: Final = frozenset({"aw-bits", "enable-s3", "enable-s4", "viommu"})
_TOLD_BY: Final = (b"cores:", b"memory:", b"vmgenid:", b"smbios1:", b"scsihw:", b"ostype:")


def settings_of(text: str) -> dict[str, str]:
    r"""Read the settings of a VM; those of its snapshots, which follow in sections, are left out.

    >>> settings_of("cores: 4\ncpu: host\n\n[before-update]\ncpu: max\n")
    {'cores': '4', 'cpu': 'host'}
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("["):
            break
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, value = line.partition(":")
        if not colon:
            raise FormatError(f"`{line[:40]}` is no setting; expected NAME: VALUE", f"line {number}")
        found[name.strip()] = value.strip()
    return found


def _making(settings: Mapping[str, str]) -> Making:
    if settings.get("template") == "1":
        raise FormatError("it is a template, and no VM (template: 1)")
    if settings.get("kvm") == "0":
        raise FormatError("the VM does not run under KVM (kvm: 0)")
    if (architecture := settings.get("arch", "aarch64")) != "aarch64":
        raise FormatError(f"the VM is of architecture `{architecture}`; expected aarch64")
    model, *options = settings.get("cpu", "").removeprefix("cputype=").split(",")
    if not model:
        raise FormatError(
            "the VM has no `cpu`: which one its Proxmox takes by default is not known; expected host"
        )
    if options:
        raise FormatError(f"whether the CPU option `{options[0]}` changes registers is not known")
    machine, *changed = settings.get("machine", "virt").removeprefix("type=").split(",")
    if strange := [one for one in changed if one.partition("=")[0] not in _MACHINES]:
        raise FormatError(f"whether the machine's option `{strange[0][:40]}` changes registers is not known")
    making = making_of_cpu(model).with_words(words_of_machine(machine))
    try:
        arguments = shlex.split(settings.get("args", ""))
    except ValueError as error:
        raise FormatError(f"its `args` cannot be read: {error}") from error
    return making_of_arguments(arguments, making, "args")


def _read(path: Path, name: str, limits: Limits) -> list[Told]:
    try:
        text = whole(path, limits).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"the text is not UTF-8: {error.reason}", f"byte {error.start}") from error
    folder = path.absolute().parent
    node = folder.parent.name if folder.name == _FOLDER else folder.name
    return [Told(name, str(path), folder=node, making=_making(settings_of(text)), vmm="qemu")]


FORMAT = Format(
    "proxmox",
    "Proxmox's configuration of a VM (qm config)",
    lambda head: (
        _LINE.match(head.text) is not None and any(b"\n" + one in b"\n" + head.text for one in _TOLD_BY)
    ),
    told=_read,
    suffixes=(".conf", ".txt"),
)
