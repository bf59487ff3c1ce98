"""Hosts with unlike CPUs: each kind is asked, and what depends on the CPU is not known."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from importlib import resources
from itertools import combinations
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import kvmfw
from kvmfw import Outcome
from kvmfw.analysis.opened import with_kinds
from kvmfw.collect.kinds import kind_of
from kvmfw.errors import FormatError
from kvmfw.inventory import birth
from kvmfw.kernels.foretold import Foretold, Target
from tests.support import fakekvm
from tests.support.fakekvm import FakeKvm
from tests.support.probing import arm, captured, probe

CAPTURES = sorted((Path(__file__).parents[1] / "examples" / "captures").glob("*.json"))
A76, A55 = 0x414FD0B0, 0x412FD050
BIG, LITTLE = {fakekvm.MIDR: A76, fakekvm.PFR0: 0x12}, {fakekvm.MIDR: A55, fakekvm.PFR0: 0x11}


@pytest.fixture
def settle(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Make a host with two kinds of CPU: 0 and 1 are little, 4 is big, and KVM answers as that which is settled on."""
    arm(monkeypatch)
    settled: list[int] = []

    def on(processor: int) -> int:
        settled.append(processor)
        return processor

    def make(little: dict[int, int], big: dict[int, int], **changes: Any) -> list[int]:
        monkeypatch.setattr(probe, "kinds_of_processors", lambda: [[0, 1], [4]])
        monkeypatch.setattr(probe, "settle_on", on)
        monkeypatch.setattr(
            probe,
            "core_facts",
            lambda alike: {"midr": hex(A76 if 4 in alike else A55), "revidr": "0x0", "processors": alike},
        )
        monkeypatch.setattr(
            probe, "Kvm", lambda path: FakeKvm(path, registers=big if settled[-1] == 4 else little, **changes)
        )
        return settled

    return make


def test_every_kind_of_cpu_is_asked_and_told(settle: Callable[..., list[int]], tmp_path: Path) -> None:
    settled = settle(LITTLE, BIG)
    capture = captured(tmp_path)
    assert settled == [0, 4]
    schema = json.loads(resources.files("kvmfw").joinpath("schemas", "capture.json").read_text())
    jsonschema.validate(capture, schema)
    assert capture["version"] == 4
    assert [core["processors"] for core in capture["host"]["cores"]] == [[0, 1], [4]]
    host = kvmfw.Host.from_json(json.dumps(capture))
    assert host.cores == [A55, A76]
    assert list(with_kinds({}, [host])["cpu"]) == ["Cortex-A55, Cortex-A76"]
    assert kind_of(capture) == kind_of(captured(tmp_path))


def test_what_depends_on_the_cpu_is_unknown_and_the_rest_is_measured(
    settle: Callable[..., list[int]], tmp_path: Path
) -> None:
    settle(LITTLE, BIG)
    capture = captured(tmp_path)
    vcpu = next(one for one in capture["vcpus"] if one["name"] == "gic3")
    assert vcpu["unknown"]["listed"] == []
    assert set(vcpu["unknown"]["bits"]) == {hex(fakekvm.MIDR), hex(fakekvm.PFR0)}
    host = kvmfw.Host.from_json(json.dumps(capture))
    own = host.fresh_set(features=("psci_0_2",))
    assert own is not None
    for midr in (A76, A55):
        verdict = kvmfw.validate(
            kvmfw.RegisterSet.from_mapping(own.to_mapping() | {fakekvm.MIDR: midr}, features=("psci_0_2",)),
            host,
        )
        (said,) = [one for one in verdict.findings if one.register == fakekvm.MIDR]
        assert said.outcome is Outcome.UNKNOWN
        assert "depends on the core" in said.sentence
    level = kvmfw.validate(
        kvmfw.RegisterSet.from_mapping(own.to_mapping() | {fakekvm.WORKAROUND_1: 2}, features=("psci_0_2",)),
        host,
    )
    (said,) = [one for one in level.findings if one.register == fakekvm.WORKAROUND_1]
    assert (said.outcome, said.evidence) == (Outcome.REFUSE, "measured")


def test_a_register_of_some_cpus_only_may_be_there(settle: Callable[..., list[int]], tmp_path: Path) -> None:
    settle(LITTLE, BIG | {fakekvm.VBAR_EL2: 0})
    capture = captured(tmp_path, "--quick")
    for vcpu in capture["vcpus"]:
        if "values" in vcpu:
            assert vcpu["unknown"]["listed"] == [hex(fakekvm.VBAR_EL2)]


def test_a_vcpu_that_some_cpus_cannot_make_is_as_if_not_asked(
    settle: Callable[..., list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled = settle(LITTLE, BIG)
    monkeypatch.setattr(
        probe,
        "Kvm",
        lambda path: FakeKvm(path, capabilities={} if settled[-1] == 4 else {170: 0}),
    )
    capture = captured(tmp_path, "--quick")
    assert not [one for one in capture["vcpus"] if "sve" in one["features"]]
    assert capture["host"]["capabilities"].get("170") is None


def test_like_cpus_are_one_capture_as_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    arm(monkeypatch)
    capture = captured(tmp_path)
    assert capture["version"] == 3
    assert "cores" not in capture["host"]


def test_cpus_are_told_apart_by_what_the_kernel_shows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for processor, midr in ((0, A55), (1, A55), (4, A76), (5, A76)):
        folder = tmp_path / str(processor)
        folder.mkdir()
        (folder / "midr_el1").write_text(f"{midr:#018x}\n")
        (folder / "revidr_el1").write_text("0x0000000000000000\n")
    monkeypatch.setattr(probe, "IDENTIFICATION", str(tmp_path) + "/{}/{}")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5, 0, 4, 1})
    assert probe.kinds_of_processors() == [[0, 1], [4, 5]]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5, 4})
    assert probe.kinds_of_processors() == [[4, 5]]
    assert probe.core_facts([4, 5]) == {
        "midr": f"{A76:#018x}",
        "revidr": "0x" + "0" * 16,
        "processors": [4, 5],
    }


# --- laws, on captures of real hosts taken as the kinds of CPU of one -----------------------------


def loaded(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text())
    for part in ("answers", "absent", "writable_masks", "first_run"):
        document.setdefault(part, [])
    document.setdefault("surroundings", {})
    document["host"].setdefault("capabilities", {})
    return document


def of_one_kernel() -> list[tuple[Path, Path]]:
    kernel = {path: loaded(path)["host"]["kernel"] for path in CAPTURES}
    return [(one, other) for one, other in combinations(CAPTURES, 2) if kernel[one] == kernel[other]]


PAIRS = of_one_kernel()


def test_there_are_pairs_to_join() -> None:
    assert len(PAIRS) >= 10


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=lambda path: path.stem)
def test_no_vm_is_told_more_than_every_kind_of_cpu_says(one: Path, other: Path) -> None:
    documents = [loaded(one), loaded(other)]
    whole = kvmfw.Host.from_json(json.dumps(probe.join_cores(documents)))
    kinds = [kvmfw.Host.from_json(json.dumps(document)) for document in documents]
    vms = [
        kvmfw.RegisterSet.from_json(line)
        for line in (CAPTURES[0].parents[1] / "vms.jsonl").read_text().splitlines()
    ]
    for vm in [vm for vm in vms if vm.host in {one.stem, other.stem}] + vms[::23]:
        said = [kvmfw.validate(vm, kind).outcome for kind in kinds]
        found = kvmfw.validate(vm, whole).outcome
        assert found >= min(max(said), Outcome.UNKNOWN), (vm.name, said, found)
        if set(said) == {Outcome.REFUSE}:
            assert found >= Outcome.UNKNOWN


@pytest.mark.parametrize("path", CAPTURES[:4], ids=lambda path: path.stem)
def test_a_host_of_like_cpus_says_the_same_joined(path: Path) -> None:
    document = loaded(path)
    whole = kvmfw.Host.from_json(json.dumps(probe.join_cores([document, loaded(path)])))
    host = kvmfw.Host.from_json(json.dumps(document))
    for line in (path.parents[1] / "vms.jsonl").read_text().splitlines()[::11]:
        vm = kvmfw.RegisterSet.from_json(line)
        expected, found = (kvmfw.validate(vm, one) for one in (host, whole))
        assert [(f.register, f.outcome, f.evidence, f.rule) for f in found.findings] == [
            (f.register, f.outcome, f.evidence, f.rule) for f in expected.findings
        ]


def test_of_a_vm_born_on_unlike_cpus_it_is_not_known_what_it_has(
    settle: Callable[..., list[int]], tmp_path: Path
) -> None:
    settle(LITTLE, BIG)
    capture = captured(tmp_path, "--quick")
    host = kvmfw.Host.from_json(json.dumps(capture))
    with pytest.raises(FormatError, match="depends on the CPU on which it was made"):
        birth._fresh(host, frozenset({"psci_0_2"}))
    with pytest.raises(kvmfw.ArgumentError, match="unlike CPUs"):
        Foretold(capture, host, Target.of("6.12.117"))
