"""Kubernetes' scheduler extender, version 1: Filter and Prioritize, as documents in and out.

The types of the scheduler have no JSON tags: their keys are capitalised, and any case is read (extender/v1/types.go).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kvmfw.errors import ArgumentError
from kvmfw.planners.host_names import PREFERENCE, HostNames
from kvmfw.questions import Treat

__all__ = ["VM_LABEL", "filtered", "migrated_vm", "prioritized"]

VM_LABEL = "kvmfw.io/vm"
"""A pod with this label, or annotation, restores the VM of that name."""
# `MaxExtenderPriority` of kube-scheduler (k8s.io/kube-scheduler/extender/v1).
_MOST = 10


def filtered(names: HostNames, body: Mapping[str, Any], *, absent: Treat = "accept") -> dict[str, Any]:
    """Answer a Filter: nodes that take what the pod's VM has saved; why the others do not.

    A refusal is told twice, as schedulers of different ages read it: nothing that pre-emption does would cure it. A pod that is
    no target of a migration restores nothing, so every node passes.

    Parameters
    ----------
    names : HostNames
        The hosts of the fleet; nodes are called as they are.
    body : mapping
        The scheduler's ``ExtenderArgs``.
    absent : {"accept", "refuse"}
        What a migration counts as of whose VM the fleet holds no registers.
    """
    pod, nodes, listed = _parts(body)
    vm = migrated_vm(pod)
    failed: dict[str, str] = {}
    if vm is not None and names.has(vm):
        passing = set(names.passing(vm, listed))
        failed = names.reasons(vm, (name for name in listed if name not in passing))
        failed = {name: f"kvmfw: {reason}" for name, reason in failed.items()}
    elif vm is not None and absent == "refuse":
        failed = dict.fromkeys(listed, "kvmfw: UNKNOWN no registers of the VM")
    left = [name for name in listed if name not in failed]
    return {
        "Nodes": None if nodes is None else {**nodes, "items": _kept(nodes, set(left))},
        "NodeNames": left if nodes is None else None,
        "FailedNodes": failed,
        "FailedAndUnresolvableNodes": failed,
        "Error": "",
    }


def prioritized(names: HostNames, body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Answer a Prioritize: nodes on which the guest notices nothing come first."""
    pod, _, listed = _parts(body)
    vm = migrated_vm(pod)
    if vm is None or not names.has(vm):
        return [{"Host": name, "Score": 0} for name in listed]
    outcomes = names.outcomes(vm, listed)
    return [
        {"Host": name, "Score": round(_MOST * PREFERENCE[outcome])}
        for name, outcome in zip(listed, outcomes, strict=True)
    ]


def migrated_vm(pod: Mapping[str, Any]) -> str | None:
    """Name the VM that a pod restores: by a label of ours, or as KubeVirt marks targets of migrations (namespace/instance)."""
    metadata = _object(_get(pod, "metadata"), "Pod.metadata")
    labels = _object(_get(metadata, "labels"), "Pod.metadata.labels")
    annotations = _object(_get(metadata, "annotations"), "Pod.metadata.annotations")
    own = labels.get(VM_LABEL) or annotations.get(VM_LABEL)
    if own:
        return str(own)
    if "kubevirt.io/migrationJobUID" not in labels or "kubevirt.io/domain" not in annotations:
        return None
    return f"{_get(metadata, 'namespace') or 'default'}/{annotations['kubevirt.io/domain']}"


def _parts(body: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any] | None, list[str]]:
    """Give the pod, the nodes where they came whole, and their names."""
    pod = _get(body, "pod")
    if pod is None:
        raise ArgumentError("there is no `Pod`")
    pod = _object(pod, "Pod")
    nodes, names = _get(body, "nodes"), _get(body, "nodenames")
    if names is not None and nodes is not None:
        raise ArgumentError("there are both `NodeNames` and `Nodes`")
    if names is not None:
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ArgumentError("`NodeNames` is no list of names")
        return pod, None, names
    if nodes is None:
        raise ArgumentError("there are neither `NodeNames` nor `Nodes`")
    whole = _object(nodes, "Nodes")
    return pod, whole, [_node_name(one) for one in _items(whole)]


def _items(nodes: Mapping[str, Any]) -> list[Any]:
    """Give the nodes of a list; Go writes null for one that is empty."""
    items = _get(nodes, "items")
    if items is not None and not isinstance(items, list):
        raise ArgumentError("`Nodes.items` is no list")
    return items or []


def _node_name(node: Any) -> str:
    name = _get(_object(_get(_object(node, "a node"), "metadata"), "metadata of a node"), "name")
    if not isinstance(name, str):
        raise ArgumentError("a node has no name")
    return name


def _kept(nodes: Mapping[str, Any], left: set[str]) -> list[Any]:
    return [one for one in _items(nodes) if _node_name(one) in left]


def _object(value: Any, what: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ArgumentError(f"`{what}` is no object")
    return value


def _get(document: Mapping[str, Any], name: str) -> Any:
    """Give a member by its name in any case."""
    return next((value for key, value in document.items() if key.lower() == name), None)
