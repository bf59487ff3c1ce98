"""Captures of many hosts: by kind, resumable, with what failed and why. `ssh` is a script that plays the hosts."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner, Result

import kvmfw.probe
from kvmfw.cli import main
from kvmfw.collect import Place, assemble, collect, read_inventory
from kvmfw.collect.kinds import boot_options, kind_of
from kvmfw.collect.remote import Remote
from kvmfw.errors import FormatError
from kvmfw.published.schemas import schema_of
from kvmfw.readers.hosts_table import read_hosts_table
from kvmfw.sets import Host
from kvmfw.testing import capture_document
from tests.support.schemas import strict

ROOT = Path(__file__).parents[1]

WA3 = 0x6030000000140003
SSH = """#!{python}
import json, sys, time
from pathlib import Path
here = Path(__file__).parent
split = sys.argv.index("--")
host, words = sys.argv[split + 1], sys.argv[split + 2:]
source = sys.stdin.buffer.read()
assert source == Path({probe!r}).read_bytes()
quick = "--quick" in words
with open(here / "calls", "a") as log:
    log.write(f"{{host}} {{'quick' if quick else 'full'}}\\n")
told = json.loads((here / "hosts.json").read_text())[host]
if told.get("dead"):
    print("ssh: connect to host " + host + " port 22: Connection refused", file=sys.stderr)
    sys.exit(255)
if told.get("hangs"):
    time.sleep(60)
if told.get("no_kvm"):
    print("kvmfw probe: there is no /dev/kvm", file=sys.stderr)
    sys.exit(1)
if told.get("noise"):
    print("Welcome to " + host)
    sys.exit(0)
if not quick and told.get("full_fails"):
    sys.exit(1)
document = told["capture"]
document["host"]["name"] = host
if quick:
    document["answers"] = []
print(json.dumps(document))
"""


class Hosts:
    """Hosts that a script plays."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told: dict[str, dict[str, Any]] = {}
        self.script = folder / "ssh"
        self.script.write_text(SSH.format(python=sys.executable, probe=kvmfw.probe.__file__))
        self.script.chmod(stat.S_IRWXU)

    def add(self, host: str, level: int = 1, options: str = "quiet", **more: Any) -> None:
        capture: dict[str, Any] = capture_document({WA3: level})
        capture["host"]["boot_options"] = f"root=UUID={host} {options}"
        self.told[host] = {"capture": capture, **more}
        (self.folder / "hosts.json").write_text(json.dumps(self.told))

    @property
    def remote(self) -> Remote:
        return Remote((str(self.script),))

    @property
    def places(self) -> list[Place]:
        return [Place(host, host) for host in self.told]

    def calls(self, what: str) -> list[str]:
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return sorted(line.split()[0] for line in lines if line.endswith(what))


@pytest.fixture
def hosts(tmp_path: Path) -> Hosts:
    return Hosts(tmp_path)


def run(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def test_one_full_probe_for_each_kind(hosts: Hosts, tmp_path: Path) -> None:
    for at in range(12):
        hosts.add(f"n{at}", level=at % 3)
    found = collect(hosts.places, tmp_path / "out", hosts.remote)
    assert found.failures == []
    assert len(found.probed) == len(set(found.hosts.values())) == 3
    assert hosts.calls("quick") == sorted(hosts.told)
    assert len(hosts.calls("full")) == 3
    assert {found.hosts["n0"], found.hosts["n3"], found.hosts["n9"]} == {found.hosts["n6"]}
    vm = {
        "format": "kvmfw-register-set",
        "version": 1,
        "id": "vm",
        "vcpu": {"features": ["psci_0_2"], "vgic": True},
    }
    (tmp_path / "out" / "vms.jsonl").write_text(json.dumps(vm | {"registers": {f"{WA3:#x}": "0x1"}}) + "\n")
    fleet = kvmfw.Fleet.load(tmp_path / "out")
    assert list(fleet.host_names) == list(hosts.told)
    assert fleet.class_shape[1] == 3


def test_called_again_it_asks_only_whom_it_does_not_know(hosts: Hosts, tmp_path: Path) -> None:
    hosts.add("a")
    hosts.add("b", level=2, dead=True)
    out = tmp_path / "out"
    first = collect(hosts.places, out, hosts.remote)
    assert [failure.host for failure in first.failures] == ["b"]
    assert "Connection refused" in first.failures[0].why
    hosts.add("b", level=2)
    hosts.add("c")
    second = collect(hosts.places, out, hosts.remote)
    assert (second.asked, second.known, second.failures) == (2, 1, [])
    assert hosts.calls("quick") == ["a", "b", "b", "c"]
    assert hosts.calls("full") == ["a", "b"]
    assert list(second.hosts) == ["a", "b", "c"]
    third = collect(hosts.places[1:], out, hosts.remote)
    assert (third.asked, third.known) == (0, 2)
    assert "a," in (out / "hosts.csv").read_text()


def test_columns_that_people_added_stay(hosts: Hosts, tmp_path: Path) -> None:
    hosts.add("a")
    hosts.add("b")
    out = tmp_path / "out"
    collect(hosts.places, out, hosts.remote)
    table = out / "hosts.csv"
    lines = table.read_text().splitlines()
    table.write_text(
        "\n".join(f"{line},{more}" for line, more in zip(lines, ("rack", "r1", "r2"), strict=True))
    )
    hosts.add("a", level=2)
    hosts.add("c")
    collect(hosts.places[::2], out, hosts.remote, again=True)
    found = [line.split(",") for line in table.read_text().splitlines()]
    assert [(row[0], row[2]) for row in found] == [("host", "rack"), ("b", "r2"), ("a", "r1"), ("c", "")]


def test_a_host_that_became_another_kind_is_asked_again(hosts: Hosts, tmp_path: Path) -> None:
    hosts.add("a")
    before = collect(hosts.places, tmp_path / "out", hosts.remote)
    hosts.add("a", level=2)
    after = collect(hosts.places, tmp_path / "out", hosts.remote, again=True)
    assert before.hosts["a"] != after.hosts["a"]
    assert len(after.probed) == 1


def test_dead_hanging_and_other_hosts_are_told_and_hold_up_nobody(
    hosts: Hosts, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("kvmfw.collect.remote._GRACE", 2)
    hosts.add("good")
    hosts.add("dead", dead=True)
    hosts.add("hangs", hangs=True)
    hosts.add("bare", no_kvm=True)
    hosts.add("noisy", noise=True)
    start = time.monotonic()
    found = collect(hosts.places, tmp_path / "out", hosts.remote, quick_limit=2)
    assert time.monotonic() - start < 30
    why = {failure.host: failure.why for failure in found.failures}
    assert list(why) == ["dead", "hangs", "bare", "noisy"]
    assert why["hangs"] == "no answer within 4 seconds"
    assert why["bare"] == "kvmfw probe: there is no /dev/kvm"
    assert why["noisy"].startswith("what came back is no capture")
    assert list(found.hosts) == ["good"]


def test_the_next_host_of_a_kind_is_probed_where_one_fails(hosts: Hosts, tmp_path: Path) -> None:
    hosts.add("a", full_fails=True)
    hosts.add("b")
    found = collect(hosts.places, tmp_path / "out", hosts.remote, jobs=1)
    assert found.failures == []
    assert found.hosts["a"] == found.hosts["b"]
    hosts.add("c", level=2, full_fails=True)
    found = collect(hosts.places, tmp_path / "out", hosts.remote)
    assert [(failure.host, failure.why.split(":")[0]) for failure in found.failures] == [
        ("c", "its kind was not probed")
    ]


def test_kinds_are_told_by_what_counts() -> None:
    base: dict[str, Any] = capture_document({WA3: 1})
    base["host"]["boot_options"] = "root=UUID=1 quiet"
    same = json.loads(json.dumps(base))
    same["host"] |= {"name": "another", "boot_options": "quiet root=UUID=2"}
    assert kind_of(base) == kind_of(same)
    for path, value in (
        (("host", "kernel"), "6.1.0"),
        (("host", "midr"), "0x413fd0c2"),
        (("host", "boot_options"), "root=UUID=1 mitigations=off"),
        (("registers",), [*base["registers"], "0x603000000013c020"]),
    ):
        other = json.loads(json.dumps(base))
        place = other
        for word in path[:-1]:
            place = place[word]
        place[path[-1]] = value
        assert kind_of(other) != kind_of(base), path
    with_steal_time, without = (
        base | {"version": 3, "surroundings": {"PVTIME_IPA": said}}
        for said in ({"value": "0x0"}, {"errno": "ENXIO"})
    )
    asked_more = base | {"version": 3, "surroundings": {"PVTIME_IPA": {"value": "0x0", "kept": ["0x40"]}}}
    assert len({kind_of(base), kind_of(with_steal_time), kind_of(without)}) == 3
    assert kind_of(asked_more) == kind_of(with_steal_time), "answers do not count"
    assert boot_options("ro kvm-arm.mode=nvhe ip=dhcp") == ["kvm-arm.mode=nvhe"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a\n# no\nb  root@10.0.0.2 # two\n", [("a", "a"), ("b", "root@10.0.0.2")]),
        ("rack,host\n1,a\n2,b\n", [("a", "a"), ("b", "b")]),
        ("host,ssh\na,ssh://u@h:22\nb,\n", [("a", "ssh://u@h:22"), ("b", "b")]),
        (
            '{"_meta": {"hostvars": {"a": {"ansible_host": "10.0.0.1", "ansible_user": "u", "ansible_port": 2222}}},'
            ' "all": {"children": ["arm"]}, "arm": {"hosts": ["a", "b"]}}',
            [("a", "ssh://u@10.0.0.1:2222"), ("b", "b")],
        ),
    ],
)
def test_inventories(text: str, wanted: list[tuple[str, str]], tmp_path: Path) -> None:
    path = tmp_path / "inventory"
    path.write_text(text)
    assert [(place.host, place.destination) for place in read_inventory(path)] == wanted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it names no host"),
        ("a\na\n", "the host `a` occurs twice"),
        ("a -oProxyCommand=x\n", "ssh would take `-oProxyCommand=x` for an option"),
        ("a b c\n", "line 1: expected a host, and after it its ssh destination"),
        ("rack,name\n1,a\n", "expected the column host"),
        ('{"a": ', "this is not JSON"),
        ("{}", "it names no host"),
    ],
)
def test_inventories_that_cannot_be_used(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "inventory"
    path.write_text(text)
    with pytest.raises(FormatError, match=words):
        read_inventory(path)


def test_the_verb_says_what_failed(hosts: Hosts, tmp_path: Path) -> None:
    hosts.add("a")
    hosts.add("b", dead=True)
    inventory = tmp_path / "hosts.txt"
    inventory.write_text("a\nb\n")
    call = ("collect", inventory, "-o", tmp_path / "out", "--ssh", str(hosts.script))
    found = run(*call)
    assert found.exit_code == 2
    assert "1 of 2 hosts, 1 kinds" in found.stdout
    assert "Connection refused" in found.stdout
    told = json.loads(run(*call, "--format", "json", "--fail-on", "none").stdout)
    assert told["failures"][0]["host"] == "b"
    jsonschema.validate(told, strict(schema_of("collect")))


def test_probes_made_by_other_means_are_assembled(hosts: Hosts, tmp_path: Path) -> None:
    for name, level in (("a", 1), ("b", 1), ("c", 2)):
        hosts.add(name, level=level)
    probes, out = tmp_path / "probes", tmp_path / "out"
    probes.mkdir()
    for name, told in hosts.told.items():
        (probes / f"{name}.json").write_text(json.dumps(told["capture"] | {"answers": []}))
    (probes / "dead.json").write_text("kvmfw probe: there is no /dev/kvm")
    found = assemble(probes, out)
    assert (list(found.wanted), found.hosts, [one.host for one in found.failures]) == (
        ["a", "c"],
        {},
        ["dead"],
    )
    for name in found.wanted:
        document = json.loads((probes / f"{name}.json").read_text())
        asked = {"register": f"{WA3:#x}", "value": "0x1", "asked_on": [], "kept": ["0x1"]}
        (probes / f"{name}.json").write_text(json.dumps(document | {"answers": [asked]}))
    result = run("collect", probes, "-o", out, "--format", "json")
    told = json.loads(result.stdout)
    assert result.exit_code == 2, "one host has no capture"
    assert (told["wanted"], sorted(told["hosts"])) == ([], ["a", "b", "c"])
    assert told["hosts"]["a"] == told["hosts"]["b"] != told["hosts"]["c"]
    assert len(list((out / "captures").glob("*.json"))) == 2
    assert {row.cells["host"] for row in read_hosts_table(out / "hosts.csv")} == {"a", "b", "c"}


@pytest.mark.parametrize(
    "capture", sorted((ROOT / "examples" / "captures").glob("*.json"))[::4], ids=lambda path: path.stem
)
def test_the_hosts_of_the_demonstration_answer_the_probe_of_today(capture: Path, tmp_path: Path) -> None:
    # `make collecting` needs sshd; whether its fake hosts understand what the probe asks is known without.
    table = tmp_path / "hosts.json"
    table.write_text(json.dumps({"h": str(capture)}))
    named = {"KVMFW_FAKE_HOST": "h", "KVMFW_FAKE_HOSTS": str(table)}
    played = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.demo.fakehost", "-", "--quick"],
        input=Path(kvmfw.probe.__file__).read_text(),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | named | {"PYTHONPATH": f"{ROOT / 'python'}:{ROOT}"},
        timeout=120,
        check=False,
    )
    assert played.returncode == 0, played.stderr
    found = Host.from_json(played.stdout)
    assert (found.name, found.kernel) == ("h", Host.load(capture).kernel)
