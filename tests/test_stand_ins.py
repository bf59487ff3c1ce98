"""Where a vCPU that differs only in its interrupt controller stands in, its answers after a run do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import kvmfw
from tests.support.golden import register_id

CAPTURES = Path(__file__).parents[1] / "examples" / "captures"
PFR0 = register_id("ID_AA64PFR0_EL1")
GIC = 24


def without_vgic(capture: dict[str, Any]) -> kvmfw.Host:
    """The host, asked for no vCPU with an interrupt controller."""
    kept = [vcpu for vcpu in capture["vcpus"] if not vcpu.get("vgic")]
    names = {vcpu["name"] for vcpu in kept}
    document = capture | {"vcpus": kept}
    for part in ("absent", "writable_masks"):
        groups = [one | {"vcpus": [name for name in one["vcpus"] if name in names]} for one in capture[part]]
        document[part] = [one for one in groups if one["vcpus"]]
    document["answers"] = []
    for answer in capture["answers"]:
        asked = [
            one | {"vcpus": [name for name in one["vcpus"] if name in names]} for one in answer["asked_on"]
        ]
        if asked := [one for one in asked if one["vcpus"]]:
            document["answers"].append(answer | {"asked_on": asked})
    return kvmfw.Host.from_json(json.dumps(document))


@pytest.mark.parametrize("kernel", ["6.12.117", "6.18.15", "7.3.4"])
@pytest.mark.parametrize("state", ["exited", "ran"])
def test_answers_after_a_run_are_not_lent_to_a_vm_with_another_interrupt_controller(
    kernel: str, state: str
) -> None:
    path = next(CAPTURES.glob(f"{kernel}*neoverse-n1__default.json"))
    capture = json.loads(path.read_text())
    own = next(vcpu for vcpu in capture["vcpus"] if vcpu["name"] == "gic3")
    registers = {int(register, 16): int(value, 16) for register, value in own_values(capture, own).items()}
    host = without_vgic(capture)
    for gic in (0, 1, 3):
        word = registers[PFR0] & ~(0xF << GIC) | gic << GIC
        vm = kvmfw.RegisterSet.from_mapping(registers | {PFR0: word}, features=["psci_0_2"], vgic=True)
        said, derived = (
            [
                one
                for one in kvmfw.validate(vm, host, state=state, derive_only=derive_only).findings
                if one.register == PFR0
            ]
            for derive_only in (False, True)
        )
        assert [(one.outcome, one.effect) for one in said] == [(one.outcome, one.effect) for one in derived]


def own_values(capture: dict[str, Any], vcpu: dict[str, Any]) -> dict[str, str]:
    return {
        register: value
        for register, value in zip(capture["registers"], vcpu["values"], strict=True)
        if value is not None
    }
