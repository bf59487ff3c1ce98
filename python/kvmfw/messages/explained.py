"""What a message means: the register by name, the field, the rule that refused, on which kernels, what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kvmfw import _native
from kvmfw.ids import is_surrounding
from kvmfw.messages.cures import cure_of
from kvmfw.messages.forms import About
from kvmfw.messages.told import Told
from kvmfw.registers import listed_by, register_name, takes
from kvmfw.rules import Rule, find_rule, rule_of
from kvmfw.sets import Host, RegisterSet
from kvmfw.verdict import FieldDifference, Finding, Outcome, validate

__all__ = ["Explained", "explain"]

_RULES = {
    About.COUNT: "KVMFW-QEMU-COUNT",
    About.VCPU: "KVMFW-VCPU",
    About.EXTRA: "KVMFW-LIST-EXTRA",
    About.GIC: "KVMFW-VGIC",
}


@dataclass(frozen=True, slots=True)
class Explained:
    """A message with what it means.

    Attributes
    ----------
    told : Told
        The message.
    name : str or None
        The register's name.
    fields : tuple of FieldDifference
        The fields in which the saved value and the target's differ, where both are known.
    rule : Rule or None
        The rule that speaks; None where the message does not say what was refused.
    takes, listed_by : str or None
        What KVM takes in the register, and which kernels list it.
    findings : tuple of Finding
        What kvmfw says of the register on the host that was given.
    cure : str
        What to do.
    """

    told: Told
    name: str | None
    fields: tuple[FieldDifference, ...]
    rule: Rule | None
    takes: str | None
    listed_by: str | None
    findings: tuple[Finding, ...]
    cure: str

    def to_dict(self) -> dict[str, Any]:
        """Give it as JSON-ready data; ids and values are hexadecimal strings."""
        told = self.told
        return {
            "line": told.line,
            "text": told.text,
            "speaker": told.speaker,
            "about": told.about.name.lower(),
            "register": None if told.register is None else f"{told.register:#x}",
            "name": self.name,
            "saved": None if told.saved is None else f"{told.saved:#x}",
            "own": None if told.own is None else f"{told.own:#x}",
            "errno": told.errno,
            "counts": told.counts,
            "fields": [told.field]
            if told.field
            else [one.name or f"{one.high}:{one.low}" for one in self.fields],
            "rule": None if self.rule is None else self.rule.id,
            "takes": self.takes,
            "listed_by": self.listed_by,
            "findings": [finding.to_dict() for finding in self.findings],
            "cure": self.cure,
        }


def explain(
    told: Told, host: Host | None = None, vm: RegisterSet | None = None, *, vmm: str = "kvm"
) -> Explained:
    """Explain a message; with a host's capture, and the VM's registers, also judge what it is about.

    Examples
    --------
    >>> from kvmfw.messages import explain, read_messages
    >>> told = next(read_messages(["Could not set register fw reg 3 to 2 (is 1)"]))
    >>> explain(told).name, explain(told).rule.id
    ('SMCCC_ARCH_WORKAROUND_3', 'KVMFW-WA3-LEVEL')
    """
    register = told.register
    fields: tuple[FieldDifference, ...] = ()
    findings: tuple[Finding, ...] = ()
    if register is not None and host is not None:
        findings = _judged(told, host, vm, vmm)
    own = told.own if told.own is not None else next((one.own for one in findings), None)
    saved = told.saved if told.saved is not None else next((one.saved for one in findings), None)
    if register is not None and saved is not None and own is not None and max(saved, own) < 1 << 64:
        fields = tuple(FieldDifference(*row) for row in _native.field_differences(register, saved, own))
        # Of a number, such as a frequency, bits without a name tell nobody anything.
        if is_surrounding(register) and not any(one.name for one in fields):
            fields = ()
    # A verdict has looked at the pair; a message alone says only how KVM or the VMM put it.
    refusing = next((one.rule for one in findings if one.outcome is Outcome.REFUSE), None)
    rule = _rule(told) if refusing is None else find_rule(refusing)
    return Explained(
        told,
        None if register is None else register_name(register),
        fields,
        rule,
        None if register is None else takes(register),
        None if register is None else listed_by(register),
        findings,
        cure_of(told, rule),
    )


def _rule(told: Told) -> Rule | None:
    if told.about in _RULES:
        return find_rule(_RULES[told.about])
    if told.register is None:
        return None
    return rule_of(told.register, absent=told.about is About.ABSENT or told.errno == "ENOENT")


def _judged(told: Told, host: Host, vm: RegisterSet | None, vmm: str) -> tuple[Finding, ...]:
    """Judge the VM, or else the one write on the first vCPU of the capture that has the register, or on the first."""
    register = told.register
    if register is None:
        return ()
    if vm is None:
        if told.saved is None:
            return ()
        sets = [host.fresh_set(features=words, vgic=vgic, enabled=on) for _, words, vgic, on in host.vcpus]
        made = [one for one in sets if one is not None]
        having = [one for one in made if register in one.to_mapping()]
        if not made:
            return ()
        like = (having or made)[0]
        vm = RegisterSet.from_mapping(
            {register: told.saved}, features=like.features, vgic=like.vgic, enabled=like.enabled
        )
    return tuple(one for one in validate(vm, host, vmm=vmm).findings if one.register == register)
