"""Accept sets: a host has a name where it takes the VMs that ask for it, from generation to generation."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

import kvmfw
from kvmfw.cli import main
from kvmfw.planners.accept_sets import AcceptSets, accept_sets
from kvmfw.planners.generations import Difference, Generation, generation_of
from kvmfw.questions import Treat
from kvmfw.testing import tiny_host, tiny_set
from tests.support.fleets import random_fleet

EXAMPLES = Path(__file__).parents[2] / "examples"
TREATS: tuple[Treat, ...] = ("refuse", "accept")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def named(hosts: list[kvmfw.Host], numbers: list[int]) -> list[kvmfw.Host]:
    return [hosts[number].renamed(f"h{at}") for at, number in enumerate(numbers)]


def assert_true(sets: AcceptSets) -> None:
    """Every VM asks for one name, and the hosts with it are its candidates."""
    now = sets.snapshot
    of_hosts = sets.names_of_hosts()
    for row, vm in enumerate(now.vm_names):
        name = sets.name_of(row)
        asked = [host for host in now.host_names if name in of_hosts[host]]
        takers = [
            now.host_names[at] for at in now.candidates(row, unknown=sets.unknown, change="accept").tolist()
        ]
        assert asked == takers, vm
    assert len(set(sets.names)) == len(sets.names) == len({row.tobytes() for row in sets.takers})


@given(st.integers(0, 1 << 20), st.sampled_from(TREATS))
@settings(max_examples=25)
def test_hosts_with_the_name_are_the_candidates(seed: int, unknown: Treat) -> None:
    vms, hosts, numbers = random_fleet(seed)
    assert_true(accept_sets(kvmfw.Fleet(vms, named(hosts, numbers)), unknown=unknown, change="accept"))


@given(st.integers(0, 1 << 20), st.sampled_from(TREATS))
@settings(max_examples=25)
def test_one_more_capture_renames_nothing(seed: int, unknown: Treat) -> None:
    vms, hosts, numbers = random_fleet(seed)
    every = named(hosts, numbers)
    before = accept_sets(kvmfw.Fleet(vms, every[:-1]), unknown=unknown, change="accept")
    after = accept_sets(kvmfw.Fleet(vms, every), unknown=unknown, change="accept")
    assert set(before.names) <= set(after.names)
    old, new = before.names_of_hosts(), after.names_of_hosts()
    for name in before.names:
        assert [host for host in old if name in old[host]] == [host for host in old if name in new[host]]


@given(st.integers(0, 1 << 20))
@settings(max_examples=25)
def test_names_stay_when_vms_and_hosts_come_and_go(seed: int) -> None:
    vms, hosts, numbers = random_fleet(seed)
    rng = random.Random(seed)
    fleet = kvmfw.Fleet(vms[:20], named(hosts, numbers)[:-2])
    last: Generation | None = None
    for step in range(5):
        sets = accept_sets(fleet, unknown="refuse", change="accept", known=last.kinds if last else None)
        assert_true(sets)
        generation = generation_of(sets)
        if last is not None:
            assert_leads_to(last, generation)
            both = set(last.kinds) & set(generation.kinds)
            for name in {last.kinds[kind] for kind in both}:
                now = {generation.kinds[kind] for kind in both if last.kinds[kind] == name}
                then = {last.kinds[kind] for kind in both if generation.kinds[kind] in now}
                alone = then == {name} and name in generation.kinds
                assert name in now or not alone, "nobody else had a claim to the name"
        last = generation
        fleet.remove_vms(rng.sample(list(fleet.vm_names), 5))
        fleet.add_vms([vms[20 + 4 * step + at] for at in range(4)])
        if step == 2:
            fleet.remove_hosts(["h0"])
            fleet.add_hosts(named(hosts, numbers)[-2:])


def assert_leads_to(old: Generation, new: Generation) -> None:
    step = Difference.between(old, new)
    assert (old.names | set(step.create)) - set(step.delete) == new.names
    hosts = {host: set(names) for host, names in old.hosts.items()}
    for host, names in step.add.items():
        hosts[host] = hosts.get(host, set()) | set(names)
    for host, gone in step.remove.items():
        assert set(gone) <= hosts[host]
        hosts[host] -= set(gone)
    assert {host: names for host, names in hosts.items() if names} == {
        host: set(names) for host, names in new.hosts.items() if names
    }
    for kind, (before, after) in step.moved.items():
        assert (old.kinds[kind], new.kinds[kind]) == (before, after)


def test_the_names_of_one_meaning_of_unknown_are_not_those_of_the_other() -> None:
    vm = kvmfw.RegisterSet.from_mapping({0x6030000000140003: 1}, features=["psci_0_2", "sve"], name="vm")
    fleet = kvmfw.Fleet([vm], [tiny_host(name="h")])
    assert fleet.validate_pairs([0], [0])[0] == kvmfw.Outcome.UNKNOWN
    apart = [accept_sets(fleet, unknown=unknown, change="accept") for unknown in TREATS]
    assert [sets.names_of_hosts()["h"] for sets in apart] == [(), apart[1].names]
    assert not set(apart[0].names) & set(apart[1].names)
    assert apart[0].unplaced.tolist() == [0]


def test_nor_are_those_of_one_meaning_of_change() -> None:
    """A generation need not tell it: no name is kept, moved or read as that of the other."""
    fleet = kvmfw.Fleet([tiny_set(workaround_3=0, name="vm")], [tiny_host(workaround_3=1, name="h")])
    assert fleet.validate_pairs([0], [0])[0] == kvmfw.Outcome.CHANGE
    old = accept_sets(fleet, unknown="refuse", change="accept")
    new = accept_sets(fleet, unknown="refuse", change="refuse", known=old.known())
    assert (old.names_of_hosts()["h"], new.names_of_hosts()["h"]) == (old.names, ())
    assert_leads_to(generation_of(old), generation_of(new))
    step = Difference.between(generation_of(old), generation_of(new))
    assert (step.create, step.moved, step.delete) == (list(new.names), {}, list(old.names))


def test_hosts_that_share_a_name_have_what_all_of_them_take() -> None:
    vms = [tiny_set(workaround_3=0, name="any"), tiny_set(workaround_3=1, name="new")]
    fleet = kvmfw.Fleet(vms, [tiny_host(workaround_3=level, name="twin") for level in (1, 0)])
    sets = accept_sets(fleet, unknown="refuse", change="accept")
    assert sets.names_of_hosts() == {"twin": (sets.name_of("any"),)}


# --- emit -----------------------------------------------------------------------------------------


def traits_of_hosts(text: str, section: str) -> dict[str, set[str]]:
    (part,) = [part for part in text.split("\n\n") if f"# Traits to {section}" in part.splitlines()[0]]
    rows = [line.split(" ") for line in part.splitlines()[1:]]
    return {host: set(traits.split(",")) for host, traits in rows}


def test_emit_asks_one_trait_of_each_vm_and_prints_the_difference(tmp_path: Path) -> None:
    fleet, since = tmp_path / "fleet", tmp_path / "told.json"
    (fleet / "captures").mkdir(parents=True)
    paths = sorted((EXAMPLES / "captures").glob("*.json"))
    for path in paths[:-1]:
        (fleet / "captures" / path.name).symlink_to(path)
    (fleet / "vms.jsonl").symlink_to(EXAMPLES / "vms.jsonl")
    options = ("--since", since, "--fail-on", "none")
    first = run("emit", fleet, "openstack", *options)
    assert first.exit_code == 0, first.output
    created = re.findall(r"trait create (\S+)", first.stdout)
    added = traits_of_hosts(first.stdout, "add")
    asked = re.findall(r"^trait:(\S+)=required$", first.stdout, re.MULTILINE)
    assert created == sorted(created) == sorted(asked)
    assert set().union(*added.values()) <= set(created)
    again = run("emit", fleet, "openstack", *options)
    assert "trait create" not in again.stdout
    assert traits_of_hosts(again.stdout, "add") == traits_of_hosts(again.stdout, "remove") == {}
    (fleet / "captures" / paths[-1].name).symlink_to(paths[-1])
    more = run("emit", fleet, "openstack", *options)
    name = json.loads(paths[-1].read_text())["host"]["name"]
    assert set(traits_of_hosts(more.stdout, "add")) <= {name} | set(added)
    assert traits_of_hosts(more.stdout, "add")[name]
    assert traits_of_hosts(more.stdout, "remove") == {}
    assert "trait delete" not in more.stdout
    assert set(asked) <= set(re.findall(r"^trait:(\S+)=required$", more.stdout, re.MULTILINE))


def test_a_generation_of_another_meaning_is_refused(tmp_path: Path) -> None:
    since = tmp_path / "told.json"
    assert run("emit", EXAMPLES, "kubernetes", "--since", since).exit_code == 0
    other = run("emit", EXAMPLES, "kubernetes", "--since", since, "--unknown", "accept")
    assert other.exit_code == 1
    assert "unknown `refuse`, not `accept`" in other.stderr
    since.write_text('{"format": "kvmfw-capture"}')
    assert (
        "this is not a document `kvmfw-accept-sets`"
        in run("emit", EXAMPLES, "openstack", "--since", since).stderr
    )
    assert "qemu has no generations" in run("emit", EXAMPLES, "qemu", "--since", since).stderr


@pytest.mark.parametrize("unknown", TREATS)
def test_accept_sets_of_the_examples(unknown: Treat) -> None:
    sets = accept_sets(kvmfw.Fleet.load(EXAMPLES), unknown=unknown, change="accept")
    assert_true(sets)
    assert len(sets.names) < sets.snapshot.used_classes[0] / 3
