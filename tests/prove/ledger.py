"""docs/proofs.md: which rule is proved of which kernel, and why the rest is not."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.prove.table import proved

HEAD = """# Proofs

Rules for firmware registers, ID registers and others that KVM looks at, as formulas that the core makes of its own data,
against the machine code of kernel images as distributions ship them. Made by `make prove`: the setter of the image is run
with a value that stands for all (angr), and z3 is asked for a value with which the code does something else than the
formula says. *Proved*: there is none, every value takes some way through the code, and each formula that is bent at one
boundary was caught. *Counterexample*: there is one; it is replayed on the real kernel before anybody believes it. *Not
proved*: why not stands below. *In part*: proved, and the rule says UNKNOWN of some values, as known kernels before and
after differ.

Firmware registers: for all 2^64 values, in each state of the host; WORKAROUND_2 of a mitigated host is that of a VM
without SSBS. ID registers, CTR_EL0 among them: for all pairs of value and limit (what a fresh VM reads), with the
kernel's own writable mask, before the first run and without nested virtualisation. Assumed of a limit: it has no bit
that the kernel's table of fields has not; MPAM, MPAM_frac and NV, where a wrapper looks at the hardware's, are 0 in it
and at most 1, 1 and 2 in the hardware; MTE and MTE_frac are the hardware's, or 0 where that is not MTE 2 with MTE_frac
0xf; up to 6.4 CSV2 (and from 5.11 on CSV3) is 1 where the host is not affected, else 0. AArch32 ID registers: of hosts
with AArch32 at EL0, where the setter is asked. *Hidden*: the register reads 0 on every VM.

Others: through the function that is behind KVM_SET_ONE_REG for system registers, the search in its tables included, before
the first run. MIDR_EL1, REVIDR_EL1 and AIDR_EL1: for all pairs of value and own value, and with the capability as the
kernel's own KVM_ENABLE_CAP leaves the VM. CLIDR_EL1 and each of the 14 CCSIDR: for all pairs of value and CTR_EL0 of the
CPUs, or up to 6.2 of value and own value, on a host that has every cache. OSLSR_EL1: where a fresh VM reads what the
kernel's table says. PMCR_EL0: that each value is taken; what is kept of it is not looked at.

*In findings*: a refusal (EINVAL) that follows from a rule says `proved` instead of `derived` where the host runs one of
these images, by release and build, all that was asked of the register is proved and nothing in part, and the rule is the
one that was proved (its formulas have the same digest). That what a host offers is its limit, and what a value that is
taken reads afterwards, is not proved; nor is WORKAROUND_2 said to be, which depends on the VM's own SSBS.

Not part of it: registers after a run and of nested VMs, what reads afterwards, SVE.

"""
KINDS = FIRMWARE, IDENTIFICATION, OTHERS = "firmware registers", "ID registers", "other registers"


def text(kernels: list[dict[str, Any]]) -> str:
    """The page."""
    kernels = sorted(kernels, key=lambda one: one["release"])
    rows = [row for kernel in kernels for row in kernel["rows"]]
    lines = [HEAD, summary(kernels), ""]
    lines += ["| rule | proved | in part | counterexample | not proved | no such register |"]
    lines += ["|---|---|---|---|---|---|"]
    for unit in dict.fromkeys(_unit(row) for row in rows):
        results = Counter(_result(row) for row in rows if _unit(row) == unit)
        absent = len(kernels) - results.total()
        counts = [results[name] for name in ("proved", "in part", "counterexample", "not proved")]
        lines.append(f"| {', '.join(unit)} | {' | '.join(str(count or '') for count in [*counts, absent])} |")
    lines += ["", "## Kernels", ""]
    lines += [
        "| image | build | firmware | of | ID | of | other | of | in part | rules in findings | CPU s | MiB |"
    ]
    lines += ["|---|---|---|---|---|---|---|---|---|---|---|---|"]
    for kernel in kernels:
        cells = [kernel["name"], kernel["build"]]
        for kind in KINDS:
            own = [row for row in kernel["rows"] if row["kind"] == kind]
            cells += [sum(row["result"] == "proved" for row in own), len(own)]
        cells += [sum("silent" in row for row in kernel["rows"]), len(proved(kernel))]
        cells += [_seconds(kernel), kernel["mebibytes"]]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += ["", "## The rest", "", "| what | kernels |", "|---|---|"]
    rest = Counter(_rest(row) for row in rows if row["result"] != "proved")
    lines += [f"| {what} | {count} |" for what, count in sorted(rest.items())]
    return "\n".join(lines) + "\n"


def _seconds(kernel: dict[str, Any]) -> int:
    seconds: list[float] = [row["seconds"] for row in kernel["rows"]]
    return round(sum(seconds))


def _unit(row: dict[str, Any]) -> tuple[str, str]:
    return row["register"], row["state"]


def _result(row: dict[str, Any]) -> str:
    return "in part" if "silent" in row else str(row["result"])


def _rest(row: dict[str, Any]) -> str:
    taken = "taken" if row.get("taken") else "refused"
    why = row.get("why") or f"counterexample {row['value']}, {taken} by the code"
    return f"{row['register']}, {row['state']}: {why}"


def summary(kernels: list[dict[str, Any]]) -> str:
    """What came of all, in sentences."""
    rows = [row for kernel in kernels for row in kernel["rows"]]
    told = [f"{kind}: {_counted([row for row in rows if row['kind'] == kind])}" for kind in KINDS]
    controls = sum(row.get("controls", 0) for row in rows)
    return f"{len(kernels)} kernels. {'. '.join(told)}. {controls} rules that were bent on purpose were all caught"


def _counted(rows: list[dict[str, Any]]) -> str:
    results = Counter(row["result"] for row in rows)
    share = 100 * results["proved"] / max(results.total(), 1)
    return (
        f"{results['proved']} of {results.total()} rules proved ({share:.1f} %), "
        f"{sum('silent' in row for row in rows)} of them in part, "
        f"{results['counterexample']} counterexamples, {results['not proved']} not proved"
    )


def line(kernel: dict[str, Any]) -> str:
    """What one kernel gave."""
    results = Counter(map(_result, kernel["rows"]))
    said = ", ".join(f"{count} {result}" for result, count in sorted(results.items()))
    return f"{kernel['name']}: {said} ({_seconds(kernel)} s of CPU, {kernel['mebibytes']} MiB)"
