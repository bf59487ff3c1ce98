"""How a VMM was told to make a VM's vCPUs, and what it makes of that on a host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kvmfw import _native
from kvmfw.errors import FormatError
from kvmfw.psci import VERSIONS
from kvmfw.readers.vcpu import ENABLED, FEATURES

__all__ = [
    "GICV2",
    "GICV3",
    "Making",
    "made_on",
    "making_of_arguments",
    "making_of_cpu",
    "making_of_words",
    "words_of_machine",
]

GICV3: Final = "vgic"
GICV2: Final = "vgic_v2"
_PTRAUTH = ("ptrauth_address", "ptrauth_generic")
# What `-cpu host` asks for where the host offers all of it (`kvm_arm_get_host_cpu_features` in `target/arm/kvm.c`, read in 9.0;
# run in 7.2, 10.0 and 11.1).
_OFFERED: Final[tuple[tuple[str, ...], ...]] = (("pmu_v3",), ("sve",), _PTRAUTH)
_CAPABILITIES: Final = {word: str(number) for word, number in _native.capabilities()}
_SWITCHES: Final = {"pmu": ("pmu_v3",), "sve": ("sve",), "pauth": _PTRAUTH}
_ON_OFF: Final = {"on": True, "off": False, "true": True, "false": False, "yes": True, "no": False}
# They change how a VM's clock goes, no register.
_WITHOUT_REGISTERS: Final = frozenset({"kvm-no-adjvtime", "kvm-steal-time", "migratable"})


@dataclass(frozen=True, slots=True)
class Making:
    """How a VMM was told to make vCPUs.

    Attributes
    ----------
    on, off : frozenset of str
        Words of features, of capabilities that are enabled, and ``vgic`` (a GICv3) or ``vgic_v2``, that are told.
    whole : bool
        Whether nothing else is on; else the VMM (QEMU) takes what the host offers.
    psci : int or None
        The PSCI version that is told.
    """

    on: frozenset[str] = frozenset()
    off: frozenset[str] = frozenset()
    whole: bool = False
    psci: int | None = None

    def with_words(self, words: Mapping[str, bool]) -> Making:
        """Add words, with whether they are on.

        Raises
        ------
        FormatError
            When one was told otherwise before.
        """
        on = self.on | {word for word, is_on in words.items() if is_on}
        off = self.off | {word for word, is_on in words.items() if not is_on}
        if both := sorted(on & off):
            raise FormatError(f"`{both[0]}` is said to be on and to be off")
        return Making(on, off, self.whole, self.psci)


def making_of_words(words: str) -> Making:
    """Read words that say all of a vCPU, such as ``psci_0_2,pmu_v3,vgic``.

    Raises
    ------
    FormatError
        When one is not known.
    """
    given = frozenset(filter(None, (word.strip() for word in words.split(","))))
    known = (*FEATURES, *ENABLED, GICV3, GICV2)
    for word in sorted(given):
        if word not in known:
            raise FormatError(f"`{word}` says nothing about a vCPU; expected {', '.join(known)}")
    return Making(given, whole=True)


def making_of_cpu(text: str) -> Making:
    """Read what QEMU's ``-cpu`` says, such as ``host,pmu=off``.

    Raises
    ------
    FormatError
        When it is not known what of it changes registers.

    Examples
    --------
    >>> sorted(making_of_cpu("host,pmu=off,kvm-psci-version=1.1").off)
    ['pmu_v3']
    """
    model, *options = text.split(",")
    if model not in ("host", "max"):
        raise FormatError(
            f"which registers QEMU's CPU `{model}` has under KVM is not known; expected host or max"
        )
    making = Making()
    for option in options:
        name, _, value = option.partition("=")
        if name == "kvm-psci-version":
            if value not in VERSIONS:
                raise FormatError(f"`{value}` is no PSCI version; expected {', '.join(VERSIONS)}")
            making = Making(making.on, making.off, making.whole, VERSIONS[value])
            continue
        switched = _ON_OFF.get(value or "on")
        if name in _WITHOUT_REGISTERS and switched is not None:
            continue
        if name == "aarch64" and switched is False:
            making = making.with_words({"el1_32bit": True, "sve": False} | dict.fromkeys(_PTRAUTH, False))
        elif name in _SWITCHES and switched is not None:
            making = making.with_words(dict.fromkeys(_SWITCHES[name], switched))
        elif (name, switched) != ("aarch64", True):
            raise FormatError(f"whether QEMU's CPU option `{option}` changes registers is not known")
    return making


# The one machine that turns a feature of its vCPUs off (`virt_machine_2_6_options` in `hw/arm/virt.c`; read, 2.7 to 9.2).
_WITHOUT_PMU: Final = "virt-2.6"


def words_of_machine(machine: str) -> dict[str, bool]:
    """Give what a machine of QEMU makes of its vCPUs.

    Raises
    ------
    FormatError
        When it is not known.

    Examples
    --------
    >>> words_of_machine("virt-9.2"), words_of_machine("virt-2.6")
    ({}, {'pmu_v3': False})
    """
    if machine.partition("-")[0] != "virt":
        raise FormatError(
            f"which vCPUs the machine `{machine[:40]}` makes is not known; expected virt or a version of it"
        )
    return {"pmu_v3": False} if machine == _WITHOUT_PMU else {}


_OTHERWISE_MADE: Final = frozenset({"-global", "-machine", "-M", "-accel", "-set", "-readconfig"})


def making_of_arguments(arguments: Sequence[str], making: Making, place: str) -> Making:
    """Give what further arguments of QEMU make of a vCPU; QEMU takes ``--name`` as ``-name``.

    Raises
    ------
    FormatError
        When one may make it otherwise; it names the `place` of the arguments.

    Examples
    --------
    >>> sorted(making_of_arguments(["--cpu", "host,pmu=off"], Making(), "args").off)
    ['pmu_v3']
    """
    for at, argument in enumerate(arguments):
        option = f"-{argument.lstrip('-')}" if argument.startswith("-") else argument
        if option in _OTHERWISE_MADE:
            raise FormatError(
                f"QEMU is given `{argument}` besides ({place}): its vCPUs may be made otherwise"
            )
        if option == "-cpu":
            making = making_of_cpu("".join(arguments[at + 1 : at + 2]))
    return making


def made_on(making: Making, capture: Mapping[str, Any]) -> frozenset[str]:
    """Give the words of a vCPU that is made so on the host of a capture.

    Raises
    ------
    FormatError
        When the capture does not tell what its host offers, or the host does not offer what is told to be on.
    """
    if making.whole:
        return making.on
    capabilities = capture["host"].get("capabilities")
    if not capabilities:
        raise FormatError(
            f"the capture `{capture['host']['name']}` does not say what its host offers (capabilities)"
        )
    words = {"psci_0_2", *making.on}
    for features in _OFFERED:
        offered = all(capabilities.get(_CAPABILITIES[feature]) for feature in features)
        told = making.on.intersection(features)
        if told and not offered:
            raise FormatError(
                f"the host of `{capture['host']['name']}` does not offer {', '.join(sorted(told))}"
            )
        if offered:
            words.update(features)
    return frozenset((words | _gic(making, capture)) - making.off)


def _gic(making: Making, capture: Mapping[str, Any]) -> set[str]:
    """Give the interrupt controller: libvirt takes the newest that KVM has, QEMU by itself the oldest (`hw/arm/virt.c`)."""
    if making.on.intersection((GICV2, GICV3)):
        return set()
    offers = {GICV3} if any(vcpu.get("vgic") for vcpu in capture["vcpus"]) else set()
    if capture.get("surroundings", {}).get("VGIC_V2", {}).get("value") is not None:
        offers.add(GICV2)
    offers -= making.off
    if len(offers) > 1:
        name = capture["host"]["name"]
        raise FormatError(
            f"nothing says whether it has a GICv2 or a GICv3, and the host of `{name}` makes both"
        )
    return offers
