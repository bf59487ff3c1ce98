"""Input that does harm ends in one sentence: the recorded cases, and their neighbours at every door."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from kvmfw import numerals
from kvmfw.analysis import open_fleet
from kvmfw.testing import capture_document
from tests.support.command import EXAMPLES, run
from tests.support.samples import WA1, WA3

RECORDED = sorted(
    path for path in (Path(__file__).parent / "data" / "faults").iterdir() if path.suffix != ".md"
)
CAPTURE = json.dumps(capture_document({WA1: 2, WA3: 1}, name="h"))
SET = json.dumps(
    {
        "format": "kvmfw-register-set",
        "version": 1,
        "id": "a",
        "vcpu": {"features": ["psci_0_2"], "vgic": True},
        "registers": {f"{WA1:#x}": "0x2", f"{WA3:#x}": "0x1"},
    }
)


def assert_one_sentence(result: object, *words: str) -> None:
    exception, code, output = (getattr(result, name) for name in ("exception", "exit_code", "output"))
    assert isinstance(exception, SystemExit | None), repr(exception)
    assert code == 1, output
    assert len(output.splitlines()) == 1, output
    for word in words:
        assert word in output


def test_recorded_faults_are_there() -> None:
    assert len(RECORDED) >= 8


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: str(path.name))
def test_a_recorded_fault_is_one_sentence_and_an_intake_that_collects_goes_on(
    path: Path, tmp_path: Path
) -> None:
    assert_one_sentence(run("ingest", path, "-o", tmp_path / "fleet"), path.name)
    good = tmp_path / "good.json"
    good.write_text(SET)
    collected = run("ingest", path, good, "-o", tmp_path / "fleet", "--on-error", "collect")
    assert (collected.exit_code, "1 used + 1 rejected" in collected.output) == (2, True), collected.output


@pytest.mark.parametrize(
    "text", ["0x1_0", "1_0", " 1", "+1", "-1", "", "0x", "0b1", "\u0662", "1\n", "9" * 5000, "1e3"]
)
def test_only_ascii_digits_are_numbers(text: str) -> None:
    assert numerals.number(text) is None


def fleet(folder: Path, hosts: str | bytes | None = None, sets: str = SET + "\n") -> Path:
    (folder / "captures").mkdir(parents=True)
    (folder / "captures" / "h.json").write_text(CAPTURE)
    (folder / "vms.jsonl").write_text(sets)
    if hosts is not None:
        (folder / "hosts.csv").write_bytes(hosts.encode() if isinstance(hosts, str) else hosts)
    return folder


HOSTS: dict[str, tuple[str | bytes, str]] = {
    "short row": ("host,capture\nx\n", "1 cells"),
    "long row": ("host,capture\nx,h,1\n", "3 cells"),
    "host twice": ("host,capture\nx,h\nx,h\n", "`x` occurs twice"),
    "column twice": ("host,host,capture\na,b,h\n", "`host` stands twice"),
    "no name": ("host,capture\n,h\n", "the host has no name"),
    "no capture": ("host,capture\nx,\n", "the capture has no name"),
    "open quote": ('host,capture\n"x,h\n', "not CSV"),
    "huge cell": ("host,capture\n" + "x" * 200_000 + ",h\n", "field limit"),
    "not UTF-8": ("host,capture\n\xe9,h\n".encode("latin1"), "not UTF-8"),
    "nothing": ("", "expected the columns"),
    **{
        f"capacity {text[:6]}": (f"host,capture,capacity\nx,h,{text}\n", "capacity is")
        for text in ("9" * 30, "9" * 5000, "\u0662", "-1", "", "1.5")
    },
}


@pytest.mark.parametrize("name", HOSTS)
def test_a_table_of_hosts_is_judged_alike_at_both_doors(name: str, tmp_path: Path) -> None:
    table, words = HOSTS[name]
    folder = fleet(tmp_path / "fleet", table)
    assert_one_sentence(run("audit", folder), "hosts.csv", words)
    assert_one_sentence(run("ingest", folder, "-o", tmp_path / "stored"), "hosts.csv", words)


def test_a_bad_row_of_hosts_is_set_aside_and_the_others_stay(tmp_path: Path) -> None:
    folder = fleet(tmp_path / "fleet", "host,capture,capacity\nx,h,3\n,h,1\nx,h,2\nz,h,many\ny,h,4\n")
    found = run("ingest", folder, "-o", tmp_path / "stored", "--on-error", "collect")
    assert "7 rows = 4 used + 3 rejected" in found.output, found.output
    opened = open_fleet(tmp_path / "stored")
    assert (list(opened.fleet.host_names), opened.columns["capacity"]) == (["x", "y"], ["3", "4"])


def test_a_vm_twice_is_told_at_both_doors(tmp_path: Path) -> None:
    folder = fleet(tmp_path / "fleet", sets=f"{SET}\n{SET}\n")
    assert_one_sentence(run("audit", folder), "`a` occurs twice")
    assert_one_sentence(run("ingest", folder, "-o", tmp_path / "stored"), "`a` occurs twice")


def test_a_column_twice_is_told(tmp_path: Path) -> None:
    table = tmp_path / "vms.csv"
    table.write_text(f"vm,vm,register,value\na,a,{WA3:#x},1\n")
    assert_one_sentence(run("ingest", table, "-o", tmp_path / "stored"), "column `vm` twice")


def test_pipes_and_devices_keep_nobody_waiting(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    told = "this is a pipe or a device; expected a file"
    assert_one_sentence(run("audit", EXAMPLES, "--waivers", pipe), told)
    assert_one_sentence(run("diff", pipe, pipe), told)
    assert_one_sentence(run("diff", "/dev/zero", "/dev/zero"), told)
    (tmp_path / "captures").mkdir()
    os.mkfifo(tmp_path / "captures" / "h.json")
    (tmp_path / "vms.jsonl").write_text(SET)
    assert run("audit", tmp_path).exit_code == 1


@pytest.mark.parametrize("text", ["x=" + "[" * 20_000, "x=" + "9" * 5000, "x=2027-13-45", "\xff"])
def test_waivers_that_are_none_are_one_sentence(text: str, tmp_path: Path) -> None:
    path = tmp_path / "waivers.toml"
    path.write_bytes(text.encode("latin1"))
    assert_one_sentence(run("audit", EXAMPLES, "--waivers", path), path.name)


@pytest.mark.parametrize(
    "line",
    [
        f"Could not set register op0:{'9' * 5000} op1:0 crn:0 crm:4 op2:0 to 1",
        f"Invalid value {'9' * 5000} expecting positive value <= {'9' * 5000}",
        f"fw reg {'9' * 5000}",
        f"KVM_REG_ARM_FW_REG({'9' * 5000})",
        "KVM_REG_ARM64_SVE_ZREG(99, 0)",
        "\u0662" * 20,
    ],
)
def test_why_is_told_of_numbers_that_no_register_has(line: str) -> None:
    assert_one_sentence(run("why", line))


def test_why_reads_values_with_leading_zeros() -> None:
    assert run("why", 'SetOneReg(6931039826524504064, "007", Error(22))').exit_code == 0
