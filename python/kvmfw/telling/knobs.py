"""Settings of VMMs as text: which knob sets what a VM starts with. `kvmfw emit` and the sentences of verdicts ask here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kvmfw import _native
from kvmfw.ids import size_of
from kvmfw.psci import version_name
from kvmfw.registers import fields_of, named, register_name
from kvmfw.verdict import Finding, Outcome
from kvmfw.vmms import find_vmm

__all__ = ["KNOBS_OF_QEMU", "knob_of", "qemu_properties", "settable", "template_modifier"]

PSCI = named("PSCI_VERSION")


def qemu_properties(values: Mapping[int, int], changed: Mapping[int, int]) -> Iterator[str]:
    """Give the properties of `-cpu host` (QEMU 11.1): named fields of ID registers in which a bit changes, the PSCI version.

    Parameters
    ----------
    values : mapping of int to int
        Register -> the value that VMs start with.
    changed : mapping of int to int
        Register -> the bits of it that are not what a fresh VM has.

    Examples
    --------
    >>> [*qemu_properties({0x603000000013C020: 1 << 28}, {0x603000000013C020: 0xF << 28})]
    ['SYSREG_ID_AA64PFR0_EL1_RAS=0x1']
    """
    for register, value in values.items():
        if not settable(KNOBS_OF_QEMU, register):
            continue
        for field in fields_of(register):
            if field.of(changed[register]):
                yield f"SYSREG_{register_name(register)}_{field.name}={field.of(value):#x}"
    if (name := version_name(values.get(PSCI, 0))) is not None:
        yield f"kvm-psci-version={name}"


def template_modifier(register: int, value: int, changed: int) -> dict[str, str]:
    """Give an entry of `reg_modifiers` in a Firecracker CPU template: groups of 4 bits that change, others (x) are the host's.

    >>> template_modifier(0x6030000000140003, 1, 1)["bitmap"][-9:]
    'xxxx_0001'
    """
    bits = 8 * size_of(register)
    groups = [
        f"{value >> shift & 0xF:04b}" if changed >> shift & 0xF else "xxxx"
        for shift in range(bits - 4, -1, -4)
    ]
    return {"addr": f"{register:#x}", "bitmap": "0b" + "_".join(groups)}


KNOBS_OF_QEMU = "qemu-11.1"
"""The first release with these properties."""
# What a setting lowers so that the fresh vCPU takes it, by the rule that speaks.
_LOWERED = frozenset(
    f"KVMFW-{rule}"
    for rule in ("ID-REGISTER", "PSCI-VERSION", "BITMAP", "WA1-LEVEL", "WA2-LEVEL", "WA3-LEVEL")
)


def settable(vmm: str, register: int) -> int:
    """Give the bits of a register that a VMM can be told for VMs to come.

    >>> hex(settable("firecracker", PSCI)), settable("qemu-10.2", PSCI)
    ('0xffffffffffffffff', 0)
    """
    return _native.settable(vmm, register)


def knob_of(finding: Finding, vmm: str) -> str | None:
    """Give the setting with which a VM starts with what this host has; None where the VMM has no knob for it.

    It is about VMs to come: one that runs keeps what it has. Only what is lowered has one, since no host gives a VM
    more than it has itself. Whether other hosts take it, `kvmfw emit` judges.
    """
    own, register = finding.own, finding.register
    if finding.outcome is not Outcome.REFUSE or own is None or register is None or finding.saved is None:
        return None
    if own > finding.saved or any(field.own > field.saved for field in finding.fields):
        return None
    changed = finding.saved ^ own
    if finding.rule not in _LOWERED:
        return None
    release = _release_with_knobs(vmm, register)
    if release is None or not changed & settable(release, register):
        return None
    if find_vmm(release).family == "firecracker":
        entry = template_modifier(register, own, changed)
        return f'Firecracker: reg_modifiers {{"addr": "{entry["addr"]}", "bitmap": "{entry["bitmap"]}"}}'
    named = [*qemu_properties({register: own}, {register: changed & settable(release, register)})]
    return f"QEMU {release.partition('-')[2]}: -cpu host,{','.join(named)}" if named else None


def _release_with_knobs(vmm: str, register: int) -> str | None:
    """Give the release that can be told: the VMM itself, or the first one as which its name is judged; QEMU's for plain KVM."""
    releases = (KNOBS_OF_QEMU,) if vmm == "kvm" else (vmm, *find_vmm(vmm).releases)
    return next((one for one in releases if settable(one, register)), None)
