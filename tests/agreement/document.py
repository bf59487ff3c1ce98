"""The text of docs/agreement.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from tests.agreement import field, kvm, qemu, truth, vmm

INTRODUCTION = """# Agreement with real kernels

Written by `make agreement` (RECORDINGS, QEMU, VMM, FIELD and TRUTH are folders); do not edit by hand. Every answer that a
real kernel gave and a recording kept is asked of the engine, and compared: accepted or refused, the errno, and what the register
reads afterwards. Recordings are boots of unmodified Debian kernels on emulated CPUs with EL2; loads are
migrations between them by unmodified QEMUs with KVM.

* *agreed*: the same.
* *read-back not judged*: accepted, as the engine says; the register is a timer or its state, which moves by itself,
  and the engine says nothing of what it reads later.
* *unknown*: the engine says UNKNOWN; a guess would be worse.
* *wrong ...*: a disagreement. Each is a bug until it is explained.

Where the guest's first run was refused (a PMU that was not initialised), the vCPU has not run, and the engine is asked
about a fresh one. PMU registers that have two names (set and clear) are compared by what both read after the second
was written; a few recorded sets hold two values for one such register, which no VM can save, and their read-back is
not compared.
"""

_NESTED = "nested virtualization: a VM that has run loses reserved bits; the recordings do not show which, captures of now do"
_PAIR = "a set whose two names of one register hold different values, which no VM reads"
UNKNOWN_CAUSES = {
    "ID_AA64MMFR2_EL1": "NV of 1 or 2 from 6.15 on: taken and dropped where it is the hardware's own, which nothing shows",
    "ID_AA64PFR0_EL1": "MPAM of 1: taken and dropped where it is the hardware's own, which nothing shows",
    "ID_AA64PFR1_EL1": "MPAM_frac of 1: as MPAM",
    "ID_AA64MMFR0_EL1": "nested virtualization: whether stage-2 granules may be hidden differs between releases that were read",
    "ID_AA64DFR0_EL1": "PMUVer 8 to 14: signed or unsigned comparison, fixed at a point release that is not known",
    "ID_DFR0_EL1": "PerfMon 8 to 14: as PMUVer",
    "SCTLR_EL1": _NESTED,
    "SCTLR2_EL1": _NESTED,
}


def cause(name: str) -> str:
    """Why the engine says UNKNOWN of a register."""
    if name in UNKNOWN_CAUSES:
        return UNKNOWN_CAUSES[name]
    if name.startswith("PM"):
        return _PAIR
    return _NESTED if name.endswith("_EL2") else "**not explained**"


def rows(header: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    """Give a Markdown table; all columns but the first two are numbers."""
    rule = ["---" if at < 2 else "---:" for at in range(len(header))]
    lines = [header, rule, *body]
    return ["| " + " | ".join(line) + " |" for line in lines]


def kvm_section(title: str, words: str, tally: kvm.Tally) -> list[str]:
    """One kind of evidence: totals, per kernel and group, per kernel and register, unknowns, disagreements."""
    total = tally.total
    share = 100 * total[kvm.UNKNOWN] / max(total.total(), 1)
    lines = [f"## {title}", "", words, ""]
    lines += [
        f"**{total.total():,} answers compared, {tally.disagreed:,} disagreements, {share:.3f} % unknown.**",
        "",
    ]
    body = [
        [kernel, group, f"{counts.total():,}", *(f"{counts[column]:,}" for column in kvm.COLUMNS)]
        for (kernel, group), counts in sorted(tally.counts.items())
    ]
    lines += rows(["kernel", "group", "compared", *kvm.COLUMNS], body)
    unknown = Counter(
        {key: counts[kvm.UNKNOWN] for key, counts in tally.registers.items() if counts[kvm.UNKNOWN]}
    )
    if unknown:
        by_register: Counter[str] = Counter()
        for (_, register), count in unknown.items():
            by_register[register] += count
        lines += ["", "Unknown, by register and cause:", ""]
        lines += rows(
            ["register", "cause", "answers"],
            [[name, cause(name), f"{count:,}"] for name, count in by_register.most_common()],
        )
    lines += ["", *disagreements(tally.wrong), ""]
    return lines


def register_section(tally: kvm.Tally) -> list[str]:
    """Answers per register and kernel; unknown ones in brackets, wrong ones named."""
    kernels = sorted({kernel for kernel, _ in tally.registers})
    names = sorted({name for _, name in tally.registers})
    body = []
    for name in names:
        cells = []
        for kernel in kernels:
            counts = tally.registers.get((kernel, name), Counter())
            wrong = sum(counts[column] for column in kvm.WRONG)
            cell = f"{counts.total():,}" if counts else ""
            cell += f" ({counts[kvm.UNKNOWN]:,} unknown)" if counts[kvm.UNKNOWN] else ""
            cells.append(cell + (f" **{wrong:,} wrong**" if wrong else ""))
        body.append([name, "", *cells])
    lines = [
        "## Derived evidence, per register and kernel",
        "",
        "Answers compared, with the unknown and wrong ones among them.",
        "",
    ]
    return [*lines, *rows(["register", "", *kernels], body), ""]


def qemu_section(tally: qemu.QemuTally) -> list[str]:
    """Loads of real QEMUs."""
    total = tally.total
    lines = ["## Real loads by QEMU", ""]
    lines += [
        "Each load's outcome was predicted from the two register lists and the target's capture (measured, where such a host"
        " was recorded) or its facts (derived); for failures also which registers KVM refused, or which QEMU named.",
        "",
        f"**{total['loads']:,} loads compared, {total['outcome agreed']:,} outcomes and {total['registers agreed']:,} of"
        f" {total['registers compared']:,} lists of refused registers agree, {total['unknown']:,} unknown,"
        f" {len(tally.wrong):,} disagreements.**",
        "",
    ]
    columns = [
        "loads",
        "measured",
        "derived",
        "outcome agreed",
        "unknown",
        "registers compared",
        "registers agreed",
    ]
    body = [
        [vmm, "", *(f"{counts[column]:,}" for column in columns)]
        for vmm, counts in sorted(tally.counts.items())
    ]
    lines += rows(["policy", "", *columns], body)
    lines += ["", *(f"{count:,} more: {what}." for what, count in tally.skipped.items())]
    return [*lines, "", *disagreements(tally.wrong), ""]


def vmm_section(tally: vmm.VmmTally) -> list[str]:
    """Loads of real Firecrackers and cloud-hypervisors."""
    total = tally.total
    lines = [
        "## Real loads by Firecracker and cloud-hypervisor",
        "",
        "Each load's outcome was predicted from the target's capture and the VM's registers: as they were recorded, and as"
        " kvmfw reads them from the snapshot file. For failures also which register is refused first.",
        "",
        f"**{total['loads']:,} loads compared, {total['right']:,} outcomes and {total['first refusal right']:,} of"
        f" {total['first refusal compared']:,} first refusals agree, {total['undecided']:,} undecided,"
        f" {len(tally.wrong):,} disagreements.**",
        "",
    ]
    lines += rows(["policy", "VM", *vmm.COLUMNS], [list(row) for row in vmm.rows(tally)])
    lines += ["", *(f"{count:,} more: {what}." for what, count in tally.skipped.items())]
    return [*lines, "", *disagreements(tally.wrong), ""]


def field_section(cases: dict[str, field.FieldTally]) -> list[str]:
    """Failures that others met, retold."""
    judged = sum(tally.judged for tally in cases.values())
    wrong = [f"{name}: {line}" for name, tally in cases.items() for line in tally.wrong]
    lines = [
        "## Failures from the field",
        "",
        "Public reports and the kernel's own selftests, retold with recorded hosts; what is right is known for each policy:"
        " the outcome, what single registers do, and whether nothing else is refused. A folder in which nothing is judged"
        " retells a failure that no register shows.",
        "",
        f"**{judged:,} expectations judged, {len(wrong):,} disagreements.**",
        "",
    ]
    lines += rows(
        ["case", "", "judged", "wrong"],
        [[name, "", f"{tally.judged:,}", f"{len(tally.wrong):,}"] for name, tally in cases.items()],
    )
    return [*lines, "", *disagreements(wrong), ""]


def truth_section(writes: dict[str, truth.TruthTally]) -> list[str]:
    """Single writes on which the engine was wrong once."""
    total = sum((tally.total for tally in writes.values()), Counter[str]())
    skipped = sum((tally.skipped for tally in writes.values()), Counter[str]())
    lines = [
        "## Writes that were judged wrong once",
        "",
        "Single writes with the answer of the kernel, each judged with the host's answers and without them.",
        "",
        f"**{skipped.total():,} not judged; {total.total():,} judged, {total['unknown']:,} unknown,"
        f" {total['wrong']:,} disagreements.**",
        "",
        *(f"* {count:,} not judged, {why}." for why, count in sorted(skipped.items())),
        "",
    ]
    lines += rows(
        ["writes", "evidence", "right", "unknown", "wrong"],
        [
            [name, evidence, *(f"{counts[word]:,}" for word in ("right", "unknown", "wrong"))]
            for name, tally in writes.items()
            for evidence, counts in tally.counts.items()
        ],
    )
    return [*lines, "", *disagreements([line for tally in writes.values() for line in tally.wrong]), ""]


def vector_section(results: dict[str, tuple[int, list[str]]]) -> list[str]:
    """The kernels' own functions."""
    lines = [
        "## The kernels' own functions",
        "",
        "Compiled from their sources and executed in user space.",
        "",
    ]
    body = [[name, "", f"{compared:,}", f"{len(wrong):,}"] for name, (compared, wrong) in results.items()]
    lines += rows(["vectors", "", "compared", "wrong"], body)
    return [*lines, "", *disagreements([line for _, wrong in results.values() for line in wrong]), ""]


def disagreements(wrong: list[str]) -> list[str]:
    """List what disagrees."""
    if not wrong:
        return ["No disagreements."]
    shown = wrong[:50]
    rest = [f"* and {len(wrong) - len(shown):,} more"] if len(wrong) > len(shown) else []
    return ["Disagreements:", "", *(f"* {line}" for line in shown), *rest]
