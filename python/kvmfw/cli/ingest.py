"""The verb `ingest`: sources of any format become a fleet on disk."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from kvmfw.cli.door import FINDINGS
from kvmfw.cli.options import examples, fail_on_option, format_option, path_type
from kvmfw.cli.screen import print_json
from kvmfw.cli.streams import note
from kvmfw.ingest import Ingested
from kvmfw.ingest import Progress as Tell
from kvmfw.ingest import ingest as take_in
from kvmfw.quoting import printable
from kvmfw.readers import FORMATS
from kvmfw.readers.homes import Homes

__all__ = ["ingest"]

_STEPS = 1000
_SHOWN = 5


def _columns(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    for name, equals, column in pairs:
        if not name or not equals or not column:
            raise click.BadParameter(f"`{name}{equals}{column}` is not NAME=COLUMN", ctx, param)
        if (count := sum(name == one for one, _, _ in pairs)) > 1:
            raise click.BadParameter(f"the column `{name}` is named {count} times", ctx, param)
    return {name: column for name, _, column in pairs}


@click.command(
    short_help="Take sources of any format into a fleet on disk.",
    epilog=examples(
        "kvmfw ingest dumps/*.parquet captures/ -o fleet",
        "kvmfw ingest streams/ -o fleet --on-error collect --rejects rejects.csv",
        "kvmfw ingest dump.parquet captures/ -o fleet --column host=hypervisor",
        "kvmfw ingest domains/ captures/ -o fleet --born-here",
    ),
)
@click.argument("sources", type=path_type(), nargs=-1, required=True)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="The folder of the fleet."
)
@click.option(
    "--from",
    "from_",
    type=click.Choice(list(FORMATS)),
    metavar="FORMAT",
    help=f"The format of all files: {', '.join(FORMATS)}; found out by content, file by file, if not given.",
)
@click.option(
    "--on-error",
    type=click.Choice(["raise", "collect"]),
    default="raise",
    show_default=True,
    help="Stop at the first row that cannot be used, or set it aside and go on.",
)
@click.option(
    "--rejects",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write the rows that were set aside: CSV with source, row, reason.",
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="NAME=COLUMN",
    callback=_columns,
    help="What a column of tables is called that has a name of its own, such as host=hypervisor; may be repeated.",
)
@click.option(
    "--cpu",
    metavar="ARGUMENT",
    help="What QEMU was given as -cpu where an inventory does not say it, such as host or host,pmu=off.",
)
@click.option(
    "--born-here",
    is_flag=True,
    help="Take VMs to have been started where they run, where an inventory does not say it.",
)
@fail_on_option("rejects", default="rejects")
@click.option("--replace", is_flag=True, help="Start anew instead of updating a fleet that stands there.")
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="How many generations before the new one stay on the disk, for those who read them.",
)
@format_option("table", "json")
def ingest(
    *,
    sources: tuple[Path, ...],
    output: Path,
    from_: str | None,
    on_error: str,
    rejects: Path | None,
    columns: dict[str, str],
    cpu: str | None,
    born_here: bool,
    fail_on: frozenset[str],
    replace: bool,
    keep: int,
    form: str,
) -> int:
    """Take SOURCES, files and folders of any format, into a fleet on disk.

    The fleet is a folder of Parquet tables (vms, sets, hosts, captures) that audit and the other verbs
    open in place of a folder of documents. It appears whole or not at all. The formats are listed in docs/formats.md.
    """
    with _progress() as tell:
        found = take_in(
            sources,
            output,
            from_=from_,
            on_error="collect" if on_error == "collect" else "raise",
            rejects=rejects,
            update=not replace,
            keep=keep,
            columns=columns,
            cpu=cpu,
            born_here=born_here,
            progress=tell,
        )
    if form == "json":
        print_json("ingest", asdict(found), sources)
    else:
        _say(found, output)
    return FINDINGS if found.rejected and "rejects" in fail_on else 0


def _say(found: Ingested, output: Path) -> None:
    click.echo(
        f"{printable(str(output))}: {found.vms:,} vCPUs in {found.sets:,} sets, "
        f"{found.hosts:,} hosts with {found.captures:,} captures (generation {found.generation})"
    )
    click.echo(f"{found.rows:,} rows = {found.used:,} used + {found.rejected:,} rejected")
    for reject in found.rejects[:_SHOWN]:
        place = "" if reject.row < 0 else f": row {reject.row}"
        note(f"kvmfw: rejected {reject.source}{place}: {reject.reason}")
    if found.rejected > _SHOWN:
        note(f"kvmfw: and {found.rejected - _SHOWN:,} more (--rejects FILE writes all)")
    for what, count in (("VM", found.vms), ("host", found.hosts)):
        if not count:
            note(f"kvmfw: the fleet has no {what}: there is nothing to judge yet")
    if found.left_out:
        note(
            f"kvmfw: columns left out: {', '.join(found.left_out)} (--column host=NAME takes one as the host)"
        )
    if found.inferred:
        note(
            f"kvmfw: of {found.inferred:,} vCPUs no column `vcpu` says how they are made; "
            "that was inferred from their ID registers"
        )
    if found.born:
        note(
            f"kvmfw: VMs whose registers were not saved but derived from where they were started: {found.born:,}"
            + (f" (of {found.assumed:,} only --born-here says where)" if found.assumed else "")
        )
    _say_homes(found.homes)


def _say_homes(homes: Homes) -> None:
    if homes.unnamed:
        note(f"kvmfw: {homes.unnamed:,} of {homes.vms:,} VMs have no known home: they name no host")
    if homes.astray:
        note(
            f"kvmfw: {homes.astray:,} of {homes.vms:,} VMs have no known home: they name hosts that there are not"
        )
    for stranger in homes.strangers[:_SHOWN]:
        nearest = f"; the nearest is `{stranger.nearest}`" if stranger.nearest else ""
        note(f"kvmfw: no host is called `{stranger.host}` ({stranger.vms:,} VMs){nearest}")


@contextmanager
def _progress() -> Iterator[Tell | None]:
    """Show progress with rate and remaining time on a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    columns = (
        SpinnerColumn(),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[rows]:,} rows, {task.fields[rate]:,.0f}/s"),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as shown:
        task = shown.add_task("", total=_STEPS, rows=0, rate=0.0)

        def tell(source: str, share: float, rows: int) -> None:
            elapsed = shown.tasks[0].elapsed or 0.0
            rate = rows / elapsed if elapsed else 0.0
            shown.update(
                task,
                completed=share * _STEPS,
                description=printable(Path(source).name)[:40],
                rows=rows,
                rate=rate,
            )

        yield tell
