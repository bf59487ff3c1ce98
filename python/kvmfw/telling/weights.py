"""How much a CHANGE weighs: a vector length that is lost is not a debug register with its default.

The order is a fact of the kind of change, not an opinion about a workload: what a running guest holds weighs more than
what it has read, and that more than what it has never seen.
"""

from __future__ import annotations

from enum import IntEnum

from kvmfw.verdict import Finding, Outcome

__all__ = ["WEIGHTS", "Weight", "weight_of"]


class Weight(IntEnum):
    """What a change touches, the lightest first.

    >>> max(Weight.DEFAULT, Weight.STATE)
    <Weight.STATE: 2>
    """

    DEFAULT = 0
    """The guest gets a register that it did not have, as a fresh VM of the host has it."""
    VIEW = 1
    """The guest reads another value than before about the machine it runs on."""
    STATE = 2
    """The guest loses something that it may be using: contents, a vector length, a counter."""


WEIGHTS: dict[str, tuple[Weight, str]] = {
    "KVMFW-SVE-VLS": (Weight.STATE, "code that runs with a longer vector loses the part above"),
    "KVMFW-SVE-STATE": (Weight.STATE, "contents of vector registers are lost"),
    "KVMFW-MODE": (Weight.STATE, "the guest goes on in another mode"),
    "KVMFW-AARCH32": (Weight.STATE, "the upper half of a general register is lost"),
    "KVMFW-REGISTER": (Weight.STATE, "contents of a register that the guest writes are lost"),
    "KVMFW-OS-LOCK": (Weight.STATE, "the lock that a debugger of the guest holds is lost"),
    "KVMFW-QEMU-DROP": (Weight.STATE, "contents of a register that the target does not have are lost"),
    "KVMFW-VMM-UNWRITTEN": (Weight.STATE, "the guest goes on with the host's value in place of its own"),
    "KVMFW-TIMER": (Weight.STATE, "a timer does not go on as it was set"),
    "KVMFW-COUNTER-OFFSET": (Weight.STATE, "the guest's clock jumps"),
    "KVMFW-CLOCK": (Weight.STATE, "the guest's clock runs at another speed"),
    "KVMFW-STEAL-TIME": (Weight.STATE, "the guest looks for its steal time where it is not"),
    "KVMFW-VGIC": (Weight.STATE, "the interrupt controller does not have all bits that were saved"),
    "KVMFW-LIST-MISSING": (Weight.STATE, "contents of a register that the host does not list are lost"),
    "KVMFW-PMU": (Weight.STATE, "a counter that a profiler of the guest uses stops or is cleared"),
    "KVMFW-FIRST-RUN": (Weight.STATE, "the register does not stay after the guest runs"),
    "KVMFW-HIDDEN": (Weight.STATE, "contents of a register that the target hides are lost"),
    "KVMFW-ID-REGISTER": (Weight.VIEW, "a guest reads features at boot; it sees others when it reads again"),
    "KVMFW-IMPLEMENTATION": (Weight.VIEW, "the guest sees another CPU, and may miss work-arounds for it"),
    "KVMFW-CACHE": (Weight.VIEW, "the guest sees other caches"),
    "KVMFW-WA1-LEVEL": (Weight.VIEW, "a guest asks for mitigations at boot and keeps to the answer"),
    "KVMFW-WA2-LEVEL": (Weight.VIEW, "a guest asks for mitigations at boot and keeps to the answer"),
    "KVMFW-WA3-LEVEL": (Weight.VIEW, "a guest asks for mitigations at boot and keeps to the answer"),
    "KVMFW-PSCI-VERSION": (Weight.VIEW, "a guest asks for the version at boot"),
    "KVMFW-BITMAP": (Weight.VIEW, "a guest asks for hypercall services at boot"),
    "KVMFW-LIST-EXTRA": (Weight.DEFAULT, "the source did not have the register, so no guest depends on it"),
}
"""Rule id -> weight and reason; rules that are not here never give CHANGE."""


def weight_of(finding: Finding) -> Weight | None:
    """Weigh a finding; None where it is no CHANGE."""
    return WEIGHTS[finding.rule][0] if finding.outcome is Outcome.CHANGE else None
