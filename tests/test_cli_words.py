"""What verbs say on a terminal: the numbers of their JSON, and one sentence where they cannot go on."""

from __future__ import annotations

import json
import os
import pty
import shutil
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.shell_completion import ShellComplete

import kvmfw
from kvmfw.cli import VERBS, main
from kvmfw.testing import capture_document
from tests.support.command import EXAMPLES, run
from tests.support.kernels import image_like
from tests.test_cli import files

__all__ = ["files"]

CAPTURES = EXAMPLES / "captures"
OLD, NEW = (
    CAPTURES / f"{name}__neoverse-n1__default.json" for name in ("6.1.0-56-arm64", "6.12.117+deb13-arm64")
)
OWN = "own"
WA1, WA3 = 0x6030000000140001, 0x6030000000140003


def words(text: str) -> str:
    return " ".join(text.split())


# ---------------------------------------------------------------- help


@pytest.mark.parametrize("verb", [name for name in VERBS if name != "probe"])
def test_help_of_a_verb_is_what_the_verb_says_of_itself(verb: str) -> None:
    asked, own = run("help", verb), run(verb, "--help")
    assert asked.exit_code == own.exit_code == 0
    assert asked.stdout == own.stdout


def test_help_without_a_verb_lists_all_and_an_unknown_one_is_told() -> None:
    listed = run("help")
    assert listed.exit_code == 0
    assert listed.stdout == run("--help").stdout
    assert all(f"\n  {name} " in listed.stdout for name in VERBS)
    failed = run("help", "gues")
    assert (failed.exit_code, failed.stdout) == (1, "")
    assert failed.stderr.startswith("kvmfw: there is no verb `gues`; `kvmfw help` lists all")


def test_no_verb_at_all_is_wrong_usage_with_help() -> None:
    nothing = run()
    assert nothing.exit_code == 1
    assert all(f"\n  {name} " in nothing.output for name in VERBS)


# ---------------------------------------------------------------- what a verb needs and has not


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("validate", "--on-host", "VM", "--vmm", "all"),
            "--on-host writes in the order of one VMM; name it with --vmm",
        ),
        (
            ("validate", "--on-host", "VM", "--vmm", "qemu-9.2"),
            "--on-host cannot write as qemu-9.2 does; it writes in the order of kvm, firecracker, cloud-hypervisor, crosvm",
        ),
        (
            ("diff", "CAPTURE", "FLEET"),
            "one is a file and the other a folder; compare two captures or two fleet folders",
        ),
        (("diff", "CAPTURE"), "name either AFTER or --kernel"),
        (
            ("diff", "FLEET", "--kernel", "6.12"),
            "--kernel is for one capture; for a fleet there is kvmfw whatif --kernel",
        ),
        (("whatif", "FLEET", "--replace", "new"), "--replace `new` is not CAPTURE=FILE"),
        (("whatif", "FLEET", "--kernel", "new"), "--kernel `new` is not CAPTURE=IMAGE|RELEASE"),
        (("audit", "FLEET", "--where", "capture"), "`capture` is not COLUMN=VALUE"),
        (
            ("audit", "FLEET", "--format", "parquet"),
            "--format parquet writes one file for each table; say where with --output",
        ),
        (("ingest", "VM", "-o", "OUT", "--column", "host"), "`host` is not NAME=COLUMN"),
        (
            ("serve", "FLEET", "--host", "example.org"),
            "`example.org` can be reached from elsewhere; --token-file says who may",
        ),
        (("serve", "FLEET", "--token-file", "EMPTY"), "there is no token in it"),
        (
            ("rollout", "FLEET", "--to", "older"),
            "no host has the capture `older`; there are, for example, new, old",
        ),
        (("rollout", "FLEET", "--to", "old", "--to", "old"), "--to says twice what hosts of `new` become"),
    ],
)
def test_one_sentence_says_what_is_missing(arguments: tuple[str, ...], sentence: str, files: Path) -> None:
    (files / "empty").write_text("\n")
    known = {
        "VM": files / "vm.json",
        "FLEET": files / "fleet",
        "CAPTURE": files / "fleet" / "captures" / "new.json",
    }
    known |= {"EMPTY": files / "empty", "OUT": files / "out"}
    failed = run(*(known.get(word, word) for word in arguments))
    assert (failed.exit_code, failed.stdout) == (1, "")
    assert sentence in failed.stderr
    assert len(failed.stderr.splitlines()) == 1
    assert not (files / "out").exists()


def test_on_host_writes_in_the_order_of_the_family(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Releases are written as their family is; the probe is told which."""
    asked: list[list[str]] = []
    monkeypatch.setattr(kvmfw.probe, "guarded", asked.append)
    for vmm in ("kvm", "crosvm", "cloud-hypervisor-53", "firecracker-1.16"):
        assert run("validate", "--on-host", files / "vm.json", "--vmm", vmm).exit_code == 0
    assert [one[-1] for one in asked] == ["kvm", "crosvm", "cloud-hypervisor", "firecracker"]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (MemoryError(), "there is not enough memory for this input"),
        (KeyboardInterrupt(), "interrupted; no file was left half written"),
        (click.Abort(), "interrupted; no file was left half written"),
        (OSError(28, "No space left on device", "/x"), "/x: No space left on device"),
        (ImportError("a\n  b"), "what this verb needs cannot be loaded: a b"),
    ],
)
def test_what_stops_a_verb_is_one_sentence(
    error: BaseException, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(main.get_command(click.Context(main), "vmms"), "callback", stop)
    failed = run("vmms")
    assert (failed.exit_code, failed.stdout) == (1, "")
    assert failed.stderr.lstrip("\n") == f"kvmfw: {sentence}\n"


# ---------------------------------------------------------------- the terminal says what the JSON says


def test_gates_on_the_terminal_are_those_of_the_json() -> None:
    document = json.loads(run("schemes", EXAMPLES, "--gates", "--format", "json").stdout)
    shown = words(run("schemes", EXAMPLES, "--gates", width=300).stdout)
    assert len(document["gates"]) == 5
    for gate in document["gates"]:
        numbers = (
            f"{gate[name]:,}"
            for name in ("pairs", "allowed", "wrongly_allowed", "wrongly_forbidden", "undecided")
        )
        assert f"{gate['gate']} {' '.join(numbers)}" in shown, gate["gate"]
        assert (f"Where `{gate['gate']}` may be relaxed" in shown) == bool(gate["relaxed"])


def test_a_diff_of_fleets_on_the_terminal_is_that_of_the_json(files: Path) -> None:
    before, after = files / "fleet", files / "after"
    shutil.copytree(before, after)
    # Who is at home on h1 needs level 2, which no other host has any more.
    (after / "hosts.csv").write_text("host,capture\nh1,old\nh2,new\nh3,newer\n")
    (before / "hosts.csv").write_text("host,capture\nh1,old\nh2,new\nh3,old\n")
    (after / "captures" / "newer.json").write_text(
        json.dumps(capture_document({WA1: 2, WA3: 0}, name="newer"))
    )
    answer = run("diff", before, after, "--format", "json")
    document = json.loads(answer.stdout)
    told = run("diff", before, after)
    assert answer.exit_code == told.exit_code == 2
    shown = words(told.stdout)
    assert [row["vm"] for row in document["newly_stranded"]] == ["a", "b"]
    for title, rows in (("Newly stranded VMs", document["newly_stranded"]), ("Freed VMs", document["freed"])):
        assert f"{title} {len(rows)}" in shown
        assert all(f"{row['vm']} {row['host']}" in shown for row in rows)
    assert document["blockers"]
    for row in document["blockers"]:
        assert f"{row['unit']} {row['pairs']}" in shown


def test_a_kernel_that_no_rule_knows_is_told_with_what_differs(tmp_path: Path) -> None:
    image = tmp_path / "Image"
    image.write_bytes(image_like((6, 12, 8)))
    best = json.loads(run("kernel", image, "--format", "json").stdout)["fits"][0]
    told = words(run("kernel", image, width=300).stdout)
    assert f"{best['release']} {best['rows']} {len(best['differences'])}" in told
    shown = told.count(f"unlike {best['release']}: ")
    more = f"... and {len(best['differences']) - shown} more (--format json has all)"
    assert (more in told) == (shown < len(best["differences"]))


@pytest.mark.parametrize(("release", "unmade"), [("6.12.8", ["impid"]), ("6.16", [])])
def test_a_prediction_names_the_vcpus_that_a_kernel_does_not_make(release: str, unmade: list[str]) -> None:
    """Writable implementation registers came with 6.15."""
    capture = CAPTURES / "6.18.15+deb13-arm64__max__default.json"
    document = json.loads(run("predict", capture, "--kernel", release, "--format", "json").stdout)
    shown = words(run("predict", capture, "--kernel", release, width=300).stdout)
    named = {one["name"] for one in document["vcpus"]}
    assert "psci02" in named
    assert not named & {*unmade}
    assert ("this kernel does not make: impid not predicted: " in shown) == bool(unmade)


def test_a_prediction_names_the_vcpus_of_which_nobody_knows_whether_they_are_made(tmp_path: Path) -> None:
    """Up to 5.12 SVE needs VHE, which a kernel does not use that was told another mode."""
    capture = tmp_path / "max.json"
    document = json.loads((CAPTURES / "6.18.15+deb13-arm64__max__default.json").read_text())
    document["host"]["boot_options"] = "quiet kvm_arm.mode=nvhe"
    capture.write_text(json.dumps(document))
    shown = words(run("predict", capture, "--kernel", "5.10.223", width=300).stdout)
    assert "it is not known whether this kernel makes: sve" in shown
    shown = words(run("predict", capture, "--kernel", "5.13", width=300).stdout)
    assert "it is not known whether this kernel makes" not in shown


def test_a_trend_without_a_change_says_so(files: Path) -> None:
    history = files / "history.parquet"
    for _ in range(2):
        assert run("audit", files / "fleet", "--record", history, "--fail-on", "none").exit_code == 0
    told = run("trend", history)
    assert "nothing has changed" in told.stdout
    assert json.loads(run("trend", history, "--format", "json").stdout)["changes"]["numbers"] == []
    alone = files / "one.parquet"
    run("audit", files / "fleet", "--record", alone, "--fail-on", "none")
    assert "nothing to compare: no earlier audit asked the same" in run("trend", alone).stdout
    assert json.loads(run("trend", alone, "--format", "json").stdout)["changes"] is None


def test_a_trend_names_who_is_stranded_since(files: Path) -> None:
    history = files / "history.parquet"
    (files / "fleet" / "hosts.csv").write_text("host,capture\nh1,old\nh2,new\nh3,old\n")
    run("audit", files / "fleet", "--record", history, "--fail-on", "none")
    (files / "fleet" / "hosts.csv").write_text("host,capture\nh1,old\nh2,new\nh3,new\n")
    run("audit", files / "fleet", "--record", history, "--fail-on", "none")
    found = json.loads(run("trend", history, "--format", "json").stdout)["changes"]
    shown = words(run("trend", history).stdout)
    assert found["stranded"]
    assert f"newly stranded: {', '.join(found['stranded'])}" in shown
    assert f"registers that now hold VMs by themselves: {', '.join(found['blockers'])}" in shown
    for one in found["numbers"]:
        assert (
            f"{one['name']}: {one['before']:,} -> {one['after']:,} ({one['after'] - one['before']:+,})"
            in shown
        )


def test_a_rollout_of_what_is_there_already_is_nothing_to_do(files: Path) -> None:
    (files / "fleet" / "hosts.csv").write_text("host,capture\nh1,old\nh2,old\n")
    (files / "fleet" / "captures" / "new.json").unlink()
    told = run("rollout", files / "fleet", "--to", "old")
    assert "Nothing to do: all of these hosts have what they shall get." in words(told.stdout)
    assert told.exit_code == 0


# ---------------------------------------------------------------- terminals


def test_words_of_vmms_are_completed() -> None:
    def completed(*arguments: str) -> list[str]:
        *before, start = arguments
        complete = ShellComplete(main, {}, "kvmfw", "_KVMFW_COMPLETE")
        return [one.value for one in complete.get_completions(before, start)]

    assert completed("val") == ["validate"]
    assert completed("validate", "--vmm", "firecracker-1.1") == [
        one.name for one in kvmfw.vmms() if one.name.startswith("firecracker-1.1")
    ]
    every = [one.name for one in kvmfw.vmms()]
    assert completed("audit", "--vmm", "") == [*every, OWN]
    assert completed("validate", "--vmm", "")[-1] == "all"
    assert completed("baseline", "--vmm", "") == every, "it takes no `own`"


def test_all_vmms_are_those_that_are_listed(files: Path) -> None:
    host = files / "fleet" / "captures" / "new.json"
    judged = json.loads(run("validate", files / "vm.json", host, "--vmm", "all", "--format", "json").stdout)
    assert [one["vmm"] for one in judged["verdicts"]] == [one.name for one in kvmfw.vmms()]


@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_is_for_terminals_alone(
    is_terminal: bool, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is drawn on standard error, and what a verb prints and leaves is the same."""
    keeper, end = pty.openpty()
    read = os.fdopen(keeper, "rb", buffering=0)
    monkeypatch.setenv("TERM", "xterm")
    with os.fdopen(end, "w") if is_terminal else (files / "log").open("w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        code = main(["ingest", str(files / "fleet"), "-o", str(files / "out")], standalone_mode=False)
        stream.flush()
        drawn = read.read(1 << 16) if is_terminal else (files / "log").read_bytes()
    read.close()
    assert code in (0, None)
    assert (b"%" in drawn) == is_terminal
    assert (files / "out" / "fleet.json").exists() or any((files / "out").rglob("fleet.json"))
