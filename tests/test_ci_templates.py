"""The templates of docs/ci: their commands are run as they stand, on a roll-out that strands and on one that does not."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CAPTURES = ROOT / "examples" / "captures"
OLD, NEW = "6.1.0-56-arm64__neoverse-n1__default", "6.12.117+deb13-arm64__neoverse-n1__default"


def commands(name: str) -> str:
    """Give the lines of shell of a template that call kvmfw."""
    lines = (ROOT / "docs" / "ci" / name).read_text().splitlines()
    start = next(at for at, line in enumerate(lines) if line.endswith("|")) + 1
    indent = len(lines[start]) - len(lines[start].lstrip())
    block = itertools.takewhile(lambda line: line.startswith(" " * indent), lines[start:])
    return textwrap.dedent("\n".join(block))


@pytest.mark.parametrize("name", ["github.yml", "gitlab.yml"])
@pytest.mark.parametrize(("becomes", "code"), [(NEW, 2), (OLD, 0)])
def test_templates_gate_a_roll_out(name: str, becomes: str, code: int, tmp_path: Path) -> None:
    fleet = tmp_path / "fleet"
    shutil.copytree(ROOT / "examples", fleet)
    (tmp_path / "next").mkdir()
    shutil.copy(CAPTURES / f"{becomes}.json", tmp_path / "next" / f"{OLD}.json")
    (tmp_path / "bin").mkdir()
    tool = tmp_path / "bin" / "kvmfw"
    tool.write_text(f'#!/bin/sh\nexec {sys.executable} -W ignore -m kvmfw "$@"\n')
    tool.chmod(0o755)
    ran = subprocess.run(
        ["bash", "-e", "-c", commands(name)],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{tool.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "python")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == code, ran.stderr
    (sarif,) = tmp_path.glob("*.sarif")
    results = json.loads(sarif.read_text())["runs"][0]["results"]
    assert bool(results) == (code == 2)
    assert all(one["level"] in ("error", "warning") for one in results)
