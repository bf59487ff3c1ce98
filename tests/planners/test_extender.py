"""The scheduler extender: bodies as kube-scheduler and KubeVirt send them, by any case of their keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import kvmfw
from kvmfw.planners.extender import VM_LABEL, filtered, prioritized
from kvmfw.planners.host_names import HostNames
from kvmfw.testing import tiny_host

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def names() -> HostNames:
    return HostNames(kvmfw.Fleet.load(EXAMPLES).snapshot(), unknown="refuse", change="accept")


def pod(vm: str) -> dict[str, Any]:
    return {"metadata": {"name": "p", "namespace": "default", "labels": {VM_LABEL: vm}}, "spec": {}}


def lowered(value: Any) -> Any:
    """Write the keys of the scheduler's own types small, as some clients do; labels and names stay."""
    return {key.lower(): one for key, one in value.items()}


def test_nodes_that_pass_are_the_candidates_and_the_others_say_why(names: HostNames) -> None:
    now = names.snapshot
    listed = [*now.host_names, "never-captured"]
    for row, vm in enumerate(now.vm_names):
        wanted = [now.host_names[at] for at in now.candidates(row, unknown="refuse", change="accept")]
        # As kube-scheduler 1.20 sends it with nodeCacheCapable.
        body = {"Pod": pod(vm), "Nodes": None, "NodeNames": listed}
        for asked in (body, lowered(body)):
            found = filtered(names, asked)
            assert list(found) == ["Nodes", "NodeNames", "FailedNodes", "FailedAndUnresolvableNodes", "Error"]
            assert found["NodeNames"] == wanted
            assert found["Nodes"] is None
            assert set(found["FailedNodes"]) == set(listed) - set(wanted)
            assert found["FailedAndUnresolvableNodes"] == found["FailedNodes"]
            assert found["FailedNodes"]["never-captured"] == "kvmfw: UNKNOWN no capture"
        scores = {one["Host"]: one["Score"] for one in prioritized(names, body)}
        said = now.validate_pairs([row] * now.shape[1], range(now.shape[1]))
        assert [scores[name] for name in now.host_names] == [[10, 5, 0, 0][outcome] for outcome in said]
    assert len(set(found["FailedNodes"].values())) < len(found["FailedNodes"]) / 2, (
        "equal reasons are counted together"
    )


def test_whole_nodes_are_given_back_whole(names: HostNames) -> None:
    vm = names.snapshot.vm_names[0]
    items: list[dict[str, Any]] = [
        {"metadata": {"name": name, "labels": {"zone": "a"}}, "spec": {"taints": []}}
        for name in names.snapshot.host_names
    ]
    asked_in_both: list[dict[str, Any]] = [
        {"Pod": pod(vm), "Nodes": {"items": items}},
        {"pod": pod(vm), "nodes": {"Items": items}},
    ]
    for asked in asked_in_both:
        found = filtered(names, asked)
        kept = names.passing(vm, names.snapshot.host_names)
        assert found["NodeNames"] is None
        assert found["Nodes"]["items"] == [one for one in items if one["metadata"]["name"] in kept]


@pytest.mark.parametrize(
    ("metadata", "judged"),
    [
        ({}, False),
        ({"labels": {"app": "web"}}, False),
        ({"labels": {"kubevirt.io": "virt-launcher"}, "annotations": {"kubevirt.io/domain": "vm1"}}, False),
        (
            {
                "namespace": "prod",
                "labels": {"kubevirt.io": "virt-launcher", "kubevirt.io/migrationJobUID": "b2c7"},
                "annotations": {"kubevirt.io/domain": "vm1", "kubevirt.io/migrationJobName": "move"},
            },
            True,
        ),
        ({"annotations": {VM_LABEL: "prod/vm1"}}, True),
    ],
)
def test_only_targets_of_migrations_are_judged(metadata: dict[str, Any], judged: bool) -> None:
    """A pod that starts a VM restores nothing; KubeVirt marks those that a running VM moves to."""
    vm = kvmfw.RegisterSet.from_mapping({0x6030000000140003: 2}, name="prod/vm1")
    one = HostNames(kvmfw.Fleet([vm], [tiny_host(name="n")]).snapshot(), unknown="refuse", change="accept")
    found = filtered(one, {"Pod": {"metadata": metadata}, "NodeNames": ["n"]})
    assert found["NodeNames"] == ([] if judged else ["n"])


def test_a_migration_without_registers_passes_unless_it_shall_not(names: HostNames) -> None:
    body = {"Pod": pod("nobody"), "NodeNames": ["n"]}
    assert filtered(names, body)["NodeNames"] == ["n"]
    assert filtered(names, body, absent="refuse")["FailedNodes"] == {
        "n": "kvmfw: UNKNOWN no registers of the VM"
    }


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"Pod": {}},
        {"NodeNames": []},
        {"Pod": [], "NodeNames": []},
        {"Pod": {"metadata": 5}, "NodeNames": []},
        {"Pod": {}, "NodeNames": [1]},
        {"Pod": {}, "Nodes": {"items": [{"metadata": {}}]}},
        {"Pod": {}, "Nodes": {"items": 3}},
        {"Pod": {}, "Nodes": {"items": []}, "NodeNames": []},
        {"Pod": {}, "Nodes": {"items": {}}},
        {"Pod": [], "Nodes": {"items": None}},
    ],
)
def test_what_is_no_request_is_told(names: HostNames, body: dict[str, Any]) -> None:
    with pytest.raises(kvmfw.ArgumentError):
        filtered(names, body)
