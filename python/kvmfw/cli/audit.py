"""The verb `audit`: a whole fleet."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import click

from kvmfw.analysis import examine, make_frame, open_fleet, policy_refusals
from kvmfw.analysis.opened import capture_documents
from kvmfw.cli.door import FINDINGS
from kvmfw.cli.options import (
    examples,
    fail_on_option,
    folder_argument,
    format_option,
    path_type,
    scheme_option,
    vmm_option,
    weaker_option,
    where_option,
)
from kvmfw.cli.output import output_option, print_or_write
from kvmfw.cli.render import Shown, print_report
from kvmfw.cli.screen import console, working
from kvmfw.cli.streams import note
from kvmfw.distributed.auditing import survey_fleet
from kvmfw.distributed.engines import ENGINES
from kvmfw.distributed.engines import engine as engine_named
from kvmfw.errors import InputError
from kvmfw.fleet import Fleet
from kvmfw.quoting import utf8
from kvmfw.report import issues, read_waivers, waive, write_tables
from kvmfw.report.issues import expired
from kvmfw.report.metrics import prometheus as metrics
from kvmfw.report.records import add_record

__all__ = ["audit"]

FOLDER_FORMATS = ("csv", "parquet")


@click.command(
    short_help="Audit a fleet: stranded VMs, one-way traps, what blocks most.",
    epilog=examples(
        "kvmfw audit examples",
        "kvmfw audit examples --html report.html --group-by cluster",
        "kvmfw audit examples --record history.parquet --prometheus kvmfw.prom",
        "kvmfw audit examples --format sarif -o kvmfw.sarif --waivers waivers.toml",
        "kvmfw audit examples --engine ray",
    ),
)
@folder_argument
@vmm_option()
@scheme_option
@where_option
@click.option(
    "--group-by", metavar="COLUMN", help="Group hosts, VMs and drain checks by a column of hosts.csv."
)
@click.option(
    "--few",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="List VMs with fewer targets than this.",
)
@click.option(
    "--unknown",
    type=click.Choice(["refuse", "accept"]),
    default="refuse",
    show_default=True,
    help="What UNKNOWN counts as where a host either takes a VM or does not.",
)
@click.option(
    "--change",
    type=click.Choice(["accept", "refuse"]),
    default="accept",
    show_default=True,
    help="What CHANGE counts as where a host either takes a VM or does not.",
)
@weaker_option
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    help="Who reads the VMs, file by file, and keeps none: this process, a Ray or a Spark cluster.",
)
@format_option("table", "json", "csv", "parquet", "sarif", "junit", "markdown", "html")
@output_option
@click.option(
    "--html", type=click.Path(path_type=Path, dir_okay=False), help="Also write the report as one HTML file."
)
@click.option(
    "--record",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Add the numbers to a history (Parquet), which `kvmfw trend` shows.",
)
@click.option(
    "--prometheus",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write the numbers for node_exporter's textfile collector (.prom).",
)
@click.option(
    "--waivers", type=path_type(folder=False), help="A waivers file (TOML) with rule, reason, expires."
)
@click.option(
    "--top",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="Rows of each table to show to people.",
)
@fail_on_option(
    "refuse", "unknown", "trap", "stranded", "few", "drain", "homeless", default="trap,stranded,homeless"
)
def audit(
    *,
    fleet: Path,
    vmm: str,
    scheme: str,
    where: dict[str, str],
    group_by: str | None,
    few: int,
    unknown: str,
    change: str,
    weaker: bool,
    engine: str | None,
    form: str,
    output: Path | None,
    html: Path | None,
    record: Path | None,
    prometheus: Path | None,
    waivers: Path | None,
    top: int,
    fail_on: frozenset[str],
) -> int:
    """Audit a fleet: which VMs are stranded, which hosts are one-way traps, what blocks most.

    FLEET is a fleet folder: captures, hosts.csv, vms.jsonl. Pairs are counted over every VM and every
    host that is not its own; a VM is stranded when no other host takes it. What could not be judged is said
    first; VMs of which it is not known where they run give exit code 2 (`homeless`).
    """
    if form in FOLDER_FORMATS and output is None:
        raise click.UsageError(
            f"--format {form} writes one file for each table; say where with --output FOLDER"
        )
    decided = read_waivers(waivers) if waivers else []
    for waiver in expired(decided, date.today()):
        note(f"kvmfw: a waiver of {waiver.rule} expired on {waiver.expires}: {waiver.reason}")
    with working("reading the fleet"):
        opened, survey = (
            (open_fleet(fleet, vmm=vmm, scheme=scheme), None)
            if engine is None
            else survey_fleet(fleet, engine_named(engine), vmm=vmm, scheme=scheme)
        )
    with working("judging classes and drawing conclusions") as tell:
        taken = {"change": change == "accept", "unknown": unknown == "accept"}
        frame = make_frame(
            opened.fleet, columns=opened.columns, where=where, tell=tell, survey=survey, **taken
        )
        if not frame.vm_rows.size and (frame.homes >= 0).all():
            words = " and ".join(f"{name} = {value}" for name, value in where.items())
            raise InputError(f"no VM runs on a host with {words}: there is nothing to judge", file=str(fleet))
        report = examine(
            frame,
            columns=opened.columns,
            few=few,
            group_by=group_by,
            intake=opened.intake,
            born=opened.born,
            documents=capture_documents(fleet),
            weaker=weaker,
        )
        report.facts["where"] = where
        if vmm != "kvm":
            pairs = policy_refusals(frame, Fleet(opened.vms, opened.hosts, scheme=scheme))
            report.tables["policy"] = [{"unit": unit, "pairs": count} for unit, count in pairs.items()]
    found = waive(issues(report), decided, date.today())
    inputs = [fleet] if waivers is None else [fleet, waivers]
    shown = Shown(report, found, opened, fleet, fail_on, top, inputs)
    # Files first: whoever reads the table may leave early.
    if html is not None:
        print_or_write(shown.text("html"), html)
        note(f"kvmfw: wrote {html}")
    if record is not None:
        add_record(record, report, shown.made)
    if prometheus is not None:
        print_or_write(metrics(report, shown.made, utf8(fleet.resolve().name)), prometheus)
    if form in FOLDER_FORMATS and output is not None:
        write_tables(report.tables, output, form)
    elif form == "table" and output is None:
        print_report(console(), report, top)
    else:
        print_or_write(shown.text(form), output)
    waived = sum(issue.waiver is not None for issue in found)
    if waived:
        note(f"kvmfw: {waived:,} of {len(found):,} issues are waived")
    failed = any(issue.word in fail_on and issue.waiver is None for issue in found)
    return FINDINGS if failed else 0
