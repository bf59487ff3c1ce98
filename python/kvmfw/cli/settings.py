"""What `baseline` and `emit` share: how a vCPU is made, the settings found, and what is said of what remains."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, TypeVar

import click

from kvmfw.analysis import make_frame
from kvmfw.analysis.baseline import Baseline
from kvmfw.analysis.changed import hide_register, host_of
from kvmfw.analysis.means import Means
from kvmfw.analysis.opened import OpenedFleet, capture_documents
from kvmfw.analysis.security import LEVELS
from kvmfw.analysis.settings import Settings, find_settings
from kvmfw.cli.door import FINDINGS
from kvmfw.cli.options import fail_on_option
from kvmfw.cli.streams import note
from kvmfw.readers import ENABLED, FEATURES
from kvmfw.registers import register_name
from kvmfw.sets import Host

__all__ = ["gate", "remains_option", "settings_document", "settings_of", "some_names", "vcpu_options"]

Verb = TypeVar("Verb", bound=Callable[..., Any])

FEW_NAMES = 4
REMAINS = 10


def vcpu_options(verb: Verb) -> Verb:
    """Add the options that say how a VM's vCPU is made, and for which share of the hosts."""
    for option in (
        click.option(
            "--share",
            type=click.FloatRange(0, 1, min_open=True),
            default=1.0,
            show_default=True,
            help="Share of the hosts for which it must be reached; as few as can be are left out.",
        ),
        click.option(
            "--enable", "enabled", multiple=True, type=click.Choice(ENABLED), help="A VM capability."
        ),
        click.option("--vgic/--no-vgic", default=True, show_default=True, help="Whether the VM has a GICv3."),
        click.option(
            "--feature",
            "features",
            multiple=True,
            type=click.Choice(FEATURES),
            metavar="FEATURE",
            default=("psci_0_2",),
            show_default=True,
            help=f"A vCPU feature, one of {', '.join(FEATURES)}; may be given many times.",
        ),
    ):
        verb = option(verb)
    return verb


remains_option = fail_on_option("remains", default="remains")


def settings_of(
    opened: OpenedFleet, fleet: Path, where: dict[str, str], means: Means, vcpu: dict[str, Any]
) -> Settings:
    """Find settings for the hosts of a fleet that a filter keeps."""
    rows = make_frame(opened.fleet, columns=opened.columns, where=where).host_rows.tolist()
    documents: dict[str, dict[str, Any]] = {}

    def hide(host: Host, registers: Collection[int]) -> Host:
        documents.update(() if documents else capture_documents(fleet))
        hidden = documents.get(host._native.name)
        if hidden is None:
            # A dump of another tool: judged with the registers, which is no easier.
            return host
        for register in registers:
            hidden = hide_register(hidden, register)
        return host_of(hidden).renamed(host.name).with_vmm(host.vmm)

    return find_settings([opened.hosts[row] for row in rows], means, hide=hide, **vcpu)


def gate(made: Settings, fail_on: frozenset[str]) -> int:
    """Say on stderr what is not reached and what would be, and give the exit code."""
    if not made.remains:
        for register in sorted(made.values.keys() & set(LEVELS)):
            note(f"kvmfw: {register_name(register)} is lowered: guests are told of less mitigation")
        return 0
    note(f"kvmfw: not reached for {_share_of(made)}; what remains:")
    for one in made.remains[:REMAINS]:
        where = (
            f"VMs of {some_names(one.sources)} on {some_names(one.targets)}"
            if one.sources
            else some_names(one.targets)
        )
        note(f"kvmfw: {one.outcome.name} {some_names(one.names)} ({where}): {one.sentence}")
    if len(made.remains) > REMAINS:
        note(f"kvmfw: and {len(made.remains) - REMAINS:,} more (emit json has all)")
    if made.largest:
        share = int(len(made.largest) / made.hosts * 10000) / 10000
        note(
            f"kvmfw: it is reached for {len(made.largest):,} of {made.hosts:,} hosts: {some_names(made.largest)};"
            f" --share {share} gives that"
        )
    return FINDINGS if "remains" in fail_on else 0


def _share_of(made: Settings) -> str:
    return (
        f"{len(made.baseline.covered):,} of {made.hosts:,} hosts"
        if made.baseline.left_out
        else (f"all {made.hosts:,} hosts")
    )


def settings_document(made: Settings) -> dict[str, Any]:
    """Give settings, the baseline behind them and what remains as JSON-ready data."""
    return {
        "reached": not made.remains,
        **_baseline_document(made.baseline),
        "outcome": made.outcome.name,
        "set": {f"{register:#x}": f"{value:#x}" for register, value in made.values.items()},
        "hide": [f"{register:#x}" for register in made.hidden],
        "remains": [
            {
                "names": list(one.names),
                "rule": one.rule,
                "outcome": one.outcome.name,
                "sources": list(one.sources),
                "targets": list(one.targets),
                "sentence": one.sentence,
            }
            for one in made.remains
        ],
        "largest": list(made.largest),
    }


def _baseline_document(made: Baseline) -> dict[str, Any]:
    return {
        "covered": list(made.covered),
        "left_out": list(made.left_out),
        "registers": [
            {
                "register": f"{one.register:#x}",
                "name": one.name,
                "value": None if one.value is None else f"{one.value:#x}",
                "greatest": f"{one.greatest:#x}",
                "bound_by": list(one.bound_by),
                "absent_on": list(one.absent_on),
            }
            for one in made.registers
        ],
    }


def some_names(names: tuple[str, ...]) -> str:
    """Name the first few."""
    more = f" and {len(names) - FEW_NAMES:,} more" if len(names) > FEW_NAMES else ""
    return ", ".join(names[:FEW_NAMES]) + more
