"""How a vCPU is made: words for it, and what saved registers say about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kvmfw import _native
from kvmfw.errors import ArgumentError

__all__ = [
    "DEFAULT_WORDS",
    "ENABLED",
    "FEATURES",
    "VcpuConfig",
    "config_of_words",
    "derived_features",
    "words_of",
]

VcpuConfig = tuple[int, bool, int]
"""Feature bits, whether there is a GICv3, bits of enabled capabilities: as the native module takes it."""

FEATURES, ENABLED = (tuple(words) for words in _native.vcpu_words())
DEFAULT_WORDS = "psci_0_2,vgic"

_PFR0, _PFR1 = 0x603000000013C020, 0x603000000013C021
_DFR0 = 0x603000000013C028
_ISAR1, _ISAR2 = 0x603000000013C031, 0x603000000013C032
_SVE_VLS = 0x606000000015FFFF
_HCR_EL2 = 0x603000000013E088


def config_of_words(words: str) -> VcpuConfig:
    """Read words with commas between, such as ``"psci_0_2,pmu_v3,vgic"``.

    Raises
    ------
    ArgumentError
        When a word is not known; it names the known ones.

    Examples
    --------
    >>> config_of_words("psci_0_2, sve,vgic,mte")
    (20, True, 1)
    """
    features, enabled, vgic = 0, 0, False
    for word in filter(None, (word.strip() for word in words.split(","))):
        if word in FEATURES:
            features |= 1 << FEATURES.index(word)
        elif word in ENABLED:
            enabled |= 1 << ENABLED.index(word)
        elif word == "vgic":
            vgic = True
        else:
            known = ", ".join((*FEATURES, *ENABLED, "vgic"))
            raise ArgumentError(f"`{word}` says nothing about a vCPU; expected {known}")
    return features, vgic, enabled


def words_of(features: Iterable[str], vgic: bool, enabled: Iterable[str] = ()) -> str:
    """Give the words of a vCPU in their one order, so that equal vCPUs have equal words.

    >>> words_of(["sve", "psci_0_2"], vgic=True)
    'psci_0_2,sve,vgic'
    """
    given = {*features, *enabled}
    listed = [word for word in (*FEATURES, *ENABLED) if word in given]
    return ",".join([*listed, "vgic"] if vgic else listed)


def derived_features(registers: Mapping[int, int]) -> tuple[list[str], list[str]]:
    """Tell with which features and enabled capabilities a vCPU was made, from its saved ID registers.

    KVM hides in a vCPU's ID registers what the vCPU was made without, so they tell.

    Examples
    --------
    >>> derived_features({0x603000000013C028: 0x600})
    (['psci_0_2', 'pmu_v3'], [])
    """

    def field(register: int, shift: int) -> int:
        return registers.get(register, 0) >> shift & 0xF

    has = {
        "psci_0_2": True,
        "pmu_v3": field(_DFR0, 8) not in (0, 0xF),
        "sve": field(_PFR0, 32) != 0 or _SVE_VLS in registers,
        "ptrauth_address": any((field(_ISAR1, 4), field(_ISAR1, 8), field(_ISAR2, 12))),
        "ptrauth_generic": any((field(_ISAR1, 24), field(_ISAR1, 28), field(_ISAR2, 8))),
        "has_el2": _HCR_EL2 in registers,
    }
    enabled = ["mte"] if field(_PFR1, 8) not in (0, 1, 0xF) else []
    return [name for name in FEATURES if has.get(name)], enabled
