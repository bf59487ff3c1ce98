"""What is supposed, proposed and emitted, from the command line: what-ifs, baselines, settings of VMMs."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

import kvmfw
from kvmfw.testing import capture_document
from tests.support.command import EXAMPLES, needs_examples, run


def json_of(*arguments: str | Path) -> Any:
    result = run(*arguments, "--format", "json")
    assert result.exit_code in (0, 2), result.output
    return json.loads(result.stdout)


@needs_examples
def test_whatif_best_foretells_what_replacing_does() -> None:
    proposed = json_of("whatif", EXAMPLES, "--best", "1")["upgrades"]
    for row in proposed:
        file = EXAMPLES / "captures" / f"{row['becomes']}.json"
        done = json_of("whatif", EXAMPLES, "--replace", f"{row['capture']}={file}")
        assert len(done["freed"]) == row["freed"]
        assert len(done["newly_stranded"]) == row["newly_stranded"]


@needs_examples
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "say what to suppose"),
        (("--best", "1", "--hide", "PSCI_VERSION"), "--best stands alone"),
        (("--hide", "NOTHING"), "`NOTHING` is no register"),
        (("--level", "*:PSCI_VERSION"), "is not CAPTURE:REGISTER=VALUE"),
        (("--level", "*:PSCI_VERSION=many"), "`many` is not a number"),
        (("--replace", "nobody=x.json"), "no host has the capture `nobody`"),
    ],
)
def test_whatif_explains_wrong_usage(arguments: tuple[str, ...], words: str) -> None:
    result = run("whatif", EXAMPLES, *arguments)
    assert result.exit_code == 1
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


@needs_examples
def test_a_baseline_is_taken_by_all_that_it_covers() -> None:
    hosts = [kvmfw.Host.load(path) for path in sorted((EXAMPLES / "captures").glob("*neoverse-v1*.json"))]
    document = json_of(
        "baseline", EXAMPLES, "--where", "kernel=6.18.15+deb13-arm64", "--where", "cpu=Neoverse V1"
    )
    text = run(
        "baseline",
        EXAMPLES,
        "--where",
        "kernel=6.18.15+deb13-arm64",
        "--where",
        "cpu=Neoverse V1",
        "--format",
        "register-set",
    ).stdout
    vm = kvmfw.RegisterSet.from_json(text)
    assert document["covered"]
    for host in hosts:
        if host.kernel == "6.18.15+deb13-arm64":
            assert kvmfw.validate(vm, host).outcome < kvmfw.Outcome.UNKNOWN


@needs_examples
@pytest.mark.parametrize("target", ["qemu", "firecracker", "openstack", "kubernetes", "json"])
def test_emit_gives_text_for_every_target(target: str) -> None:
    result = run("emit", EXAMPLES, target)
    # Five kinds of CPU: nothing that a VMM can set lets VMs go to all of them.
    assert result.exit_code == (2 if target in ("qemu", "firecracker", "json") else 0), result.output
    if target in ("firecracker", "json"):
        json.loads(result.stdout)
    if target == "firecracker":
        for one in json.loads(result.stdout)["reg_modifiers"]:
            assert re.fullmatch(r"0b[01x_]+", one["bitmap"])
            assert len(one["bitmap"].replace("_", "")) == 2 + 8 * (1 << (int(one["addr"], 16) >> 52 & 0xF))
    if target == "qemu":
        assert "x-mig-hidden-regs" in result.stdout


@needs_examples
def test_emit_is_judged_by_the_vmm_of_its_target_or_the_one_given() -> None:
    where = ("--where", "kernel=6.18.15+deb13-arm64", "--where", "cpu=Neoverse V1")
    for vmm in ((), ("--vmm", "qemu-9.2"), ("--vmm", "kvm")):
        assert run("emit", EXAMPLES, "qemu", *where, *vmm).exit_code == 0, vmm
    assert run("emit", EXAMPLES, "qemu", *where, "--vmm", "qemuu").exit_code == 1
    assert "that of TARGET" in " ".join(run("emit", "--help").stdout.split())


@pytest.mark.parametrize("target", ["openstack", "kubernetes"])
def test_names_stay_words_of_their_line(target: str, tmp_path: Path) -> None:
    """What is emitted is copied to shells: no name begins a line, ends a comment or a word."""
    evil = "n\ntouch pwned #\r\x1b[2J; $(id)"
    (tmp_path / "captures").mkdir()
    document = capture_document({0x6030000000140003: 1}, name=evil)
    (tmp_path / "captures" / "a.json").write_text(json.dumps(document))
    vm = kvmfw.Host.from_json(json.dumps(document)).fresh_set(features=["psci_0_2"], name=f"vm {evil}")
    assert vm is not None
    (tmp_path / "vms.jsonl").write_text(json.dumps(vm.to_document()) + "\n")
    result = run("emit", tmp_path, target)
    assert result.exit_code == 0
    assert not re.search(r"[^\x20-\x7e\n\ufffd]", result.stdout)
    named = [line for line in result.stdout.splitlines() if "touch pwned" in line]
    assert named
    for line in named:
        assert line.startswith(("#", "'n\ufffdtouch"))
    commands = [line.removeprefix("# kubectl label node ") for line in named if "kubectl" in line]
    for line in commands + [line for line in named if line.startswith("'")]:
        assert len(shlex.split(line)) == 2


@needs_examples
def test_settings_of_which_none_is_needed_say_so(tmp_path: Path) -> None:
    name = "5.10.0-32-arm64__neoverse-n1__default"
    vm = json.loads((EXAMPLES / "vms.jsonl").read_text().partition("\n")[0]) | {"host": name}
    (tmp_path / "vms.jsonl").write_text(json.dumps(vm) + "\n")
    (tmp_path / "captures").mkdir()
    shutil.copy(EXAMPLES / "captures" / f"{name}.json", tmp_path / "captures")
    emitted = run("emit", tmp_path, "qemu")
    assert "None is needed" in emitted.stdout
    compared = run("schemes", tmp_path)
    assert (compared.exit_code, compared.stdout) == (1, "")
    assert "there is nothing to compare" in compared.stderr
