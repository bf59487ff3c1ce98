"""Nothing found is not nothing wrong: what was not judged is said first, in every form."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

import kvmfw
from kvmfw.analysis import examine, make_frame
from kvmfw.cli import main
from kvmfw.report import issues
from kvmfw.report.html import html_report
from kvmfw.testing import tiny_host, tiny_set
from tests.support.slow_audit import random_fleet

from .test_truth import fleet_of

EXAMPLES = Path(__file__).parents[1] / "examples"
SENTENCE = "3 of 3 VMs have no known home: traps and drain not judged"
NOT_DONE = ("traps", "passages", "drain", "stranded", "few_targets", "cures", "plan", "upgrades")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def made(folder: Path, homes: tuple[str | None, str | None, str | None]) -> Path:
    levels = (2, 2, 1)
    vms = {name: (home, level) for name, home, level in zip("abc", homes, levels, strict=True)}
    return fleet_of(folder, {"h1": 2, "h2.dc1.example": 1, "h3": 1}, vms)


@pytest.fixture
def lost(tmp_path: Path) -> Path:
    """A fleet with a trap and a host that cannot be emptied, of which no VM's home is known."""
    return made(tmp_path / "lost", (None, None, "h2"))


def test_vms_without_a_home_are_said_first_and_fail_the_gate(lost: Path) -> None:
    result = run("audit", lost)
    assert result.exit_code == 2
    lines = result.stdout.splitlines()
    first = next(at for at, line in enumerate(lines) if SENTENCE in line)
    assert first <= 3
    assert "1 of them name a host that the fleet does not have, such as `h2`" in lines[first]
    assert not re.search(r"^None:.*(traps|drain|stranded|cure|upgrade)", result.stdout, re.MULTILINE)
    assert re.search(r"^Not done:.*one-way traps.*drain check", result.stdout, re.MULTILINE)
    assert run("audit", lost, "--fail-on", "none").exit_code == 0
    assert run("audit", lost, "--fail-on", "homeless").exit_code == 2


def test_what_was_judged_beside_registers_is_told_from_what_no_vm_tells(tmp_path: Path) -> None:
    """Of a QEMU stream, which tells of its interrupt controller, and of a set that tells nothing."""
    stream = Path(__file__).parent / "data" / "qemu" / "kvm-6.12-neoverse-n1-qemu-11.1.gz"
    telling = kvmfw.RegisterSet.load(stream)
    silent = kvmfw.RegisterSet.from_mapping(telling.to_mapping(), features=telling.features, vgic=True)
    capture = json.loads((EXAMPLES / "captures" / "7.3.4+deb13-arm64__neoverse-n1__default.json").read_text())
    asked = kvmfw.Host.from_json(json.dumps(capture))
    # As a probe of before left it.
    not_asked = kvmfw.Host.from_json(json.dumps(capture | {"surroundings": {}}))
    rows = []
    for vm, host in ((telling, asked), (silent, asked), (telling, not_asked)):
        fleet = kvmfw.Fleet([vm], [host], vmm="qemu-11.1")
        (row,) = (
            row for row in examine(make_frame(fleet)).tables["not_judged"] if row["word"] == "surroundings"
        )
        rows.append(row["sentence"])
    interface, clock = "the CPU interface of the interrupt controller", "the frequency of the counter"
    judged, open_ends = rows[0].split("not judged are")
    assert interface in judged
    assert interface not in open_ends
    # No stream tells the frequency.
    assert clock in open_ends.split("as no VM of this fleet tells it")[1]
    judged, open_ends = rows[1].split("not judged are")
    assert judged.endswith("and by nothing beside them: ")
    assert interface in open_ends.split("as no VM of this fleet tells it")[1]
    judged, open_ends = rows[2].split("not judged are")
    assert judged.endswith("and by nothing beside them: ")
    assert interface in open_ends.split("as no host was asked for it")[1].split("as no VM")[0]
    made(tmp_path / "fleet", (None, None, None))
    run("audit", tmp_path / "fleet", "--fail-on", "none", "--html", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "judged by registers of vCPUs, and by nothing beside them" in page


def test_json_tells_not_done_from_none(lost: Path) -> None:
    document = json.loads(run("audit", lost, "--format", "json").stdout)
    assert document["not_judged"][0]["word"] == "homeless"
    assert document["not_judged"][0]["sentence"].startswith(SENTENCE)
    assert all(document[name] is None for name in NOT_DONE)
    known = json.loads(
        run("audit", made(lost.parent / "known", ("h1", "h1", "h3")), "--format", "json").stdout
    )
    assert known["traps"]
    assert "homeless" not in {row["word"] for row in known["not_judged"]}


def test_every_form_says_it(lost: Path, tmp_path: Path) -> None:
    page = run("audit", lost, "--format", "html").stdout
    assert page.index(SENTENCE) < page.index('id="summary"')
    assert page.count("<b>not done</b>") == 4
    assert "No host is known to run VMs." not in page
    text = run("audit", lost, "--format", "markdown").stdout
    assert text.index("3 | 3 | VMs have no known home") < text.index("Pairs by outcome")
    assert "**Not done**: stranded vms" in text or "stranded vms" in text.split("**Not done**")[1]
    assert "## One-way traps" not in text
    scan = json.loads(run("audit", lost, "--format", "sarif").stdout)["runs"][0]
    (result,) = [one for one in scan["results"] if one["ruleId"] == "KVMFW-HOMELESS"]
    assert result["level"] == "error"
    told = scan["invocations"][0]["toolExecutionNotifications"]
    assert told[0]["message"]["text"].startswith(SENTENCE)
    assert told[0]["level"] == "error"
    root = ElementTree.fromstring(run("audit", lost, "--format", "junit").stdout)
    assert root[0].get("failures") == "1"
    suites = {suite.get("name"): suite for suite in root}
    traps = list(suites["one-way traps"])
    assert [case.get("name") for case in traps] == ["not done"]
    assert traps[0].find("skipped") is not None
    for form in ("csv", "parquet"):
        run("audit", lost, "--format", form, "-o", tmp_path / form)
        assert not (tmp_path / form / f"traps.{form}").exists()
    with (tmp_path / "csv" / "not_judged.csv").open(newline="") as file:
        assert next(csv.DictReader(file))["word"] == "homeless"


def test_some_vms_without_a_home_are_counted(tmp_path: Path) -> None:
    result = run(
        "audit", made(tmp_path / "f", ("h1", None, "h3")), "--format", "json", "--fail-on", "homeless"
    )
    assert result.exit_code == 2
    document = json.loads(result.stdout)
    assert document["not_judged"][0]["count"] == 1
    assert document["traps"] is not None


def test_a_filter_does_not_hide_vms_without_a_home(lost: Path) -> None:
    result = run("audit", lost, "--where", "kernel=6.12.0-tiny", "--format", "json")
    assert result.exit_code == 2
    first = json.loads(result.stdout)["not_judged"][0]
    assert (first["word"], first["count"]) == ("homeless", 3)
    assert "the filter leaves them out" in first["sentence"]


@pytest.mark.parametrize(
    "verb", [("whatif", "--hide", "SMCCC_ARCH_WORKAROUND_1"), ("whatif", "--best", "1"), ("diff",)], ids=str
)
def test_other_verbs_say_it_and_fail_too(lost: Path, verb: tuple[str, ...]) -> None:
    more = (lost,) if verb[0] == "diff" else ()
    for form in ("table", "json"):
        result = run(verb[0], lost, *more, *verb[1:], "--format", form)
        assert result.exit_code == 2
        assert SENTENCE in result.stdout
    assert run(verb[0], lost, *more, *verb[1:], "--fail-on", "stranded").exit_code == 0
    assert SENTENCE in run("schemes", lost).stderr


def words(**options: Any) -> dict[str, dict[str, Any]]:
    made = options.pop("made", None) or random_fleet(3)
    frame = make_frame(kvmfw.Fleet(made.vms, made.hosts, **options))
    return {row["word"]: row for row in examine(frame).tables["not_judged"]}


def test_what_else_was_not_judged_stands_in_the_same_place() -> None:
    said = words()
    assert {"unknown", "capacity", "policy", "upgrades", "homeless"} <= said.keys()
    assert said["policy"]["count"] == said["policy"]["of"]
    assert "scheme" not in said
    assert "scheme" in words(scheme="equal")
    assert "policy" not in words(vmm="firecracker")


def test_rows_rejected_at_intake_are_said(tmp_path: Path) -> None:
    fleet = made(tmp_path / "f", ("h1", "h1", "h3"))
    (fleet / "vms.jsonl").write_text((fleet / "vms.jsonl").read_text() + "{}\n")
    stored = tmp_path / "stored"
    run("ingest", fleet / "vms.jsonl", fleet / "captures", "-o", stored, "--on-error", "collect")
    rows = json.loads(run("audit", stored, "--format", "json").stdout)["not_judged"]
    (said,) = [row for row in rows if row["word"] == "rejected"]
    assert (said["count"], said["of"]) == (1, 7)


@pytest.mark.parametrize("seed", range(10))
def test_counts_of_what_was_not_judged_equal_plain_loops(seed: int) -> None:
    made = random_fleet(seed)
    fleet = kvmfw.Fleet(made.vms, made.hosts)
    report = examine(make_frame(fleet))
    said = {row["word"]: row["count"] for row in report.tables["not_judged"]}
    names = [host.name for host in made.hosts]
    homes = [vm.host for vm in made.vms]
    assert (
        said.get("homeless", 0)
        == homes.count(None)
        == fleet.audit(unknown="refuse", change="accept").homeless
    )
    assert said.get("empty", 0) in (sum(name not in homes for name in names), 0)
    unknown = sum(
        kvmfw.validate(vm, host).outcome is kvmfw.Outcome.UNKNOWN
        for vm in made.vms
        for host in made.hosts
        if vm.host != host.name
    )
    assert said.get("unknown", 0) == unknown
    for row in report.tables["not_judged"]:
        assert 0 < row["count"] <= row["of"]
        assert not set(row["tables"]) & report.tables.keys()


def test_a_name_that_no_host_has_is_told() -> None:
    vms = [
        kvmfw.RegisterSet.from_mapping(tiny_set().to_mapping(), name=f"vm{at}", host=home)
        for at, home in enumerate(["h", "other", "other", None])
    ]
    fleet = kvmfw.Fleet(vms, [tiny_host(name="h")])
    assert fleet.unmatched_homes == {"other": 2}
    assert fleet.vm_homes.tolist() == [0, -1, -1, -1]
    report = examine(make_frame(kvmfw.Fleet(vms[1:], [tiny_host(name="h")])))
    page = html_report(report, issues(report), title="fleet")
    read = re.sub(r"<(script|style).*?</\1>", "", page, flags=re.DOTALL)
    assert read.count("<code>other</code>") > 4
    assert "`" not in read
    table = {"vm": ["a"], "register": [0x6030000000140001], "value": [1]}
    assert kvmfw.Fleet(__import__("pyarrow").table(table), [tiny_host()]).unmatched_homes == {}
