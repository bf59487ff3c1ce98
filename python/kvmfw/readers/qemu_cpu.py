"""The registers in a QEMU stream: what its ``cpu`` sections hold, told by its trailing description or by their version."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated

import msgspec

from kvmfw.errors import FormatError
from kvmfw.readers.beside import (
    NO_STEAL_TIME,
    QEMU_STEAL_TIME,
    address_bits_of_qemu,
    beside,
    of_qemu_gicv3,
    of_qemu_its,
    page_size_of_qemu,
)

__all__ = ["BESIDE", "GICS", "Description", "Stream"]

GICS = {"arm_gic": False, "arm_gicv3": True}
"""QEMU's names of the devices that hold the state of a GIC, and whether that is a GICv3."""
BESIDE = frozenset((*GICS, "arm_gicv3_its"))
"""The devices whose state is looked at beside the vCPUs."""
_CPU_VERSION = 22
_CPREG_OFFSET = 568
"""Bytes of section version 22 before the number of registers: general, banked and special registers."""
_MOST_REGISTERS = 4096


_Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 32)]


class Field(msgspec.Struct):
    """One field of a device, as the trailing description tells it."""

    name: str
    size: _Count = 0
    array_len: _Count = 1


class Device(msgspec.Struct):
    """One device of the trailing description."""

    name: str
    instance_id: int = 0
    fields: list[Field] = []


class Description(msgspec.Struct):
    """The trailing description, as far as it is looked at."""

    devices: list[Device] = []


@dataclass(slots=True)
class Stream:
    """What was found in a stream.

    Attributes
    ----------
    machine : str
        The machine type, such as ``virt-9.2``; empty where the stream does not say.
    cpus : dict of int to bytes
        The data of the ``cpu`` sections, by instance.
    versions : dict of int to int
        Their section versions.
    description : Description or None
        The trailing description.
    vgic : bool or None
        Whether the VM has a GICv3; None where the stream holds no GIC that is known.
    blocks : dict of str to int
        The sizes of its blocks of RAM, by name.
    devices : dict of str to tuple of (int, bytes)
        The version and the data of what stands beside the vCPUs, as far as it is looked at.
    """

    machine: str = ""
    cpus: dict[int, bytes] = field(default_factory=dict)
    versions: dict[int, int] = field(default_factory=dict)
    description: Description | None = None
    vgic: bool | None = None
    blocks: dict[str, int] = field(default_factory=dict)
    devices: dict[str, tuple[int, bytes]] = field(default_factory=dict)

    @property
    def described(self) -> set[int]:
        """The vCPUs that the trailing description names."""
        devices = self.description.devices if self.description else []
        return {device.instance_id for device in devices if device.name == "cpu"}

    def registers(self, instance: int, *, described: bool = True) -> dict[int, int]:
        """Give the registers of one vCPU; without `described` the trailing description is left out."""
        data, version = self.cpus[instance], self.versions[instance]
        layout = self._layout(instance) if described else None
        if layout is None:
            if version != _CPU_VERSION:
                is_described = instance in self.described
                tells = "its description names no" if is_described else "no description tells of"
                problem = f"the cpu section has version {version}, and {tells} registers of KVM in it"
                machine = f" (machine `{self.machine}`)" if self.machine else ""
                expected = f"expected that of an arm64 VM, version {_CPU_VERSION}"
                raise FormatError(f"{problem}; {expected}{machine}", f"vCPU {instance}")
            layout = _CPREG_OFFSET, None
        return _registers(data, *layout, instance)

    def beside(self, instance: int) -> dict[int, int]:
        """Give what stands beside the registers of one vCPU; what the stream does not tell is left out."""
        place = sorted(self.cpus).index(instance)
        gic, its = self.devices.get("arm_gicv3"), self.devices.get("arm_gicv3_its")
        controls = of_qemu_gicv3(*gic, len(self.cpus)) if gic else None
        first, each = QEMU_STEAL_TIME
        steal_time = first + each * place if "pvtime" in self.blocks else NO_STEAL_TIME
        return beside(
            ICC_CTLR_EL1=controls[place] if controls else None,
            GITS_IIDR=of_qemu_its(*its) if its else None,
            PVTIME_IPA=steal_time if self.blocks else None,
            PAGE_SIZE=page_size_of_qemu(self.blocks),
            IPA_BITS=address_bits_of_qemu(self.blocks),
            VGIC_V2=1 if "arm_gic" in self.devices else None,
        )

    def _layout(self, instance: int) -> tuple[int, int | None] | None:
        for device in self.description.devices if self.description else ():
            if device.name != "cpu" or device.instance_id != instance:
                continue
            offset = 0
            for part in device.fields:
                if part.name == "cpreg_vmstate_array_len":
                    return offset, _described_length(device)
                offset += part.size * part.array_len
        return None


def _described_length(device: Device) -> int:
    # An array of one element is described as a plain field, one of none not at all.
    return sum(part.array_len for part in device.fields if part.name == "cpreg_vmstate_indexes")


def _registers(data: bytes, offset: int, expected: int | None, instance: int) -> dict[int, int]:
    place = f"vCPU {instance}"
    if len(data) < offset + 4:
        raise FormatError(f"the cpu section has {len(data)} bytes, too few to hold registers", place)
    (count,) = struct.unpack_from(">i", data, offset)
    if not 0 < count <= _MOST_REGISTERS or len(data) < offset + 4 + 16 * count:
        raise FormatError(f"the cpu section says that it holds {count} registers, which cannot be", place)
    if expected is not None and expected != count:
        problem = f"the cpu section holds {count} registers, its description says {expected}"
        raise FormatError(problem, place)
    numbers = struct.unpack_from(f">{2 * count}Q", data, offset + 4)
    ids, values = numbers[:count], numbers[count:]
    for before, after in pairwise(ids):
        if before >= after:
            raise FormatError(f"register {after:#x} follows {before:#x}; expected ascending ids", place)
    return dict(zip(ids, values, strict=True))
