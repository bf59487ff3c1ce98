"""Moves that a real libvirt tried between two hosts: the verdict says what happened."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

import kvmfw
from kvmfw.messages import explain, in_the_way, read_messages
from tests.support.command import run

DATA = Path(__file__).parent / "data" / "libvirt"
MOVES: list[dict[str, Any]] = json.loads((DATA / "moves.json").read_text())
VMM = "qemu-7.2"


def recorded(name: str) -> str:
    return gzip.decompress((DATA / f"{name}.json.gz").read_bytes()).decode()


def saved(name: str) -> kvmfw.RegisterSet:
    return kvmfw.RegisterSet.from_json(recorded(name))


HOSTS = {name: kvmfw.Host.from_json(recorded(name)) for name in ("hv1", "hv2")}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> kvmfw.Fleet:
    """The fleet as the start page makes it: captures and domain XML, no register was saved."""
    folder = tmp_path_factory.mktemp("libvirt")
    captures = folder / "fleet" / "captures"
    captures.mkdir(parents=True)
    rows = ["host,capture"]
    for host in HOSTS:
        text = recorded(host)
        (captures / f"{host}.json").write_text(text)
        rows.append(f"{host},{json.loads(text)['host']['name']}")
    (folder / "fleet" / "hosts.csv").write_text("\n".join(rows) + "\n")
    taken = run("ingest", folder / "fleet", DATA / "inventory", "-o", folder / "audit.fleet", "--born-here")
    assert taken.exit_code == 0, taken.stderr
    return kvmfw.Fleet.load(folder / "audit.fleet", vmm=VMM)


FIRST = [move for move in MOVES if move["born"] == move["from"]]


def test_both_outcomes_are_among_the_moves() -> None:
    assert {move["done"] for move in FIRST} == {True, False}


@pytest.mark.parametrize("move", FIRST, ids=lambda move: f"{move['vm']}-to-{move['to']}")
def test_what_is_derived_from_an_inventory_says_what_the_move_did(
    fleet: kvmfw.Fleet, move: dict[str, Any]
) -> None:
    outcome = fleet.explain(move["vm"], move["to"]).outcome
    assert outcome is not kvmfw.Outcome.UNKNOWN
    assert (outcome < kvmfw.Outcome.UNKNOWN) is move["done"]


def test_a_vm_that_moved_does_not_come_back() -> None:
    """From its registers as they were saved after the move; the trap was known before it."""
    (back,) = [move for move in MOVES if move["born"] == move["to"]]
    assert not back["done"]
    assert kvmfw.validate(saved("web-1-moved"), HOSTS[back["to"]], vmm=VMM).outcome is kvmfw.Outcome.REFUSE


REFUSED = [move for move in MOVES if not move["done"]]


@pytest.mark.parametrize("move", REFUSED, ids=lambda move: f"{move['vm']}-to-{move['to']}")
def test_what_qemu_said_is_what_was_told_before(fleet: kvmfw.Fleet, move: dict[str, Any]) -> None:
    read = in_the_way([*read_messages(move["log"])])
    assert {rule.id for told in read if (rule := explain(told).rule) is not None} == {"KVMFW-QEMU-COUNT"}
    if move["vm"] == "web-1":
        verdict = kvmfw.validate(saved("web-1-moved"), HOSTS[move["to"]], vmm=VMM)
    else:
        verdict = fleet.explain(move["vm"], move["to"])
    counts = next(finding for finding in verdict.findings if finding.rule == "KVMFW-QEMU-COUNT")
    (line,) = [line for line in move["log"] if "expecting positive" in line]
    length, listed = re.findall(r"[0-9]+", line)[-2:]
    assert f"{length} registers were saved, this host lists {listed}" in counts.sentence


@pytest.mark.parametrize("move", REFUSED, ids=lambda move: f"{move['vm']}-to-{move['to']}")
def test_what_virsh_prints_leads_to_the_reason(move: dict[str, Any]) -> None:
    (told,) = read_messages([move["virsh"]])
    found = explain(told)
    assert "log" in found.cure or (found.rule is not None and found.rule.id == "KVMFW-QEMU-COUNT")


RUNNING = {"TIMER_CNT", "TIMER_CVAL", "CNTPCT_EL0"}
"""What goes on while a guest waits."""


def test_all_that_the_move_changed_was_foretold_with_its_value() -> None:
    findings = {
        finding.register: finding
        for finding in kvmfw.validate(saved("web-1"), HOSTS["hv2"], vmm=VMM).findings
        if finding.register is not None
    }
    before, after = saved("web-1").to_mapping(), saved("web-1-moved").to_mapping()
    changed = {register for register in after if before.get(register) != after[register]}
    changed = {register for register in changed if kvmfw.register_name(register) not in RUNNING}
    assert len(changed) == 19
    assert changed <= findings.keys()
    for register in changed:
        assert f"{after[register]:#x}" in findings[register].sentence, findings[register]
    assert before.keys() <= after.keys()


def test_saved_registers_of_the_running_vm_are_judged_as_the_derived_ones(fleet: kvmfw.Fleet) -> None:
    verdict = kvmfw.validate(saved("web-1"), HOSTS["hv2"], vmm=VMM)
    assert verdict.outcome is kvmfw.Outcome.CHANGE
    assert fleet.explain("web-1", "hv2").outcome is verdict.outcome
    assert kvmfw.validate(saved("web-1"), HOSTS["hv1"], vmm=VMM).outcome is kvmfw.Outcome.ACCEPT
