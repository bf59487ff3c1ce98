"""KubeVirt's virtual machine instances, as `kubectl get vmi -o json` prints them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from kvmfw.documents import parsed_json, typed
from kvmfw.errors import FormatError
from kvmfw.inventory.making import Making, making_of_cpu, words_of_machine
from kvmfw.inventory.told import Told, moment
from kvmfw.readers.format import Format, Head
from kvmfw.readers.source import Limits, whole

__all__ = ["FORMAT", "instances_of"]

_KIND = "VirtualMachineInstance"
# What KubeVirt takes where nothing is asked for, on arm64.
_PASSTHROUGH = "host-passthrough"
_SIDECAR = "hooks.kubevirt.io/hookSidecars"


class Metadata(msgspec.Struct):
    """Of which instance."""

    name: str
    namespace: str = "default"
    creationTimestamp: str | None = None  # noqa: N815 - the names are Kubernetes'
    annotations: dict[str, str] | None = None


class Feature(msgspec.Struct):
    """A feature of the CPU."""

    name: str
    policy: str | None = None


class Cpu(msgspec.Struct):
    """How the CPU is asked for."""

    model: str | None = None
    features: list[Feature] | None = None


class Machine(msgspec.Struct):
    """What machine is asked for."""

    type: str | None = None


class Domain(msgspec.Struct):
    """What of the domain makes its vCPUs."""

    cpu: Cpu | None = None
    machine: Machine | None = None


class Spec(msgspec.Struct):
    """What is asked for."""

    domain: Domain
    architecture: str = "arm64"


class Migration(msgspec.Struct, rename="camel"):
    """The last migration of an instance."""

    source_node: str = ""
    target_node: str = ""
    completed: bool = False
    failed: bool = False
    end_timestamp: str | None = None


class Status(msgspec.Struct, rename="camel"):
    """What there is."""

    node_name: str | None = None
    migration_state: Migration | None = None


class Instance(msgspec.Struct):
    """One virtual machine instance."""

    metadata: Metadata
    spec: Spec
    status: Status = msgspec.field(default_factory=Status)


def instances_of(document: Any, source: str) -> Iterator[Told]:
    """Read the instances of a document: one, or a list of them.

    An instance names its last migration alone. One that never migrated was started where it runs; of one that did it is
    not known whether that was its only migration.
    """
    is_list = isinstance(document, dict) and "items" in document
    listed = document["items"] if is_list else [document]
    for at, one in enumerate(listed if isinstance(listed, list) else [listed]):
        place = f"items[{at}]" if is_list else ""
        kind = one.get("kind", _KIND) if isinstance(one, dict) else _KIND
        if kind != _KIND:
            raise FormatError(f"this is a `{str(kind)[:40]}`; expected a {_KIND}", place)
        yield _told(typed(one, Instance, place), source, at if is_list else -1)


def _told(one: Instance, source: str, row: int) -> Told:
    name = f"{one.metadata.namespace}/{one.metadata.name}"
    host, last = one.status.node_name, one.status.migration_state
    problem, making = "", None
    try:
        if _SIDECAR in (one.metadata.annotations or {}):
            raise FormatError(f"a sidecar changes its domain ({_SIDECAR}): its vCPUs may be made otherwise")
        making = _making(one.spec)
    except FormatError as error:
        problem = f"`{name}`: {error.problem}"
    started = one.metadata.creationTimestamp
    return Told(
        name,
        source,
        row,
        host=host,
        is_native=_is_native(host, last),
        since=None if started is None else moment(started),
        making=making,
        vmm="qemu",
        problem=problem,
    )


def _is_native(host: str | None, last: Migration | None) -> bool | None:
    """Tell whether it was started where it runs; None where nothing tells.

    Only the last migration is named: one that failed says nothing of those before it.
    """
    if host is None or (last is not None and last.failed):
        return None
    return last is None


def _making(spec: Spec) -> Making:
    if spec.architecture != "arm64":
        raise FormatError(f"it is of architecture `{spec.architecture}`; expected arm64")
    cpu = spec.domain.cpu or Cpu()
    if (cpu.model or _PASSTHROUGH) != _PASSTHROUGH:
        raise FormatError(f"its CPU is `{cpu.model}`; expected {_PASSTHROUGH}")
    states = {"require": "on", "force": "on", "disable": "off", "forbid": "off"}
    features = {feature.name: feature.policy or "require" for feature in cpu.features or ()}
    for name, policy in features.items():
        if policy not in states:
            raise FormatError(f"whether the CPU feature `{name}` is on is not known: {policy}")
    options = [f"{name}={states[policy]}" for name, policy in features.items()]
    machine = words_of_machine((spec.domain.machine or Machine()).type or "virt")
    return making_of_cpu(",".join(["host", *options])).with_words(machine)


def _is_it(head: Head) -> bool:
    if not {"kind", "apiVersion"} <= head.keys:
        return False
    items = head.document.get("items") or [{}]
    first = items[0] if isinstance(items, list) else None
    return _KIND in (head.document["kind"], first.get("kind") if isinstance(first, dict) else None)


def _read(path: Path, name: str, limits: Limits) -> list[Told]:
    del name
    return list(instances_of(parsed_json(whole(path, limits), path), str(path)))


FORMAT = Format("kubevirt", "KubeVirt's instances (kubectl get vmi -o json)", _is_it, told=_read)
