"""`emit`: cures as ready text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kvmfw.analysis import make_frame, open_fleet
from kvmfw.cli.baseline import baseline_document, baseline_of, vcpu_options
from kvmfw.cli.options import folder_argument, vmm_option, where_option
from kvmfw.cli.output import output_option, print_or_write
from kvmfw.cli.screen import as_json
from kvmfw.report import emit as texts

__all__ = ["emit"]


@click.command(short_help="Print cures as ready text for a VMM or a scheduler.")
@folder_argument
@click.argument("target", type=click.Choice(["qemu", "firecracker", "openstack", "kubernetes", "json"]))
@vmm_option()
@where_option
@vcpu_options
@output_option
def emit(
    *, fleet: Path, target: str, vmm: str, where: dict[str, str], output: Path | None, **vcpu: Any
) -> None:
    """Print what to set so that VMs go to all hosts, for TARGET.

    qemu: registers to hide or to miss safely, ID fields, PSCI and hypercall bitmaps. firecracker: a CPU
    template. openstack: placement traits of host classes and what VMs ask for. kubernetes: node labels
    and affinities. json: the baseline behind them.
    """
    opened = open_fleet(fleet, vmm=vmm)
    if target in ("openstack", "kubernetes"):
        frame = make_frame(opened.fleet, columns=opened.columns, where=where)
        make = texts.openstack if target == "openstack" else texts.kubernetes
        print_or_write(make(frame, opened.columns["capture"]), output)
        return
    made = baseline_of(opened, where, vmm, vcpu)
    if target == "qemu":
        text = texts.qemu(made, opened.vms)
    elif target == "firecracker":
        text = texts.firecracker(made)
    else:
        text = as_json(baseline_document(made))
    print_or_write(text, output)
