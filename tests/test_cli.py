"""The command line: exit codes, one sentence for each error, the same numbers in every format."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner, Result

import kvmfw
from kvmfw.cli import VERBS, main
from kvmfw.testing import capture_document, tiny_set

WA3 = 0x6030000000140003
WA1 = 0x6030000000140001


def run(*arguments: str | Path, width: int = 160) -> Result:
    words = [str(argument) for argument in arguments]
    return CliRunner().invoke(main, words, env={"COLUMNS": str(width)})


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A VM with level 2, a host with level 1, and a fleet folder of the incident's form."""
    (tmp_path / "vm.json").write_text(json.dumps(tiny_set(workaround_3=2, name="vm").to_document()))
    (tmp_path / "low.json").write_text(json.dumps(tiny_set(workaround_3=1, name="low").to_document()))
    captures = tmp_path / "fleet" / "captures"
    captures.mkdir(parents=True)
    for name, level in (("old", 2), ("new", 1)):
        document = capture_document({WA1: 2, WA3: level}, name=name)
        (captures / f"{name}.json").write_text(json.dumps(document))
    (tmp_path / "fleet" / "hosts.csv").write_text("host,capture\nh1,old\nh2,new\nh3,new\n")
    lines = []
    for name, home, level in (("a", "h1", 2), ("b", "h1", 2), ("c", "h2", 1)):
        document = tiny_set(workaround_3=level, name=name).to_document() | {"host": home}
        lines.append(json.dumps(document))
    (tmp_path / "fleet" / "vms.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_validate_refuses_with_one_sentence_and_exit_code_2(files: Path) -> None:
    host = files / "fleet" / "captures" / "new.json"
    result = run("validate", files / "vm.json", host)
    assert result.exit_code == 2
    assert "REFUSE  vm on new" in result.stdout
    assert (
        "SMCCC_ARCH_WORKAROUND_3 was saved as 0x2, this host takes levels 0 to 1; KVM refuses it (EINVAL)"
        in result.stdout
    )
    assert run("validate", files / "vm.json", host, "--fail-on", "none").exit_code == 0
    assert run("validate", files / "low.json", host).exit_code == 0


def test_validate_prints_the_same_as_json(files: Path) -> None:
    host = files / "fleet" / "captures" / "new.json"
    result = run("validate", files / "vm.json", host, "--format", "json", "--vmm", "all")
    document = json.loads(result.stdout)
    expected = kvmfw.validate(kvmfw.RegisterSet.load(files / "vm.json"), kvmfw.Host.load(host)).to_dict()
    by_vmm = {one["vmm"]: one for one in document["verdicts"]}
    assert by_vmm["kvm"] == {"vm": "vm", "host": "new"} | expected
    assert result.stderr == ""


def test_validate_takes_many_sets_and_a_folder_of_captures(files: Path) -> None:
    result = run("validate", files / "fleet" / "vms.jsonl", files / "fleet" / "captures", "--format", "json")
    outcomes = {(one["vm"], one["host"]): one["outcome"] for one in json.loads(result.stdout)["verdicts"]}
    assert outcomes["a", "new"] == "REFUSE"
    assert outcomes["a", "old"] != "REFUSE"
    assert len(outcomes) == 6


@pytest.mark.parametrize("width", [80, 160])
def test_explain_names_the_pair(files: Path, width: int) -> None:
    result = run("explain", files / "fleet", "a", "h2", width=width)
    assert result.exit_code == 2
    assert "REFUSE  a on h2" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= width


@pytest.mark.parametrize("vm", ["a", "b", "c"])
def test_explain_without_a_host_tells_where_a_vm_can_go(files: Path, vm: str) -> None:
    fleet = kvmfw.Fleet.load(files / "fleet")
    home = fleet.host_names[fleet.vm_homes[list(fleet.vm_names).index(vm)]]
    said = {host: fleet.explain(vm, host).outcome.name for host in fleet.host_names if host != home}
    result = run("explain", files / "fleet", vm)
    assert "(vmm kvm, scheme kvm)" in result.stdout
    assert "Not judged: " in result.stdout
    rows = [line.replace(",", "").split() for line in result.stdout.splitlines() if line[:6].isupper()]
    assert {outcome: set(hosts) for outcome, _, *hosts in rows} == {
        outcome.name: {host for host, one in said.items() if one == outcome.name} for outcome in kvmfw.Outcome
    }
    assert result.exit_code == (2 if set(said.values()) <= {"REFUSE", "UNKNOWN"} else 0)
    as_json = run("explain", files / "fleet", vm, "--format", "json")
    assert {one["host"]: one["outcome"] for one in json.loads(as_json.stdout)["verdicts"]} == said
    assert as_json.exit_code == result.exit_code


def test_explain_suggests_names(files: Path) -> None:
    result = run("explain", files / "fleet", "a", "h9")
    assert result.exit_code == 1
    assert "there is no host named `h9`; the nearest are h1, h2, h3" in result.stderr


def test_registers_finds_by_word() -> None:
    rows = json.loads(run("registers", "psci", "--format", "json").stdout)["registers"]
    assert [row["name"] for row in rows] == ["PSCI_VERSION"]
    assert "PSCI_VERSION" in run("registers").stdout
    assert run("registers", "nothing-has-this").exit_code == 1


@pytest.mark.parametrize("name", ["capture", "register-set"])
def test_schemas_are_valid_and_strict(name: str) -> None:
    document = json.loads(run("schema", name).stdout)
    jsonschema.Draft202012Validator.check_schema(document)
    assert document["additionalProperties"] is False


def schema(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads(run("schema", name).stdout))


def test_documents_match_their_schemas(files: Path) -> None:
    schema("capture").validate(json.loads((files / "fleet" / "captures" / "new.json").read_text()))
    schema("register-set").validate(json.loads((files / "vm.json").read_text()))
    with pytest.raises(jsonschema.ValidationError):
        schema("register-set").validate(json.loads((files / "vm.json").read_text()) | {"extra": 1})


def test_examples_match_their_schemas() -> None:
    examples = Path(__file__).parents[1] / "examples"
    captures, sets = sorted(examples.glob("captures/*.json")), sorted(examples.glob("vms.jsonl"))
    assert captures
    assert sets
    validator = schema("capture")
    for capture in captures:
        validator.validate(json.loads(capture.read_text()))
    validator = schema("register-set")
    for file in sets:
        for line in file.read_text().splitlines():
            validator.validate(json.loads(line))


def broken(files: Path, change: Any) -> Path:
    document = json.loads((files / "vm.json").read_text())
    change(document)
    path = files / "broken.json"
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(version=7), ("version", "version 7 is not known")),
        (lambda d: d.update(format="else"), ("format", "expected `kvmfw-register-set`")),
        (lambda d: d["registers"].update({"0x6020000000110000": "0x1ffffffff"}), ("has 4 bytes",)),
        (lambda d: d["registers"].update({"0x60f0000000140003": "0x1"}), ("size field", "at most 256")),
        (lambda d: d["registers"].update({"0x6030000000140001": "2"}), ("0x in front",)),
        (lambda d: d["registers"].update({"0x6030000000140001": 2}), ("expected a string",)),
        (lambda d: d["vcpu"].update(features=["psci"]), ("vcpu.features", "psci")),
        (lambda d: d.update(surprise=1), ("surprise",)),
        (lambda d: d.pop("vcpu"), ("vcpu",)),
    ],
)
def test_bad_sets_give_one_sentence(files: Path, change: Any, words: tuple[str, ...]) -> None:
    result = run("validate", broken(files, change), files / "fleet" / "captures" / "new.json")
    assert_one_sentence(result, "broken.json", *words)


def assert_one_sentence(result: Result, *words: str) -> None:
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("kvmfw: ")
    assert result.stderr.count("\n") == 1, result.stderr
    for word in words:
        assert word in result.stderr


def test_truncated_json_says_where(files: Path) -> None:
    path = files / "cut.json"
    path.write_text((files / "vm.json").read_text()[:60])
    result = run("validate", path, files / "fleet" / "captures" / "new.json")
    assert_one_sentence(result, "cut.json", "line 1 column 60", "ends too early")


def test_duplicate_ids_are_named(files: Path) -> None:
    text = (files / "vm.json").read_text()
    path = files / "twice.json"
    path.write_text(text.replace('"registers": {', '"registers": {"0x6030000000140003": "0x1", '))
    result = run("validate", path, files / "fleet" / "captures" / "new.json")
    assert_one_sentence(result, "twice.json", "0x6030000000140003", "twice")


def test_a_bad_line_of_many_is_named(files: Path) -> None:
    lines = files / "fleet" / "vms.jsonl"
    lines.write_text(lines.read_text() + "{}\n")
    assert_one_sentence(run("audit", files / "fleet"), "vms.jsonl: line 4", "format")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("validate", "nowhere.json", "nowhere.json"), ("nowhere.json", "does not exist")),
        (("validate",), ("Missing argument 'VM'", "kvmfw validate --help")),
        (("audit", "nowhere"), ("nowhere", "does not exist")),
        (("audit", ".", "--fail-on", "sometimes"), ("`sometimes` is not known", "homeless or none")),
        (("audit", ".", "--format", "xls"), ("xls",)),
        (("guess",), ("No such command 'guess'",)),
        (("schema", "fleet"), ("fleet", "register-set")),
        (("schema",), ("Missing argument", "Choose from: capture, register-set, ")),
    ],
)
def test_wrong_usage_gives_one_sentence(arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    assert_one_sentence(run(*arguments), *words)


def test_a_folder_that_is_no_fleet_is_named(files: Path) -> None:
    (files / "empty").mkdir()
    assert_one_sentence(run("audit", files / "empty"), "no `captures`", "`kvmfw ingest` makes one")
    (files / "fleet" / "hosts.csv").write_text("host,capture\nh1,older\n")
    assert_one_sentence(run("audit", files / "fleet"), "hosts.csv", "line 2", "`older`")


def test_a_fleet_on_disk_is_audited_like_the_folder_it_came_from(files: Path) -> None:
    table = files / "fleet" / "hosts.csv"
    table.write_text("host,capture,zone,capacity\nh1,old,a,3\nh2,new,a,3\nh3,new,b,3\n")
    sources = [files / "fleet" / name for name in ("vms.jsonl", "captures", "hosts.csv")]
    assert run("ingest", *sources, "-o", files / "stored").exit_code == 0
    for options in ((), ("--where", "zone=a"), ("--group-by", "zone")):
        stored, folder = (
            json.loads(run("audit", files / name, "--format", "json", *options).stdout)
            for name in ("stored", "fleet")
        )
        assert stored["totals"] == folder["totals"]
        assert stored["stranded"] == folder["stranded"]
        assert [row["name"] for row in stored["drain"]] == [row["name"] for row in folder["drain"]]
    supposed = run("whatif", files / "stored", "--level", "new:SMCCC_ARCH_WORKAROUND_3=2", "--format", "json")
    assert [row["vm"] for row in json.loads(supposed.stdout)["freed"]] == ["a", "b"]


def test_probe_has_its_own_help() -> None:
    result = run("probe", "--help")
    assert result.exit_code == 0
    assert "probe" in result.output


def test_version_and_help() -> None:
    assert kvmfw.__version__ in run("--version").stdout == run("-V").stdout
    for verb in ([], *([name] for name in VERBS if name != "probe")):
        result = run(*verb, "--help", width=80)
        assert result.exit_code == 0
        assert "Usage: kvmfw" in result.stdout
        assert "\\b" not in result.stdout
        assert max(map(len, result.stdout.splitlines())) <= 80, verb


def test_on_host_asks_this_machine_and_needs_no_capture(tmp_path: Path) -> None:
    examples = Path(__file__).parents[1] / "examples"
    both = CliRunner().invoke(main, ["validate", "--on-host", str(examples / "vm.json"), str(tmp_path)])
    assert both.exit_code == 1
    assert "leave HOST out" in both.output
    neither = CliRunner().invoke(main, ["validate", str(examples / "vm.json")])
    assert neither.exit_code == 1
    assert "HOST is missing" in neither.output
    if not Path("/dev/kvm").exists():
        asked = CliRunner().invoke(main, ["validate", "--on-host", str(examples / "vm.json")])
        assert asked.exit_code == 1
        assert "KVM" in asked.output


def test_vmms_are_listed_with_their_sources_and_an_unknown_one_names_the_nearest(files: Path) -> None:
    listed = json.loads(run("vmms", "--format", "json").output)["vmms"]
    assert [one["name"] for one in listed] == [one.name for one in kvmfw.vmms()]
    assert "firecracker-1.16" in run("vmms").output
    host = files / "fleet" / "captures" / "new.json"
    failed = run("validate", files / "vm.json", host, "--vmm", "qemu-8.1")
    assert failed.exit_code == 1
    assert "the nearest is qemu-8.2" in failed.output
    assert run("validate", files / "vm.json", host, "--vmm", "qemu-9.2").exit_code == 2


def test_a_library_that_cannot_be_loaded_is_one_sentence(tmp_path: Path) -> None:
    # As under `ulimit -v`, where the first library for which there is no room fails.
    (tmp_path / "pyarrow").mkdir()
    (tmp_path / "pyarrow" / "__init__.py").write_text(
        "try:\n    raise ImportError('libarrow.so: failed to map segment\\n from shared object')\n"
        "except ImportError as error:\n    raise ImportError('pages of advice') from error\n"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "kvmfw", "audit", "examples"],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    wanted = "what this verb needs cannot be loaded: libarrow.so: failed to map segment from shared object"
    assert ran.stderr == f"kvmfw: {wanted}\n"
