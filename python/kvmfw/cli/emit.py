"""`emit`: settings as ready text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from kvmfw.analysis import Frame, make_frame, open_fleet
from kvmfw.analysis.means import MEANS, any_means
from kvmfw.cli.door import FINDINGS
from kvmfw.cli.options import folder_argument, vmm_option, where_option
from kvmfw.cli.output import output_option, print_or_write
from kvmfw.cli.settings import (
    gate,
    remains_option,
    settings_document,
    settings_of,
    some_names,
    vcpu_options,
)
from kvmfw.cli.streams import note
from kvmfw.planners import kubernetes, openstack
from kvmfw.planners.accept_sets import accept_sets
from kvmfw.planners.generations import Difference, generation_of, read_generation, write_generation
from kvmfw.provenance import provenance
from kvmfw.published import published
from kvmfw.questions import Treat
from kvmfw.quoting import json_text
from kvmfw.report import emit as texts
from kvmfw.vmms import OWN

__all__ = ["emit"]

_PLANNERS = ("openstack", "kubernetes")


@click.command(short_help="Print settings as ready text for a VMM or a scheduler.")
@folder_argument
@click.argument("target", type=click.Choice(["qemu", "firecracker", *_PLANNERS, "json"]))
@vmm_option(default=None)
@where_option
@vcpu_options
@click.option(
    "--unknown",
    type=click.Choice(["refuse", "accept"]),
    default="refuse",
    show_default=True,
    help="What UNKNOWN counts as, for openstack and kubernetes; both have names of their own.",
)
@click.option(
    "--since",
    type=click.Path(dir_okay=False, path_type=Path),
    help="FILE with what a scheduler was told last: print the difference, and keep what it is told now there.",
)
@output_option
@remains_option
def emit(
    *,
    fleet: Path,
    target: str,
    vmm: str | None,
    where: dict[str, str],
    unknown: Treat,
    since: Path | None,
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
    if vmm == OWN and target not in _PLANNERS:
        raise click.UsageError(f"settings for {target} are judged by one VMM; name it (--vmm)")
    means = MEANS.get(target, any_means("kvm"))
    if vmm is not None:
        means = replace(means, vmm=vmm)
    opened = open_fleet(fleet, vmm=means.vmm)
    if target in _PLANNERS:
        frame = make_frame(opened.fleet, columns=opened.columns, where=where)
        left = _told(frame, target, unknown, since, output)
        if left:
            note(f"kvmfw: no host takes {len(left):,} VMs, so nothing places them: {some_names(left)}")
        return FINDINGS if left and "remains" in fail_on else 0
    if since is not None:
        raise click.UsageError(f"--since is for openstack and kubernetes; {target} has no generations")
    made = settings_of(opened, fleet, where, means, vcpu)
    if target == "qemu":
        text = texts.qemu(made, opened.vms)
    elif target == "firecracker":
        text = texts.firecracker(made)
    else:
        text = json_text(published("baseline", settings_document(made), provenance([fleet])))
    print_or_write(text, output)
    return gate(made, fail_on)


def _told(
    frame: Frame, target: str, unknown: Treat, since: Path | None, output: Path | None
) -> tuple[str, ...]:
    """Tell a scheduler what it does not know yet; give the VMs that no host takes."""
    now = frame.fleet
    last = read_generation(since, vmm=now.vmm, scheme=now.scheme, unknown=unknown)
    sets = accept_sets(
        now,
        unknown=unknown,
        change="accept",
        known=last.kinds,
        vm_rows=frame.vm_rows,
        host_rows=frame.host_rows,
    )
    generation = generation_of(sets)
    make = openstack.traits if target == "openstack" else kubernetes.labels
    print_or_write(make(sets, Difference.between(last, generation)), output)
    if since is not None:
        write_generation(since, generation)
    return tuple(frame.vm_names(sets.unplaced))
