"""The verb `rollout`: in which order to drain and upgrade hosts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kvmfw.analysis import open_fleet
from kvmfw.analysis.opened import OpenedFleet
from kvmfw.cli.door import FINDINGS
from kvmfw.cli.options import examples, fail_on_option, folder_argument, format_option, vmm_option
from kvmfw.cli.output import print_or_write
from kvmfw.cli.screen import console, heading, print_json, table
from kvmfw.errors import InputError
from kvmfw.planners.rollout import Ask, Rollout, Step, plan_rollout
from kvmfw.planners.rollout.picture import html_picture, terminal_picture
from kvmfw.questions import Treat
from kvmfw.readers.hosts_table import CAPACITY
from kvmfw.sets import Host

__all__ = ["rollout"]

_SHOWN = 3


@click.command(
    short_help="Order drains and reboots so that no VM is trapped.",
    epilog=examples(
        "kvmfw rollout examples --to v1-618-a=captures/v1-73.json",
        "kvmfw rollout examples --to 6.1.0-56-arm64__neoverse-n1__default",
    ),
)
@folder_argument
@click.option(
    "--to",
    multiple=True,
    required=True,
    metavar="CAPTURE[=FILE]",
    help="Hosts of CAPTURE become hosts of the capture in FILE; without FILE, all hosts with its CPU become CAPTURE.",
)
@vmm_option()
@click.option(
    "--unknown",
    type=click.Choice(["refuse", "accept"]),
    default="refuse",
    show_default=True,
    help="What UNKNOWN counts as.",
)
@click.option(
    "--at-once", type=click.IntRange(1), default=1, show_default=True, help="Hosts out of service at a time."
)
@click.option(
    "--keep-cost",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="VMS",
    help="Rather keep a host back than start so many VMs anew.",
)
@click.option(
    "--html", type=click.Path(dir_okay=False, path_type=Path), help="Write the picture to FILE, too."
)
@format_option("table", "json")
@fail_on_option("restart", "kept", "homeless", default="restart,kept,homeless")
def rollout(
    *,
    fleet: Path,
    to: tuple[str, ...],
    vmm: str,
    unknown: Treat,
    at_once: int,
    keep_cost: int,
    html: Path | None,
    form: str,
    fail_on: frozenset[str],
) -> int:
    """Plan in which order hosts of FLEET are drained and upgraded, so that at every step every VM has a place.

    VMs keep what they have saved. Where no order exists, as few VMs as can be are started anew, or hosts
    kept back. A column `capacity` of hosts.csv says how many VMs a host holds. The plan begins where the
    fleet is: hosts that have what they shall get are done, so after an interruption ask again. Exit code 2
    when VMs must be started anew or hosts kept back, and when VMs were not planned for.
    """
    opened = open_fleet(fleet, vmm=vmm)
    becomes = _becomes(opened, to, fleet)
    capacity = [int(text) for text in opened.columns[CAPACITY]] if CAPACITY in opened.columns else None
    ask = Ask(becomes, capacity, at_once=at_once, keep_cost=keep_cost, unknown=unknown, change="accept")
    plan = plan_rollout(opened.fleet, ask)
    captures = opened.columns["capture"]
    after = {row: host.name for row, host in becomes.items()}
    if html is not None:
        print_or_write(html_picture(plan, captures, after), html)
    if form == "json":
        print_json("rollout", _document(plan, captures, after, capacity is not None), [fleet])
    else:
        _show(plan, captures, after, capacity is not None)
    found = {"restart": plan.restarts, "kept": plan.kept, "homeless": plan.homeless}
    return FINDINGS if any(found[word] for word in fail_on) else 0


def _becomes(opened: OpenedFleet, to: tuple[str, ...], fleet: Path) -> dict[int, Host]:
    """Tell which hosts become what; those that have it already are done."""
    captures, cpus = opened.columns["capture"], opened.columns["cpu"]
    found: dict[int, Host] = {}
    for text in to:
        name, equals, file = text.partition("=")
        rows = [row for row, capture in enumerate(captures) if capture == name]
        if not rows:
            known = ", ".join(sorted(set(captures))[:3])
            raise InputError(
                f"no host has the capture `{name}`; there are, for example, {known}", file=str(fleet)
            )
        if equals:
            becomes = Host.load(file)
            rows = [row for row in rows if captures[row] != becomes.name]
        else:
            becomes = opened.hosts[rows[0]].renamed(name)
            cpu = cpus[rows[0]]
            rows = [row for row in range(len(captures)) if cpus[row] == cpu and captures[row] != name]
        # What restores VMs on a host stays with it.
        kinds = {vmm: becomes.with_vmm(vmm) for vmm in {opened.hosts[row].vmm for row in rows}}
        for row in rows:
            if row in found:
                raise InputError(f"--to says twice what hosts of `{captures[row]}` become")
            found[row] = kinds[opened.hosts[row].vmm]
    return found


def _said(plan: Rollout, has_capacity: bool) -> list[str]:
    """Say in sentences what was not judged and what the plan costs."""
    said = []
    if not plan.upgraded and not plan.kept:
        said.append("Nothing to do: all of these hosts have what they shall get.")
    if plan.homeless:
        said.append(f"Not planned for: {plan.homeless:,} VMs, nobody knows where they run.")
    if not has_capacity:
        said.append("Not judged: how many VMs hosts hold; hosts.csv has no column `capacity`.")
    if plan.restarts or plan.kept:
        lost = f"{len(plan.restarts):,} VMs start anew, {len(plan.kept):,} hosts are kept back"
        how = "no order costs less" if plan.is_best else f"no order costs less than {plan.bound}"
        if plan.bound is None:
            how = "how good that is is not known; the extra `planners` tells a bound"
        said.append(f"{lost} ({how}, where a host counts as {plan.keep_cost}).")
        said.append("That a VM which starts anew finds a vCPU made as before is supposed.")
    return said


def _names(names: list[str]) -> str:
    rest = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest


def _show(plan: Rollout, captures: Any, after: dict[int, str], has_capacity: bool) -> None:
    out = console()
    for sentence in _said(plan, has_capacity):
        out.print(sentence)
    out.print(heading(f"{plan.upgraded:,} hosts in {len(plan.steps):,} steps, {plan.moves:,} moves of VMs"))
    hosts, vms = plan.snapshot.host_names, plan.snapshot.vm_names
    rows, done = [], 0
    for number, step in enumerate(plan.steps, 1):
        done += len(step.hosts)
        anew = [vms[move.vm] for move in step.restarts]
        first = step.hosts[0]
        rows.append(
            [
                number,
                _names([hosts[row] for row in step.hosts]),
                captures[first],
                after[first],
                len(step.hosts),
                step.moves,
                _names(anew) or None,
                done,
            ]
        )
    numbers = ("step", "number", "moves", "upgraded so far")
    columns = ("step", "hosts", "of", "become", "number", "moves", "start anew", "upgraded so far")
    out.print(table(columns, rows, numbers=numbers))
    if plan.kept:
        out.print(f"Kept back: {_names([hosts[row] for row in plan.kept])}")
    if after:
        out.print(terminal_picture(plan, captures, after), soft_wrap=True)


def _document(plan: Rollout, captures: Any, after: dict[int, str], has_capacity: bool) -> dict[str, Any]:
    hosts, vms = plan.snapshot.host_names, plan.snapshot.vm_names

    def moves(step: Step, number: int) -> dict[str, Any]:
        wave = step.waves[number]
        listed = [
            [
                {
                    "vm": vms[move.vm],
                    "from": None if move.source is None else hosts[move.source],
                    "to": None if move.target is None else hosts[move.target],
                }
                for move in moved
            ]
            for moved in (wave.before, wave.after)
        ]
        return {"hosts": [hosts[row] for row in wave.hosts], "before": listed[0], "after": listed[1]}

    return {
        "not_judged": {"homeless": plan.homeless, "capacity": not has_capacity},
        "upgraded": plan.upgraded,
        "moves": plan.moves,
        "restarts": [vms[move.vm] for move in plan.restarts],
        "kept": [hosts[row] for row in plan.kept],
        "cost": plan.cost,
        "bound": plan.bound,
        "best": plan.is_best,
        "steps": [
            {
                "step": number,
                "of": captures[step.hosts[0]],
                "becomes": after[step.hosts[0]],
                "hosts": [hosts[row] for row in step.hosts],
                "moves": step.moves,
                "restarts": [vms[move.vm] for move in step.restarts],
                "waves": [moves(step, at) for at in range(len(step.waves))],
            }
            for number, step in enumerate(plan.steps, 1)
        ],
    }
