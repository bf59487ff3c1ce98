"""A host with KVM that is none: the probe on standard input runs on a KVM that answers as a capture says.

Started by sshd in place of python3, with the name of the host in KVMFW_FAKE_HOST and a table of hosts (name -> capture, a file)
in KVMFW_FAKE_HOSTS. Fresh values and lists are the capture's; what a write does the engine says.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

HANGS = "hangs"
SVE_VLS = 0x606000000015FFFF
PMU_V3 = "pmu_v3"


class RecordedKvm:
    """Stands in for the probe's ``Kvm``."""

    def __init__(self, probe: ModuleType, text: str) -> None:
        self.probe = probe
        self.text = text
        self.document: dict[str, Any] = json.loads(text)
        self.registers = [int(one, 16) for one in self.document["registers"]]

    @cached_property
    def host(self) -> Any:
        """The engine's host; only sweeps need it."""
        return import_module("kvmfw.sets").Host.from_json(self.text)

    def capability(self, number: int) -> int:
        """What the host offers."""
        return int(self.document["host"].get("capabilities", {}).get(str(number), 0))

    def create_vm(self) -> RecordedVm:
        """A new VM."""
        return RecordedVm(self)

    def close(self) -> None:
        """Nothing is open."""


class RecordedVm:
    """Stands in for the probe's ``Vm``, and for its vGIC."""

    def __init__(self, kvm: RecordedKvm) -> None:
        self.kvm = kvm
        self.vgic = False
        self.ran = False
        self.enabled: list[str] = []
        self.vcpu: RecordedVcpu | None = None

    def capability(self, number: int) -> int:
        """What the host offers."""
        return self.kvm.capability(number)

    def enable(self, number: int) -> int:
        """Enable a capability before the first vCPU."""
        if not self.capability(number):
            return errno.EINVAL
        self.enabled.append({239: "writable_imp_id_regs", 205: "mte"}[number])
        return 0

    def preferred_target(self) -> int:
        """What every kernel gives."""
        return 5

    def create_vcpu(self) -> RecordedVcpu:
        """The VM's vCPU."""
        self.vcpu = RecordedVcpu(self)
        return self.vcpu

    def create_vgic(self) -> RecordedVm:
        """Make a GICv3, where the host has one."""
        if not any(one.get("vgic") for one in self.kvm.document["vcpus"]):
            raise self.kvm.probe.Refused(errno.ENODEV)
        self.vgic = True
        return self

    def place(self) -> None:
        """Give the vGIC its addresses."""

    def initialise(self) -> None:
        """Finish the vGIC."""

    def writable_masks(self) -> dict[int, int] | None:
        """Give the masks that were recorded of this vCPU."""
        name = self.vcpu.recorded["name"] if self.vcpu is not None and self.vcpu.recorded else ""
        for one in self.kvm.document["writable_masks"]:
            if name in one["vcpus"]:
                return {int(id_, 16): int(mask, 16) for id_, mask in one["masks"].items()}
        return None

    def add_code(self, address: int, code: bytes) -> None:
        """Guests do not really run."""

    def close(self) -> None:
        """Nothing is open."""


class RecordedVcpu:
    """Stands in for the probe's ``Vcpu``."""

    def __init__(self, vm: RecordedVm) -> None:
        self.vm, self.kvm = vm, vm.kvm
        self.recorded: Mapping[str, Any] = {}
        self.stored: dict[int, int] = {}
        self.final = False
        self.state = "fresh"

    def init(self, target: int, features: int) -> int:
        """Make the vCPU as one that was recorded."""
        del target
        words = [word for bit, word in enumerate(self.kvm.probe.FEATURES) if features >> bit & 1]
        alike = [
            one
            for one in self.kvm.document["vcpus"]
            if one["features"] == words and one.get("enabled", []) == self.vm.enabled
        ]
        if not alike:
            return errno.EINVAL
        self.recorded = max(alike, key=lambda one: one.get("vgic") == self.vm.vgic)
        if "refused" in self.recorded:
            return int(getattr(errno, self.recorded["refused"]))
        values = zip(self.kvm.registers, self.recorded["values"], strict=True)
        self.stored = {id_: int(value, 16) for id_, value in values if value is not None}
        return 0

    def finalize_sve(self) -> int:
        """Fix the vector lengths."""
        self.final = True
        return 0

    def initialise_pmu(self) -> int:
        """The PMU needs a GIC."""
        return 0 if self.vm.vgic else errno.ENODEV

    def register_list(self) -> list[int]:
        """What the vCPU lists."""
        return list(self.stored)

    def read(self, register: int) -> int:
        """Read a register, or give -errno."""
        return self.stored.get(register, -errno.ENOENT)

    def write(self, register: int, value: int) -> int:
        """Write a register; give errno."""
        if register not in self.stored:
            return errno.ENOENT
        if register == SVE_VLS and self.final:
            return errno.EPERM
        if value == self.stored[register] and not self.recorded.get("same_value_refused"):
            return 0
        name = self.recorded["name"]
        ((effect, refused, reads),) = self.kvm.host.ask(name, register, [value], state=self.state)
        if effect in ("refused", "unknown"):
            return int(getattr(errno, refused or "EINVAL"))
        if effect != "raised":
            self.stored[register] = value if reads is None else reads
        return 0

    def accessors(self, register: int) -> tuple[Callable[[], int], Callable[[int], int]]:
        """Reading and writing one register."""
        return (lambda: self.read(register)), (lambda value: self.write(register, value))

    def run(self, immediate_exit: bool) -> int:
        """Run the guest; give errno."""
        if PMU_V3 in self.recorded["features"] and not self.vm.vgic:
            return errno.EINVAL
        self.state = "exited" if immediate_exit else "ran"
        return errno.EINTR if immediate_exit else 0

    def close(self) -> None:
        """It belongs to its VM."""


def fake(probe: ModuleType, text: str, name: str) -> None:
    """Make the probe believe that it runs on the host of a capture."""
    document: dict[str, Any] = json.loads(text)
    facts = document["host"]

    def host_facts(*_: object) -> dict[str, Any]:
        told = {key: value for key, value in facts.items() if key != "capabilities"}
        return {**told, "name": name, "boot_options": f"root=UUID={name} {facts.get('boot_options', '')}"}

    changes = {
        "Kvm": lambda _: RecordedKvm(probe, text),
        "host_facts": host_facts,
        # Devices are not played: what a capture has beside registers is said again.
        "surroundings": lambda *_: document.get("surroundings", {}),
    }
    vars(probe).update(changes, settle_on_one_processor=lambda: 0)
    platform.machine = lambda: "aarch64"


def main() -> int:
    """Play the host that the environment names."""
    name = os.environ["KVMFW_FAKE_HOST"]
    told = json.loads(Path(os.environ["KVMFW_FAKE_HOSTS"]).read_text())[name]
    if told == HANGS:
        time.sleep(3600)
    probe = ModuleType("kvmfw_probe_on_a_host")
    sys.modules[probe.__name__] = probe
    exec(compile(sys.stdin.read(), "probe", "exec"), vars(probe))  # as python3 - does, but not as __main__
    fake(probe, Path(told).read_text(), name)
    return int(probe.main(sys.argv[2:]))


if __name__ == "__main__":
    sys.exit(main())
