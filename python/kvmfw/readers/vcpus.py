"""VMs with several vCPUs: a VM's outcome is the worst of its vCPUs, and findings name the vCPU."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from kvmfw.readers.classes import Classes
from kvmfw.readers.saved import SavedVcpu
from kvmfw.sets import Host, RegisterSet
from kvmfw.verdict import Verdict, validate

__all__ = ["distinct_vcpus", "judge_vm"]


def distinct_vcpus(vcpus: Sequence[SavedVcpu]) -> list[RegisterSet]:
    """Give one set for each kind of vCPU in a VM: those that no host can tell apart are judged once.

    Which are alike the core tells (`Classes`). Where all are alike, the set bears the VM's name.

    Examples
    --------
    >>> from kvmfw.testing import tiny_set
    >>> vcpus = [SavedVcpu("vm", number, tiny_set(name=f"vm/vcpu{number}")) for number in range(4)]
    >>> [one.name for one in distinct_vcpus(vcpus)]
    ['vm']
    """
    if len(vcpus) == 1:
        return [vcpus[0].registers]
    kinds: dict[int, SavedVcpu] = {}
    for class_, vcpu in zip(Classes([one.registers for one in vcpus]).of.tolist(), vcpus, strict=True):
        kinds.setdefault(class_, vcpu)
    found = list(kinds.values())
    return (
        [found[0].registers.changed({}, name=found[0].vm)]
        if len(found) == 1
        else [one.registers for one in found]
    )


def judge_vm(
    vcpus: Iterable[SavedVcpu], host: Host, *, vmm: str = "kvm", scheme: str = "kvm", state: str = "fresh"
) -> Verdict:
    """Judge all vCPUs of a VM: the outcome is the worst of them, and every finding names its vCPU.

    Examples
    --------
    >>> from kvmfw.testing import tiny_host, tiny_set
    >>> vcpus = [SavedVcpu("vm", 0, tiny_set()), SavedVcpu("vm", 1, tiny_set(workaround_3=2))]
    >>> verdict = judge_vm(vcpus, tiny_host())
    >>> verdict.outcome, verdict.findings[0].sentence[:30]
    (<Outcome.REFUSE: 3>, 'vCPU 1: SMCCC_ARCH_WORKAROUND_')
    """
    verdicts = [
        (vcpu.vcpu, validate(vcpu.registers, host, vmm=vmm, scheme=scheme, state=state)) for vcpu in vcpus
    ]
    findings = tuple(
        replace(finding, sentence=f"vCPU {number}: {finding.sentence}") if len(verdicts) > 1 else finding
        for number, verdict in verdicts
        for finding in verdict.findings
    )
    left_open = dict.fromkeys(beside.word for _, verdict in verdicts for beside in verdict.not_judged)
    return Verdict(max(verdict.outcome for _, verdict in verdicts), findings, vmm, scheme, tuple(left_open))


def sets_of(vms: Iterable[Sequence[SavedVcpu]]) -> Iterator[RegisterSet]:
    """Give the sets to judge, VM by VM."""
    for vcpus in vms:
        yield from distinct_vcpus(vcpus)
