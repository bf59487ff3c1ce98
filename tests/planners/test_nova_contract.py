"""The adapter of Nova against its contract; `make openstack` runs it in Nova itself."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import kvmfw

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def nova(adapter: Any, tmp_path: Path) -> Any:
    shutil.copytree(EXAMPLES, tmp_path / "fleet")
    adapter.cfg.CONF.kvmfw.fleet = str(tmp_path / "fleet")
    return adapter


def spec(vm: str, *, ignore: list[str] | None = None, rebuild: bool = False) -> SimpleNamespace:
    return SimpleNamespace(instance_uuid=vm, ignore_hosts=ignore, rebuild=rebuild)


def states(names: Any) -> list[SimpleNamespace]:
    return [SimpleNamespace(host=name) for name in names]


@pytest.mark.parametrize("unknown", ["refuse", "accept"])
def test_what_passes_are_the_candidates_and_who_weighs_most_changes_nothing(nova: Any, unknown: Any) -> None:
    nova.cfg.CONF.kvmfw.unknown = unknown
    fleet = kvmfw.Fleet.load(EXAMPLES)
    hosts = states([*fleet.host_names, "never captured"])
    for row, vm in enumerate(fleet.vm_names):
        left = list(nova.KvmfwFilter().filter_all(hosts, spec(vm)))
        takers = fleet.candidates(row, unknown=unknown, change="accept").tolist()
        strangers = ["never captured"] if unknown == "accept" else []
        assert [one.host for one in left] == [fleet.host_names[at] for at in takers] + strangers
        weights = nova.KvmfwWeigher().weigh_objects([SimpleNamespace(obj=one) for one in hosts], spec(vm))
        outcomes = [*fleet.validate_pairs([row] * fleet.shape[1], range(fleet.shape[1])).tolist(), 2]
        assert weights == [[1.0, 0.5, 0.0, 0.0][outcome] for outcome in outcomes]


def test_who_has_saved_nothing_passes(nova: Any) -> None:
    hosts = states(["n1-510-a", "v1-73-a"])
    one = nova.KvmfwFilter()
    assert list(one.filter_all(hosts, spec("new"))) == hosts
    assert list(one.filter_all(hosts, spec("moves", ignore=["h"]))) == hosts
    assert list(one.filter_all(hosts, spec("v1-73-a.full.fresh", rebuild=True))) == hosts
    nova.cfg.CONF.kvmfw.absent = "refuse"
    assert list(one.filter_all(hosts, spec("new"))) == hosts
    assert list(one.filter_all(hosts, spec("moves", ignore=["h"]))) == []
    assert one.run_filter_for_index(0)
    assert not one.run_filter_for_index(1)


def test_the_log_says_why_hosts_are_out(nova: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        list(nova.KvmfwFilter().filter_all(states(["n1-510-a"]), spec("v1-73-a.full.fresh")))
    assert any("n1-510-a: REFUSE " in line for line in caplog.messages), caplog.messages


def test_a_missing_fleet_is_told(adapter: Any) -> None:
    with pytest.raises(LookupError):
        adapter.KvmfwFilter().filter_all([], spec("vm"))
