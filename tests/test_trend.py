"""Audits over time, numbers for Prometheus, gates in SARIF, and hosts that change one after another."""

from __future__ import annotations

import json
import multiprocessing
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from kvmfw.report.metrics import NUMBERS
from kvmfw.report.records import changes, read_records
from tests.support.command import run

EXAMPLES = Path(__file__).parents[1] / "examples"
CAPTURES = EXAMPLES / "captures"
OLD, NEW = (
    CAPTURES / f"{kernel}__neoverse-n1__default.json" for kernel in ("6.1.0-56-arm64", "6.12.117+deb13-arm64")
)
DAY = 86_400


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """The hosts with Neoverse N1 of the examples, and their VMs."""
    folder = tmp_path / "fleet"
    folder.mkdir()
    shutil.copytree(CAPTURES, folder / "captures")
    lines = (EXAMPLES / "hosts.csv").read_text().splitlines()
    (folder / "hosts.csv").write_text(
        "\n".join([lines[0], *(line for line in lines if "neoverse-n1" in line)]) + "\n"
    )
    rows = (EXAMPLES / "vms.jsonl").read_text().splitlines()
    (folder / "vms.jsonl").write_text(
        "\n".join(row for row in rows if json.loads(row)["host"].startswith("n1-")) + "\n"
    )
    return folder


def test_audits_are_recorded_and_compared(
    fleet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = tmp_path / "history.parquet"
    for day, kernel in enumerate(("6.1.0-56-arm64", "6.1.0-56-arm64", "6.12.117+deb13-arm64")):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", str(day * DAY))
        # On the third day hosts n1-61-* are 6.12.
        hosts = (
            (EXAMPLES / "hosts.csv")
            .read_text()
            .replace("6.1.0-56-arm64__neoverse-n1", f"{kernel}__neoverse-n1")
        )
        kept = [line for line in hosts.splitlines() if line.startswith(("host", "n1-"))]
        (fleet / "hosts.csv").write_text("\n".join(kept) + "\n")
        run("audit", fleet, "--record", history, "--fail-on", "none")
    rows = read_records(history)
    assert [row["made"] for row in rows] == [f"1970-01-0{day}T00:00:00Z" for day in (1, 2, 3)]
    assert rows[0]["sha256"] == rows[1]["sha256"] != rows[2]["sha256"]
    document = json.loads(run("trend", history, "--format", "json").stdout)
    audit = json.loads(run("audit", fleet, "--format", "json", "--fail-on", "none").stdout)
    last = document["audits"][-1]
    assert (last["vms"], last["stranded"], last["traps"]) == (
        audit["vms"],
        len(audit["stranded"]),
        len(audit["traps"]),
    )
    stranded = {one["vm"] for one in audit["stranded"]}
    assert set(document["changes"]["stranded"]) == stranded - set(rows[1]["stranded_vms"])
    assert set(document["changes"]["freed"]) == set(rows[1]["stranded_vms"]) - stranded
    assert document["changes"]["numbers"]
    text = run("trend", history, "--last", "2").stdout
    assert "1970-01-01" not in text
    assert "Since 1970-01-02T00:00:00Z" in text
    grown = {one["name"] for one in document["changes"]["numbers"] if one["after"] > one["before"]}
    for word in ("stranded", "traps", "unknown", "refuse", "homeless"):
        assert run("trend", history, "--fail-on", word).exit_code == (2 if word in grown else 0)


def test_only_audits_that_asked_the_same_are_compared(fleet: Path, tmp_path: Path) -> None:
    history = tmp_path / "history.parquet"
    run("audit", fleet, "--record", history, "--fail-on", "none")
    run("audit", fleet, "--record", history, "--fail-on", "none", "--vmm", "qemu-10.2")
    assert changes(read_records(history)) is None
    assert "no earlier audit asked the same" in run("trend", history).stdout


def test_two_audits_that_add_to_one_history_at_once_both_stay(fleet: Path, tmp_path: Path) -> None:
    record = tmp_path / "history.parquet"
    fork, rounds = multiprocessing.get_context("fork"), 6

    def add() -> None:
        for _ in range(rounds):
            assert run("audit", str(fleet), "--record", str(record), "--fail-on", "none").exit_code == 0

    children = [fork.Process(target=add) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0]
    assert len(read_records(record)) == 2 * rounds
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fleet", record.name]


def test_what_was_not_done_is_not_zero(fleet: Path, tmp_path: Path) -> None:
    lines = [json.loads(line) | {"host": None} for line in (fleet / "vms.jsonl").read_text().splitlines()]
    (fleet / "vms.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    history, metrics = tmp_path / "history.parquet", tmp_path / "kvmfw.prom"
    run("audit", fleet, "--record", history, "--prometheus", metrics, "--fail-on", "none")
    (row,) = read_records(history)
    assert row["n_traps"] is None
    assert row["n_homeless"] == len(lines)
    assert "kvmfw_traps" not in metrics.read_text()
    assert f"}} {len(lines)}" in next(
        line for line in metrics.read_text().splitlines() if line.startswith("kvmfw_homeless")
    )


@pytest.mark.parametrize("made", ["text", "other"])
def test_a_file_of_something_else_is_left_as_it_is(fleet: Path, tmp_path: Path, made: str) -> None:
    history = tmp_path / "history.parquet"
    if made == "text":
        history.write_text("no parquet")
    else:
        pq.write_table(pq.read_table(history) if history.exists() else _table(), history)
    before = history.read_bytes()
    result = run("audit", fleet, "--record", history)
    assert result.exit_code == 1
    assert "history.parquet" in result.stderr
    assert history.read_bytes() == before


def _table() -> Any:
    import pyarrow as pa  # noqa: PLC0415

    return pa.table({"x": [1]})


def test_numbers_for_prometheus_are_those_of_the_audit(fleet: Path, tmp_path: Path) -> None:
    metrics = tmp_path / "kvmfw.prom"
    audit = json.loads(
        run("audit", fleet, "--prometheus", metrics, "--format", "json", "--fail-on", "none").stdout
    )
    text = metrics.read_text()
    assert text.endswith("\n")
    samples = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, _, number = re.fullmatch(r"(\w+)\{(.*)\} (\d+)", line).groups()  # type: ignore[union-attr]
            samples[name] = int(number)
    for row in audit["totals"]:
        assert samples[f"kvmfw_{row['outcome'].lower()}"] == row["pairs"]
    assert samples["kvmfw_stranded"] == len(audit["stranded"])
    assert samples["kvmfw_trapped"] == sum(row["residents"] for row in audit["traps"])
    assert {f"kvmfw_{name}" for name in NUMBERS} <= samples.keys()
    for name in samples:
        assert f"# TYPE {name} gauge" in text


def test_diffs_are_gates_in_sarif(fleet: Path) -> None:
    result = run("diff", OLD, NEW, "--format", "sarif")
    assert result.exit_code == 2
    (ran,) = json.loads(result.stdout)["runs"]
    told = json.loads(run("diff", OLD, NEW, "--format", "json").stdout)
    wrong = sum(one[way] in ("REFUSE", "UNKNOWN") for one in told["registers"] for way in ("forward", "back"))
    assert len(ran["results"]) == wrong > 0
    prints = [one["partialFingerprints"]["kvmfw/v1"] for one in ran["results"]]
    assert len(set(prints)) == len(prints)
    supposed = run(
        "whatif", fleet, "--replace", f"{OLD.stem}={NEW}", "--format", "sarif", "--fail-on", "back"
    )
    assert supposed.exit_code == 2
    assert json.loads(supposed.stdout)["runs"][0]["results"]


def test_hosts_change_one_after_another(fleet: Path) -> None:
    """The first hosts change, in the order of hosts.csv, and all of them is what no --first is."""

    def changed(*words: str) -> dict[str, Any]:
        said = run("whatif", fleet, "--replace", f"{OLD.stem}={NEW}", *words, "--format", "json")
        document: dict[str, Any] = json.loads(said.stdout)
        return document

    whole, canary = changed(), changed("--first", "1")
    assert whole["changed_hosts"] == ["n1-61-a", "n1-61-b"]
    assert canary["changed_hosts"] == ["n1-61-a"]
    assert {host for one in canary["back"] for host in one["hosts"]} <= {"n1-61-a"}
    more = changed("--first", "9")
    assert {key: more[key] for key in ("changed_hosts", "transitions", "back")} == {
        key: whole[key] for key in ("changed_hosts", "transitions", "back")
    }
    assert run("whatif", fleet, "--hide", "VENDOR_HYP_BMAP_2", "--first", "1").exit_code == 1
