"""The verb `collect`: captures of many hosts over ssh."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from kvmfw.cli.door import FINDINGS
from kvmfw.cli.options import examples, fail_on_option, format_option, path_type
from kvmfw.cli.screen import console, heading, print_json, table
from kvmfw.collect import Collected, assemble, read_inventory
from kvmfw.collect import collect as gather
from kvmfw.collect.collection import Tell
from kvmfw.collect.remote import Remote

__all__ = ["collect"]


@click.command(
    short_help="Capture many hosts over ssh.",
    epilog=examples(
        "kvmfw collect hosts.txt -o fleet",
        "kvmfw collect hosts.txt -o fleet --ssh 'ssh -J bastion' --jobs 64",
        "ansible-inventory --list > hosts.json && kvmfw collect hosts.json -o fleet",
    ),
)
@click.argument("inventory", type=path_type())
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="The folder of captures and hosts.csv.",
)
@click.option("--ssh", default="ssh", show_default=True, help="The ssh command, with options of your own.")
@click.option("--python", default="python3", show_default=True, help="Python there, 3.6 or newer.")
@click.option("--jobs", type=click.IntRange(1, 1024), default=16, show_default=True, help="Hosts at once.")
@click.option(
    "--quick-limit",
    type=click.FloatRange(1),
    default=60,
    show_default=True,
    help="Seconds for a quick probe.",
)
@click.option(
    "--limit", type=click.FloatRange(1), default=600, show_default=True, help="Seconds for a full probe."
)
@click.option("--again", is_flag=True, help="Ask hosts that are known already as well, as after reboots.")
@format_option("table", "json")
@fail_on_option("failed", default="failed")
def collect(
    *,
    inventory: Path,
    output: Path,
    ssh: str,
    python: str,
    jobs: int,
    quick_limit: float,
    limit: float,
    again: bool,
    form: str,
    fail_on: frozenset[str],
) -> int:
    """Capture the hosts of INVENTORY over ssh.

    INVENTORY is a list of hosts, one in each line (and after it its ssh destination, where that is another word), a CSV table
    with the column host (and ssh), or what `ansible-inventory --list` prints. Each host is asked by a quick probe of a second
    or so; hosts of which that says the same are of one kind, and one full probe is made for each kind. The probe is one file that
    goes through ssh's standard input: nothing is left on the host. Called again, it goes on where it was.

    INVENTORY may also be a folder with what probes printed that were made by other means, a file HOST.json for each host:
    then the captures are assembled from it, and of each kind without a full probe one host is named.
    """
    if inventory.is_dir():
        return _tell(assemble(inventory, output), inventory, output, form, fail_on)
    places = read_inventory(inventory)
    with _progress() as tell:
        found = gather(
            places,
            output,
            Remote(tuple(shlex.split(ssh)), python),
            jobs=jobs,
            quick_limit=quick_limit,
            full_limit=limit,
            again=again,
            tell=tell,
        )
    return _tell(found, inventory, output, form, fail_on)


def _tell(found: Collected, inventory: Path, output: Path, form: str, fail_on: frozenset[str]) -> int:
    if form == "json":
        print_json("collect", asdict(found), [inventory])
    else:
        _print(found, output)
    return FINDINGS if (found.failures or found.wanted) and "failed" in fail_on else 0


def _print(found: Collected, output: Path) -> None:
    out = console()
    places = found.asked + found.known
    kinds = len(set(found.hosts.values()))
    out.print(
        f"{output}: {len(found.hosts):,} of {places:,} hosts, {kinds:,} kinds; "
        f"{found.asked:,} asked now, {len(found.probed):,} full probes",
        soft_wrap=True,
    )
    if found.failures:
        out.print(heading(f"\nNot captured  {len(found.failures):,}"))
        out.print(table(("host", "why"), [(one.host, one.why) for one in found.failures]))
    if found.wanted:
        out.print(heading(f"\nFull probes wanted, one host of each kind  {len(found.wanted):,}"))
        out.print("\n".join(found.wanted), soft_wrap=True)


@contextmanager
def _progress() -> Iterator[Tell | None]:
    """Show how many are done on a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as shown:
        task = shown.add_task("", total=None)
        yield lambda word, done, total: shown.update(task, description=word, completed=done, total=total)
