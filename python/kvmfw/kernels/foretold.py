"""The capture that a host would give under another kernel.

What a fresh vCPU lists is told by the image of that kernel, or by what the core knows of its release; what it reads in each
register, the core alone tells. Answers to writes are the other kernel's: none is carried over. What does not follow is said to be
unknown, register by register and bit by bit (capture, version 4).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from kvmfw import _native, ids
from kvmfw.boot_options import options_in_effect
from kvmfw.captures import fresh_values
from kvmfw.errors import ArgumentError
from kvmfw.kernels.kernel import Kernel
from kvmfw.kernels.presence import Made, Presence, presences
from kvmfw.registers import named
from kvmfw.sets import Host

__all__ = ["Foretold", "ForetoldVcpu", "Target"]

_GROUPS = (ids.CORE, ids.SVE, ids.FIRMWARE, ids.FIRMWARE_BITMAP, ids.SYSTEM, ids.DEMUX)
"""The groups of registers in the order of KVM_GET_REG_LIST."""
_OF_THE_HARDWARE = ("CNTFRQ_EL0", "ICC_CTLR_EL1", "VGIC_V2")
"""What stands beside registers and is the machine's, whatever its kernel."""
_BY_RELEASE = "what is known of the release"
_MASKS_SINCE = (6, 7)
_FIRST = (5, 10)
"""The first line of which lists and tables are known (the core, `rules/foretold`)."""


@dataclass(frozen=True, slots=True)
class Target:
    """Another kernel: by its image, or by its release alone.

    Attributes
    ----------
    release : str
        As `uname -r` would print it.
    image : Kernel or None
        What its image tells.
    """

    release: str
    image: Kernel | None = None

    @classmethod
    def of(cls, kernel: Kernel | str) -> Target:
        """Give a kernel by what `read_kernel` gave, or by its release.

        Raises
        ------
        ArgumentError
            When the text is no release.
        """
        if isinstance(kernel, Kernel):
            return cls(kernel.release, kernel)
        if _native.release(kernel) is None:
            raise ArgumentError(f"`{kernel[:64]}` is neither a file nor a kernel release")
        return cls(kernel)

    @property
    def told_by(self) -> str:
        """What tells of the kernel, in words."""
        return "the release alone" if self.image is None else f"the image, {self.image.build}"


@dataclass(frozen=True, slots=True)
class ForetoldVcpu:
    """One vCPU as it would be.

    Attributes
    ----------
    name : str
        Its name in the capture.
    made : bool or None
        Whether the other kernel makes it; None where that is not known. Where it is not True, nothing else is told.
    presences : tuple of Presence
        Which registers it would list, ascending.
    values : dict of int to (int, int, int or None)
        What a fresh one would read in registers that it lists: value, bits of it that are not known, and what the hardware has
        in a field that the kernel hides and takes nevertheless.
    """

    name: str
    made: bool | None
    presences: tuple[Presence, ...] = ()
    values: Mapping[int, tuple[int, int, int | None]] | None = None


class Foretold:
    """What a host would show under another kernel.

    Parameters
    ----------
    document : mapping
        The capture of the host under the kernel that it runs.
    target : Target
        The other kernel.
    running : Kernel, optional
        The image of the running one.

    Raises
    ------
    ArgumentError
        When the capture was predicted itself, is of unlike CPUs or of another kernel than `running`, or a kernel is before 5.10.
    """

    def __init__(
        self, document: Mapping[str, Any], host: Host, target: Target, running: Kernel | None = None
    ) -> None:
        if host.predicted_from is not None:
            raise ArgumentError(
                f"the capture of {host.kernel} was predicted; predict from the one of {host.predicted_from}"
            )
        if host.cores:
            raise ArgumentError("the capture is of unlike CPUs; predict from one of a single kind (taskset)")
        for release in (host.kernel, target.release):
            numbers = _native.release(release)
            if numbers is None or numbers[:2] < _FIRST:
                raise ArgumentError(f"nothing is predicted of `{release}`: kernels from 5.10 on are known")
        if running is not None and running.release != host.kernel:
            raise ArgumentError(
                f"the running image is {running.release}, and the capture was taken under {host.kernel}"
            )
        self.host = host
        self.target = target
        self._document = document
        self._fields = (_field_bits(running), _field_bits(target.image))
        told = document["host"]
        options = options_in_effect(told.get("boot_options") or "").values()
        self._recorded = (
            (told.get("vulnerabilities") or {}).get("meltdown"),
            [one.name if one.value is None else f"{one.name}={one.value}" for one in options],
        )

    @cached_property
    def vcpus(self) -> tuple[ForetoldVcpu, ...]:
        """The vCPUs that the host made, as they would be."""
        return tuple(self._vcpu(name, features, enabled) for name, features, _, enabled in self._made())

    def _made(self) -> Iterator[tuple[str, list[str], bool, list[str]]]:
        refused = {vcpu["name"] for vcpu in self._document["vcpus"] if vcpu.get("values") is None}
        return (row for row in self.host.vcpus if row[0] not in refused)

    def _vcpu(self, name: str, features: list[str], enabled: list[str]) -> ForetoldVcpu:
        native, release = self.host._native, self.target.release
        made = _native.foretell_made(native, name, release, self._recorded)
        if made is not True:
            return ForetoldVcpu(name, made)

        def values(registers: list[int]) -> dict[int, tuple[int, int, int | None]]:
            told = _native.foretell(native, name, release, self._fields, self._recorded, registers)
            return dict(zip(registers, told, strict=True))

        def field(register: int, shift: int) -> int | None:
            value, hidden, _ = values([register])[register]
            return None if hidden >> shift & 0xF else value >> shift & 0xF

        told = dict(_native.foretell_list(native, name, release, self._fields, self._recorded))
        if self.target.image is None:
            found = tuple(Presence(register, listed, _BY_RELEASE) for register, listed in told.items())
        else:
            made_so = Made(frozenset([*features, *enabled]), frozenset(self._listed(name)))
            found = tuple(
                # What the image does not tell its release may.
                one
                if one.listed is not None or told.get(one.register) is None
                else Presence(one.register, told[one.register], _BY_RELEASE)
                for one in presences(made_so, self.target.image, field)
            )
        return ForetoldVcpu(name, True, found, values([one.register for one in found if one.listed]))

    def listed_now(self, name: str) -> frozenset[int]:
        """Give the registers that a vCPU lists under the kernel that runs."""
        return frozenset(self._listed(name))

    def _listed(self, name: str) -> Iterator[int]:
        vcpu = next(vcpu for vcpu in self._document["vcpus"] if vcpu["name"] == name)
        listed = zip(self._document["registers"], vcpu["values"], strict=True)
        return (int(register, 16) for register, value in listed if value is not None)

    def document(self) -> dict[str, Any]:
        """Give the capture: version 4, without answers, with what is not known of each vCPU."""
        told = [vcpu for vcpu in self.vcpus if vcpu.made]
        listed = {one.register for vcpu in told for one in vcpu.presences if one.listed}
        registers = self._in_order(listed)
        made = {vcpu["name"]: vcpu for vcpu in self._document["vcpus"]}
        document = {
            "format": "kvmfw-capture",
            "version": 4,
            "host": self._host(),
            "registers": [f"{register:#x}" for register in registers],
            "vcpus": [self._vcpu_document(made[vcpu.name], vcpu, registers) for vcpu in told],
            "answers": [],
        }
        was = self._document.get("surroundings", {})
        if kept := [name for name in _OF_THE_HARDWARE if name in was]:
            own = ("value", "errno")
            document["surroundings"] = {
                name: {key: was[name][key] for key in own if key in was[name]} for name in kept
            }
        if (masks := self._masks()) is not None and told:
            document["writable_masks"] = [{"vcpus": [vcpu.name for vcpu in told], "masks": masks}]
        return document

    def _host(self) -> dict[str, Any]:
        was = self._document["host"]
        host = {key: was[key] for key in ("name", "midr", "machine", "revidr", "boot_options") if key in was}
        host["kernel"] = self.target.release
        host["predicted"] = {"from": was["kernel"], "by": self.target.told_by}
        if self.target.image is not None:
            host["kernel_build"] = self.target.image.build
        # Whether Spectre v4 is mitigated stays as it is from 5.10 on, as the level of WORKAROUND_2 does.
        store_bypass = (was.get("vulnerabilities") or {}).get("spec_store_bypass")
        if store_bypass is not None:
            host["vulnerabilities"] = {"spec_store_bypass": store_bypass}
        return host

    def _in_order(self, listed: set[int]) -> list[int]:
        """Give registers in the order of the running kernel's list, new ones at the end of their group."""
        was = {int(text, 16): place for place, text in enumerate(self._document["registers"])}

        def key(register: int) -> tuple[int, int, int]:
            group = ids.group_of(register)
            rank = _GROUPS.index(group) if group in _GROUPS else len(_GROUPS)
            return rank, was.get(register, len(was)), register

        return sorted(listed, key=key)

    @staticmethod
    def _vcpu_document(was: Mapping[str, Any], vcpu: ForetoldVcpu, registers: list[int]) -> dict[str, Any]:
        values = vcpu.values or {}
        made = {
            key: was[key] for key in ("name", "features", "enabled", "vgic", "pmu_initialised") if key in was
        }
        made["values"] = [
            f"{values[register][0]:#x}" if register in values else None for register in registers
        ]
        made["unknown"] = {
            "listed": [f"{one.register:#x}" for one in vcpu.presences if one.listed is None],
            "bits": {f"{register:#x}": f"{bits:#x}" for register, (_, bits, _) in values.items() if bits},
            "hardware": {
                f"{register:#x}": f"{own:#x}" for register, (*_, own) in values.items() if own is not None
            },
        }
        return made

    def _masks(self) -> dict[str, str] | None:
        """Give what KVM_ARM_GET_REG_WRITABLE_MASKS would report (6.7 and later), by the kernel's own table."""
        image = self.target.image
        if image is None or image.descriptors is None or image.numbers[:2] < _MASKS_SINCE:
            return None
        has_aarch32 = self._has_aarch32()
        return {
            f"{one.register:#x}": f"{one.mask:#x}"
            for one in image.descriptors.values()
            if one.mask and one.set is not None and _is_identification(one.register, aarch32=has_aarch32)
        }

    def _has_aarch32(self) -> bool:
        """Tell whether a guest can run AArch32 at EL0: the kernel's report leaves these registers out where none can."""
        place = named("ID_AA64PFR0_EL1")
        return any(values.get(place, 0) & 0xF == 2 for _, values in fresh_values(self._document))


def _is_identification(register: int, *, aarch32: bool) -> bool:
    """Tell whether the kernel reports a mask of this register: op0 3, CRn 0 and op1 0, 1 or 3."""
    number = register & 0xFFFF
    op0, op1, crn, crm = number >> 14, number >> 11 & 7, number >> 7 & 15, number >> 3 & 15
    if ids.group_of(register) != ids.SYSTEM or op0 != 3 or crn or op1 not in (0, 1, 3):
        return False
    return aarch32 or op1 != 0 or not 1 <= crm <= 3


def _field_bits(kernel: Kernel | None) -> dict[int, int] | None:
    """Give the bits of the fields that an image has a table of, by register."""
    if kernel is None or kernel.fields is None:
        return None
    return {
        register: sum(((1 << row.width) - 1) << row.shift for row in rows)
        for register, rows in kernel.fields.items()
    }
