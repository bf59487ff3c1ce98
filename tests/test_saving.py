"""Fleets that are saved and opened again: the same handles, rows, names, homes and answers, or one sentence."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import kvmfw
from kvmfw.cli import main as verbs
from kvmfw.errors import FormatError, InputError, MissingError
from kvmfw.saving import _digest_of
from kvmfw.testing import tiny_host, tiny_set
from tests.support.command import EXAMPLES
from tests.support.faulty import tries
from tests.support.fleets import fleet_of, random_fleet
from tests.support.samples import fleet_source


def known(fleet: kvmfw.Fleet | kvmfw.Snapshot) -> dict[str, Any]:
    """Give all that somebody may keep of a fleet beside numbers of classes."""
    now = fleet.snapshot()
    vms, hosts = now.shape
    rows, columns = (axis.ravel() for axis in np.indices((vms, hosts)))
    keys = {number: now._native.class_key(number) for number in set(now.vm_classes.tolist())}
    return {
        "vms": list(zip(now.vm_handles.tolist(), now.vm_names, strict=True)),
        "hosts": list(zip(now.host_handles.tolist(), now.host_names, strict=True)),
        "homes": [now.home(row) for row in range(vms)],
        "home rows": now.vm_homes.tolist(),
        "unmatched": now.unmatched_homes,
        "outcomes": now.validate_pairs(rows, columns).tolist(),
        "alike": [keys[number] for number in now.vm_classes.tolist()],
        "findings": [
            str(now.explain(vm, host)) for vm in range(min(vms, 4)) for host in range(min(hosts, 3))
        ],
        "judge": (now.vmm, now.scheme),
    }


def handles(fleet: kvmfw.Fleet) -> set[int]:
    return set(fleet.vm_handles.tolist())


def changed(
    fleet: kvmfw.Fleet, sets: list[kvmfw.RegisterSet], hosts: list[kvmfw.Host], rng: random.Random
) -> None:
    """Make one random change."""
    vms = fleet.shape[0]
    names = set(fleet.vm_names)
    absent = [one for one in sets if one.name not in names]
    match rng.randrange(6):
        case 0 if absent:
            fleet.add_vms(rng.sample(absent, rng.randrange(1, len(absent) + 1)))
        case 1 if vms:
            fleet.remove_vms(rng.sample(range(vms), rng.randrange(1, vms + 1) // 2))
        case 2 if vms:
            named = list(fleet.host_names)
            alone = [row for row, name in enumerate(named) if named.count(name) == 1]
            fleet.move(rng.randrange(vms), rng.choice([None, *alone]))
        case 3 if vms:
            fleet.update_vms({rng.randrange(vms): rng.choice(sets)})
        case 4 if fleet.shape[1] > 1:
            fleet.remove_hosts([rng.randrange(fleet.shape[1])])
        case _:
            fleet.add_hosts([rng.choice(hosts).renamed(f"late{rng.randrange(1 << 30)}")])
            fleet.update_hosts({rng.randrange(fleet.shape[1]): rng.choice(hosts)})


@pytest.mark.parametrize("seed", range(12))
def test_a_fleet_opened_again_has_the_same_handles(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    vmm, scheme = rng.choice(["kvm", "qemu", "firecracker"]), rng.choice(["kvm", "kvm", "equal", "signed4"])
    sets, hosts, host_of = random_fleet(seed)
    at = tmp_path / "fleet"
    fleet = fleet_of(sets[:20], hosts, host_of, vmm=vmm, scheme=scheme)
    model = fleet_of(sets[:20], hosts, host_of, vmm=vmm, scheme=scheme)
    given: set[int] = set()
    for round_ in range(4):
        for _ in range(6):
            given |= handles(fleet)
            step = rng.randrange(1 << 30)
            # The model is never saved: what it does is what the fleet does that was saved and opened between.
            for one in (fleet, model):
                changed(one, sets, hosts, random.Random(step))
        fleet.save(at)
        before = fleet
        fleet = kvmfw.Fleet.open(at, threads=1 + round_ % 2)
        assert known(fleet) == known(before) == known(model)
        assert fleet.generation == before.generation + 1
        for gone in sorted(given - handles(fleet)):
            with pytest.raises(MissingError, match="has left"):
                fleet.vm_row(kvmfw.VmHandle(gone))
        with pytest.raises(MissingError, match="another process's"):
            fleet.changes_since(before.generation)
        assert fleet.changes_since(fleet.generation) == (fleet.generation, {}, {})


def test_a_fleet_with_wide_registers_is_opened_again(tmp_path: Path) -> None:
    """Values that nobody looks at are 0 in as many bytes as their register has."""
    fleet = kvmfw.Fleet.load(EXAMPLES)
    fleet.save(tmp_path / "fleet")
    assert known(kvmfw.Fleet.open(tmp_path / "fleet")) == known(fleet)


def test_what_comes_after_has_the_next_handle(tmp_path: Path) -> None:
    fleet = kvmfw.Fleet([tiny_set(name=name) for name in "abc"], [tiny_host(name="h")])
    kept = fleet.vm("b")
    fleet.remove_vms(["c"])
    fleet.save(tmp_path / "fleet")
    again = kvmfw.Fleet.open(tmp_path / "fleet")
    again.add_vms([tiny_set(name="d")])
    assert again.vm("d") == kvmfw.VmHandle(3)
    assert again.vm_row(kept) == 1
    with pytest.raises(InputError, match="`a` occurs twice"):
        again.add_vms([tiny_set(name="a")])
    with pytest.raises(MissingError, match="was never there"):
        again.vm_row(kvmfw.VmHandle(4))


def test_vms_that_could_not_be_used_and_those_without_a_name_are_kept(tmp_path: Path) -> None:
    table = pa.table(
        {
            "vm": ["good", "bad", "bad"],
            "register": pa.array([0x6030000000140003] * 3, pa.uint64()),
            "value": pa.array([1, 1, 2], pa.uint64()),
            "host": ["h", "elsewhere", "elsewhere"],
        }
    )
    fleet = kvmfw.Fleet(table, [tiny_host(name="h")], on_error="collect")
    assert fleet.validate_pairs([0, 1], [0, 0]).tolist()[1] == kvmfw.Outcome.UNKNOWN
    fleet.save(tmp_path / "fleet")
    assert known(kvmfw.Fleet.open(tmp_path / "fleet")) == known(fleet)
    nameless = kvmfw.Fleet([tiny_set(name=""), tiny_set(name="x"), tiny_set(name="x")], [tiny_host(name="h")])
    nameless.save(tmp_path / "nameless")
    assert known(kvmfw.Fleet.open(tmp_path / "nameless")) == known(nameless)


def test_nobody_and_nothing_can_be_saved(tmp_path: Path) -> None:
    for number, (vms, hosts) in enumerate(
        [([], []), ([tiny_set(name="a")], []), ([], [tiny_host(name="h")])]
    ):
        fleet = kvmfw.Fleet(vms, hosts)
        fleet.save(tmp_path / str(number))
        assert known(kvmfw.Fleet.open(tmp_path / str(number))) == known(fleet)


def test_vms_with_vcpus_of_several_kinds_stay_one_vm(tmp_path: Path) -> None:
    table = pa.table(
        {
            "vm": ["a", "a", "b"],
            "vcpu_index": pa.array([0, 1, 0], pa.uint16()),
            "register": pa.array([[0x6030000000140003]] * 3, pa.list_(pa.uint64())),
            "value": pa.array([[1], [2], [1]], pa.list_(pa.uint64())),
        }
    )
    fleet = kvmfw.Fleet(table, [tiny_host(name="h")])
    assert list(fleet.vm_names) == ["a/vcpu0", "a/vcpu1", "b"]
    fleet.save(tmp_path / "fleet")
    again = kvmfw.Fleet.open(tmp_path / "fleet")
    for one in (fleet, again):
        with pytest.raises(InputError, match="twice"):
            one.add_vms(table.slice(0, 2))
    again.remove_vms(["a/vcpu0", "a/vcpu1"])
    again.add_vms(table.slice(0, 2))
    assert again.shape == (3, 1)


def test_of_two_that_go_on_only_the_first_saves(tmp_path: Path) -> None:
    at = tmp_path / "fleet"
    fleet = kvmfw.Fleet([tiny_set(name="a")], [tiny_host(name="h")])
    fleet.save(at)
    fleet.save(at)
    one, other = kvmfw.Fleet.open(at), kvmfw.Fleet.open(at)
    one.add_vms([tiny_set(name="one")])
    one.save(at)
    one.save(at)
    for late in (other, fleet):
        with pytest.raises(InputError, match="another fleet's"):
            late.save(at)
    assert "one" in kvmfw.Fleet.open(at).vm_names
    other.save(tmp_path / "elsewhere")
    assert sorted(path.name for path in (at / "generations").glob("[0-9]*")) == ["000003", "000004"]


def test_what_is_no_saved_fleet_stays_as_it_is(tmp_path: Path) -> None:
    fleet = kvmfw.Fleet([tiny_set(name="a")], [tiny_host(name="h")])
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("mine")
    verbs_said = tmp_path / "fleet"
    with pytest.raises(SystemExit) as left:
        verbs(["ingest", str(fleet_source(tmp_path / "source", "a", 3, "a")), "-o", str(verbs_said)])
    assert not left.value.code
    for place in ("other", "fleet"):
        before = sorted((tmp_path / place).rglob("*"))
        with pytest.raises(InputError):
            fleet.save(tmp_path / place)
        with pytest.raises(InputError):
            kvmfw.Fleet.open(tmp_path / place)
        assert [path for path in sorted((tmp_path / place).rglob("*")) if path.name != ".lock"] == [
            path for path in before if path.name != ".lock"
        ]
    with pytest.raises(InputError):
        kvmfw.Fleet.open(tmp_path / "nothing")


def test_no_verb_takes_what_a_fleet_knows_for_what_its_vms_have(tmp_path: Path) -> None:
    at = tmp_path / "fleet"
    kvmfw.Fleet([tiny_set(name="a")], [tiny_host(name="h")]).save(at)
    with pytest.raises(FormatError, match=r"Fleet\.open"):
        kvmfw.Fleet.load(at)
    source = str(fleet_source(tmp_path / "source", "a", 3, "a"))
    for words in (["audit", str(at)], ["ingest", source, "-o", str(at)]):
        with pytest.raises(SystemExit) as left:
            verbs(words)
        assert left.value.code == 1
    assert list(kvmfw.Fleet.open(at).vm_names) == ["a"]


def files_of(at: Path) -> list[Path]:
    return [path for path in sorted((at / "current").resolve().rglob("*")) if path.is_file()]


def is_same(one: bytes, other: bytes) -> bool:
    try:
        return bool(json.loads(one) == json.loads(other))
    except ValueError:
        return False


def test_damage_is_one_sentence(tmp_path: Path) -> None:
    at = tmp_path / "fleet"
    sets, hosts, host_of = random_fleet(3, vms=10, hosts=3)
    fleet = fleet_of(sets, hosts, host_of)
    fleet.save(at)
    rng = random.Random(5)
    assert len(files_of(at)) == 5
    for path in files_of(at):
        whole = path.read_bytes()
        flips = [rng.randrange(len(whole)) for _ in range(40)]
        damaged = [
            whole[:at_] + bytes([whole[at_] ^ 1 << rng.randrange(8)]) + whole[at_ + 1 :] for at_ in flips
        ]
        for data in [b"", whole[:-1], whole[: len(whole) // 2], whole + b"x", *damaged]:
            path.write_bytes(data)
            if path.suffix == ".json" and is_same(whole, data):
                # Blanks between the words of JSON.
                assert known(kvmfw.Fleet.open(at)) == known(fleet)
                continue
            with pytest.raises(InputError) as refused:
                kvmfw.Fleet.open(at)
            assert str(path.parent.name if path.suffix == ".parquet" else path.name) in str(refused.value)
            assert "\n" not in str(refused.value)
        path.unlink()
        with pytest.raises(InputError):
            kvmfw.Fleet.open(at)
        path.write_bytes(whole)
    assert known(kvmfw.Fleet.open(at)) == known(fleet)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", "kvmfw-fleet"),
        ("version", 2),
        ("source", "another"),
        ("vmm", "nobody"),
        ("scheme", 3),
        ("changes", -1),
        ("changes", 1 << 63),
        ("arrivals", {"vms": 1, "hosts": 1}),
        ("arrivals", {"vms": 1 << 62, "hosts": 1 << 70}),
        ("arrivals", None),
        ("digests", []),
        ("generation", "1"),
        ("by", None),
    ],
)
def test_a_document_that_says_something_else_is_one_sentence(key: str, value: object, tmp_path: Path) -> None:
    at = tmp_path / "fleet"
    kvmfw.Fleet([tiny_set(name=name) for name in "ab"], [tiny_host(name="h")]).save(at)
    path = at / "current" / "fleet.json"
    document = json.loads(path.read_bytes())
    del document["digest"]
    document[key] = value
    path.write_text(json.dumps(document | {"digest": _digest_of(document)}))
    with pytest.raises(InputError) as refused:
        kvmfw.Fleet.open(at)
    assert "\n" not in str(refused.value)
    assert "fleet" in str(refused.value) or key in ("vmm", "scheme")


def test_whatever_fails_while_it_is_saved_the_fleet_is_before_or_after(tmp_path: Path) -> None:
    ends = tries(tmp_path, "save", "sync+place")
    assert ends["refused"] >= 10, ends
    assert ends["done"] == 1
