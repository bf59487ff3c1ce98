"""What inventories say and is not taken: sentences, word by word; and ways to say the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kvmfw.errors import FormatError
from kvmfw.ingest import ingest
from kvmfw.inventory.birth import Births
from kvmfw.inventory.history import History, read_history
from kvmfw.inventory.kubevirt import instances_of
from kvmfw.inventory.libvirt import domain_of
from kvmfw.inventory.making import Making, made_on, making_of_cpu, making_of_words
from kvmfw.inventory.nova import migrations_of, servers_of
from kvmfw.inventory.told import Move, Told
from kvmfw.readers.formats import detect
from kvmfw.testing import capture_document
from tests.test_inventory import births
from tests.test_inventory_messy import instance

Json = dict[str, Any]


def _at(day: int) -> datetime:
    return datetime(2026, 3, day, tzinfo=UTC)


def _moved(*hops: tuple[str, str, bool], **told: Any) -> Told:
    moves = tuple(Move(_at(day), *hop) for day, hop in enumerate(hops, start=1))
    return Told("vm", "f", moves=moves, making=Making(), vmm="qemu", **told)


# ---------------------------------------------------------------- moves


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        (_moved(("a", "b", True), ("c", "a", True)), "`vm` went from `c`, but it was on `b`"),
        (_moved(("a", "b", True), host="c"), "`vm` runs on `c`, but its last move went to `b`"),
    ],
)
def test_moves_that_contradict_each_other_are_no_history(told: Told, sentence: str) -> None:
    history = History({name: name for name in "abc"}, {name: name for name in "abc"})
    with pytest.raises(FormatError, match=sentence):
        Births({}, history).of(told)


def test_who_is_started_anew_is_born_where_that_was() -> None:
    """A cold migration makes the vCPUs anew: what was before says nothing of the registers."""
    names = {name: name for name in "abc"}
    found = Births({}, History(names, names))
    assert found.of(_moved(("a", "b", True), ("b", "c", False))).captures == ("c",)
    assert found.of(_moved(("a", "b", False), ("b", "c", True))).captures == ("b", "c")
    assert found.of(_moved(("a", "b", True), ("b", "a", True))).captures == ("a", "b", "a")


def test_the_home_is_the_end_of_a_path_or_of_the_last_move() -> None:
    found = births()
    assert found.home_of(Told("vm", "f", path=("a", "b"))) == "b"
    assert found.home_of(_moved(("a", "b", True), ("b", "c", True))) == "c"
    assert found.home_of(_moved(("a", "b", True), host="z")) == "z"


def _migration(status: str, **more: str) -> Json:
    row = {
        "Status": status,
        "Type": "live-migration",
        "Server UUID": "vm",
        "Created At": "2026-03-01T00:00:00Z",
    }
    return row | {"Source Compute": "a", "Dest Compute": "b"} | more


def test_a_migration_that_was_taken_back_came_back_by_a_start() -> None:
    (told,) = migrations_of([_migration("reverted", **{"Updated At": "2026-03-02T00:00:00Z"})], "f")
    assert told.moves == (Move(_at(1), "a", "b", live=True), Move(_at(2), "b", "a", live=False))
    (told,) = migrations_of([_migration("reverted")], "f")
    assert [move.when for move in told.moves] == [_at(1), _at(1)]
    assert births().home_of(told) is not None


def test_servers_are_the_same_alone_in_a_list_and_in_an_answer() -> None:
    one = {"ID": "vm", "Host": "h"}
    wanted = [(told.vm, told.host) for told in servers_of([one], "f")]
    for document in (one, {"servers": [one]}):
        assert [(told.vm, told.host) for told in servers_of(document, "f")] == wanted


def test_an_answer_of_novas_api_is_known_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "answer.json"
    path.write_text(
        json.dumps(
            {"servers": [{"id": "vm", "OS-EXT-SRV-ATTR:host": "h", "created": "2026-03-01T00:00:00Z"}]}
        )
    )
    assert detect(path) == "nova-servers"


# ---------------------------------------------------------------- how vCPUs are made


def test_words_say_all_of_a_vcpu() -> None:
    assert making_of_words(" psci_0_2, pmu_v3 ,,vgic") == Making(
        frozenset({"psci_0_2", "pmu_v3", "vgic"}), whole=True
    )
    with pytest.raises(FormatError, match=r"`colour` says nothing about a vCPU; expected .*pmu_v3"):
        making_of_words("pmu_v3,colour")


@pytest.mark.parametrize(
    ("cpu", "sentence"),
    [
        ("host,kvm-psci-version=9.9", "`9.9` is no PSCI version; expected "),
        ("host,pmu=maybe", "whether QEMU's CPU option `pmu=maybe` changes registers is not known"),
        ("host,aarch64=maybe", "whether QEMU's CPU option `aarch64=maybe` changes registers is not known"),
        ("host,kvm-steal-time=maybe", "whether QEMU's CPU option `kvm-steal-time=maybe` changes registers"),
        (
            "neoverse-n1",
            "which registers QEMU's CPU `neoverse-n1` has under KVM is not known; expected host or max",
        ),
    ],
)
def test_an_option_of_which_nothing_is_known_is_never_passed_over(cpu: str, sentence: str) -> None:
    with pytest.raises(FormatError) as raised:
        making_of_cpu(cpu)
    assert sentence in str(raised.value)


def test_options_that_change_no_register_change_nothing() -> None:
    plain = making_of_cpu("host")
    assert making_of_cpu("host,aarch64=on,kvm-steal-time=off,migratable=no,kvm-no-adjvtime=on") == plain
    without = making_of_cpu("host,aarch64=off")
    assert without.on == {"el1_32bit"}
    assert without.off == {"sve", "ptrauth_address", "ptrauth_generic"}


def test_a_capture_without_capabilities_does_not_say_what_a_vm_has() -> None:
    document: Json = {"host": {"name": "h"}}
    with pytest.raises(
        FormatError, match=r"the capture `h` does not say what its host offers \(capabilities\)"
    ):
        made_on(Making(), document)
    assert made_on(making_of_words("psci_0_2"), document) == {"psci_0_2"}


def test_what_spoke_for_a_host_has_to_be_a_capture() -> None:
    names = {"h": "h"}
    found = Births({"h": json.dumps({"format": "other"})}, History(names, names))
    birth = found.of(Told("vm", "f", host="h", born="h", making=Making(), vmm="qemu"))
    with pytest.raises(FormatError, match="what spoke for its host is no capture of kvmfw"):
        found.registers(birth)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda one: one["spec"].update(architecture="amd64"),
            "it is of architecture `amd64`; expected arm64",
        ),
        (
            lambda one: one["spec"]["domain"]["cpu"].update(model="cortex-a72"),
            "its CPU is `cortex-a72`; expected host-passthrough",
        ),
        (
            lambda one: one["spec"]["domain"]["cpu"].update(features=[{"name": "pmu", "policy": "optional"}]),
            "whether the CPU feature `pmu` is on is not known: optional",
        ),
    ],
)
def test_an_instance_of_which_registers_are_not_known_says_why(
    change: Callable[[Json], Any], sentence: str
) -> None:
    (told,) = instances_of(instance(change), "f")
    assert (told.making, told.problem) == (None, f"`sales/shop`: {sentence}")


def test_a_document_of_another_kind_is_no_domain(tmp_path: Path) -> None:
    for text, tag in (("<network><domain type='kvm'/></network>", "network"), ("<domstatus/>", "domstatus")):
        with pytest.raises(FormatError, match=f"the document is a `{tag}`; expected a libvirt domain"):
            domain_of(text, tmp_path / "f.xml", "vm")


# ---------------------------------------------------------------- history


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("h,c,soon,2026-01-01", "line 2: `soon` is no time"),
        ("h,c", "line 2: the row has 2 cells; there are 4 columns"),
    ],
)
def test_a_row_of_the_history_that_cannot_be_is_named(row: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    path.write_text(f"host,capture,from,until\n{row}\n")
    with pytest.raises(FormatError) as raised:
        read_history(path)
    assert str(raised.value).startswith(f"{path}: {sentence}")


def test_who_only_moved_is_no_vm_and_who_was_saved_keeps_that(tmp_path: Path) -> None:
    capture = tmp_path / "a.json"
    capture.write_text(json.dumps(capture_document({0x6030000000140001: 2}, name="a")))
    moves = tmp_path / "moves.json"
    moves.write_text(json.dumps([_migration("completed", **{"Server UUID": "elsewhere"})]))
    saved = tmp_path / "vms.csv"
    saved.write_text("vm,register,value\nelse,0x6030000000140001,1\n")
    told = tmp_path / "births.csv"
    told.write_text("vm,host,born,cpu\nelse,a,a,host\n")
    found = ingest([capture, moves, saved, told], tmp_path / "fleet")
    assert (found.vms, found.rejected, found.born) == (1, 0, 0)
    assert found.rows == found.used
