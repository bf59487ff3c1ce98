"""The documents: every link leads somewhere, what they show is what is printed, the tasks do what they say."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import kvmfw
from kvmfw.cli import main
from tests.support.two_hosts import make_hosts

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "benches").glob("*.md"),
        *ROOT.glob("examples/**/*.md"),
    ]
)
CAPTURES = ROOT / "examples" / "captures"
OLD, NEW = "6.1.0-56-arm64__neoverse-n1__default", "6.12.117+deb13-arm64__neoverse-n1__default"
PROBED = ("probe", "save", "validate")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """Give the anchors of a page's headings, as GitHub and mkdocs make them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    titles = re.findall(r"^#+ +(.*)$", text, re.MULTILINE)
    return {re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", title.lower()).strip()) for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for link in LINK.findall(text):
        if link.startswith(("http:", "https:", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), link


def test_every_document_is_in_the_site() -> None:
    site = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        assert f" {page.relative_to(ROOT / 'docs')}\n" in site, page


def commands_in(page: Path) -> Iterator[list[str]]:
    """Give the words of every call of kvmfw in blocks and between backticks, up to what a shell does with it."""
    text = re.sub(r"\\\n\s*", " ", page.read_text())
    blocks = re.findall(r"^```(?:sh|console)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines()]
    lines += re.findall(r"`(kvmfw [a-z][^`\n]*)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    for line in lines:
        for call in re.split(r"\s+#|&&|;|\$\(|(?<!\|)\|(?!\|)|[<>)]", line):
            words = call.strip().removeprefix("$ ").split()
            if words[:1] == ["kvmfw"] and len(words) > 1 and not words[1].startswith("-"):
                yield words[1:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_is_shown_is_one_of_kvmfw(page: Path) -> None:
    if page.name == "CHANGELOG.md":  # What was.
        return
    for verb, *words in commands_in(page):
        if not re.fullmatch("[a-z]+", verb):
            continue
        command: click.Command | None = main.get_command(click.Context(main), verb)
        assert command is not None, verb
        if isinstance(command, click.Group) and words:
            command = command.get_command(click.Context(command), words[0]) or command
        known = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
        if verb == "probe":  # Its arguments are those of the script that is copied to hosts.
            helps = [CliRunner().invoke(main, ["probe", which, "--help"]).output for which in PROBED]
            known |= set(re.findall(r"--[a-z][a-z-]*", " ".join([command.help or "", *helps])))
        for word in words:
            option = word.partition("=")[0]
            if re.fullmatch(r"--?[a-z][a-z-]*", option):
                assert option in known | {"--help", "-h"}, f"{verb} {option}"


def test_wheels_of_a_release_are_stripped_as_those_by_hand_are() -> None:
    """Debug sections are three quarters of a wheel, and nobody who installs one reads them."""
    for name in (".github/workflows/release.yml", "docs/packaging.md", "Makefile"):
        for line in (ROOT / name).read_text().splitlines():
            if "maturin build --release" in line:
                assert "--strip" in line, (name, line)


# --- the first verdict ----------------------------------------------------------------------------


def shell(command: str, where: Path, tools: Path, width: int = 100) -> subprocess.CompletedProcess[str]:
    words = {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "python"),
        "COLUMNS": str(width),
    }
    return subprocess.run(
        ["bash", "-e", "-c", command],
        cwd=where,
        env=os.environ | words,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    return make_hosts(tmp_path / "tools")


def test_the_first_verdict_is_as_it_is_written(tools: Path, tmp_path: Path) -> None:
    where = tmp_path / "here"
    where.mkdir()
    text = (ROOT / "docs" / "start" / "first.md").read_text()
    blocks = re.findall(r"```(sh|console)\n(.*?)```", text, re.DOTALL)
    assert [kind for kind, _ in blocks].count("console") >= 4
    for kind, block in blocks:
        if kind == "sh":
            assert shell(block, where, tools).returncode == 0, block
            continue
        command, *shown = block.rstrip("\n").split("\n")
        ran = shell(command.removeprefix("$ "), where, tools)
        assert [line.rstrip() for line in ran.stdout.rstrip("\n").split("\n")] == shown, command
        assert "Traceback" not in ran.stderr


# --- five tasks -----------------------------------------------------------------------------------


def task(name: str, *words: str | Path, where: Path, tools: Path) -> subprocess.CompletedProcess[str]:
    script = ROOT / "docs" / "tasks" / name
    how = f"{sys.executable} -W ignore" if script.suffix == ".py" else "sh"
    return shell(f"{how} {script} {' '.join(map(str, words))}", where, tools)


EXAMPLES = ROOT / "examples"


def test_task_rollout(tools: Path, tmp_path: Path) -> None:
    ran = task("rollout.sh", EXAMPLES, OLD, CAPTURES / f"{NEW}.json", where=tmp_path, tools=tools)
    assert ran.returncode == 2, ran.stderr
    assert "Ways without return" in ran.stdout
    assert "hosts that answer otherwise: 1" in ran.stdout
    fine = task("rollout.sh", EXAMPLES, OLD, CAPTURES / f"{OLD}.json", where=tmp_path, tools=tools)
    assert fine.returncode == 0, fine.stderr


def test_task_planner(tools: Path, tmp_path: Path) -> None:
    ran = task("planner.py", EXAMPLES, where=tmp_path, tools=tools)
    assert ran.returncode == 0, ran.stderr
    moved, stuck, before, after = map(int, re.findall(r"\d+", ran.stdout))
    assert moved + stuck == 20
    assert after - before == moved > 0


def test_task_audit(tools: Path, tmp_path: Path) -> None:
    for _ in range(2):
        ran = task("audit.sh", EXAMPLES, "out", where=tmp_path, tools=tools)
        assert ran.returncode == 0, ran.stderr
    assert "nothing has changed" in ran.stdout
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "report.html",
        "report.txt",
        "history.parquet",
        "kvmfw.prom",
    }
    assert "cannot leave their host" in (tmp_path / "out" / "report.html").read_text()


def test_task_gate(tools: Path, tmp_path: Path) -> None:
    ran = task(
        "gate.sh",
        CAPTURES / f"{OLD}.json",
        CAPTURES / f"{NEW}.json",
        "out.sarif",
        where=tmp_path,
        tools=tools,
    )
    assert ran.returncode == 2, ran.stderr
    assert json.loads((tmp_path / "out.sarif").read_text())["runs"][0]["results"]


def test_task_failed_migration(tools: Path, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("qemu: Could not set register fw reg 3 to 1 (is 0)\nother\n")
    ran = task(
        "failed-migration.sh",
        "log",
        EXAMPLES,
        "v1-510-a.gic3.fresh",
        "v1-510-nomit",
        where=tmp_path,
        tools=tools,
    )
    assert ran.returncode == 0, ran.stderr
    for words in (
        "SMCCC_ARCH_WORKAROUND_3",
        "REFUSE  v1-510-a.gic3.fresh on v1-510-nomit",
        "what to do",
        "spoken by",
        "v1-510-a.gic3.fresh on 21 other hosts",
    ):
        assert words in ran.stdout
    # The rules that are explained are those of this failure.
    other = task(
        "failed-migration.sh", "log", EXAMPLES, "n1-612-a.gic3.fresh", "n1-61-a", where=tmp_path, tools=tools
    )
    assert other.returncode == 0, other.stderr
    explained = set(re.findall(r"^(KVMFW-[A-Z0-9-]+)$", other.stdout, re.MULTILINE))
    assert explained == {
        one.rule for one in kvmfw.Fleet.load(EXAMPLES).explain("n1-612-a.gic3.fresh", "n1-61-a").findings
    }
    assert "KVMFW-WA3-LEVEL" not in explained


def test_task_installed(tools: Path, tmp_path: Path) -> None:
    """What is run after an installation of a wheel (.github/workflows/release.yml)."""
    ran = task("installed.sh", EXAMPLES, where=tmp_path, tools=tools)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.rstrip().endswith("kvmfw runs")
