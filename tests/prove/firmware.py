"""Firmware registers: which setter must take what, by the host's state. The rules are the core's, as formulas."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import claripy

from kvmfw.registers import named
from tests.prove.claim import Claim, rule_of
from tests.prove.machine import FREE, STRUCTURE, VCPU, VM, End, Machine, NotRunError, Returns
from tests.prove.proof import Told, boundaries

SETTER = "kvm_arm_set_fw_reg"
PSCI = named("PSCI_VERSION")
# Of images whose list was not read: what every kernel has.
EVERYWHERE = tuple(map(named, ("PSCI_VERSION", "SMCCC_ARCH_WORKAROUND_1", "SMCCC_ARCH_WORKAROUND_2")))
WORKAROUNDS = tuple(named(f"SMCCC_ARCH_WORKAROUND_{number}") for number in (1, 2, 3))
# enum mitigation_state (arch/arm64/include/asm/spectre.h, 5.10 to 7.3).
STATES = {"unaffected": 0, "mitigated": 1, "vulnerable": 2}
ASKED = ("arm64_get_spectre_v2_state", "arm64_get_spectre_v4_state", "arm64_get_spectre_bhb_state")
# What a fresh vCPU reads (semantics 1.5, 1.6): of 2 on a mitigated host without SSBS in the VM.
LEVELS = {
    WORKAROUNDS[0]: {"unaffected": 2, "mitigated": 1, "vulnerable": 0},
    WORKAROUNDS[1]: {"unaffected": 3, "mitigated": 3, "vulnerable": 0},
    WORKAROUNDS[2]: {"unaffected": 2, "mitigated": 1, "vulnerable": 0},
}
# The newest version of PSCI of a fresh vCPU (semantics 1.4), and the bit of its feature.
VERSIONS = (((6, 13), 0x10003), ((5, 18), 0x10001), ((0, 0), 0x10000))
PSCI_0_2 = 1 << 2


def claims(release: str, line: tuple[int, int], registers: tuple[int, ...]) -> Iterator[Claim]:
    """Give what is to be proved of a kernel with these firmware registers."""
    for register in registers:
        if register == PSCI:
            newest = next(version for since, version in VERSIONS if line >= since)
            yield _claim(register, "without psci_0_2", rule_of(release, {register: 0x1}, register, ()))
            yield _claim(
                register, "with psci_0_2", rule_of(release, {register: newest}, register), word=PSCI_0_2
            )
        elif register in WORKAROUNDS:
            for state, level in LEVELS[register].items():
                taken = rule_of(release, {register: level}, register)
                yield _claim(register, state, taken, STATES[state])
        else:
            yield _claim(register, "before the first run", rule_of(release, {register: 0}, register))


def _claim(register: int, state: str, told: Told | None, mitigation: int = 0, word: int = 0) -> Claim:
    def bends() -> Iterator[str]:
        return (f"(= value #x{word:016x})" for word in boundaries(told.takes if told else "false"))

    return Claim(register, state, told, partial(_ends, register, mitigation, word), bends)


def _ends(register: int, mitigation: int, word: int, machine: Machine) -> list[End]:
    """Run the setter `(vcpu, reg)` on a host whose mitigations are in this state.

    Each word of the vCPU and of its VM holds `word`, wherever features stand in them; of zeros, they have no feature and have not
    run.
    """
    setter = machine.code.address(SETTER)
    if setter is None:
        raise NotRunError(f"the image has no {SETTER}")
    for name in ASKED:
        machine.hook(name, Returns(given=claripy.BVV(mitigation, 64)))
    state = machine.state(setter, VCPU, FREE)
    if word:
        for structure in (VCPU, VM):
            state.memory.store(structure, word.to_bytes(8, "little") * (STRUCTURE // 8))
        state.memory.store(VCPU, claripy.BVV(VM, 64), endness="Iend_LE")
    for at, content in ((FREE, register), (FREE + 8, FREE + 0x1000)):
        state.memory.store(at, claripy.BVV(content, 64), endness="Iend_LE")
    return machine.ends(state)
