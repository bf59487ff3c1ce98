"""`schemes`: who else judges, and how they differ from KVM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from kvmfw.analysis.frame import make_frame
from kvmfw.analysis.gates import GateScore, gate_row, score_gates
from kvmfw.analysis.not_judged import homeless
from kvmfw.analysis.opened import capture_documents, open_fleet
from kvmfw.analysis.schemes import SchemeScore, compare_schemes
from kvmfw.cli.options import (
    folder_argument,
    format_option,
    vmm_option,
)
from kvmfw.cli.screen import console, heading, print_json, table
from kvmfw.cli.streams import note
from kvmfw.errors import InputError

__all__ = ["schemes"]


@click.command(
    short_help="Compare who judges: the target's KVM, a generic comparison, equality, today's gates."
)
@folder_argument
@vmm_option()
@format_option("table", "json")
@click.option("--top", type=click.IntRange(1), default=10, show_default=True, help="Registers to show.")
@click.option(
    "--gates",
    is_flag=True,
    help="Also compare the gates that fleets have today: Nova, KubeVirt, RHEL and others.",
)
def schemes(*, fleet: Path, vmm: str, form: str, top: int, gates: bool) -> None:
    """Count where the generic comparison and equality differ from the target's own decision.

    Wrongly accepted: the scheme takes the VM and the target's KVM refuses it, so the restore would fail.
    Wrongly refused: the scheme refuses a VM that KVM would take, so a target is lost. With --gates, the same of the
    checks that are made today, each of which compares the host of a VM with the target.
    """
    opened = open_fleet(fleet, vmm=vmm)
    scores = compare_schemes(opened.vms, opened.hosts, vmm=vmm)
    frame = make_frame(opened.fleet)
    gated = score_gates(frame, opened.columns["capture"], capture_documents(fleet)) if gates else []
    open_ends = homeless(frame)
    for one in open_ends:
        note(f"kvmfw: not judged: {one}")
    if not any(one.pairs for one in scores):
        raise InputError("there is nothing to compare: no VM of this fleet has another host", file=str(fleet))
    if form == "json":
        told: dict[str, Any] = {
            "not_judged": [one.to_dict() for one in open_ends],
            "schemes": list(map(scheme_document, scores)),
        }
        if gates:
            told["gates"] = list(map(gate_document, gated))
        print_json("schemes", told, [fleet])
        return
    out = console()
    _print_schemes(out, scores, top)
    if gates:
        _print_gates(out, gated, top)


def _print_schemes(out: Console, scores: Sequence[SchemeScore], top: int) -> None:
    out.print(heading("Pairs of a VM and another host"))
    numbers = ("judges", "pairs", "accepted", "wrongly accepted", "wrongly refused", "KVM unknown")
    rows = [
        (
            one.scheme,
            len(one.judges),
            one.pairs,
            one.accepted,
            one.wrongly_accepted,
            one.wrongly_refused,
            one.undecided,
        )
        for one in scores
    ]
    out.print(table(("scheme", *numbers), rows, numbers=numbers))
    out.print(
        "judges: registers that the scheme decides itself; of the others it says what KVM does", style="dim"
    )
    for score in scores[1:]:
        more = f" and {len(score.judges) - top} more" if len(score.judges) > top else ""
        out.print(
            f"{score.scheme} judges {', '.join(score.judges[:top])}{more}: one of them is refused, by it or by KVM, on"
            f" {score.decided:,} pairs, and nothing else on {score.decided_alone:,} of these"
        )
    for score in scores:
        if score.registers:
            out.print()
            out.print(heading(f"Where {score.scheme} differs, by register  {len(score.registers):,}"))
            cells = [(one.unit, one.wrongly_accepted, one.wrongly_refused) for one in score.registers[:top]]
            out.print(table(("register", *numbers[3:5]), cells, numbers=numbers))


def _print_gates(out: Console, gated: Sequence[GateScore], top: int) -> None:
    out.print()
    out.print(heading("Gates that fleets have today, by pairs of a VM with a known home and another host"))
    numbers = ("pairs", "let through", "KVM refuses", "forbidden, KVM takes", "KVM unknown")
    cells = [
        (one.gate.name, one.pairs, one.allowed, one.wrongly_allowed, one.wrongly_forbidden, one.undecided)
        for one in gated
    ]
    out.print(table(("gate", *numbers), cells, numbers=numbers))
    for one in gated:
        out.print(f"`{one.gate.name}` compares {one.gate.compares}. {one.gate.who}.", style="dim")
    for one in gated:
        if one.relaxed:
            out.print()
            out.print(heading(f"Where `{one.gate.name}` may be relaxed  {one.vms:,} VMs"))
            rows = [(row.source, row.target, row.vms, row.pairs) for row in one.relaxed[:top]]
            out.print(table(("from hosts of", "to hosts of", "VMs", "pairs"), rows, numbers=("VMs", "pairs")))


def gate_document(score: GateScore) -> dict[str, Any]:
    """Give the score of a gate as JSON-ready data."""
    return gate_row(score) | {"relaxed": [asdict(one) for one in score.relaxed]}


def scheme_document(score: SchemeScore) -> dict[str, Any]:
    """Give the score of a scheme as JSON-ready data."""
    return {
        "scheme": score.scheme,
        "pairs": score.pairs,
        "accepted": score.accepted,
        "wrongly_accepted": score.wrongly_accepted,
        "wrongly_refused": score.wrongly_refused,
        "undecided": score.undecided,
        "judges": len(score.judges),
        "judged": list(score.judges),
        "decided": score.decided,
        "decided_alone": score.decided_alone,
        "registers": [
            {
                "register": one.unit,
                "wrongly_accepted": one.wrongly_accepted,
                "wrongly_refused": one.wrongly_refused,
            }
            for one in score.registers
        ],
    }
