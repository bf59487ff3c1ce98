"""Which hosts are of one kind: what a quick probe reads of them is the same, but for names and counters."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from kvmfw import _native
from kvmfw.boot_options import given_options
from kvmfw.captures import fresh_values, listed_registers

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
    | {"crashkernel", "ro", "rw", "quiet", "splash", "panic", "hostname", "ds", "cloud_init"}
)


def boot_options(text: str) -> list[str]:
    """Give the boot options that may count for a kind, in order of their names.

    Of one that is given several times the order stays: for most the last counts.

    >>> boot_options("BOOT_IMAGE=/vmlinuz root=UUID=1-2 ro mitigations=off mitigations=auto kvm-arm.mode=protected")
    ['kvm-arm.mode=protected', 'mitigations=off', 'mitigations=auto']
    """
    counting = (one for one in given_options(text) if one.name not in _OF_ONE_HOST)
    return [one.text for one in sorted(counting, key=lambda one: one.name)]


def kind_of(document: Mapping[str, Any]) -> str:
    """Give a digest of the kind of host that a capture is of.

    It covers kernel and build, CPU, machine, boot options, vulnerabilities and capabilities, and of each vCPU
    configuration the register list, with the values of those registers that KVM looks at, and what stands beside registers.
    """
    host = dict(document["host"])
    host.pop("name", None)
    host |= {name: int(host[name], 16) for name in ("midr", "revidr") if host.get(name) is not None}
    options = host.get("boot_options")
    host["boot_options"] = None if options is None else boot_options(options)
    registers = listed_registers(document)
    counts = {
        register for register, told in zip(registers, _native.looked_at(registers), strict=True) if told
    }
    made = {
        vcpu["name"]: {
            register: value if register in counts else "listed" for register, value in values.items()
        }
        for vcpu, values in fresh_values(document)
    }
    # Answers do not count: a quick probe has none.
    vcpus = [{**vcpu, "values": made.get(vcpu["name"])} for vcpu in document["vcpus"]]
    beside = {
        name: {key: said[key] for key in ("value", "errno") if key in said}
        for name, said in document.get("surroundings", {}).items()
    }
    whole = {"host": host, "registers": registers, "vcpus": vcpus, "surroundings": beside}
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def kind_name(document: Mapping[str, Any], kind: str) -> str:
    """Give a name for a kind's capture: kernel, MIDR and a digest, as a file may be called."""
    host = document["host"]
    midr = int(str(host["midr"]), 16)
    words = f"{host['kernel']}__midr-{midr:08x}__{kind[:8]}"
    return re.sub(r"[^A-Za-z0-9.+_-]", "_", words)
