"""`schemes`: who else judges, and how they differ from KVM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kvmfw import readers
from kvmfw.analysis.frame import make_frame
from kvmfw.analysis.not_judged import homeless
from kvmfw.analysis.schemes import SchemeScore, compare_schemes
from kvmfw.cli.options import (
    folder_argument,
    format_option,
    vmm_option,
)
from kvmfw.cli.output import note
from kvmfw.cli.screen import console, heading, print_json, table
from kvmfw.fleet import Fleet

__all__ = ["schemes"]


@click.command(short_help="Compare who judges: the target's KVM, a generic comparison, equality.")
@folder_argument
@vmm_option()
@format_option("table", "json")
@click.option("--top", type=click.IntRange(1), default=10, show_default=True, help="Registers to show.")
def schemes(*, fleet: Path, vmm: str, form: str, top: int) -> None:
    """Count where the generic comparison and equality differ from the target's own decision.

    Wrongly accepted: the scheme takes the VM and the target's KVM refuses it, so the restore would fail.
    Wrongly refused: the scheme refuses a VM that KVM would take, so a target is lost.
    """
    vms, hosts = readers.fleet_folder(fleet)
    scores = compare_schemes(vms, hosts, vmm=vmm)
    open_ends = homeless(make_frame(Fleet(vms, hosts, vmm=vmm)))
    for one in open_ends:
        note(f"kvmfw: not judged: {one}")
    if form == "json":
        told = {
            "not_judged": [one.to_dict() for one in open_ends],
            "schemes": list(map(scheme_document, scores)),
        }
        print_json("schemes", told, [fleet])
        return
    out = console()
    out.print(heading("Pairs of a VM and another host"))
    numbers = ("judges", "pairs", "accepted", "wrongly accepted", "wrongly refused", "KVM unknown")
    rows = [
        (
            one.scheme,
            one.judges,
            one.pairs,
            one.accepted,
            one.wrongly_accepted,
            one.wrongly_refused,
            one.undecided,
        )
        for one in scores
    ]
    out.print(table(("scheme", *numbers), rows, numbers=numbers))
    for score in scores:
        if score.registers:
            out.print()
            out.print(heading(f"Where {score.scheme} differs, by register  {len(score.registers):,}"))
            cells = [(one.unit, one.wrongly_accepted, one.wrongly_refused) for one in score.registers[:top]]
            out.print(table(("register", *numbers[3:5]), cells, numbers=numbers))


def scheme_document(score: SchemeScore) -> dict[str, Any]:
    """Give the score of a scheme as JSON-ready data."""
    return {
        "scheme": score.scheme,
        "pairs": score.pairs,
        "accepted": score.accepted,
        "wrongly_accepted": score.wrongly_accepted,
        "wrongly_refused": score.wrongly_refused,
        "undecided": score.undecided,
        "judges": score.judges,
        "registers": [
            {
                "register": one.unit,
                "wrongly_accepted": one.wrongly_accepted,
                "wrongly_refused": one.wrongly_refused,
            }
            for one in score.registers
        ],
    }
