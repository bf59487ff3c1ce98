"""What KVM_ARM_VCPU_INIT says to a feature word that was not tried on the host (semantics 12.15)."""

from __future__ import annotations

from collections.abc import Mapping

from .facts import (
    CAP_MTE,
    EL1_32BIT,
    HAS_EL2,
    HAS_EL2_E2H0,
    PMU_V3,
    PMU_V3_STRICT,
    PTRAUTH_ADDRESS,
    PTRAUTH_GENERIC,
    SVE,
    parse_release,
)
from .fields import ID, field

# feature bit -> the KVM_CHECK_EXTENSION number that tells whether the host can do it
CAPABILITY = {
    EL1_32BIT: 93,
    PMU_V3: 126,
    SVE: 170,
    PTRAUTH_ADDRESS: 171,
    PTRAUTH_GENERIC: 172,
    HAS_EL2: 240,
    HAS_EL2_E2H0: 241,
    PMU_V3_STRICT: 251,
}
# bits that are known only from a release on: recorded unknown in the first, known in the second
KNOWN_FROM = {
    HAS_EL2: ((6, 12), (6, 16)),
    HAS_EL2_E2H0: ((6, 12), (6, 16)),
    PMU_V3_STRICT: ((7, 2), (7, 3)),
}

GIC, GCIE = field("ID_AA64PFR0", "GIC"), field("ID_AA64PFR2", "GCIE")


def makes_gicv3(fresh: Mapping[int, int]) -> bool | None:
    """Whether VMs can have a GICv3 (semantics 12.16): what was probed at boot is registered, and a fresh vCPU shows it.

    None where the fresh vCPU does not tell: a GICv5 may make one, and not show it.
    """
    if ID["ID_AA64PFR0"] not in fresh:
        return None
    if GIC.of(fresh[ID["ID_AA64PFR0"]]):
        return True
    return None if GCIE.of(fresh.get(ID["ID_AA64PFR2"], 0)) else False


def made(kernel: str, capabilities: set[int], features: int, caps: frozenset[int]) -> str | None:
    """The error of a feature or VM capability that the host does not report, or of those that exclude each other.

    None where there is none. Unknown bits are ENOENT, and that test comes first; all else is EINVAL.
    """
    lacking = [bit for bit, number in CAPABILITY.items() if features & bit and number not in capabilities]
    if not lacking:
        return "EINVAL" if caps - capabilities or contradictory(features, caps) else None
    series = parse_release(kernel)[:2]
    for bit in lacking:
        unknown_until, _ = KNOWN_FROM.get(bit, ((0, 0), (0, 0)))
        if series <= unknown_until:
            return "ENOENT"
    return "EINVAL"


def contradictory(features: int, caps: frozenset[int]) -> bool:
    """Does KVM make no such vCPU anywhere (semantics 12.17)?"""
    halves = features & (PTRAUTH_ADDRESS | PTRAUTH_GENERIC)
    if halves in (PTRAUTH_ADDRESS, PTRAUTH_GENERIC):
        return True
    if features & EL1_32BIT and (features & HAS_EL2 or CAP_MTE in caps):
        return True
    return features & (PMU_V3_STRICT | PMU_V3) == PMU_V3_STRICT
