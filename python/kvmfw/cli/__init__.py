"""The command line: `kvmfw VERB ...`."""

from __future__ import annotations

import click

from kvmfw import _native
from kvmfw.cli.door import Door

__all__ = ["main"]

# Each verb is the command of the module of its name, which is imported when it is called: what it needs takes longer to
# import than others take to work.
VERBS = {
    "audit": "Audit a fleet: stranded VMs, one-way traps, what blocks most.",
    "baseline": "Find the greatest register values that all hosts take.",
    "collect": "Capture many hosts over ssh.",
    "diff": "Compare before and after an update: what VMs lose.",
    "emit": "Print settings as ready text for a VMM or a scheduler.",
    "explain": "Explain one pair of a fleet, by name, or where a VM can go.",
    "help": "Explain a verb, or list all.",
    "ingest": "Take sources of any format into a fleet on disk.",
    "kernel": "Read a kernel image: its tables, and which known kernel they are like.",
    "predict": "Say what a host would show under another kernel.",
    "probe": "Ask this machine's KVM and print its capture.",
    "registers": "List the registers whose values KVM looks at.",
    "rollout": "Order drains and reboots so that no VM is trapped.",
    "rule": "Explain a rule id, or list all.",
    "schema": "Print the JSON Schema of a format.",
    "schemes": "Compare who judges: the target's KVM, a generic comparison, equality, today's gates.",
    "serve": "Answer planners over HTTP and Arrow Flight.",
    "trend": "Show audits over time, and what changed since the last.",
    "validate": "Judge whether HOST takes the VM's registers.",
    "vmms": "List the VMMs whose restore is known, and from where.",
    "whatif": "Suppose an upgrade, another level or a hidden register.",
    "why": "Explain an error message, a log, or a register with its value.",
}


@click.group(
    cls=Door,
    verbs=VERBS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(_native.build_info()[0], "-V", "--version", prog_name="kvmfw")
def main() -> None:
    """Tell whether a target host's arm64 KVM takes a VM's saved registers, and why not.

    A capture holds what one host's KVM said when it was asked once; a register set holds what was
    saved of one VM. From both, kvmfw decides every pair of VM and host without moving anything.

    Exit code: 0 nothing over the threshold, 2 findings (see --fail-on), 1 wrong usage or input.
    """
