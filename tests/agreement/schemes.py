"""The debate of 2019, settled: who is right about firmware registers, the target's KVM or a comparison.

Over every recorded write of a firmware register: kernel, host, vCPU, state, value written, and what KVM answered. The document
is docs/schemes.md.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import kvmfw
from kvmfw.analysis import make_frame, open_fleet
from kvmfw.analysis.gates import score_gates
from kvmfw.analysis.opened import capture_documents
from kvmfw.analysis.schemes import compare_schemes
from kvmfw.registers import register_name, schemes_of
from tests.agreement.kvm import STATES, recordings
from tests.oracle.recordings import Recording, Series
from tests.realkvm.convert import convert

SCHEMES = ("signed4", "equal")
TAKEN, REFUSED, WRONG_ACCEPT, WRONG_REFUSE = "both take it", "both refuse it", "wrong accept", "wrong refuse"
COLUMNS = (TAKEN, REFUSED, WRONG_ACCEPT, WRONG_REFUSE)
EXAMPLES = Path(__file__).parents[2] / "examples"

_ORDER = "Here levels are an order, and KVM compares as the comparison does; it does not take values that are no level."
_BITS = "A bitmap: a subset is taken; the comparison looks at no bit above the lowest four, and there as at a number."
WHY = {
    "PSCI_VERSION": "A version is no level: KVM takes those that it knows, and their low 4 bits are a minor number"
    " (0.2, 1.0, 1.1): 1.0 has 0 there, which the comparison calls unknown and less than 0.2. Without the feature"
    " `psci_0_2` only 0.1 is taken.",
    "SMCCC_ARCH_WORKAROUND_1": _ORDER,
    "SMCCC_ARCH_WORKAROUND_2": "Levels are no order: 3 (not required) is refused where 2 (dynamic) is taken, the flag"
    " 0x10 counts, and from 6.12 on the VM's own SSBS field decides.",
    "SMCCC_ARCH_WORKAROUND_3": _ORDER,
    "STD_BMAP": _BITS,
    "STD_HYP_BMAP": _BITS,
    "VENDOR_HYP_BMAP": _BITS,
    "VENDOR_HYP_BMAP_2": "A bitmap whose fresh value is 0 while KVM takes all bits that it knows: comparison and equality"
    " refuse each of them.",
}


@dataclass
class Debate:
    """Counts by scheme and register: over all recorded values, and over those that some host gives a fresh VM."""

    swept: dict[tuple[str, str], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    real: dict[tuple[str, str], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    examples: dict[tuple[str, str, str], str] = field(default_factory=dict)

    def total(self, scheme: str, *, real: bool) -> Counter[str]:
        """All counts of a scheme."""
        counts = self.real if real else self.swept
        return sum((found for (one, _), found in counts.items() if one == scheme), Counter())


def is_debated(register: int) -> bool:
    """Tell whether the comparison speaks for a register that some kernel knows; of others every scheme refuses all."""
    return "signed4" in schemes_of(register) and register_name(register) in WHY


def firmware_series(recording: Recording) -> Iterator[Series]:
    """The recorded sweeps of firmware registers."""
    return (one for one in recording.series() if one.kind == "firmware" and not one.sequence)


def fresh_values(paths: Iterable[Path]) -> dict[int, set[int]]:
    """What fresh VMs have in firmware registers, on any of the hosts."""
    found: dict[int, set[int]] = defaultdict(set)
    for path in paths:
        for config in Recording(path).configs.values():
            for register, value in config.facts.registers.items():
                if is_debated(register):
                    found[register].add(value)
    return found


def debate(folder: Path) -> Debate:
    """Compare the schemes with every recorded answer of the firmware registers."""
    paths = recordings(folder)
    seen, counted = fresh_values(paths), Debate()
    for path in paths:
        recording = Recording(path)
        if not recording.configs:
            continue
        host = kvmfw.Host.from_json(json.dumps(convert(recording.raw, recording.name)))
        for series in firmware_series(recording):
            _count(counted, seen, recording, host, series)
    return counted


def _count(
    counted: Debate, seen: dict[int, set[int]], recording: Recording, host: kvmfw.Host, series: Series
) -> None:
    phase = "" if series.run_refused else series.label.split(" ")[0]
    by_register: dict[int, list[tuple[int, bool]]] = defaultdict(list)
    for write in series.writes:
        if is_debated(write.register):
            by_register[write.register].append((write.value, write.errno is None))
    for register, writes in by_register.items():
        name = register_name(register)
        for scheme in SCHEMES:
            said = host.ask(
                series.config.name,
                register,
                [value for value, _ in writes],
                scheme=scheme,
                state=STATES.get(phase, "fresh"),
            )
            for (value, takes), (effect, *_) in zip(writes, said, strict=True):
                accepts = effect != "refused"
                box = COLUMNS[(0 if takes else 1) if accepts == takes else (2 if accepts else 3)]
                counted.swept[scheme, name][box] += 1
                if value in seen[register]:
                    counted.real[scheme, name][box] += 1
                    own = series.config.facts.registers.get(register)
                    told = f"{recording.release}: {value:#x} saved, the host has {'none' if own is None else f'{own:#x}'}"
                    counted.examples.setdefault((scheme, name, box), told)


def section(counted: Debate) -> list[str]:
    """The part of the document that is about recorded answers."""
    lines = ["## Over every recorded answer", ""]
    for real, words in (
        (
            False,
            "All values that were written: levels, bits, versions and others, to fresh vCPUs and to such that ran.",
        ),
        (True, "Of these, values that a fresh VM has on one of the recorded hosts: what a migration brings."),
    ):
        lines += [
            words,
            "",
            "| scheme | register | answers | " + " | ".join(COLUMNS) + " |",
            "|---|---|---|---|---|---|---|",
        ]
        counts = counted.real if real else counted.swept
        for scheme in SCHEMES:
            total = counted.total(scheme, real=real)
            rows = [
                ("**all**", total),
                *((name, found) for (one, name), found in sorted(counts.items()) if one == scheme),
            ]
            lines += [
                f"| {scheme} | {name} | {sum(found.values()):,} | "
                + " | ".join(f"{found[box]:,}" for box in COLUMNS)
                + " |"
                for name, found in rows
            ]
        lines.append("")
    lines += ["**Why**, by register:", ""]
    lines += [f"* {name}: {WHY[name]}" for name in sorted({name for _, name in counted.swept}) if name in WHY]
    lines += [
        "",
        "One case of each kind, of values that VMs have:",
        "",
        "| scheme | register | | case |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {scheme} | {name} | {box} | {told} |"
        for (scheme, name, box), told in sorted(counted.examples.items())
        if box in (WRONG_ACCEPT, WRONG_REFUSE)
    ]
    return [*lines, ""]


def fleet_section(folder: Path) -> list[str]:
    """The part of the document that is about a fleet: schemes, and the gates of today."""
    opened = open_fleet(folder)
    lines = [
        "## Over the example fleet",
        "",
        "`kvmfw schemes examples --gates`, in pairs of a VM and another host. A scheme speaks for some registers and says of"
        " the others what KVM does: it decided at all where one of its own was refused, by it or by KVM, and decided alone"
        " where nothing else was.",
        "",
    ]
    lines += [
        "| scheme | judges itself | decided at all | alone | takes | wrong accept | wrong refuse |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.scheme} | {len(one.judges)} registers | {one.decided:,} | {one.decided_alone:,} |"
        f" {one.accepted:,} of {one.pairs:,} |"
        f" {one.wrongly_accepted:,} | {one.wrongly_refused:,} |"
        for one in compare_schemes(opened.vms, opened.hosts)
    ]
    lines += [
        "",
        "| gate | compares | who | lets through | of these KVM refuses | forbids, KVM takes |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.gate.name} | {one.gate.compares} | {one.gate.who} | {one.allowed:,} of {one.pairs:,} |"
        f" {one.wrongly_allowed:,} | {one.wrongly_forbidden:,} |"
        for one in score_gates(make_frame(opened.fleet), opened.columns["capture"], capture_documents(folder))
    ]
    return [*lines, ""]


INTRODUCTION = """# Schemes: who should judge

Made by `make agreement`. In February 2019 it was asked on the KVM mailing list who should judge the firmware registers
of a VM that moves: the target's KVM, which alone knows what it can honour (the settled view, `kvm`), or userspace by a
generic comparison of the low 4 bits as signed numbers, greater being better and 0 unknown (`signed4`). What many fleets
do is a third: only equals (`equal`). Here all three are measured against what real kernels answered.
"""


def document(folder: Path) -> str:
    """The whole document."""
    return "\n".join([INTRODUCTION, *section(debate(folder)), *fleet_section(EXAMPLES)]).rstrip() + "\n"
