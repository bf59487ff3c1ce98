"""Firmware registers: which setter must take what, by the host's state. The rules are the core's, as formulas."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from kvmfw import _native
from kvmfw.registers import named
from kvmfw.testing import capture_document
from tests.prove.machine import Call

SETTER = "kvm_arm_set_fw_reg"
PSCI = named("PSCI_VERSION")
# Of images whose list was not read: what every kernel has.
EVERYWHERE = tuple(map(named, ("PSCI_VERSION", "SMCCC_ARCH_WORKAROUND_1", "SMCCC_ARCH_WORKAROUND_2")))
WORKAROUNDS = tuple(named(f"SMCCC_ARCH_WORKAROUND_{number}") for number in (1, 2, 3))
# enum mitigation_state (arch/arm64/include/asm/spectre.h, 5.10 to 7.3).
STATES = {"unaffected": 0, "mitigated": 1, "vulnerable": 2}
_ASKED = ("arm64_get_spectre_v2_state", "arm64_get_spectre_v4_state", "arm64_get_spectre_bhb_state")
# What a fresh vCPU reads (semantics 1.5, 1.6): of 2 on a mitigated host without SSBS in the VM.
LEVELS = {
    WORKAROUNDS[0]: {"unaffected": 2, "mitigated": 1, "vulnerable": 0},
    WORKAROUNDS[1]: {"unaffected": 3, "mitigated": 3, "vulnerable": 0},
    WORKAROUNDS[2]: {"unaffected": 2, "mitigated": 1, "vulnerable": 0},
}
# The newest version of PSCI of a fresh vCPU (semantics 1.4), and the bit of its feature.
VERSIONS = (((6, 13), 0x10003), ((5, 18), 0x10001), ((0, 0), 0x10000))
PSCI_0_2 = 1 << 2


@dataclass(frozen=True)
class Claim:
    """A rule for one state of a host.

    Attributes
    ----------
    register : int
        The register.
    state : str
        The state, in words.
    formula : str or None
        What KVM takes, says the core; None where its rule is no formula.
    returns : dict of str to int
        What functions of the kernel answer in this state.
    word : int
        What each word of the vCPU and its VM holds.
    """

    register: int
    state: str
    formula: str | None
    returns: Mapping[str, int] = field(default_factory=dict)
    word: int = 0

    @property
    def call(self) -> Call:
        return Call(SETTER, self.register, self.returns, self.word)


def claims(release: str, registers: tuple[int, ...]) -> Iterator[Claim]:
    """Give what is to be proved of a kernel with these firmware registers."""
    line = tuple(int(part) for part in release.replace("-", ".").replace("+", ".").split(".")[:2])
    for register in registers:
        if register == PSCI:
            newest = next(version for since, version in VERSIONS if line >= since)
            yield Claim(register, "without psci_0_2", _formula(release, {register: 0x1}, register, []))
            made = _formula(release, {register: newest}, register, ["psci_0_2"])
            yield Claim(register, "with psci_0_2", made, word=PSCI_0_2)
        elif register in WORKAROUNDS:
            for state, level in LEVELS[register].items():
                taken = _formula(release, {register: level}, register, ["psci_0_2"])
                yield Claim(register, state, taken, dict.fromkeys(_ASKED, STATES[state]))
        else:
            yield Claim(
                register, "before the first run", _formula(release, {register: 0}, register, ["psci_0_2"])
            )


def _formula(release: str, values: dict[int, int], register: int, features: list[str]) -> str | None:
    capture = capture_document(values, kernel=release, features=features)
    (formula,) = _native.Host.from_json(json.dumps(capture).encode()).smt(register)
    return formula
