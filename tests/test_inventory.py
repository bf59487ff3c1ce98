"""Inventories: what each format tells, what follows from it, and that nothing is taken for certain that it does not say."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import kvmfw
from kvmfw.errors import FormatError
from kvmfw.inventory.birth import Birth, Births
from kvmfw.inventory.guest import as_written_most
from kvmfw.inventory.history import History, Period, seen
from kvmfw.inventory.making import Making, making_of_arguments, making_of_cpu
from kvmfw.inventory.told import Told, joined, moment
from kvmfw.readers.formats import detect, told_of
from kvmfw.readers.hosts_table import read_hosts_table
from tests.support.command import run

ROOT = Path(__file__).parents[1]
DATA = ROOT / "tests" / "data" / "inventory"
EXAMPLES = ROOT / "examples"
CAPTURES = EXAMPLES / "captures"
N1 = {
    kernel: f"{kernel}-arm64__neoverse-n1__default"
    for kernel in ("5.10.0-32", "6.1.0-56", "6.12.117+deb13", "7.3.4+deb13")
}


def documents() -> dict[str, str]:
    return {path.stem: path.read_text() for path in sorted(CAPTURES.glob("*.json"))}


DOCUMENTS = documents()


def births(**options: Any) -> Births:
    names = {name: name for name in DOCUMENTS}
    return Births(DOCUMENTS, History(names, names), **options)


def register(name: str) -> int:
    found = kvmfw.find_register(name)
    assert found is not None
    return found


def told(file: str) -> list[Told]:
    return told_of(DATA / file, detect(DATA / file))


# --- formats --------------------------------------------------------------------------------------


def test_each_format_tells_where_and_how() -> None:
    (domain,) = told("n1-612-a/web-1.xml")
    assert (domain.vm, domain.folder, domain.born, domain.is_native) == ("web-1", "n1-612-a", None, None)
    assert domain.making == Making(frozenset({"vgic"}), frozenset({"pmu_v3", "vgic_v2"}))
    (setting,) = told("nodes/n1-612-a/qemu-server/101.conf")
    assert (setting.vm, setting.folder, setting.making) == ("101", "n1-612-a", Making())
    shop, moved = told("vmis.json")
    assert (shop.vm, shop.host, shop.is_native) == ("sales/shop", "n1-612-a", True)
    assert shop.making == Making(off=frozenset({"sve"}))
    assert (moved.vm, moved.is_native) == ("sales/moved", False), "only the last migration is told"
    assert [(one.host, one.making) for one in told("servers.json")] == [("n1-612-a", None)] * 2
    (migrated,) = told("migrations.json")  # the one that failed moved nothing
    assert [(move.source, move.target, move.live) for move in migrated.moves] == [
        ("n1-61-a", "n1-612-a", True)
    ]
    first, second = told("births.csv")
    assert (first.born, first.host, first.making, first.vmm) == ("n1-612-a", "n1-612-a", Making(), "qemu-9.2")
    assert second.since == moment("2026-02-01T00:00:00Z")


# --- births ---------------------------------------------------------------------------------------


def test_a_vm_has_what_its_host_gave_it_but_for_its_options_and_what_guests_write() -> None:
    capture = N1["7.3.4+deb13"]
    fresh = kvmfw.Host.from_json(DOCUMENTS[capture]).fresh_set(features=["psci_0_2", "pmu_v3"])
    assert fresh is not None
    born = births().registers(Birth((capture,), making_of_cpu("host,kvm-psci-version=1.1"), "qemu"))
    assert list(born.to_mapping()) == list(fresh.to_mapping())
    changed = {
        kvmfw.register_name(id_): born[id_] for id_, value in fresh.to_mapping().items() if born[id_] != value
    }
    guests = {one.name for one in kvmfw.registers() if one.kind in ("TimerControl", "PmuBits")}
    guests |= {f"PMEVCNTR{number}_EL0" for number in range(31)} | {"PMCCNTR_EL0"}
    assert changed.pop("PSCI_VERSION") == 0x10001
    assert set(changed) <= guests
    assert (changed["CNTV_CTL_EL0"], changed["PMCNTENSET_EL0"]) == (7, 0x8000003F)


def test_without_a_gic_the_first_run_has_cleared_its_fields() -> None:
    born = births().registers(
        Birth((N1["7.3.4+deb13"],), making_of_cpu("host").with_words({"vgic": False}), "qemu")
    )
    assert not born.vgic
    assert born[register("ID_AA64PFR0_EL1")] >> 24 & 0xF == 0


def test_a_vm_that_moved_keeps_its_birth_and_has_the_list_of_where_it_is() -> None:
    old, new = N1["6.1.0-56"], N1["7.3.4+deb13"]
    makings = making_of_cpu("host,pmu=off"), "qemu-10.0"
    moved = births().registers(Birth((old, new), *makings))
    born = births().registers(Birth((old,), *makings))
    native = births().registers(Birth((new,), *makings))
    assert set(moved.to_mapping()) == set(native.to_mapping())
    assert moved[register("PSCI_VERSION")] == born[register("PSCI_VERSION")] == 0x10001
    assert native[register("PSCI_VERSION")] == 0x10003
    target = kvmfw.Host.from_json(DOCUMENTS[old])
    back = [kvmfw.validate(one, target).outcome for one in (moved, native)]
    assert "PSCI_VERSION" not in {
        f.name for f in kvmfw.validate(moved, target).findings if f.effect == "refused"
    }
    assert back[1] is kvmfw.Outcome.REFUSE


def test_a_move_that_kvm_refuses_cannot_have_been() -> None:
    with pytest.raises(FormatError, match="cannot have come to"):
        births().registers(Birth((N1["7.3.4+deb13"], N1["6.1.0-56"]), making_of_cpu("host"), "qemu-10.0"))
    with pytest.raises(FormatError, match="cannot have been started so"):
        births().registers(Birth((N1["6.1.0-56"],), making_of_cpu("host,kvm-psci-version=1.3"), "qemu"))
    with pytest.raises(FormatError, match="does not offer sve"):
        births().registers(Birth((N1["6.1.0-56"],), making_of_cpu("host,sve=on"), "qemu"))
    with pytest.raises(FormatError, match="was not asked for a vCPU"):
        births().registers(
            Birth((N1["6.1.0-56"],), Making(frozenset({"psci_0_2", "mte"}), whole=True), "qemu")
        )


UNKNOWN: list[tuple[Told, dict[str, Any], str]] = [
    (Told("vm", "f", host=N1["6.1.0-56"], making=Making()), {}, "nothing says where `vm` was started"),
    (Told("vm", "f", making=Making()), {"born_here": True}, "nor where it runs"),
    (
        Told("vm", "f", host=N1["6.1.0-56"], is_native=False, making=Making()),
        {"born_here": True},
        "came by migration",
    ),
    (Told("vm", "f", born=N1["6.1.0-56"]), {}, "nothing says how the vCPUs"),
    (
        Told("vm", "f", born=N1["6.1.0-56"], making=Making(), vmm="firecracker-1.16"),
        {},
        "firecracker-1.16 changes",
    ),
    (Told("vm", "f", born="nowhere", making=Making()), {}, "no host and no capture called `nowhere`"),
]


@pytest.mark.parametrize(("one", "options", "says"), UNKNOWN)
def test_what_nothing_says_is_not_known(one: Told, options: dict[str, Any], says: str) -> None:
    with pytest.raises(FormatError, match=says):
        births(**options).of(one)


def test_sources_may_not_contradict_each_other() -> None:
    one = Told("vm", "a.csv", host="h1", born="h1")
    assert joined([one, Told("vm", "b.xml", making=Making())]).making == Making()
    with pytest.raises(FormatError, match=r"`host` of the VM `vm` is `h1` in a\.csv and `h2` in b\.csv"):
        joined([one, replace(one, source="b.csv", host="h2")])


def test_earlier_captures_speak_for_hosts_that_booted_another_kernel_since() -> None:
    hosts = {"h1": "new", "h2": "new"}
    history = History(hosts, {"new": "new", "old": "old"}, [])
    with pytest.raises(FormatError, match="nothing says which capture spoke for `h1`"):
        history.at("h1", moment("2026-01-05"))
    times = [moment(f"2026-0{month}-01") for month in (1, 2, 3, 4)]
    for capture, time in zip(("old", "old", "new", "new"), times, strict=True):
        history.periods = seen(history.periods, {"h1": capture}, time)
    assert history.periods == [Period("h1", "old", *times[:2]), Period("h1", "new", *times[2:])]
    assert history.at("h1", moment("2026-01-05")) == "old"
    assert history.at("h1", moment("2026-03-05")) == "new"
    assert history.at("old", None) == "old", "a capture may be named itself"
    # Before it was seen, while it booted another kernel at some time between, and at no time that is said.
    untold = (moment("2025-12-31"), moment("2026-02-05"), moment("2026-05-01"))
    for when in (None, *untold):
        with pytest.raises(FormatError, match="nothing says which capture"):
            history.at("h1", when)


# --- law: never certain where a saved set is not --------------------------------------------------


def test_a_derived_set_is_never_taken_where_the_saved_one_is_not() -> None:
    """Of all sets of the examples that were saved where they were started, on all hosts."""
    hosts = [kvmfw.Host.from_json(text) for text in DOCUMENTS.values()]
    homes = {row.host: row.capture for row in read_hosts_table(EXAMPLES / "hosts.csv")}
    compared, unasked = 0, 0
    for saved in kvmfw.readers.register_sets(EXAMPLES / "vms.jsonl"):
        words = frozenset((*saved.features, *saved.enabled, *(["vgic"] if saved.vgic else [])))
        if saved.name.rpartition(".")[2] not in ("fresh", "ran"):
            continue
        try:
            born = births().registers(Birth((homes[saved.host or ""],), Making(words, whole=True), "kvm"))
        except FormatError:
            unasked += 1
            continue
        for host in hosts[::2]:
            derived, real = (kvmfw.validate(one, host).outcome for one in (born, saved))
            assert derived >= real, (saved.name, host.name)
            compared += 1
    assert (compared > 300, unasked) == (True, 0)


def test_what_guests_write_is_never_less_than_they_can() -> None:
    host = kvmfw.Host.from_json(DOCUMENTS[N1["6.12.117+deb13"]])
    fresh = host.fresh_set(features=["psci_0_2", "pmu_v3"])
    assert fresh is not None
    most = as_written_most(fresh.to_mapping(), host, pmu=True)
    for id_, value in fresh.to_mapping().items():
        assert most[id_] & value == value
    assert as_written_most({}, host, pmu=True) == {}


# --- the command line -----------------------------------------------------------------------------


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    shutil.copytree(DATA, folder)
    shutil.copytree(CAPTURES, folder / "captures")
    shutil.copy(EXAMPLES / "hosts.csv", folder)
    (folder / "history.csv").write_text(
        f"host,capture,from,until\nn1-61-a,{N1['5.10.0-32']},2025-01-01,2025-12-01\n"
        f"n1-61-a,{N1['6.1.0-56']},2026-01-01,2026-06-01\n"
    )
    return folder


def test_ingest_takes_inventories_and_says_so_everywhere(sources: Path, tmp_path: Path) -> None:
    fleet = tmp_path / "fleet"
    found = run(
        "ingest", sources, "-o", fleet, "--cpu", "host,pmu=off", "--born-here", "--on-error", "collect"
    )
    assert found.exit_code == 2
    assert (
        "not saved but derived from where they were started: 7 (of 2 only --born-here says where)"
        in found.stderr
    )
    assert found.stderr.count("rejected") == 1
    assert "`sales/moved` was started, and it came by migration" in found.stderr
    told = json.loads(run("audit", fleet, "--format", "json", "--fail-on", "none").stdout)["not_judged"]
    counts = {one["word"]: (one["count"], one["of"]) for one in told}
    assert counts["born"] == (7, 7)
    assert counts["born_here"] == (2, 7)
    shown = run("explain", fleet, "cache-1", "n1-73-a")
    assert "judged as qemu: the column `vmm` of the VMs says qemu (6), qemu-9.2 (1)" in shown.stderr
    assert "derived: born on 6.12.117+deb13-arm64__neoverse-n1__default" in shown.stdout


def test_captures_that_only_history_names_are_no_hosts(sources: Path, tmp_path: Path) -> None:
    (sources / "captures" / "old.json").write_text(
        DOCUMENTS[N1["5.10.0-32"]].replace(N1["5.10.0-32"], "old").replace("quiet", "quiet old")
    )
    with (sources / "history.csv").open("a") as history:
        history.write("n1-73-a,old,2024-01-01,2024-02-01\n")
    (sources / "born.csv").write_text("vm,born,since,host,cpu\nlate,n1-73-a,2024-01-15,n1-510-a,host\n")
    fleet = tmp_path / "fleet"
    found = run("ingest", sources, "-o", fleet, "--on-error", "collect")
    assert "late" not in found.stderr
    assert "old" not in kvmfw.Fleet.load(fleet).host_names
    assert "derived: born on old, came to" in run("explain", fleet, "late", "n1-510-b").stdout


def test_what_is_missing_is_named(sources: Path, tmp_path: Path) -> None:
    domain = DATA / "n1-612-a" / "web-1.xml"
    alone = run("ingest", domain, "-o", tmp_path / "a", "--born-here")
    assert (alone.exit_code, "the fleet has no host: take captures in as well" in alone.stderr) == (1, True)
    assert "row" not in alone.stderr
    (sources / "n1-612-a").rename(sources / "n1-612")
    known = (sources / "captures", sources / "hosts.csv")
    astray = run("ingest", sources / "n1-612", *known, "-o", tmp_path / "b", "--born-here")
    assert "no host is called as its folder, `n1-612`; the nearest is `n1-612-" in astray.stderr
    with pytest.raises(FormatError, match="names VMs without their registers; `kvmfw ingest` derives them"):
        kvmfw.RegisterSet.load(domain)


def kubevirt(tmp_path: Path, state: dict[str, object]) -> Told:
    document = json.loads((DATA / "vmis.json").read_text())
    items = document.get("items", [document])
    items[0]["status"]["migrationState"] = state
    source = tmp_path / "vmis.json"
    source.write_text(json.dumps(document))
    return told_of(source, detect(source))[0]


def test_a_migration_that_failed_says_nothing_of_those_before_it(tmp_path: Path) -> None:
    nodes = {"sourceNode": "n1-612-a", "targetNode": "n1-61-a", "completed": True}
    assert kubevirt(tmp_path, nodes | {"failed": True}).is_native is None
    assert kubevirt(tmp_path, nodes).is_native is False


@pytest.mark.parametrize(
    "arguments", [["--global", "host-arm-cpu.pmu=off"], ["-readconfig", "x.cfg"], ["--machine", "virt"]]
)
def test_however_an_argument_is_written_it_may_make_vcpus_otherwise(arguments: list[str]) -> None:
    with pytest.raises(FormatError, match="besides"):
        making_of_arguments(arguments, Making(), "args")


@pytest.mark.parametrize("reason", ["restored", "from snapshot", "post-copy"])
def test_what_was_restored_was_not_started_there(tmp_path: Path, reason: str) -> None:
    text = (DATA / "n1-612-a" / "web-1.xml").read_text()
    status = tmp_path / "web-1.xml"
    status.write_text(
        f"<domstatus state='running' reason='{reason}' pid='1'>{text[text.index('<domain') :]}</domstatus>"
    )
    (found,) = told_of(status, detect(status))
    assert found.is_native is False


# --- as others print it ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["compute_host", "hypervisor_hostname", "OS-EXT-SRV-ATTR:hypervisor_hostname"]
)
def test_servers_are_read_as_other_clients_print_them(host: str, tmp_path: Path) -> None:
    path = tmp_path / "server.json"
    path.write_text(json.dumps({"id": "a", "name": "web", host: "n1", "created_at": "2026-01-01T00:00:00Z"}))
    (one,) = told_of(path, detect(path))
    assert (one.vm, one.host, one.since) == ("a", "n1", moment("2026-01-01"))


def test_births_are_read_with_names_of_any_case(tmp_path: Path) -> None:
    path = tmp_path / "births.csv"
    path.write_text("VM,Born,CPU\na,n1,host\n")
    (one,) = told_of(path, detect(path))
    assert (one.vm, one.born, one.making) == ("a", "n1", Making())


@pytest.mark.parametrize(
    ("machine", "off"), [("virt-2.6", {"pmu_v3"}), ("virt", set()), ("type=virt-9.0,viommu=virtio", set())]
)
def test_the_machine_of_proxmox_is_looked_at(machine: str, off: set[str], tmp_path: Path) -> None:
    text = (DATA / "nodes" / "n1-612-a" / "qemu-server" / "101.conf").read_text()
    path = tmp_path / "101.conf"
    path.write_text(text.replace("memory:", f"machine: {machine}\nmemory:"))
    (one,) = told_of(path, "proxmox")
    assert one.making == Making(off=frozenset(off))
    path.write_text(text.replace("memory:", "machine: virt,gic-version=3\nmemory:"))
    with pytest.raises(FormatError, match="option `gic-version=3`"):
        told_of(path, "proxmox")
