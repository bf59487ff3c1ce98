"""The verb `whatif`: the fleet as it would be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kvmfw import numerals
from kvmfw.analysis import Upgrade, best_upgrades, homeless, make_frame, open_fleet
from kvmfw.analysis.changed import hide_register, host_of, set_level, without_register
from kvmfw.analysis.compare import diff_fleets, no_returns
from kvmfw.analysis.not_judged import HOMELESS
from kvmfw.analysis.opened import OpenedFleet, capture_documents, protections
from kvmfw.analysis.security import Comparison, compare_security, protection_of
from kvmfw.captures import listed_registers
from kvmfw.cli.diff import show_fleet_diff
from kvmfw.cli.door import FINDINGS
from kvmfw.cli.not_judged import print_not_judged
from kvmfw.cli.options import (
    examples,
    fail_on_option,
    folder_argument,
    format_option,
    scheme_option,
    vmm_option,
    weaker_option,
)
from kvmfw.cli.screen import console, heading, print_json, table
from kvmfw.cli.targets import foretold, kernel_of, target_of
from kvmfw.documents import parsed_json
from kvmfw.errors import InputError
from kvmfw.fleet import Fleet
from kvmfw.readers.source import whole
from kvmfw.registers import find_register, register_name
from kvmfw.sets import Host

if TYPE_CHECKING:
    from kvmfw.kernels import Target

__all__ = ["whatif"]


@click.command(
    short_help="Suppose an upgrade, another level or a hidden register.",
    epilog=examples(
        "kvmfw whatif examples --replace g4-old=captures/g4-new.json",
        "kvmfw whatif examples --replace g4-old=g4-new.json --first 1",
        "kvmfw whatif examples --kernel 'g4-*=linux-image-6.18.15_arm64.deb'",
        "kvmfw whatif examples --level '*:SMCCC_ARCH_WORKAROUND_3=1'",
        "kvmfw whatif examples --hide VENDOR_HYP_BMAP_2",
        "kvmfw whatif examples --best 3",
    ),
)
@folder_argument
@vmm_option()
@scheme_option
@click.option(
    "--replace", multiple=True, metavar="CAPTURE=FILE", help="Hosts of CAPTURE become hosts of FILE."
)
@click.option(
    "--kernel",
    "kernels",
    multiple=True,
    metavar="CAPTURE=IMAGE|RELEASE",
    help="Hosts of CAPTURE boot this kernel, by its image, package or release, as far as that can be predicted (kvmfw predict).",
)
@click.option(
    "--level",
    multiple=True,
    metavar="CAPTURE:REGISTER=VALUE",
    help="Fresh VMs on hosts of CAPTURE (a name or a pattern such as *) have VALUE in REGISTER, as after"
    " another boot option or firmware.",
)
@click.option(
    "--hide", multiple=True, metavar="REGISTER", help="The VMM hides REGISTER from all VMs and hosts."
)
@click.option(
    "--first",
    type=click.IntRange(1),
    metavar="N",
    help="Only the first N of the hosts that would change do (a canary, a wave), in the order of hosts.csv.",
)
@click.option("--best", type=click.IntRange(1), help="Propose up to this many upgrades, the best first.")
@weaker_option
@format_option("table", "json", "sarif")
@fail_on_option("stranded", "unknown", "back", "homeless", default="stranded,homeless")
def whatif(
    *,
    fleet: Path,
    vmm: str,
    scheme: str,
    replace: tuple[str, ...],
    kernels: tuple[str, ...],
    level: tuple[str, ...],
    hide: tuple[str, ...],
    first: int | None,
    best: int | None,
    weaker: bool,
    form: str,
    fail_on: frozenset[str],
) -> int:
    """Judge FLEET as it would be, and compare: VMs freed, VMs newly stranded, pairs that change.

    VMs keep what they have saved. With --best, propose which hosts to bring to the capture of other hosts
    with the same CPU. Exit code 2 when a VM would be newly stranded; with `back`, also when VMs that start
    after the change could not come back to hosts as they are.
    """
    opened = open_fleet(fleet, vmm=vmm, scheme=scheme)
    if best is not None:
        if replace or kernels or level or hide or first is not None or form == "sarif":
            raise click.UsageError(
                "--best stands alone; leave --replace, --kernel, --level, --hide, --first and sarif out"
            )
        plan = best_upgrades(
            make_frame(opened.fleet),
            opened.columns,
            steps=best,
            protection=protections(fleet),
            weaker=weaker,
        )
        return _propose(fleet, opened, plan, form, fail_on)
    if not (replace or kernels or level or hide):
        raise click.UsageError("say what to suppose: --replace, --kernel, --level, --hide or --best")
    if first is not None and (hide or not (replace or kernels)):
        raise click.UsageError("--first is for --replace and --kernel: say what the hosts become")
    changes = _changes(fleet, opened, replace, kernels, level)
    hidden = [_register(text) for text in hide]
    documents = capture_documents(fleet)
    listed = {register for document in documents.values() for register in listed_registers(document)}
    for register in hidden:
        if register not in listed and not any(register in vm.to_mapping() for vm in opened.vms):
            raise InputError(f"no VM and no host of the fleet has {register_name(register)}", file=str(fleet))
    hosts, security = _hosts(documents, opened, changes, hidden, first)
    vms = without_register(opened.vms, hidden) if hidden else opened.vms
    back = no_returns(opened.fleet, opened.vms, opened.hosts, hosts)
    changed = Fleet(vms, hosts, vmm=vmm, scheme=scheme)
    result = diff_fleets(opened.fleet, changed, back=back)
    files = [Path(text.partition("=")[2]) for text in replace]
    files += [image for text in kernels if (image := kernel_of(text.partition("=")[2]))]
    return show_fleet_diff(result, security, form, fail_on, [fleet, *files])


Change = Callable[[dict[str, Any]], dict[str, Any]]


def _register(text: str) -> int:
    found = find_register(text)
    if found is None:
        raise InputError(f"`{text}` is no register; `kvmfw registers` lists those with a name, or give an id")
    return found


def _changes(
    fleet: Path,
    opened: OpenedFleet,
    replace: tuple[str, ...],
    kernels: tuple[str, ...],
    level: tuple[str, ...],
) -> dict[str, list[Change]]:
    known = sorted(set(opened.columns["capture"]))
    changes: dict[str, list[Change]] = {}
    for text in replace:
        name, equals, file = text.partition("=")
        if not equals or not file:
            raise InputError(f"--replace `{text}` is not CAPTURE=FILE")
        _matching(known, name, fleet)
        Host.load(file)
        document = parsed_json(whole(Path(file)), Path(file))
        changes.setdefault(name, []).append(partial(_replaced, document))
    for text in kernels:
        name, equals, wanted = text.partition("=")
        if not equals or not wanted:
            raise InputError(f"--kernel `{text}` is not CAPTURE=IMAGE|RELEASE")
        target = target_of(wanted)
        for capture in _matching(known, name, fleet):
            changes.setdefault(capture, []).append(partial(_booted, target))
    for text in level:
        name, colon, rest = text.rpartition(":")
        register, equals, value = rest.partition("=")
        if not (colon and equals):
            raise InputError(f"--level `{text}` is not CAPTURE:REGISTER=VALUE")
        number = numerals.number(value)
        if number is None:
            raise InputError(f"--level `{text}`: `{value}` is not a number")
        found = _register(register)
        for capture in _matching(known, name, fleet):
            changes.setdefault(capture, []).append(partial(_levelled, found, number))
    return changes


def _replaced(new: dict[str, Any], _: dict[str, Any]) -> dict[str, Any]:
    return new


def _booted(target: Target, document: dict[str, Any]) -> dict[str, Any]:
    return foretold(document, target).document()


def _levelled(register: int, value: int, document: dict[str, Any]) -> dict[str, Any]:
    return set_level(document, register, value)


def _matching(known: list[str], pattern: str, fleet: Path) -> list[str]:
    found = [name for name in known if name == pattern or fnmatchcase(name, pattern)]
    if not found:
        raise InputError(
            f"no host has the capture `{pattern}`; there are, for example, {', '.join(known[:3])}",
            file=str(fleet),
        )
    return found


def _hosts(
    documents: Mapping[str, dict[str, Any]],
    opened: OpenedFleet,
    changes: Mapping[str, list[Change]],
    hidden: list[int],
    first: int | None,
) -> tuple[list[Host], list[tuple[str, Comparison]]]:
    """Give the hosts as they would be, and how the security of each changed capture compares with today's."""
    made: dict[str, Host] = {}
    security = []
    for name, document in documents.items():
        steps = changes.get(name, [])
        if not steps and not hidden:
            continue
        changed = document
        for step in steps:
            changed = step(changed)
        if steps:
            security.append((name, compare_security(protection_of(document), protection_of(changed))))
        for register in hidden:
            changed = hide_register(changed, register)
        made[name] = host_of(changed)
    captures = opened.columns["capture"]
    rows = [row for row, capture in enumerate(captures) if capture in made][:first]
    hosts = list(opened.hosts)
    for row in rows:
        hosts[row] = made[captures[row]].renamed(hosts[row].name).with_vmm(hosts[row].vmm)
    return hosts, security


def _propose(
    fleet: Path, opened: OpenedFleet, plan: Sequence[Upgrade], form: str, fail_on: frozenset[str]
) -> int:
    frame = make_frame(opened.fleet)
    open_ends = homeless(frame)
    code = FINDINGS if open_ends and HOMELESS in fail_on else 0
    stranded = int(frame.group_weight[frame.group_targets == 0].sum())
    if form == "json":
        upgrades = [one.to_dict() for one in plan]
        told = {
            "not_judged": [one.to_dict() for one in open_ends],
            "stranded": stranded,
            "upgrades": upgrades,
        }
        print_json("upgrades", told, [fleet])
        return code
    out = console()
    print_not_judged(out, [(one.word, str(one)) for one in open_ends])
    out.print(heading(f"Upgrades that free VMs, best first; {stranded:,} VMs are stranded today"))
    if not plan:
        out.print("no upgrade to another capture of this fleet frees more VMs than it strands")
        return code
    numbers = ("hosts", "freed", "newly stranded", "stranded after")
    cells = [
        [
            one.capture,
            one.becomes,
            one.hosts,
            one.freed,
            one.newly_stranded,
            one.stranded,
            ": ".join([one.security.value, *one.reasons[:1]]),
        ]
        for one in plan
    ]
    out.print(table(("hosts of", "become", *numbers, "security"), cells, numbers=numbers))
    return code
