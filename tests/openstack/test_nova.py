"""The filter and the weigher in Nova's own handlers and host manager."""

from __future__ import annotations

import json
import shutil
import statistics
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest
from nova import objects
from nova.scheduler import filters, host_manager, weights
from oslo_config import cfg

import kvmfw
from kvmfw.planners import nova as adapter
from tests.planners.fakes import nova as fake

EXAMPLES = Path(__file__).parents[2] / "examples"
FILTER, WEIGHER = "kvmfw.planners.nova.KvmfwFilter", "kvmfw.planners.nova.KvmfwWeigher"


def named_by_uuid(folder: Path) -> Path:
    """Give the example fleet with VMs named as Nova names instances."""
    shutil.copytree(EXAMPLES, folder)
    vms = [json.loads(line) for line in (folder / "vms.jsonl").read_text().splitlines()]
    rows = [json.dumps(vm | {"id": str(uuid.uuid5(uuid.NAMESPACE_DNS, vm["id"]))}) for vm in vms]
    (folder / "vms.jsonl").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture
def conf(tmp_path: Path) -> Iterator[cfg.ConfigOpts]:
    from nova import conf

    objects.register_all()
    folder = named_by_uuid(tmp_path / "fleet")
    nova_conf = tmp_path / "nova.conf"
    nova_conf.write_text(
        "[filter_scheduler]\n"
        "available_filters = nova.scheduler.filters.all_filters\n"
        f"available_filters = {FILTER}\n"
        "enabled_filters = KvmfwFilter\n"
        f"weight_classes = {WEIGHER}\n"
        f"[kvmfw]\nfleet = {folder}\n"
    )
    conf.CONF(["--config-file", str(nova_conf)], project="nova")
    yield conf.CONF
    conf.CONF.reset()


def states(names: list[str]) -> list[host_manager.HostState]:
    return [host_manager.HostState(name, name, "00000000-0000-0000-0000-000000000000") for name in names]


def spec(vm: str, **more: object) -> objects.RequestSpec:
    nothing = dict.fromkeys(("ignore_hosts", "force_hosts", "force_nodes", "requested_destination"))
    return objects.RequestSpec(instance_uuid=vm, **(nothing | {"scheduler_hints": {}} | more))


def manager() -> host_manager.HostManager:
    with (
        mock.patch.object(host_manager.HostManager, "_init_aggregates"),
        mock.patch.object(host_manager.HostManager, "_init_instance_info"),
        mock.patch.object(host_manager.HostManager, "refresh_cells_caches"),
    ):
        return host_manager.HostManager()


def test_the_host_manager_keeps_the_candidates_of_every_vm(conf: cfg.ConfigOpts) -> None:
    fleet = kvmfw.Fleet.load(conf.kvmfw.fleet)
    hosts, made = states(list(fleet.host_names)), manager()
    assert [type(one).__name__ for one in made.enabled_filters] == ["KvmfwFilter"]
    for row, vm in enumerate(fleet.vm_names):
        left = made.get_filtered_hosts(hosts, spec(vm))
        wanted = [fleet.host_names[at] for at in fleet.candidates(row, unknown="refuse", change="accept")]
        assert [one.host for one in left] == wanted, vm
        home = fleet.home(row)
        moved = made.get_filtered_hosts(hosts, spec(vm, ignore_hosts=[home]))
        assert [one.host for one in moved] == [name for name in wanted if name != home], vm


def test_what_the_guest_does_not_notice_comes_first(conf: cfg.ConfigOpts) -> None:
    fleet = kvmfw.Fleet.load(conf.kvmfw.fleet)
    made, mixed = manager(), 0
    for row, vm in enumerate(fleet.vm_names):
        takers = fleet.candidates(row, unknown="refuse", change="accept")
        if len(takers) < 2:
            continue
        ordered = made.get_weighed_hosts(states([fleet.host_names[at] for at in takers[::-1]]), spec(vm))
        outcomes = [int(fleet.explain(vm, one.obj.host).outcome) for one in ordered]
        assert outcomes == sorted(outcomes), vm
        mixed += len(set(outcomes)) > 1
    assert mixed > 0


def test_new_instances_and_rebuilds_pass(conf: cfg.ConfigOpts) -> None:
    fleet = kvmfw.Fleet.load(conf.kvmfw.fleet)
    hosts, made = states(list(fleet.host_names)), manager()
    assert len(made.get_filtered_hosts(hosts, spec(str(uuid.uuid4())))) == len(hosts)
    rebuild = spec(fleet.vm_names[0], scheduler_hints={"_nova_check_type": ["rebuild"]})
    assert len(made.get_filtered_hosts(hosts, rebuild)) == len(hosts)
    conf.set_override("absent", "refuse", group="kvmfw")
    assert len(made.get_filtered_hosts(hosts, spec(str(uuid.uuid4())))) == len(hosts)
    assert made.get_filtered_hosts(hosts, spec(str(uuid.uuid4()), ignore_hosts=["n1-510-a"])) == []


def test_ten_thousand_hosts_cost_less_than_nova_itself(conf: cfg.ConfigOpts) -> None:
    """What the filter adds, beside what the handler does with a filter that lets all pass; medians of CPU time."""
    fleet = kvmfw.Fleet.load(conf.kvmfw.fleet)
    hosts = states([fleet.host_names[at % fleet.shape[1]] for at in range(10_000)])
    asked = [spec(vm) for vm in fleet.vm_names]
    ours, handler = adapter.KvmfwFilter(), filters.HostFilterHandler()

    class Idle(filters.BaseHostFilter):
        def filter_all(self, filter_obj_list: object, spec_obj: object) -> object:
            del spec_obj
            return filter_obj_list

    def cost(work: Callable[[objects.RequestSpec], object]) -> float:
        taken = []
        for one in asked:
            started = time.process_time()
            work(one)
            taken.append(time.process_time() - started)
        return statistics.median(taken)

    def added(one: objects.RequestSpec) -> object:
        return list(ours.filter_all(hosts, one))

    cost(added)
    ours_cost = cost(added)
    idle = cost(lambda one: handler.get_filtered_objects([Idle()], hosts, one))
    print(
        f"10,000 hosts: the filter adds {ours_cost * 1e3:.3f} ms of CPU; the handler itself {idle * 1e3:.3f} ms"
    )
    assert ours_cost < idle


def test_the_stand_in_of_the_other_tests_has_novas_contract() -> None:
    for real, stand_in in (
        (filters.BaseHostFilter, fake.BaseHostFilter),
        (weights.BaseHostWeigher, fake.BaseHostWeigher),
    ):
        for name in [name for name in vars(stand_in) if not name.startswith("__")]:
            assert hasattr(real, name), name
            if callable(getattr(stand_in, name)):
                code, other = getattr(real, name).__code__, getattr(stand_in, name).__code__
                assert code.co_varnames[: code.co_argcount] == other.co_varnames[: other.co_argcount]
            else:
                assert getattr(real, name) == getattr(stand_in, name), name
