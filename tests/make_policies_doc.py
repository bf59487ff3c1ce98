"""`python -m tests.make_policies_doc` writes docs/policies.md from the table of VMMs."""

from __future__ import annotations

from pathlib import Path

import kvmfw
from kvmfw.vmms import beside_registers

TARGET = Path(__file__).parents[1] / "docs" / "policies.md"

HEAD = """# Restore policies

Generated from the table of VMMs (`rust/kvmfw-core/src/vmms.rs`) by `python -m tests.make_policies_doc`; a test fails
when it is not current. `kvmfw vmms` prints the table.

A verdict holds for one way of restoring (`--vmm`, `vmm=`). What a VMM writes, in which order, and what it does with
registers that only one side has changes the outcome of the same pair. `kvm` is no VMM: every saved register is
written, and no error stops the others.

## Names

A name without a release is judged as each of its releases: where they differ the outcome is `UNKNOWN`, and the
sentence names them. A VM that has a capability which only some releases enable is of one of these. A release that is
not in the table is an error that names the nearest. *Measured*: real loads were compared (`make agreement`, `make
vmm`), or the release stands between two measured ones with the same rule. Findings under a release that was only read
end with that.

"""

NOT_JUDGED = """A verdict is about registers of vCPUs. What a VMM restores besides, or relies on, may refuse the VM or change it
as well; every verdict lists it (`Verdict.not_judged`, `not_judged` in JSON), and so does every report.
"""

TAIL = """
## Notes

*Firmware before ID registers* matters for WORKAROUND_2 from kernel 6.12 on: its level depends on the VM's own
`ID_AA64PFR1_EL1.SSBS`. A VM without SSBS that saved level 3 is taken by QEMU on a host with SSBS, but not by
Firecracker.

*As saved* is the order of the file, where the reader knows it: of Firecracker's `vmstate`, of cloud-hypervisor's
`state.json` and of register sets that are not sorted by id. Else it is KVM's list order: core, SVE, firmware,
bitmaps, system registers, CCSIDR. Among system registers kernels up to 6.14 list the timers first, then MIDR, REVIDR,
CLIDR, AIDR and CTR; a set without VENDOR_HYP_BMAP_2 is taken to be of one of these. The order decides which refused
register a verdict names first; the outcome only where firmware registers are written after ID registers (WORKAROUND_2,
above), which no VMM is known to do.

In QEMU 11.1 the failure flag of the list test is assigned, not accumulated, so a tolerated register after a bad one
lets the load go on; kvmfw says what that binary does. QEMU carries core registers outside of its list: sets of such a
list have none, and that says nothing about them.

Firecracker, cloud-hypervisor and crosvm stop at the first error. The outcome is the same; a verdict shows all
findings nevertheless.

crosvm was not built, so no load of it was seen: its row is from its sources, and every finding says so. It has no
releases and no package in Debian, and its build wants submodules (minijail and others) of hosts that could not be
reached; a build for arm64 that loads a VM in the emulated machines of [live.md](live.md) would settle it. crosvm
enables MTE and a virtual EL2 by the VM's configuration, taken to be that of the saved VM, and a PMU where the host has
one unless `--no-pmu` was given.

Firecracker's pull request 6116 enables writable implementation ID registers where the host offers them (kernel 6.15
and later). It is in no release up to 1.16.1 and not in the development tree of 21 August 2026; the name
`firecracker-1.17` stands for the tree after it.
"""


def document() -> str:
    """The text of docs/policies.md."""
    rows = kvmfw.vmms()
    lines = ["| `--vmm` | measured | known from |", "|---|---|---|"]
    for one in rows:
        source = f"{one.source}: {', '.join(one.releases)}" if one.releases else one.source
        lines.append(f"| `{one.name}` | {'yes' if one.measured else 'no'} | {source} |")
    lines += ["", "## Rules", ""]
    said: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for one in rows:
        if not one.releases:
            said.setdefault(tuple(one.rule.items()), []).append(f"`{one.name}`")
    for rule, names in said.items():
        lines += [f"### {', '.join(names)}", ""]
        lines += [f"* *{question}*: {answer}" for question, answer in rule if answer]
        lines.append("")
    lines += ["## Not judged", "", NOT_JUDGED]
    lines += ["| word | what | where source and target differ | of |", "|---|---|---|---|"]
    for beside, holds_for in beside_registers():
        of = ", ".join(f"`{name}`" for name in holds_for)
        lines.append(f"| `{beside.word}` | {beside.what} | {beside.why or 'not known'} | {of} |")
    return HEAD + "\n".join(lines).rstrip() + "\n" + TAIL


if __name__ == "__main__":
    TARGET.write_text(document())
