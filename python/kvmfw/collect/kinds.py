"""Which hosts are of one kind: what a quick probe reads of them is the same, but for names and counters."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from kvmfw import _native

__all__ = ["boot_options", "kind_name", "kind_of"]

# Options that differ from host to host and say nothing of its KVM (Documentation/admin-guide/kernel-parameters.txt).
_OF_ONE_HOST = frozenset(
    {
        "BOOT_IMAGE",
        "initrd",
        "root",
        "rootflags",
        "rootfstype",
        "resume",
        "ip",
        "nameserver",
        "console",
        "earlycon",
    }
    | {"crashkernel", "ro", "rw", "quiet", "splash", "panic", "hostname", "ds", "cloud-init"}
)


def boot_options(text: str) -> list[str]:
    """Give the boot options that may count for a kind, in order of the alphabet.

    >>> boot_options("BOOT_IMAGE=/vmlinuz root=UUID=1-2 ro mitigations=off kvm-arm.mode=protected")
    ['kvm-arm.mode=protected', 'mitigations=off']
    """
    return sorted(word for word in text.split() if word.partition("=")[0] not in _OF_ONE_HOST)


def kind_of(document: Mapping[str, Any]) -> str:
    """Give a digest of the kind of host that a capture is of.

    It covers kernel and build, CPU, machine, boot options, vulnerabilities and capabilities, and of each vCPU
    configuration the register list, with the values of those registers that KVM looks at.
    """
    host = dict(document["host"])
    host.pop("name", None)
    host["boot_options"] = boot_options(str(host.get("boot_options", "")))
    registers = [int(text, 16) for text in document["registers"]]
    looked_at = _native.looked_at(registers)
    vcpus = []
    for vcpu in document["vcpus"]:
        values = vcpu.get("values") or []
        told = [
            value if value is None or counts else "listed"
            for value, counts in zip(values, looked_at, strict=False)
        ]
        vcpus.append({**vcpu, "values": told})
    # Answers do not count: a quick probe has none.
    whole = {"host": host, "registers": document["registers"], "vcpus": vcpus}
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def kind_name(document: Mapping[str, Any], kind: str) -> str:
    """Give a name for a kind's capture: kernel, MIDR and a digest, as a file may be called."""
    host = document["host"]
    midr = int(str(host["midr"]), 16)
    words = f"{host['kernel']}__midr-{midr:08x}__{kind[:8]}"
    return re.sub(r"[^A-Za-z0-9.+_-]", "_", words)
