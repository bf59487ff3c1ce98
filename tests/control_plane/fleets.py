"""The example fleet as a cluster has it, and its pods."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from kvmfw.planners.extender import VM_LABEL

__all__ = ["EXAMPLES", "RECORDED", "cluster_fleet", "metadata_of"]

EXAMPLES = Path(__file__).parents[2] / "examples"
RECORDED = Path(__file__).parents[1] / "data" / "control_plane" / "bodies.jsonl"
_NAMESPACE = "default"
_WAYS = 3


def cluster_fleet(folder: Path) -> Path:
    """Write the examples with every third VM named as `kvmfw ingest` names those of KubeVirt: namespace/instance."""
    shutil.copytree(EXAMPLES, folder)
    vms = [json.loads(line) for line in (folder / "vms.jsonl").read_text().splitlines()]
    for vm in vms[::_WAYS]:
        vm["id"] = f"{_NAMESPACE}/{vm['id']}"
    (folder / "vms.jsonl").write_text("".join(json.dumps(vm) + "\n" for vm in vms))
    return folder


def metadata_of(row: int, vm: str) -> dict[str, Any]:
    """Give the metadata of the pod that restores a VM: as KubeVirt marks it, or with our label, or with our annotation."""
    metadata: dict[str, Any] = {"name": f"vm-{row}", "namespace": _NAMESPACE}
    if vm.startswith(f"{_NAMESPACE}/"):
        labels = {"kubevirt.io": "virt-launcher", "kubevirt.io/migrationJobUID": f"job-{row}"}
        return metadata | {
            "labels": labels,
            "annotations": {"kubevirt.io/domain": vm.removeprefix(f"{_NAMESPACE}/")},
        }
    return metadata | {"labels" if row % _WAYS == 1 else "annotations": {VM_LABEL: vm}}
