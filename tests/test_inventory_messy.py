"""Inventories and tables as people really have them: nulls, templates, deleted servers, headings in any case."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kvmfw.errors import FormatError
from kvmfw.inventory.history import History
from kvmfw.inventory.kubevirt import instances_of
from kvmfw.inventory.libvirt import domain_of
from kvmfw.inventory.making import Making
from kvmfw.inventory.nova import servers_of
from kvmfw.inventory.proxmox import FORMAT as PROXMOX
from kvmfw.readers import told_vmm
from kvmfw.readers.hosts_table import read_hosts_table
from kvmfw.readers.source import LIMITS
from kvmfw.readers.tables import columns_of

DATA = Path(__file__).parent / "data" / "inventory"
DOMAIN = (DATA / "n1-612-a" / "web-1.xml").read_text()
Change = Callable[[dict[str, Any]], object]


def instance(change: Change) -> dict[str, Any]:
    made: dict[str, Any] = json.loads((DATA / "vmis.json").read_text())["items"][0]
    made["spec"]["domain"]["cpu"] = {"model": "host-passthrough"}
    change(made)
    return made


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one["spec"]["domain"].update(cpu=None),
        lambda one: one["spec"]["domain"].pop("cpu"),
        lambda one: one["spec"]["domain"]["cpu"].update(model=None, features=None),
        lambda one: one["spec"]["domain"].update(machine=None),
        lambda one: one["spec"]["domain"].update(machine={"type": ""}),
        lambda one: one["metadata"].update(annotations=None),
    ],
)
def test_what_is_null_in_kubernetes_is_not_said(change: Change) -> None:
    (told,) = instances_of(instance(change), "f")
    assert (told.making, told.problem) == (Making(), "")


@pytest.mark.parametrize("policy", [{}, {"policy": ""}, {"policy": None}])
def test_a_feature_without_a_policy_is_required(policy: dict[str, Any]) -> None:
    made = instance(lambda one: one)
    made["spec"]["domain"]["cpu"]["features"] = [{"name": "pmu", **policy}]
    (told,) = instances_of(made, "f")
    assert told.making == Making(frozenset({"pmu_v3"}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda one: one["spec"]["domain"].update(machine={"type": "q35"}), "the machine `q35`"),
        (
            lambda one: one["metadata"].update(annotations={"hooks.kubevirt.io/hookSidecars": "[]"}),
            "a sidecar changes its domain",
        ),
    ],
)
def test_instances_whose_vcpus_may_be_made_otherwise_are_not_derived(change: Change, said: str) -> None:
    (told,) = instances_of(instance(change), "f")
    assert told.making is None
    assert said in told.problem


def test_other_kinds_in_a_list_are_called_by_their_kind() -> None:
    items = [instance(lambda one: one), {"kind": "Pod", "metadata": {"name": "p"}, "spec": {}}]
    with pytest.raises(FormatError, match="this is a `Pod`; expected a VirtualMachineInstance") as caught:
        list(instances_of({"kind": "List", "items": items}, "f"))
    assert caught.value.place == "items[1]"


@pytest.mark.parametrize("status", ["DELETED", "SOFT_DELETED", "SHELVED_OFFLOADED"])
@pytest.mark.parametrize("key", ["Status", "status"])
def test_a_server_that_is_nowhere_is_no_vm(key: str, status: str) -> None:
    (told,) = servers_of([{"ID": "a", "Host": "h", key: status}], "f")
    assert told.problem == f"the server `a` is {status}: it runs nowhere"
    (told,) = servers_of([{"ID": "a", "Host": "h", key: "ACTIVE"}], "f")
    assert told.problem == ""


def test_a_template_of_proxmox_is_no_vm(tmp_path: Path) -> None:
    path = tmp_path / "100.conf"
    path.write_text("cores: 4\ncpu: host\ntemplate: 1\n")
    assert PROXMOX.told is not None
    with pytest.raises(FormatError, match="it is a template"):
        PROXMOX.told(path, "100", LIMITS)


def test_an_unknown_interrupt_controller_is_never_passed_over() -> None:
    for version in ("2", "3", "host"):
        domain_of(DOMAIN.replace("version='3'", f"version='{version}'"), Path("f"), "f")
    with pytest.raises(FormatError, match="which interrupt controller `4` is, is not known"):
        domain_of(DOMAIN.replace("version='3'", "version='4'"), Path("f"), "f")


def test_a_name_of_blanks_is_none() -> None:
    assert domain_of(DOMAIN.replace(">web-1<", "> web-1\n<"), Path("f"), "file").vm == "web-1"
    assert domain_of(DOMAIN.replace(">web-1<", ">  <"), Path("f"), "file").vm == "file"


def test_a_host_that_there_is_not_is_told_with_the_nearest() -> None:
    with pytest.raises(FormatError, match="the nearest host is `n1-612-a`"):
        History({"n1-612-a": "k"}, {}).now("n1-612-a.dc1.example")


@pytest.mark.parametrize(
    "heading", ["host,capture,vmm", "Host,CAPTURE,VMM", " host, capture ,Vmm ", "\ufeffhost,capture,vmm"]
)
def test_columns_of_hosts_are_known_in_letters_of_any_case(tmp_path: Path, heading: str) -> None:
    (tmp_path / "hosts.csv").write_text(f"{heading},Zone\na , c, crosvm ,z\n", encoding="utf-8")
    (row,) = read_hosts_table(tmp_path / "hosts.csv")
    assert row.cells == {"host": "a", "capture": "c", "vmm": "crosvm", "Zone": "z"}
    told = told_vmm(tmp_path, {})
    assert told is not None
    assert told.name == "crosvm"


def test_a_column_of_hosts_that_stands_twice_in_other_letters_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "hosts.csv").write_text("host,capture,vmm,VMM\na,c,qemu-9.2,crosvm\n")
    with pytest.raises(FormatError, match="the column `vmm` stands twice"):
        read_hosts_table(tmp_path / "hosts.csv")


def test_blanks_around_the_heading_of_a_table_are_none_of_it() -> None:
    assert columns_of(["vm", " Register", "value "]) == {
        "vm": "vm",
        "register": " Register",
        "value": "value ",
    }
