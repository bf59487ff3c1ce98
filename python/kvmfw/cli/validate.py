"""`validate`: a VM and a host as files, or this machine itself."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

import kvmfw
from kvmfw.cli.options import (
    VMMS,
    examples,
    fail_on_option,
    format_option,
    path_type,
    scheme_option,
    vmm_option,
)
from kvmfw.cli.verdicts import Judged, all_option, show
from kvmfw.errors import FormatError, InputError
from kvmfw.files import read_document
from kvmfw.sets import Host, RegisterSet
from kvmfw.verdict import validate as judge

__all__ = ["validate"]


@click.command(
    epilog=examples(
        "kvmfw validate vm.json host.json",
        "kvmfw validate vm.json host.json --vmm all --format json",
        "kvmfw validate --on-host vms.jsonl",
    )
)
@click.argument("vm", type=path_type())
@click.argument("host", type=path_type(), required=False)
@click.option(
    "--on-host",
    is_flag=True,
    help="Really write the registers into a fresh vCPU of this machine's KVM, instead of judging by a capture.",
)
@vmm_option("all")
@scheme_option
@click.option(
    "--state",
    type=click.Choice(["fresh", "exited", "ran"]),
    default="fresh",
    show_default=True,
    help="What the target vCPU has done before the writes; a restore meets a fresh one.",
)
@format_option("table", "json")
@fail_on_option("change", "unknown", "refuse", default="refuse,unknown")
@all_option
def validate(
    *,
    vm: Path,
    host: Path | None,
    on_host: bool,
    vmm: str,
    scheme: str,
    state: str,
    form: str,
    fail_on: frozenset[str],
    every: bool,
) -> int:
    """Judge whether HOST takes the VM's registers.

    VM is a register set (.json), many of them (.jsonl), or a folder of such files; HOST is a capture
    or a folder of captures. Every finding of a pair is shown, never only the first, and what to do; of many
    pairs an overview (--all shows every verdict). With --on-host there is no HOST: the KVM of this machine
    is asked, and its answers are printed as JSON.
    """
    if on_host == (host is not None):
        problem = (
            "--on-host asks this machine; leave HOST out"
            if on_host
            else "HOST is missing: a capture, or --on-host"
        )
        raise click.UsageError(problem)
    if host is None:
        if vmm == "all":
            raise click.UsageError("--on-host writes in the order of one VMM; name it with --vmm")
        known = [name for name in kvmfw.probe.POLICIES if f"{vmm}-".startswith(f"{name}-")]
        if not known:
            orders = ", ".join(kvmfw.probe.POLICIES)
            raise click.UsageError(
                f"--on-host cannot write as {vmm} does; it writes in the order of {orders}"
            )
        return kvmfw.probe.guarded(["validate", "--on-host", str(vm), "--vmm", known[0]])
    vms = _sets(vm)
    if not vms:
        raise InputError("there is no VM in it: nothing to judge", file=str(vm))
    hosts = kvmfw.readers.hosts(host)[0] if host.is_dir() else [Host.load(host)]
    judged = [
        Judged(one, other, judge(one, other, vmm=policy, scheme=scheme, state=state), one.name or vm.name)
        for one in vms
        for other in hosts
        for policy in (VMMS if vmm == "all" else (vmm,))
    ]
    return show(judged, form, fail_on, [vm, host], every=every)


def _sets(path: Path) -> list[RegisterSet]:
    """Read the register sets of a file or folder; readers of other formats are not needed for one of our own."""
    if path.suffix == ".json" and path.is_file():
        with contextlib.suppress(FormatError):
            one = RegisterSet.from_json(read_document(path))
            if one.name:
                return [one]
    return list(kvmfw.readers.register_sets(path))
