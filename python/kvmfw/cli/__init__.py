"""The command line: `kvmfw VERB ...`."""

from __future__ import annotations

import click

import kvmfw
from kvmfw.cli.audit import audit
from kvmfw.cli.baseline import baseline
from kvmfw.cli.collect import collect
from kvmfw.cli.diff import diff
from kvmfw.cli.door import Door
from kvmfw.cli.emit import emit
from kvmfw.cli.explain import explain
from kvmfw.cli.ingest import ingest
from kvmfw.cli.probe import probe
from kvmfw.cli.registers import registers
from kvmfw.cli.rule import rule
from kvmfw.cli.schema import schema
from kvmfw.cli.schemes import schemes
from kvmfw.cli.validate import validate
from kvmfw.cli.vmms import vmms
from kvmfw.cli.whatif import whatif
from kvmfw.cli.why import why

__all__ = ["main"]


@click.group(cls=Door, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(kvmfw.__version__, prog_name="kvmfw")
def main() -> None:
    """Tell whether a target host's arm64 KVM takes a VM's saved registers, and why not.

    A capture holds what one host's KVM said when it was asked once; a register set holds what was
    saved of one VM. From both, kvmfw decides every pair of VM and host without moving anything.

    Exit code: 0 nothing over the threshold, 2 findings (see --fail-on), 1 wrong usage or input.
    """


for verb in (
    validate,
    audit,
    explain,
    why,
    diff,
    whatif,
    baseline,
    emit,
    schemes,
    ingest,
    registers,
    rule,
    vmms,
    schema,
    probe,
    collect,
):
    main.add_command(verb)
