"""What the README says can be done as it says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from kvmfw.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    found = re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)
    assert found, f"the README has no {language} block"
    return found


def test_python_blocks_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    typed: dict[str, object] = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), typed)
    assert "SMCCC_ARCH_WORKAROUND_3" in capsys.readouterr().out


def test_console_blocks_print_what_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "120")
    for block in blocks("console"):
        command, *shown = block.strip().splitlines()
        words = shlex.split(command.removeprefix("$ kvmfw "))
        result = CliRunner().invoke(main, words)
        assert [line.rstrip() for line in result.output.strip().splitlines()] == [
            line.rstrip() for line in shown
        ]


def test_files_that_it_links_to_exist() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    assert links
    for link in links:
        assert (ROOT / link).exists(), link
