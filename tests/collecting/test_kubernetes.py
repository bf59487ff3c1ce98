"""The DaemonSet, read by the models of Kubernetes' own client; the script beside it, with a kubectl that plays a cluster."""

from __future__ import annotations

import csv
import os
import subprocess
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client

from tests.collecting.fakes import DOCS, command, hosts

KUBECTL = """#!/bin/sh
# --namespace NAME VERB ...
shift 2
echo "$*" >> {folder}/calls
case "$1" in
create) cp "${{4#--from-file=probe.py=}}" {folder}/probe.py ;;
get) printf 'pod-a a\\npod-b b\\npod-c c\\npod-d d\\n' ;;
exec)
    node=${{2#pod-}}
    shift 5
    [ "$node" = d ] && exit 1
    exec {folder}/python3-$node - "$@" < {folder}/probe.py
    ;;
esac
"""


def manifest() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((DOCS / "daemonset.yaml").read_text())
    return document


class _Response:
    def __init__(self, data: str) -> None:
        self.data = data


def test_the_manifest_is_what_the_clients_models_take() -> None:
    """Required fields are there, and every field is known: nothing is lost on the way through the model."""
    document = manifest()
    api = client.ApiClient()
    model = api._ApiClient__deserialize(document, "V1DaemonSet")
    assert api.sanitize_for_serialization(model) == document
    spec = model.spec.template.spec
    assert model.spec.selector.match_labels.items() <= model.spec.template.metadata.labels.items()
    assert spec.automount_service_account_token is False
    assert spec.node_selector["kubernetes.io/arch"] == "arm64"
    mounted = {mount.name for mount in spec.containers[0].volume_mounts}
    assert mounted == {volume.name for volume in spec.volumes}


def test_an_unknown_field_would_be_found() -> None:
    document = manifest()
    document["spec"]["template"]["spec"]["containers"][0]["imagePullPolity"] = "Always"
    api = client.ApiClient()
    model = api._ApiClient__deserialize(document, "V1DaemonSet")
    assert api.sanitize_for_serialization(model) != document


def test_the_script_probes_each_kind_once_and_leaves_nothing(tmp_path: Path) -> None:
    hosts(tmp_path, ["a", "b", "c", "d"])
    place = command(tmp_path)
    kubectl = place / "kubectl"
    kubectl.write_text(KUBECTL.format(folder=tmp_path))
    kubectl.chmod(0o755)
    output = tmp_path / "fleet"
    done = subprocess.run(
        ["sh", str(DOCS / "collect.sh"), str(output), "tools"],
        env={**os.environ, "PATH": f"{place}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "d: its probe failed" in done.stderr
    with (output / "hosts.csv").open() as lines:
        mapped = {row["host"]: row["capture"] for row in csv.DictReader(lines)}
    assert set(mapped) == {"a", "b", "c"}
    assert mapped["a"] == mapped["c"] != mapped["b"]
    calls = (tmp_path / "calls").read_text().splitlines()
    asked = [call for call in calls if call.startswith("exec")]
    assert len([call for call in asked if "--quick" in call]) == 4
    assert [call.split()[1] for call in asked if "--quick" not in call] == ["pod-a", "pod-b"]
    assert calls[-1] == "delete --ignore-not-found daemonset/kvmfw-probe configmap/kvmfw-probe"
