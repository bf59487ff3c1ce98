"""`emit`: settings as ready text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from kvmfw.analysis import make_frame, open_fleet
from kvmfw.analysis.means import MEANS, any_means
from kvmfw.cli.door import FINDINGS
from kvmfw.cli.options import folder_argument, vmm_option, where_option
from kvmfw.cli.output import note, output_option, print_or_write
from kvmfw.cli.settings import (
    gate,
    remains_option,
    settings_document,
    settings_of,
    some_names,
    vcpu_options,
)
from kvmfw.quoting import json_text
from kvmfw.report import emit as texts

__all__ = ["emit"]


@click.command(short_help="Print settings as ready text for a VMM or a scheduler.")
@folder_argument
@click.argument("target", type=click.Choice(["qemu", "firecracker", "openstack", "kubernetes", "json"]))
@vmm_option(default=None)
@where_option
@vcpu_options
@output_option
@remains_option
def emit(
    *,
    fleet: Path,
    target: str,
    vmm: str | None,
    where: dict[str, str],
    output: Path | None,
    fail_on: frozenset[str],
    **vcpu: Any,
) -> int:
    """Print what to set so that VMs go to all hosts, for TARGET.

    qemu: registers to hide or to miss safely, ID fields and the PSCI version. firecracker: a CPU
    template. openstack: placement traits of host classes and what VMs ask for. kubernetes: node labels
    and affinities. json: what a VMM that can set and hide everything would set.

    The settings are applied to fresh VMs of every host, as the VMM would, and judged on all others. Exit
    code 2 when some are refused nevertheless; what remains, and for which hosts the goal is reached, is
    said on stderr.
    """
    means = MEANS.get(target, any_means("kvm"))
    if vmm is not None:
        means = replace(means, vmm=vmm)
    opened = open_fleet(fleet, vmm=means.vmm)
    if target in ("openstack", "kubernetes"):
        frame = make_frame(opened.fleet, columns=opened.columns, where=where)
        make = texts.openstack if target == "openstack" else texts.kubernetes
        print_or_write(make(frame, opened.columns["capture"]), output)
        left = tuple(texts.unplaced(frame))
        if left:
            note(f"kvmfw: no host takes {len(left):,} VMs, so nothing places them: {some_names(left)}")
        return FINDINGS if left and "remains" in fail_on else 0
    made = settings_of(opened, fleet, where, means, vcpu)
    if target == "qemu":
        text = texts.qemu(made, opened.vms)
    elif target == "firecracker":
        text = texts.firecracker(made)
    else:
        text = json_text(settings_document(made))
    print_or_write(text, output)
    return gate(made, fail_on)
