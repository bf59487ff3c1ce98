"""What is easily misread says so: verdicts in an `if`, copies that are none, a reader that has seen enough."""

from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import kvmfw
from kvmfw.cli import main
from kvmfw.testing import capture_document, tiny_host, tiny_set

EXAMPLES = Path(__file__).parents[1] / "examples"
CAPTURES = EXAMPLES / "captures"
WA1, WA3 = 0x6030000000140001, 0x6030000000140003


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], env={"COLUMNS": "160"})


@pytest.mark.parametrize("level", [1, 2])
def test_a_verdict_is_neither_true_nor_false(level: int) -> None:
    verdict = kvmfw.validate(tiny_set(workaround_3=level), tiny_host(workaround_3=1))
    for asked in (verdict, verdict.outcome):
        with pytest.raises(kvmfw.TruthError, match=r"neither true nor false.*Outcome\.UNKNOWN"):
            bool(asked)
        with pytest.raises(ValueError, match="neither true nor false"):
            assert not asked


def test_outcomes_are_numbers_otherwise() -> None:
    outcomes = [kvmfw.Outcome.REFUSE, kvmfw.Outcome.ACCEPT]
    assert max(outcomes) == 3
    assert sorted(outcomes)[0] == 0
    assert json.dumps(outcomes) == "[3, 0]"
    assert pickle.loads(pickle.dumps(outcomes)) == outcomes


def test_a_fleet_is_not_copied_without_a_word() -> None:
    fleet = kvmfw.Fleet([tiny_set()], [tiny_host()])
    for way in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(kvmfw.CopyError, match=r"a fleet cannot be copied or pickled.*make another"):
            way(fleet)
    assert fleet.shape == (1, 1)


def test_sets_and_hosts_are_their_own_copies() -> None:
    vm, host = tiny_set(workaround_3=1), tiny_host()
    for way in (copy.copy, copy.deepcopy):
        assert way(vm) is vm
        assert way(host) is host
    again = pickle.loads(pickle.dumps(vm))
    assert again.to_document() == vm.to_document()
    with pytest.raises(kvmfw.CopyError, match=r"a host cannot be pickled.*capture"):
        pickle.dumps(host)


def fleet_of(folder: Path, levels: dict[str, int], vms: dict[str, tuple[str | None, int]]) -> Path:
    """Write a fleet folder: hosts with a level of WORKAROUND_3 each, VMs with their home and level."""
    (folder / "captures").mkdir(parents=True)
    for name, level in levels.items():
        document = capture_document({WA1: 2, WA3: level}, name=name)
        (folder / "captures" / f"{name}.json").write_text(json.dumps(document))
    lines = [
        json.dumps(tiny_set(workaround_3=level, name=name).to_document() | ({"host": home} if home else {}))
        for name, (home, level) in vms.items()
    ]
    (folder / "vms.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return folder


def test_a_way_without_return_fails_the_gate() -> None:
    old = CAPTURES / "6.1.0-56-arm64__neoverse-n1__default.json"
    new = CAPTURES / "6.12.117+deb13-arm64__neoverse-n1__default.json"
    result = run("diff", old, new, "--format", "json")
    assert {one["back"] for one in json.loads(result.stdout)["vcpus"]} == {"REFUSE"}
    assert result.exit_code == 2
    assert run("diff", old, new, "--fail-on", "stranded").exit_code == 0
    assert run("diff", old, old).exit_code == 0


def test_a_way_without_return_of_a_fleet_fails_the_gate(tmp_path: Path) -> None:
    vms: dict[str, tuple[str | None, int]] = {"a": ("h1", 1), "b": ("h2", 1)}
    before = fleet_of(tmp_path / "before", {"h1": 1, "h2": 1}, vms)
    after = fleet_of(tmp_path / "after", {"h1": 2, "h2": 1}, vms)
    result = run("diff", before, after, "--format", "json")
    document = json.loads(result.stdout)
    assert document["newly_stranded"] == []
    assert [one["hosts"] for one in document["back"]] == [["h1"]]
    assert "SMCCC_ARCH_WORKAROUND_3 was saved as 0x2" in document["back"][0]["finding"]["sentence"]
    assert result.exit_code == 2
    text = run("diff", before, after)
    assert "cannot come back" in text.stdout
    assert text.exit_code == 2
    assert run("diff", before, after, "--fail-on", "stranded").exit_code == 0
    assert run("diff", before, before).exit_code == 0


def head(*arguments: str | Path, lines: int = 1) -> tuple[int, str, str]:
    """Run the command line with a reader that leaves after some lines."""
    words = [sys.executable, "-W", "ignore", "-m", "kvmfw", *map(str, arguments)]
    child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
    assert child.stdout is not None
    assert child.stderr is not None
    read = "".join(child.stdout.readline() for _ in range(lines))
    child.stdout.close()
    errors = child.stderr.read()
    child.stderr.close()
    return child.wait(), read, errors


def test_a_reader_that_leaves_loses_no_file_and_no_exit_code(tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    code, read, errors = head("audit", EXAMPLES, "--html", page, "--top", "100000")
    assert page.read_text().endswith("</html>\n")
    assert read
    assert code == 2
    assert "Error" not in errors
    code, read, errors = head("audit", EXAMPLES, "--format", "json", "--fail-on", "none")
    assert (code, errors) == (0, "")
    code, read, errors = head("validate", EXAMPLES / "vms.jsonl", CAPTURES, "--format", "json")
    assert (code, errors) == (2, "")


VERBS = (
    ("audit",),
    ("whatif", "--hide", "PSCI_VERSION"),
    ("whatif", "--best", "1"),
    ("baseline",),
    ("emit", "qemu"),
    ("emit", "firecracker"),
    ("emit", "openstack"),
    ("emit", "kubernetes"),
    ("emit", "json"),
    ("schemes",),
    ("explain", "a", "h1"),
)


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
@pytest.mark.parametrize("part", ["vms", "hosts", "neither"])
def test_a_fleet_without_vms_or_hosts_is_told_in_one_sentence(
    tmp_path: Path, verb: tuple[str, ...], part: str
) -> None:
    vms: dict[str, tuple[str | None, int]] = {"a": ("h1", 1)} if part == "vms" else {}
    fleet = fleet_of(tmp_path / "fleet", {"h1": 1} if part == "hosts" else {}, vms)
    result = run(verb[0], fleet, *verb[1:])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("kvmfw: ")
    assert result.stderr.count("\n") == 1, result.stderr
    assert any(words in result.stderr for words in ("no captures", "no host", "no VM", "is empty"))


@pytest.mark.parametrize("stored", [False, True])
def test_a_stored_fleet_of_vms_alone_is_told_in_one_sentence(tmp_path: Path, stored: bool) -> None:
    fleet = fleet_of(tmp_path / "fleet", {"h1": 1}, {"a": ("h1", 1)})
    sources = [fleet / "vms.jsonl"] if not stored else [fleet / "captures"]
    assert run("ingest", *sources, "-o", tmp_path / "stored").exit_code == 0
    for verb in (("audit",), ("schemes",), ("whatif", "--best", "1"), ("emit", "openstack")):
        result = run(verb[0], tmp_path / "stored", *verb[1:])
        assert result.exit_code == 1
        assert ("no VM" if stored else "no host") in result.stderr
        assert result.stderr.count("\n") == 1


def test_a_python_fleet_may_be_empty() -> None:
    for vms, hosts in (([tiny_set()], []), ([], [tiny_host()]), ([], [])):
        audit = kvmfw.Fleet(vms, hosts).audit(unknown="refuse", change="accept")
        assert audit.traps.num_rows == 0
        assert audit.shape == (len(vms), len(hosts))


def test_validate_of_no_vm_is_not_green(tmp_path: Path) -> None:
    table = tmp_path / "vms.csv"
    table.write_text("vm,register,value\n")
    result = run("validate", table, CAPTURES)
    assert result.exit_code == 1
    assert result.stderr == f"kvmfw: {table}: there is no VM in it: nothing to judge\n"


def test_a_filter_that_leaves_no_vm_is_not_green(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path / "fleet", {"h1": 1, "h2": 1}, {"a": ("h1", 1)})
    assert run("audit", fleet, "--where", "capture=h1", "--fail-on", "none").exit_code == 0
    result = run("audit", fleet, "--where", "capture=h2")
    assert result.exit_code == 1
    assert "no VM runs on a host with capture = h2: there is nothing to judge" in result.stderr


def test_hiding_what_nobody_has_is_told(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path / "fleet", {"h1": 1, "h2": 1}, {"a": ("h1", 1)})
    assert run("whatif", fleet, "--hide", "SMCCC_ARCH_WORKAROUND_3").exit_code == 0
    result = run("whatif", fleet, "--hide", "VENDOR_HYP_BMAP_2")
    assert result.exit_code == 1
    assert "no VM and no host of the fleet has VENDOR_HYP_BMAP_2" in result.stderr


def one_vcpu(path: Path, registers: dict[int, int] | None) -> Path:
    """Write a capture with one vCPU: these registers, or refused as a whole."""
    document = capture_document(registers or {WA1: 2}, name=path.stem)
    if registers is None:
        document["vcpus"] = [{"name": "vm", "features": ["psci_0_2"], "refused": "EINVAL"}]
        document["registers"] = []
    path.write_text(json.dumps(document))
    return path


def test_a_diff_of_which_nothing_is_known_is_not_green(tmp_path: Path) -> None:
    nobody_knows = 0x6030000000140009
    one, other = (one_vcpu(tmp_path / f"{at}.json", {nobody_knows: at}) for at in (1, 2))
    result = run("diff", one, other, "--format", "json")
    document = json.loads(result.stdout)
    assert document["vcpus"] == [{"vcpu": "vm", "forward": "UNKNOWN", "back": "UNKNOWN"}]
    said, beside = document["not_judged"]
    assert beside["word"] == "surroundings"
    assert (said["word"], said["count"], said["of"]) == ("unknown", 2, 2)
    assert result.exit_code == 2
    text = run("diff", one, other)
    assert text.stdout.index("2 of 2 directions are UNKNOWN") < text.stdout.index("Fresh VMs")
    assert run("diff", one, other, "--fail-on", "stranded,back").exit_code == 0


def test_pairs_that_become_unknown_end_a_diff_of_fleets_and_stand_in_sarif(tmp_path: Path) -> None:
    """Exit 2 with an empty SARIF: nobody was stranded, and of one pair nobody knows what becomes of it."""
    known = {0x6030000000140001: 2, 0x6030000000140003: 1}
    for name, of_last in (("before", ("psci_0_2",)), ("after", ("psci_0_2", "sve"))):
        folder = tmp_path / name / "captures"
        folder.mkdir(parents=True)
        for host in "abc":
            features = of_last if host == "c" else ("psci_0_2",)
            document = capture_document(known, name=host, kernel="6.12.0-tiny", features=features)
            (folder / f"{host}.json").write_text(json.dumps(document))
        (tmp_path / name / "hosts.csv").write_text("host,capture\na,a\nb,b\nc,c\n")
        vm = tiny_set(workaround_3=1, name="vm").to_document() | {"host": "a"}
        (tmp_path / name / "vms.jsonl").write_text(json.dumps(vm) + "\n")
    found = run("diff", tmp_path / "before", tmp_path / "after", "--format", "json")
    told = run("diff", tmp_path / "before", tmp_path / "after", "--format", "sarif")
    (said,) = [one for one in json.loads(found.stdout)["not_judged"] if one["word"] == "unknown"]
    assert (found.exit_code, told.exit_code, said["count"], said["of"]) == (2, 2, 1, 2)
    (run_,) = json.loads(told.stdout)["runs"]
    notes = [one["message"]["text"] for one in run_["invocations"][0]["toolExecutionNotifications"]]
    assert any("1 of 2 pairs of a VM and another host are UNKNOWN now" in note for note in notes)


def test_a_diff_of_captures_without_a_vcpu_is_told(tmp_path: Path) -> None:
    one, other = (one_vcpu(tmp_path / f"{name}.json", None) for name in "ab")
    result = run("diff", one, other)
    assert result.exit_code == 1
    assert "no vCPU that one of the captures could make: there is nothing to judge" in result.stderr
