"""docs/proofs.md: which rule is proved of which kernel, and why the rest is not."""

from __future__ import annotations

from collections import Counter
from typing import Any

HEAD = """# Proofs

A rule for a firmware register, as a formula that the core makes of its own data, against the machine code of kernel
images as distributions ship them: for all 2^64 values, in each state of the host. Made by `make prove`: the setter of
the image is run with a value that stands for all (angr), and z3 is asked for a value of which code and formula say
different things. *Proved*: there is none, every value takes some way through the code, and each formula that is bent
at one boundary was caught. *Counterexample*: there is one; it is replayed on the real kernel before anybody believes
it. *Not proved*: why not stands below.

Not part of it: ID registers, caches, SVE and the PMU; WORKAROUND_2 of a mitigated host is that of a VM without SSBS.

"""


def text(kernels: list[dict[str, Any]]) -> str:
    """The page."""
    kernels = sorted(kernels, key=lambda one: one["release"])
    units = list(
        dict.fromkeys((row["register"], row["state"]) for kernel in kernels for row in kernel["rows"])
    )
    lines = [
        HEAD,
        summary(kernels),
        "",
        "| rule | proved | counterexample | not proved | no such register |",
        "|---|---|---|---|---|",
    ]
    for unit in units:
        results = Counter(
            row["result"]
            for kernel in kernels
            for row in kernel["rows"]
            if (row["register"], row["state"]) == unit
        )
        absent = len(kernels) - results.total()
        counts = [results[name] for name in ("proved", "counterexample", "not proved")]
        lines.append(
            f"| {unit[0]}, {unit[1]} | {' | '.join(str(count or '') for count in [*counts, absent])} |"
        )
    lines += ["", "## Kernels", "", "| image | build | proved | of | s | MiB |", "|---|---|---|---|---|---|"]
    for kernel in kernels:
        proved = sum(row["result"] == "proved" for row in kernel["rows"])
        cells = (
            kernel["name"],
            kernel["build"],
            proved,
            len(kernel["rows"]),
            kernel["seconds"],
            kernel["mebibytes"],
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += ["", "## The rest", ""]
    rest = Counter(_rest(row) for kernel in kernels for row in kernel["rows"] if row["result"] != "proved")
    lines += ["| what | kernels |", "|---|---|"] + [
        f"| {what} | {count} |" for what, count in sorted(rest.items())
    ]
    return "\n".join(lines) + "\n"


def _rest(row: dict[str, Any]) -> str:
    why = (
        row.get("why")
        or f"counterexample {row['value']}, {'taken' if row['taken'] else 'refused'} by the code"
    )
    return f"{row['register']}, {row['state']}: {why}"


def summary(kernels: list[dict[str, Any]]) -> str:
    """One sentence."""
    results = Counter(row["result"] for kernel in kernels for row in kernel["rows"])
    controls = sum(row.get("controls", 0) for kernel in kernels for row in kernel["rows"])
    share = 100 * results["proved"] / max(results.total(), 1)
    return (
        f"{len(kernels)} kernels: {results['proved']} of {results.total()} rules proved ({share:.1f} %), "
        f"{results['counterexample']} counterexamples, {results['not proved']} not proved; "
        f"{controls} rules that were bent on purpose were all caught"
    )


def line(kernel: dict[str, Any]) -> str:
    """What one kernel gave."""
    results = Counter(row["result"] for row in kernel["rows"])
    said = ", ".join(f"{count} {result}" for result, count in sorted(results.items()))
    return f"{kernel['name']}: {said} ({kernel['seconds']} s, {kernel['mebibytes']} MiB)"
