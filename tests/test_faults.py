"""Input that does harm ends in one sentence: the recorded cases, and their neighbours at every door."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kvmfw import Fleet, Host, numerals
from kvmfw.analysis import open_fleet
from kvmfw.documents import parsed_json
from kvmfw.errors import ArgumentError, FormatError
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


LINES = f"vm,register,value\na,{WA1:#x},2\n".encode()


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (gzip.compress(gzip.compress(LINES, mtime=0), mtime=0), "packed with gzip twice"),
        (b"\x28\xb5\x2f\xfd\0\0\0\0,\r\r", "packed with zstd"),
        (LINES.decode().encode("utf-16"), "text in UTF-16"),
        (b"vm,\rid,born", "no format that kvmfw reads"),
        (b"{}", "it is {}"),
        (b"[]", "it is []"),
    ],
    ids=["gzip-twice", "zstd", "utf-16", "text", "object", "list"],
)
def test_what_is_no_format_is_said_in_one_sentence(raw: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(raw)
    assert_one_sentence(run("ingest", path, "-o", tmp_path / "stored"), path.name, words)


@pytest.mark.parametrize("name", ["vms.csv", "vms.csv.gz"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_packed_table_is_known_by_what_is_in_it(packed: bool, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(LINES) if packed else LINES)
    found = run("ingest", path, "-o", tmp_path / "stored")
    assert (found.exit_code, "1 rows = 1 used" in found.output) == (0, True), found.output


@pytest.mark.parametrize("column", ["VM", "Register", "VALUE"])
def test_a_column_that_differs_in_case_alone_is_twice(column: str, tmp_path: Path) -> None:
    table = tmp_path / "vms.csv"
    table.write_text(f"vm,register,value,{column}\na,{WA3:#x},1,{WA1:#x}\n")
    told = f"column `{column.lower()}` twice: `{column.lower()}`, `{column}`"
    assert_one_sentence(run("ingest", table, "-o", tmp_path / "stored"), told)


def test_a_column_is_named_once(tmp_path: Path) -> None:
    table = tmp_path / "vms.csv"
    table.write_bytes(LINES)
    words = ("--column", "host=vm", "--column", "host=value")
    assert_one_sentence(run("ingest", table, "-o", tmp_path / "stored", *words), "`host` is named 2 times")


@pytest.mark.parametrize("column", ["vm", "host", "vcpu"])
def test_a_column_of_a_wrong_type_is_named(column: str) -> None:
    table = pa.table({"vm": ["a"], "register": [WA1], "value": [2]} | {column: [0.5]})
    with pytest.raises(ArgumentError, match=f"column `{column}` is double; expected text or integers"):
        Fleet(table, [Host.from_json(CAPTURE)])


STRAY = os.fsdecode(b"vm\xff")
"""A name that is no text: file systems have such names."""


def test_names_that_are_not_utf8_are_read_and_told(tmp_path: Path) -> None:
    stream = tmp_path / f"{STRAY}.gz"
    stream.write_bytes((Path(__file__).parent / "data/qemu/kvm-6.1-neoverse-n1-qemu-7.2.gz").read_bytes())
    assert run("ingest", stream, "-o", tmp_path / "stored").exit_code == 0
    assert pq.read_table(tmp_path / "stored" / "vms").column("vm").to_pylist() == ["vm\\xff"]
    folder = fleet(tmp_path / STRAY)
    for form in ("table", "json", "sarif", "junit", "markdown", "html"):
        found = run("audit", folder, "--format", form, "--fail-on", "none")
        assert found.exit_code == 0, found.output
        assert found.stdout
    files = ("--html", tmp_path / "page.html", "--record", tmp_path / "all.parquet")
    found = run("audit", folder, *files, "--prometheus", tmp_path / "a.prom", "--fail-on", "none")
    assert found.exit_code == 0, found.output
    assert "vm\\\\xff" in (tmp_path / "a.prom").read_text("utf-8")


@pytest.mark.parametrize(
    "call",
    [
        ("audit", EXAMPLES, "--vmm", STRAY),
        ("whatif", EXAMPLES, "--hide", STRAY),
        ("predict", next((EXAMPLES / "captures").iterdir()), "--kernel", STRAY),
        ("ingest", EXAMPLES / "vm.json", "-o", Path("nowhere") / STRAY),
    ],
)
def test_an_argument_that_is_not_utf8_is_one_sentence(
    call: tuple[str | Path, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = run(*call)
    assert isinstance(found.exception, SystemExit), repr(found.exception)
    assert (found.exit_code, len(found.output.splitlines())) == (1, 1), found.output
    assert not [*tmp_path.rglob("*")]


@pytest.mark.parametrize("text", [r'"\ud800"', r'{"\udfff": 1}', r'[["\ud83d"]]'])
def test_half_of_a_pair_is_no_text(text: str) -> None:
    with pytest.raises(FormatError, match="half of a pair"):
        parsed_json(text)
    assert parsed_json(r'"\ud83d\ude00"') == "\U0001f600"


def test_a_folder_without_a_probe_is_no_collection(tmp_path: Path) -> None:
    (tmp_path / "probes").mkdir()
    assert_one_sentence(run("collect", tmp_path / "probes", "-o", tmp_path / "out"), "holds no HOST.json")


def test_tables_of_births_have_columns_of_other_names_too(tmp_path: Path) -> None:
    capture = next((EXAMPLES / "captures").glob("5.10*neoverse-n1__default*"))
    host = capture.stem
    table = tmp_path / "births.csv"
    table.write_text(f"server,Hypervisor,start,cpu\na,{host},{host},host\n")
    words = [word for name in ("vm=server", "host=Hypervisor", "born=start") for word in ("--column", name)]
    found = run("ingest", table, capture, "-o", tmp_path / "stored", *words)
    assert found.exit_code == 0, found.output
    assert "no known home" not in found.output
    words += ["--column", "vcpu=model"]
    told = "no table has a column `model`"
    assert_one_sentence(run("ingest", table, capture, "-o", tmp_path / "stored", *words), told)
    table.write_text(f"vm,VM,born,cpu\na,b,{host},host\n")
    assert_one_sentence(run("ingest", table, capture, "-o", tmp_path / "stored"), "column `vm` stands twice")


def test_no_node_is_an_option_of_kubectl(tmp_path: Path) -> None:
    folder = fleet(tmp_path / "fleet", "host,capture\n--all,h\n")
    emitted = run("emit", folder, "kubernetes").stdout
    assert "kubectl label node -- --all takes.kvmfw.io/" in emitted


@pytest.mark.parametrize("what", ["VM", "host"])
def test_an_intake_after_which_nothing_can_be_judged_says_so(what: str, tmp_path: Path) -> None:
    (tmp_path / "vms.csv").write_bytes(LINES if what == "host" else b"vm,register,value\n")
    (tmp_path / "h.json").write_text(CAPTURE)
    sources = [tmp_path / name for name in ("vms.csv", "h.json")][: 1 if what == "host" else 2]
    found = run("ingest", *sources, "-o", tmp_path / "stored")
    assert (found.exit_code, f"the fleet has no {what}: there is nothing to judge yet" in found.stderr) == (
        0,
        True,
    )
