"""A fleet says what is said of one pair, on hosts of which only their own values are known to be taken too."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path

import pytest

import kvmfw
from kvmfw.registers import named

CAPTURES = Path(__file__).parents[1] / "examples" / "captures"
MADE = {"features": ["psci_0_2", "pmu_v3"], "vgic": True, "enabled": []}
CHANGES = [
    {},
    {"PMEVCNTR5_EL0": 0x10},
    {"CNTV_CTL_EL0": 1},
    {"CNTP_CTL_EL0": 5},
    {"PMINTENSET_EL1": 0x8000_0010, "PMINTENCLR_EL1": 0x8000_0010},
    {"PMCR_EL0": 0x3007, "PMEVCNTR0_EL0": 9},
]


@pytest.mark.parametrize("kernel", ["7.4.1", "custom", "7.3.4", "6.1.79-amzn", "6.12.117"])
@pytest.mark.parametrize("vmm", ["kvm", "qemu-10.0"])
def test_fleets_say_of_alike_vms_what_is_said_of_each(kernel: str, vmm: str) -> None:
    capture = json.loads((CAPTURES / "7.3.4+deb13-arm64__neoverse-n1__default.json").read_text())
    capture["host"]["kernel"] = kernel
    capture.pop("answers", None)
    host = kvmfw.Host.from_json(json.dumps(capture))
    fresh = host.fresh_set(**MADE)  # type: ignore[arg-type]
    assert fresh is not None
    vms = [
        fresh.changed({named(name): value for name, value in changes.items()}, name=str(at))
        for at, changes in enumerate(CHANGES)
    ]
    said = [kvmfw.validate(vm, host, vmm=vmm).outcome for vm in vms]
    for order in (
        [*range(len(vms))],
        [*reversed(range(len(vms)))],
        *list(permutations(range(len(vms))))[::97],
    ):
        fleet = kvmfw.Fleet([vms[at] for at in order], [host], vmm=vmm)
        outcomes = fleet.validate_pairs(list(range(len(vms))), [0] * len(vms))
        assert outcomes.tolist() == [said[at] for at in order], order
