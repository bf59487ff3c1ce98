"""What a real kube-scheduler asked (`make kubernetes` records it), with names of nodes and with whole nodes, asked again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kvmfw
from kvmfw.planners.extender import migrated_vm
from tests.control_plane.fleets import RECORDED, cluster_fleet
from tests.serve.running import Running, running

QUESTIONS = [json.loads(line) for line in RECORDED.read_text().splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cluster_fleet(tmp_path_factory.mktemp("cluster") / "fleet")


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Running]:
    with running(folder) as one:
        yield one


@pytest.fixture(scope="module")
def fleet(folder: Path) -> kvmfw.Fleet:
    return kvmfw.Fleet.load(folder)


def parts(question: dict[str, Any]) -> tuple[str | None, list[str]]:
    """Give the VM that is asked about, and the nodes."""
    body = question["body"]
    nodes = body["NodeNames"] or [one["metadata"]["name"] for one in body["Nodes"]["items"]]
    return migrated_vm(body["Pod"]), nodes


def test_all_kinds_of_questions_were_recorded() -> None:
    kinds = {(one["path"].rpartition("/")[2], one["body"]["Nodes"] is None) for one in QUESTIONS}
    assert kinds == {(verb, names) for verb in ("filter", "prioritize") for names in (True, False)}
    metadata = [one["body"]["Pod"]["metadata"] for one in QUESTIONS]
    ours = [
        [part for part in ("labels", "annotations") if "kvmfw.io/vm" in one.get(part, {})] for one in metadata
    ]
    assert ["labels"] in ours
    assert ["annotations"] in ours
    assert any("kubevirt.io/migrationJobUID" in one.get("labels", {}) for one in metadata)
    assert any(migrated_vm(one["body"]["Pod"]) is None for one in QUESTIONS)
    assert any("uncaptured" in parts(one)[1] for one in QUESTIONS)


@pytest.mark.parametrize(
    "question", QUESTIONS, ids=lambda one: f"{one['path']} {one['body']['Pod']['metadata']['name']}"
)
def test_answers_are_those_of_the_fleet(
    service: Running, fleet: kvmfw.Fleet, question: dict[str, Any]
) -> None:
    status, found = service.post(question["path"], question["body"])
    assert status == 200
    vm, nodes = parts(question)
    takers = set(nodes)
    if vm is not None:
        takers = {fleet.host_names[row] for row in fleet.candidates(vm, unknown="refuse", change="accept")}
    if question["path"].endswith("/prioritize"):
        outcomes = {one["Host"]: one["Score"] for one in found}
        assert list(outcomes) == nodes
        for node, score in outcomes.items():
            is_judged = vm is not None and node in fleet.host_names
            assert score == ([10, 5, 0, 0][fleet.explain(vm or "", node).outcome] if is_judged else 0), node
        return
    whole = question["body"]["Nodes"]
    kept = (
        found["NodeNames"] if whole is None else [one["metadata"]["name"] for one in found["Nodes"]["items"]]
    )
    assert kept == [node for node in nodes if node in takers]
    if whole is not None:
        assert found["Nodes"]["items"] == [one for one in whole["items"] if one["metadata"]["name"] in takers]
    assert set(found["FailedNodes"]) == set(nodes) - takers
    assert all(
        reason.startswith(("kvmfw: REFUSE", "kvmfw: UNKNOWN")) for reason in found["FailedNodes"].values()
    )
