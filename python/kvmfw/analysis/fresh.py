"""What a host says to fresh VMs of another, of which not all may be known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kvmfw import _native
from kvmfw.registers import register_name
from kvmfw.sets import Host
from kvmfw.verdict import Finding, Outcome, Verdict, validate

__all__ = ["fresh_verdict"]


def fresh_verdict(
    source: Host,
    target: Host,
    *,
    features: Sequence[str],
    vgic: bool,
    enabled: Sequence[str],
    vmm: str,
    scheme: str,
) -> Verdict | None:
    """Judge the fresh VM of one host on another; None where the first cannot make it.

    Of a host whose capture was predicted some registers are not known. They are left out of the VM, and each is UNKNOWN, as the
    value that the VM would have of it is.
    """
    made = source.fresh_set(features=features, vgic=vgic, enabled=enabled)
    if made is None:
        return None
    listed, bits = source.unknown(features=features, vgic=vgic, enabled=enabled)
    made = made.changed(dict.fromkeys(bits))
    verdict = validate(made, target, vmm=vmm, scheme=scheme)
    open_ends = tuple(_open_ends(source, [*bits, *listed]))
    if not open_ends or any(finding.unit == "vcpu" for finding in verdict.findings):
        return verdict
    # That the VM has not what was left out is nobody's finding.
    spoken = {one.register for one in open_ends}
    findings = (*(one for one in verdict.findings if one.register not in spoken), *open_ends)
    outcome = max(finding.outcome for finding in findings)
    return Verdict(outcome, findings, verdict.vmm, verdict.scheme, verdict.left_open)


def _open_ends(source: Host, registers: Sequence[int]) -> Iterator[Finding]:
    needs = f"probe the host under {source.kernel}"
    for register in sorted(registers):
        name = register_name(register)
        yield Finding(
            register=register,
            name=name,
            unit="register",
            saved=None,
            own=None,
            outcome=Outcome.UNKNOWN,
            effect="unknown",
            errno=None,
            reads=None,
            needs=needs,
            rule=_native.rule_of(register, False),
            evidence="none",
            fields=(),
            offers="",
            sentence=f"what a VM that starts under {source.kernel} has in {name} is not known: {needs}",
        )
