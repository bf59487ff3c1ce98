"""A whole audit with its HTML report, of a fleet as large as a region: 1 M VMs on 10,000 hosts, 500 x 60 classes.

The hosts are the captures of examples/ with other levels, the VMs register sets of theirs; which VM runs where
is left to chance. Ingest is not counted.
"""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kvmfw
from kvmfw.analysis import examine, make_frame
from kvmfw.analysis.changed import host_of, set_level
from kvmfw.cpus import cpu_name
from kvmfw.report.html import html_report

CAPTURES = sorted((Path(__file__).parents[1] / "examples" / "captures").glob("*.json"))
VMS, HOSTS, VM_CLASSES, HOST_CLASSES = 1_000_000, 10_000, 500, 60
PSCI, WORKAROUND_1, WORKAROUND_3 = 0x6030000000140000, 0x6030000000140001, 0x6030000000140003
FEATURES = (["psci_0_2"], ["psci_0_2", "pmu_v3"])


def host_kinds() -> list[kvmfw.Host]:
    made = []
    for level_1 in (None, 0, 1):
        for level_3 in (None, 0):
            for path in CAPTURES:
                document: dict[str, Any] = json.loads(path.read_bytes())
                if level_1 is not None:
                    document = set_level(document, WORKAROUND_1, level_1)
                if level_3 is not None:
                    document = set_level(document, WORKAROUND_3, level_3)
                made.append(host_of(document))
    return made


def vm_kinds(hosts: list[kvmfw.Host]) -> list[kvmfw.RegisterSet]:
    made = []
    for version in (None, 0x10000, 0x10001, 0x10002, 0x2):
        for host in hosts:
            for features in FEATURES:
                fresh = host.fresh_set(features=features, name=host.name)
                if fresh is not None:
                    registers = fresh.to_mapping() | ({} if version is None else {PSCI: version})
                    made.append(kvmfw.RegisterSet.from_mapping(registers, features=features, name=host.name))
    return made


def first_of_each(classes: np.ndarray[Any, Any], most: int) -> list[int]:
    found: list[int] = np.sort(np.unique(classes, return_index=True)[1])[:most].tolist()
    return found


@pytest.mark.timeout(600)
def test_a_region_is_audited_in_seconds(benchmark: Any) -> None:
    hosts = host_kinds()
    vms = vm_kinds(hosts)
    small = kvmfw.Fleet(vms, hosts)
    hosts = [hosts[row] for row in first_of_each(small.host_classes, HOST_CLASSES)]
    vms = [vms[row] for row in first_of_each(small.vm_classes, VM_CLASSES)]
    chance = np.random.default_rng(1)
    kind_of = chance.integers(0, len(hosts), HOSTS).astype(np.uint32)
    fleet = kvmfw.Fleet([vms[row] for row in chance.integers(0, len(vms), VMS)], (hosts, kind_of))
    homes = chance.integers(0, HOSTS, VMS)
    kinds = kind_of.tolist()
    columns = {
        "capture": [hosts[kind].name for kind in kinds],
        "kernel": [hosts[kind].kernel for kind in kinds],
        "cpu": [cpu_name(hosts[kind].midr) for kind in kinds],
        "capacity": ["120"] * HOSTS,
        "zone": [f"zone-{row % 7}" for row in range(HOSTS)],
    }

    def audit() -> str:
        frame = make_frame(fleet, homes=homes, columns=columns)
        report = examine(frame, columns=columns, few=3, group_by="zone")
        return html_report(report, (), title="a region")

    page = benchmark.pedantic(audit, rounds=1, warmup_rounds=0)
    benchmark.extra_info["classes"] = str(fleet.class_shape)
    benchmark.extra_info["page_mb"] = round(len(page) / 1e6, 1)
    benchmark.extra_info["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    assert page.endswith("</html>")
    print(benchmark.extra_info)
