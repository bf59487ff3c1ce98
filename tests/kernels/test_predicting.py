"""The verb `predict`: what it says, and what it says that it does not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kvmfw.cli import main
from tests.support.kernel_image import kernel_image
from tests.support.kernels import image_like, made_like

CAPTURE = (
    Path(__file__).parents[2] / "examples" / "captures" / "6.12.117+deb13-arm64__neoverse-v1__default.json"
)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "vmlinuz"
    path.write_bytes(image_like((7, 3, 4)))
    return path


def run(*words: object) -> Result:
    return CliRunner().invoke(main, ["predict", *map(str, words)])


def test_every_vcpu_is_told_and_so_is_what_is_not_predicted(image: Path) -> None:
    result = run(CAPTURE, "--kernel", image)
    assert result.exit_code == 0, result.output
    assert "6.12.117+deb13-arm64 -> 7.3.4" in result.stdout
    assert "not predicted: capabilities" in result.stdout
    document = json.loads(run(CAPTURE, "--kernel", image, "--format", "json").stdout)
    names = [vcpu["name"] for vcpu in json.loads(CAPTURE.read_text())["vcpus"] if "refused" not in vcpu]
    assert [vcpu["name"] for vcpu in document["vcpus"]] == names
    # The small image has the ID registers alone: they stay, and the rest vanishes.
    vanish = {row["name"] for row in document["vcpus"][0]["vanish"]}
    assert "SCTLR_EL1" in vanish
    assert "ID_AA64PFR0_EL1" not in vanish
    assert len(document["inputs"]) == 2


def test_the_running_image_is_that_of_the_capture(image: Path, tmp_path: Path) -> None:
    result = run(CAPTURE, "--kernel", image, "--running", image)
    assert result.exit_code == 1
    assert "the running image is 7.3.4, and the capture was taken under 6.12.117+deb13-arm64" in result.stderr
    running = tmp_path / "running"
    running.write_bytes(kernel_image(replace(made_like((6, 12, 117)), release="6.12.117+deb13-arm64")))
    result = run(CAPTURE, "--kernel", image, "--running", running)
    assert result.exit_code == 0, result.output
