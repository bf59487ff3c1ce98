"""Where results come from: digests that an auditor can repeat without kvmfw."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from kvmfw.ingest import ingest
from kvmfw.provenance import digest, provenance

EXAMPLES = Path(__file__).parents[1] / "examples"
BY_HAND = (
    "find -L . -type f ! -path './generations/*' ! -path './current/*' ! -path '*/.*'"
    " | LC_ALL=C sort | xargs -d '\\n' sha256sum | sha256sum"
)


def by_hand(folder: Path) -> str:
    return subprocess.run(BY_HAND, shell=True, cwd=folder, check=True, capture_output=True, text=True).stdout[
        :64
    ]


def test_digests_of_folders_are_what_other_tools_find(tmp_path: Path) -> None:
    fleet = tmp_path / "fleet"
    for _ in range(2):  # two generations
        ingest([EXAMPLES / "vms.jsonl", EXAMPLES / "captures"], fleet)
    before = digest(fleet)
    assert before == by_hand(fleet)
    assert digest(EXAMPLES) == by_hand(EXAMPLES)
    hosts = next(fleet.glob("hosts/*.parquet"))
    shutil.copy(EXAMPLES / "vm.json", hosts)
    assert digest(fleet) not in (before, None)


def test_digest_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert digest(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert digest(Path("/dev/null")) is None


def test_the_time_of_a_repeated_build_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    assert provenance([EXAMPLES / "vm.json"]).made == "1970-01-01T00:00:00Z"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "soon")
    assert provenance().made > "2026"
