"""Findings that say `proved`, the table by which they do, and the page that tells the same (docs/proofs.md)."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import kvmfw
from kvmfw.registers import named
from kvmfw.testing import capture_document

ROOT = Path(__file__).parents[1]
TABLE = (ROOT / "rust/kvmfw-core/src/rules/proved.txt").read_text().splitlines()
KERNELS = [line.split("\t")[1:] for line in TABLE if line.startswith("kernel\t")]
RULES = [line.split("\t")[1:] for line in TABLE if line.startswith("rule\t")]
WORKAROUND_1, PFR0 = named("SMCCC_ARCH_WORKAROUND_1"), named("ID_AA64PFR0_EL1")


def evidence(kernel: list[str], saved: int, *, build: str | None = "", state: str = "fresh") -> str:
    """What the finding on a saved level of WORKAROUND_1 goes by, on a host that has level 1."""
    document = capture_document({WORKAROUND_1: 1}, kernel=kernel[0])
    told = kernel[1] if build == "" else build
    if told is not None:
        document["host"]["kernel_build"] = told  # type: ignore[index]
    host = kvmfw.Host.from_json(json.dumps(document))
    vm = kvmfw.RegisterSet.from_mapping({WORKAROUND_1: saved}, name="vm")
    (finding,) = kvmfw.validate(vm, host, state=state).findings
    return finding.evidence


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel[0])
def test_a_refusal_by_a_rule_that_was_proved_of_this_image_says_so(kernel: list[str]) -> None:
    assert evidence(kernel, 2) == "proved"
    # Taken, and the guest sees another level: the proof says nothing of what is read.
    assert evidence(kernel, 0) == "derived"


@pytest.mark.parametrize("build", ["#1 SMP somebody's own", None])
def test_another_image_under_the_same_release_was_not_proved(build: str | None) -> None:
    assert KERNELS
    assert [evidence(kernel, 2, build=build) for kernel in KERNELS] == ["derived"] * len(KERNELS)


def test_no_proof_is_about_vms_that_have_run() -> None:
    assert KERNELS
    assert [evidence(kernel, 2, state="ran") for kernel in KERNELS] == ["derived"] * len(KERNELS)


def test_the_table_is_what_the_page_says() -> None:
    page = (ROOT / "docs/proofs.md").read_text()
    head = next(line for line in page.splitlines() if line.startswith("| image |"))
    columns = [cell.strip() for cell in head.strip("|").split("|")]
    rows = [
        dict(zip(columns, (cell.strip() for cell in line.strip("|").split("|")), strict=True))
        for line in re.findall(r"^\| \d.*-arm64.*$", page, re.MULTILINE)
    ]
    told = {(row["image"], row["build"]): int(row["rules in findings"]) for row in rows}
    known = {
        (release, build): sum(len(ids.split()) for _, places, ids in RULES if int(places, 16) >> place & 1)
        for place, (release, build) in enumerate(KERNELS)
    }
    assert known == told
    assert f"{len(KERNELS)} kernels" in page
    assert min(known.values()) > 30
