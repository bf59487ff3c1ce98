"""The verb `trend`: audits over time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console

from kvmfw.cli.door import FINDINGS
from kvmfw.cli.options import examples, fail_on_option, format_option, path_type
from kvmfw.cli.screen import console, heading, print_json, table
from kvmfw.report.metrics import NUMBERS
from kvmfw.report.records import Change, changes, read_records

__all__ = ["trend"]

_SHOWN = 10
_COLUMNS = ("vms", "hosts", "stranded", "traps", "unknown", "refuse", "homeless")


@click.command(
    short_help="Show audits over time, and what changed since the last.",
    epilog=examples(
        "kvmfw audit examples --record history.parquet --fail-on none", "kvmfw trend history.parquet"
    ),
)
@click.argument("history", type=path_type(folder=False))
@click.option(
    "--last", type=click.IntRange(1), default=20, show_default=True, help="How many audits to show."
)
@format_option("table", "json")
@fail_on_option("stranded", "traps", "unknown", "refuse", "homeless", default="none")
def trend(*, history: Path, last: int, form: str, fail_on: frozenset[str]) -> int:
    """Show the audits of HISTORY, a file that `kvmfw audit --record` writes, and what changed since the last.

    Compared are audits that asked the same: VMM, scheme, filter, and what UNKNOWN and CHANGE count as. Exit
    code 2 when a number that --fail-on names has grown.
    """
    records = read_records(history)
    found = changes(records)
    if form == "json":
        print_json(
            "trend", {"audits": [_audit(row) for row in records], "changes": _document(found)}, [history]
        )
    else:
        _print(console(), records[-last:], found)
    grown = {} if found is None else {name for name, (was, now) in found.numbers.items() if now > was}
    return FINDINGS if fail_on & set(grown) else 0


def _audit(row: dict[str, Any]) -> dict[str, Any]:
    said = ("made", "kvmfw", "fleet", "sha256", "vmm", "scheme", "where")
    return {key: row[key] for key in said} | {name: row[f"n_{name}"] for name in NUMBERS}


def _document(found: Change | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "since": found.before["made"],
        "numbers": [
            {"name": name, "before": was, "after": now} for name, (was, now) in found.numbers.items()
        ],
        "stranded": list(found.stranded),
        "freed": list(found.freed),
        "blockers": list(found.blockers),
    }


def _print(out: Console, records: list[dict[str, Any]], found: Change | None) -> None:
    out.print(heading(f"Audits  {len(records):,}"))
    rows = [[row["made"], row["vmm"], *(row[f"n_{name}"] for name in _COLUMNS)] for row in records]
    out.print(table(("made", "vmm", *_COLUMNS), rows, numbers=_COLUMNS))
    out.print()
    if found is None:
        out.print("nothing to compare: no earlier audit asked the same (vmm, scheme, filter)")
        return
    out.print(heading(f"Since {found.before['made']}"))
    if not (found.numbers or found.stranded or found.freed or found.blockers):
        out.print("nothing has changed")
    for name, (was, now) in found.numbers.items():
        out.print(f"{name}: {was:,} -> {now:,} ({now - was:+,})  {NUMBERS[name]}")
    for words, names in (
        ("newly stranded", found.stranded),
        ("no longer stranded", found.freed),
        ("registers that now hold VMs by themselves", found.blockers),
    ):
        if names:
            more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
            out.print(f"{words}: {', '.join(names[:_SHOWN])}{more}")
