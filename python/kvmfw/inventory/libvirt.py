"""libvirt's domain XML, as `virsh dumpxml` prints it, or the status that libvirt keeps in ``/run/libvirt/qemu``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from kvmfw.errors import FormatError
from kvmfw.inventory.making import GICV2, GICV3, Making, making_of_arguments, making_of_cpu, words_of_machine
from kvmfw.inventory.told import Told
from kvmfw.readers.format import Format
from kvmfw.readers.source import Limits, whole

__all__ = ["FORMAT", "domain_of"]

_QEMU: Final = "{http://libvirt.org/schemas/domain/qemu/1.0}"
_HOST_MODES: Final = {"host-passthrough": "host", "maximum": "max"}
# Of <features>, on arm64: what changes no register of a vCPU.
_WITHOUT_REGISTERS: Final = frozenset(
    {
        "acpi",
        "apic",
        "async-teardown",
        "gic",
        "hap",
        "kvm",
        "pae",
        "ras",
        "smm",
        "tcg",
        "vmcoreinfo",
        "vmport",
        "pmu",
    }
)
# Why the VM runs, in libvirt's status; other reasons (unpaused, ...) do not tell how it came. What was restored may have been
# saved under another kernel.
_REASONS: Final = {"booted": True} | dict.fromkeys(
    ("migrated", "restored", "from snapshot", "post-copy", "post-copy failed"), False
)


def domain_of(text: str, path: Path, name: str) -> Told:
    """Read one domain.

    Parameters
    ----------
    text : str
        The XML. A document type is refused, and with it every entity that is not XML's own.
    path : Path
        The file; its folder may be called as the host.
    name : str
        What the VM is called where the domain does not say.

    Raises
    ------
    FormatError
        When it is no domain of KVM on arm64, or says of its vCPUs what is not known to change registers.
    """
    root = _parsed(text)
    domain = root if root.tag == "domain" else root.find("domain")
    if domain is None or root.tag not in ("domain", "domstatus"):
        raise FormatError(f"the document is a `{root.tag[:40]}`; expected a libvirt domain")
    if domain.get("type") != "kvm":
        raise FormatError(
            f"the domain is of type `{domain.get('type')}`; only those of type kvm have registers of KVM"
        )
    architecture = _attribute(domain, "os/type", "arch")
    if architecture not in ("aarch64", "armv7l"):
        raise FormatError(f"the domain is of architecture `{architecture}`; expected aarch64")
    return Told(
        domain.findtext("name", "").strip() or name,
        str(path),
        folder=path.absolute().parent.name,
        is_native=_REASONS.get(root.get("reason", "")) if root.tag == "domstatus" else None,
        making=_making(domain, architecture),
        vmm="qemu",
    )


def _parsed(text: str) -> ElementTree.Element:
    # Without a document type there are no entities to expand and nothing to fetch.
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise FormatError("the XML declares a document type or entities, which libvirt never does")
    try:
        return ElementTree.fromstring(text.lstrip() if "<?xml" in text else text)
    except ElementTree.ParseError as error:
        line, column = error.position
        if text[:1] == "<" and text.count("</domain>") > 1:
            raise FormatError(
                "the file holds several domains; expected one file for each", f"line {line}"
            ) from error
        raise FormatError(
            "this is not XML: " + str(error).partition(":")[0], f"line {line} column {column + 1}"
        ) from error


def _attribute(domain: ElementTree.Element, place: str, name: str) -> str | None:
    found = domain.find(place)
    return None if found is None else found.get(name)


def _making(domain: ElementTree.Element, architecture: str) -> Making:
    mode = _attribute(domain, "cpu", "mode")
    if mode not in _HOST_MODES:
        said = f"the mode of its CPU is `{mode}`" if mode else "the domain names no mode of its CPU"
        raise FormatError(f"{said}; expected {' or '.join(_HOST_MODES)}")
    options = [
        _HOST_MODES[mode],
        *_cpu_features(domain),
        *(["aarch64=off"] if architecture == "armv7l" else []),
    ]
    making = making_of_cpu(",".join([*options, *_pmu(domain)]))
    arguments = [one.get("value", "") for one in domain.findall(f"{_QEMU}commandline/{_QEMU}arg")]
    making = making_of_arguments(arguments, making, "qemu:commandline")
    machine = words_of_machine(_attribute(domain, "os/type", "machine") or "virt")
    return making.with_words(dict(_words(domain)) | machine)


def _cpu_features(domain: ElementTree.Element) -> Iterator[str]:
    for feature in domain.findall("cpu/feature"):
        policy = feature.get("policy", "require")
        if policy not in ("require", "force", "disable", "forbid"):
            raise FormatError(f"whether the CPU feature `{feature.get('name')}` is on is not known: {policy}")
        yield f"{feature.get('name')}={'on' if policy in ('require', 'force') else 'off'}"


def _pmu(domain: ElementTree.Element) -> list[str]:
    state = _attribute(domain, "features/pmu", "state")
    return [] if domain.find("features/pmu") is None else [f"pmu={state or 'on'}"]


def _words(domain: ElementTree.Element) -> Iterator[tuple[str, bool]]:
    for feature in domain.findall("features/*"):
        if feature.tag == "mte":
            yield "mte", feature.get("state", "on") == "on"
        elif feature.tag not in _WITHOUT_REGISTERS:
            raise FormatError(f"whether the feature `{feature.tag[:40]}` changes registers is not known")
    version = _attribute(domain, "features/gic", "version")
    if version not in (None, "2", "3", "host"):
        raise FormatError(
            f"which interrupt controller `{version[:40]}` is, is not known; expected 2, 3 or host"
        )
    if version in ("2", "3"):
        yield GICV3, version == "3"
        yield GICV2, version == "2"


def _read(path: Path, name: str, limits: Limits) -> list[Told]:
    try:
        text = whole(path, limits).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"the text is not UTF-8: {error.reason}", f"byte {error.start}") from error
    return [domain_of(text, path, name)]


FORMAT = Format(
    "libvirt",
    "libvirt domain XML (virsh dumpxml)",
    lambda head: head.text.startswith(b"<") and (b"<domain" in head.text or b"<domstatus" in head.text),
    told=_read,
    suffixes=(".xml",),
)
