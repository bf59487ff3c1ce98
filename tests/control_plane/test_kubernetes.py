"""A real scheduler asks the service: every pod goes to a host that takes its VM, and one that none takes says why."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import urllib3
import yaml
from kubernetes import client

import kvmfw
from kvmfw.planners.host_names import HostNames
from tests.control_plane.fleets import RECORDED, cluster_fleet, metadata_of
from tests.control_plane.plane import Recorder, control_plane, scheduler, until
from tests.serve.running import Running, running

DOCUMENTED = Path(__file__).parents[2] / "docs" / "planners" / "kubernetes.md"
# In maintenance: each is the only host for nine VMs.
CORDONED = {"v1-61-nomit", "max-618-a"}
# A node of which the fleet has no capture.
STRANGER = "uncaptured"
FRESH = "fresh"
ROOM = {"cpu": "64", "memory": "256Gi", "pods": "250"}


class Cluster(NamedTuple):
    """A control plane without a scheduler, and the service that one may ask."""

    folder: Path
    api: client.CoreV1Api
    service: Running
    names: HostNames

    def cordon(self, is_cordoned: bool) -> None:
        for node in CORDONED:
            self.api.patch_node(node, {"spec": {"unschedulable": is_cordoned}})

    def create(self, metadata: dict[str, Any]) -> None:
        spec = {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "100m"}}}]}
        self.api.create_namespaced_pod("default", {"metadata": metadata, "spec": spec})

    def pods(self) -> dict[str, client.V1Pod]:
        return {pod.metadata.name: pod for pod in self.api.list_namespaced_pod("default").items}

    def messages(self, pod: str) -> set[str]:
        """Give what the events of a pod say."""
        selector = f"involvedObject.name={pod},reason=FailedScheduling"
        found: set[str] = set()

        def is_there() -> bool:
            events = self.api.list_namespaced_event("default", field_selector=selector).items
            found.update(one.message for one in events)
            return bool(found)

        until(is_there, f"{pod} has no event")
        return found


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    urllib3.disable_warnings()
    folder = tmp_path_factory.mktemp("cluster")
    fleet = cluster_fleet(folder / "fleet")
    names = HostNames(kvmfw.Fleet.load(fleet).snapshot(), unknown="refuse", change="accept")
    with running(fleet) as service, control_plane(folder) as api:
        for name in (*names.snapshot.host_names, STRANGER):
            conditions = [{"type": "Ready", "status": "True"}]
            status = {"capacity": ROOM, "allocatable": ROOM, "conditions": conditions}
            api.create_node({"metadata": {"name": name}, "status": status})
        yield Cluster(folder, api, service, names)


@pytest.fixture(scope="module")
def recorded() -> Iterator[list[dict[str, Any]]]:
    """Bodies to replay, written when all tests were passed."""
    kept: list[dict[str, Any]] = []
    yield kept
    if len({one["nodes"] for one in kept}) == 2:
        RECORDED.parent.mkdir(exist_ok=True)
        RECORDED.write_text("".join(json.dumps(one, sort_keys=True) + "\n" for one in kept))


def documented_extender(url: str, names_only: bool) -> dict[str, Any]:
    """Give the extender of docs/planners/kubernetes.md, at another address."""
    block = re.search(r"```yaml\n(apiVersion: kubescheduler.*?)```", DOCUMENTED.read_text(), re.DOTALL)
    assert block is not None
    (extender,) = yaml.safe_load(block.group(1))["extenders"]
    assert extender["nodeCacheCapable"] is True
    ours = {"urlPrefix": f"{url}/kubernetes", "nodeCacheCapable": names_only, "httpTimeout": "60s"}
    return {**extender, **ours}


@pytest.mark.parametrize("names_only", [True, False], ids=["names", "whole nodes"])
def test_every_pod_goes_where_its_vm_is_taken(
    cluster: Cluster, recorded: list[dict[str, Any]], names_only: bool
) -> None:
    names = cluster.names
    now = names.snapshot
    nodes = [*now.host_names, STRANGER]
    vms = {f"vm-{row}": vm for row, vm in enumerate(now.vm_names)}
    for row, vm in enumerate(now.vm_names):
        cluster.create(metadata_of(row, vm))
    cluster.create({"name": FRESH})
    cluster.cordon(True)
    with (
        Recorder(cluster.service).listening() as recorder,
        scheduler(cluster.folder, cluster.api, documented_extender(recorder.url, names_only)),
    ):
        until(
            lambda: all(map(is_decided, cluster.pods().values())), "some pods are neither bound nor refused"
        )
        stranded = look(cluster, vms, [name for name in nodes if name not in CORDONED])
        cluster.cordon(False)
        until(lambda: all(pod.spec.node_name for pod in cluster.pods().values()), "some pods still wait")
        assert look(cluster, vms, nodes) == []
    assert 0 < len(stranded) < len(vms) == now.shape[0]
    print(
        f"{len(vms)} of {len(vms)} pods were bound, each to a host that takes its VM; {len(stranded)} of them"
    )
    print(
        f"when {len(CORDONED)} nodes came back from maintenance. Until then an event of each said why, as in"
    )
    print(*cluster.messages(stranded[0]))
    keep(recorded, recorder.asked, stranded, names_only)
    for pod in cluster.pods():
        cluster.api.delete_namespaced_pod(pod, "default", grace_period_seconds=0)
    until(lambda: not cluster.pods(), "pods are not gone")


def look(cluster: Cluster, vms: dict[str, str], free: list[str]) -> list[str]:
    """Compare where pods went with the fleet; give those that none of the free nodes takes."""
    found, stranded = cluster.pods(), []
    assert found.pop(FRESH).spec.node_name
    assert found.keys() == vms.keys()
    for name, pod in found.items():
        takers = cluster.names.passing(vms[name], free)
        if takers:
            assert pod.spec.node_name in takers, vms[name]
            continue
        stranded.append(name)
        assert pod.spec.node_name is None, vms[name]
        said = condition_of(pod).message
        reasons = Counter(cluster.names.reasons(vms[name], free).values())
        for reason, count in reasons.items():
            assert re.search(rf"\b{count} kvmfw: {re.escape(reason)}[,.]", said), (vms[name], reasons, said)
        assert said in cluster.messages(name), vms[name]
    return stranded


def keep(
    recorded: list[dict[str, Any]],
    asked: list[tuple[str, dict[str, Any]]],
    stranded: list[str],
    names_only: bool,
) -> None:
    """Keep the first question of each kind. Whole nodes are long: one for each verb."""
    kinds = set()
    for path, body in asked:
        metadata = body["Pod"]["metadata"]
        kind = (path, metadata["name"] in stranded, way_of(metadata)) if names_only else (path,)
        if kind not in kinds:
            kinds.add(kind)
            recorded.append({"path": path, "nodes": not names_only, "body": body})


def way_of(metadata: dict[str, Any]) -> tuple[str, ...]:
    """Tell by which labels and annotations a pod names its VM."""
    return tuple(f"{part} {key}" for part in ("labels", "annotations") for key in metadata.get(part) or ())


def condition_of(pod: client.V1Pod) -> Any:
    return next((one for one in pod.status.conditions or [] if one.type == "PodScheduled"), None)


def is_decided(pod: client.V1Pod) -> bool:
    condition = condition_of(pod)
    return bool(pod.spec.node_name) or (condition is not None and condition.reason == "Unschedulable")
