"""How a vCPU is made: words for it, and what saved registers say about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kvmfw import _native
from kvmfw.errors import ArgumentError

__all__ = [
    "ENABLED",
    "FEATURES",
    "VcpuConfig",
    "config_of_words",
    "derived_vcpu",
    "words_of",
    "words_of_config",
]

VcpuConfig = tuple[int, bool, int]
"""Feature bits, whether there is a GICv3, bits of enabled capabilities: as the native module takes it."""

FEATURES, ENABLED = (tuple(words) for words in _native.vcpu_words())
_WORD = (1 << 64) - 1
# Of a vCPU of which all is known: no feature, no vGIC. Without any word nothing is known.
_NONE = "none"


def config_of_words(words: str) -> VcpuConfig:
    """Read words with commas between, such as ``"psci_0_2,pmu_v3,vgic"``, or ``"none"`` for a vCPU without any of them.

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
    if words.strip() == _NONE:
        return features, vgic, enabled
    for word in filter(None, (word.strip() for word in words.split(","))):
        if word in FEATURES:
            features |= 1 << FEATURES.index(word)
        elif word in ENABLED:
            enabled |= 1 << ENABLED.index(word)
        elif word == "vgic":
            vgic = True
        else:
            known = ", ".join((*FEATURES, *ENABLED, "vgic"))
            raise ArgumentError(
                f"`{word}` says nothing about a vCPU; expected {known} (several with commas between), or {_NONE} alone"
            )
    return features, vgic, enabled


def words_of(features: Iterable[str], vgic: bool, enabled: Iterable[str] = ()) -> str:
    """Give the words of a vCPU in their one order, so that equal vCPUs have equal words.

    >>> words_of(["sve", "psci_0_2"], vgic=True), words_of([], vgic=False)
    ('psci_0_2,sve,vgic', 'none')
    """
    given = {*features, *enabled}
    listed = [word for word in (*FEATURES, *ENABLED) if word in given]
    return ",".join([*listed, "vgic"] if vgic else listed) or _NONE


def words_of_config(config: VcpuConfig) -> str:
    """Give the words of a vCPU of which the native module holds bits.

    >>> words_of_config((20, True, 1))
    'psci_0_2,sve,mte,vgic'
    """
    features, vgic, enabled = config
    given = [name for bit, name in enumerate(FEATURES) if features >> bit & 1]
    return words_of(given, vgic, [name for bit, name in enumerate(ENABLED) if enabled >> bit & 1])


def derived_vcpu(registers: Mapping[int, int]) -> tuple[list[str], bool, list[str]]:
    """Tell from saved ID registers how a vCPU was made: features, whether there is a GICv3, enabled capabilities.

    KVM hides in a vCPU's ID registers what the vCPU was made without, so they tell.

    Examples
    --------
    >>> derived_vcpu({0x603000000013C028: 0x600, 0x603000000013C020: 0x11})
    (['psci_0_2', 'pmu_v3'], False, [])
    """
    return _native.inferred_vcpu(list(registers), [value & _WORD for value in registers.values()])
