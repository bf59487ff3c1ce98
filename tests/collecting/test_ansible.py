"""The playbook, run by ansible-core on hosts that are this machine, each with an interpreter that plays it."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.collecting.fakes import DOCS, KINDS, command, hosts

NAMES = ["n1", "n2", "n3", "n4"]


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    interpreters = hosts(tmp_path, NAMES)
    lines = [
        f"{name} ansible_connection=local ansible_python_interpreter={sys.executable} kvmfw_python={script}"
        for name, script in interpreters.items()
    ]
    lines.append("dead ansible_connection=local kvmfw_python=/bin/false")
    path = tmp_path / "inventory.ini"
    path.write_text("\n".join(lines) + "\n")
    return path


def play(inventory: Path, output: Path) -> subprocess.CompletedProcess[str]:
    folder = inventory.parent
    words = [
        "-i",
        str(inventory),
        str(DOCS / "playbook.yml"),
        "-e",
        f"output={output}",
        "-e",
        "kvmfw_become=false",
    ]
    words += ["-e", f"kvmfw={folder / 'bin' / 'kvmfw'}"]
    told = {"HOME": str(folder), "ANSIBLE_LOCALHOST_WARNING": "false", "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        [str(Path(sys.executable).parent / "ansible-playbook"), *words],
        env={**os.environ, **told},
        capture_output=True,
        text=True,
        check=False,
    )


def test_one_full_probe_for_each_kind(inventory: Path, tmp_path: Path) -> None:
    command(tmp_path)
    output = tmp_path / "fleet"
    done = play(inventory, output)
    said = done.stdout + done.stderr
    assert "4 of 4 hosts, 2 kinds" in said, said
    with (output / "hosts.csv").open() as lines:
        mapped = {row["host"]: row["capture"] for row in csv.DictReader(lines)}
    assert set(mapped) == set(NAMES)
    assert mapped["n1"] == mapped["n3"] != mapped["n2"] == mapped["n4"]
    assert {name.partition("__")[0] for name in mapped.values()} == {
        kind.partition("__")[0] for kind in KINDS
    }
    assert len(list((output / "captures").glob("*.json"))) == 2
    probes = [json.loads(path.read_text()) for path in (output / "probes").glob("*.json")]
    assert sorted(bool(probe["answers"]) for probe in probes) == [False, False, True, True]
    assert "dead" in said
    assert "failed=1" in said
