"""Fuzzed answers of real kernels, kept with the captures of their hosts: every judge must be right about all of them.

Of hosts that the probe of now captured the register sets are here too that it saved of VMs that ran.

`python -m tests.live.fuzz --replay FOLDER --sample tests/live/answers` puts them there (docs/live.md).
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

import kvmfw
from tests.live import store
from tests.live.fuzz import capture_of
from tests.live.judging import DERIVED, MEASURED, ORACLE, UNKNOWN, WAYS, WRONG, Judge
from tests.live.predict import Engine
from tests.live.probing import probe

FOLDER = Path(__file__).parent / "live" / "answers"
KEPT = sorted(FOLDER.glob("*.answers.gz"))
SAVED = sorted(FOLDER.glob("*.sets.jsonl.gz"))
# What may be UNKNOWN of the answers of one host.
MOST = {MEASURED: 0.01, DERIVED: 0.03, ORACLE: 0.03}


def test_there_are_answers_of_all_kinds_of_hosts() -> None:
    names = " ".join(path.name for path in KEPT)
    kinds = ("a64fx", "nested", "16k", "gic-version-2", "5.10.0", "6.1.0", "6.12.", "6.18.", "7.0.", "7.3.")
    assert [kind for kind in kinds if kind not in names] == []


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.name.removesuffix(".answers.gz"))
def test_every_judge_says_what_the_kernel_said(path: Path) -> None:
    head, cases, said = store.load(path)
    judge = Judge(Engine(), capture_of(FOLDER, head["capture"]), head["host"])
    for way in WAYS:
        judged = [
            one for case, answers in zip(cases, said, strict=True) for one in judge.case(case, answers, way)
        ]
        assert [one for one in judged if one.result == WRONG] == [], way
        unknown = sum(one.result == UNKNOWN for one in judged)
        assert len(judged) > 2000
        assert unknown <= MOST[way] * len(judged), way


def own_vms(path: Path) -> tuple[kvmfw.Host, list[kvmfw.RegisterSet]]:
    """A probed host and the VMs that were saved on it, after a run."""
    host = json.dumps(capture_of(FOLDER, path.name.replace(".sets.jsonl.gz", ".capture.json")))
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    assert all(json.loads(line)["note"].endswith("state ran") for line in lines)
    return kvmfw.Host.from_json(host), [kvmfw.RegisterSet.from_json(line) for line in lines]


@pytest.mark.parametrize("path", SAVED, ids=lambda path: path.name.removesuffix(".sets.jsonl.gz"))
def test_a_probed_host_takes_its_own_vms_that_ran(path: Path) -> None:
    host, vms = own_vms(path)
    assert len(vms) >= 5
    for vm in vms:
        verdict = kvmfw.validate(vm, host)
        assert (verdict.outcome, [str(finding) for finding in verdict.findings]) == (
            kvmfw.Outcome.ACCEPT,
            [],
        ), vm.name


def test_nested_vms_are_among_them_with_the_registers_of_el2() -> None:
    nested = [one for path in SAVED for one in own_vms(path)[1] if "has_el2" in one.features]
    assert len(nested) >= 2
    for vm in nested:
        assert sum(probe.is_nested(register) for register in vm) >= 45


def test_what_the_first_run_leaves_of_a_nested_vm_was_measured() -> None:
    """Reserved bits that no VM of this host has are lost, and the host's own answers say so."""
    (path,) = (path for path in SAVED if "nested" in path.name)
    host, vms = own_vms(path)
    vm = next(vm for vm in vms if "has_el2" in vm.features)
    hcr = 0x603000000013E088
    changed = kvmfw.RegisterSet.from_mapping(
        vm.to_mapping() | {hcr: 2**64 - 1}, features=vm.features, vgic=vm.vgic
    )
    found = {one.register: one for one in kvmfw.validate(changed, host).findings}
    assert (found[hcr].effect, found[hcr].evidence) == ("rewritten", "measured")
    assert found[hcr].reads not in (None, 2**64 - 1)
