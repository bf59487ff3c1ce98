"""Laws of intake: who is alike is known in one place, and tables have one road."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmfw import Fleet, Host, RegisterSet
from kvmfw.distributed.batches import OUTCOMES, classify_batch, decide, validate_batch
from kvmfw.errors import ArgumentError
from kvmfw.ingest import ingest
from kvmfw.readers import SavedVcpu, distinct_vcpus, register_sets
from kvmfw.readers.stored import StoredVms
from kvmfw.readers.vcpu import config_of_words, words_of
from kvmfw.registers import named
from kvmfw.testing import tiny_host
from tests.support import pool
from tests.support.batches import GATHERED, gathered_up_to, stream
from tests.support.samples import WA1, WA3

EXAMPLES = Path(__file__).parents[1] / "examples"
CCSIDR = 0x6020000000110000
PMCR, PMCCNTR = named("PMCR_EL0"), named("PMCCNTR_EL0")
# What a counter reads that no guest has written.
UNWRITTEN = 0x1DE7EC7EDBADC0DE
WORD = (1 << 64) - 1
COUNTS = ("accept", "change", "unknown", "refuse")


def nested(vms: list[tuple[str, str | None, dict[int, int]]]) -> pa.Table:
    lists = pa.list_(pa.uint64())
    return pa.table(
        {
            "vm": [name for name, _, _ in vms],
            "vcpu": pa.array([words for _, words, _ in vms], pa.string()),
            "register": pa.array([list(registers) for _, _, registers in vms], lists),
            "value": pa.array([[v & WORD for v in registers.values()] for _, _, registers in vms], lists),
        }
    )


def in_batches(table: pa.Table, hosts: list[Host], size: int) -> tuple[list[bytes], np.ndarray[Any, Any]]:
    classified = [classify_batch(batch) for batch in table.to_batches(max_chunksize=size)]
    tables = decide(classified, hosts)
    found = pa.Table.from_batches([validate_batch(batch, tables) for batch in classified], OUTCOMES)
    assert found.column("vm").to_pylist() == table.column("vm").to_pylist()
    assert not found.column("problem").drop_null()
    return found.column("class").to_pylist(), np.stack([found.column(name) for name in COUNTS], axis=1)


def alike(classes: Any) -> list[int]:
    """Number classes by their first appearance."""
    numbers: dict[Any, int] = {}
    return [numbers.setdefault(class_, len(numbers)) for class_ in classes]


def words(target: pool.Target) -> str:
    return words_of(target.vcpu.features, target.vcpu.vgic, target.vcpu.enabled)


@st.composite
def similar_vms(draw: st.DrawFn) -> tuple[list[pool.Target], list[tuple[str, str | None, dict[int, int]]]]:
    """VMs of few hosts that differ from each other in few registers; of some nobody says how they were made."""
    targets = draw(st.lists(st.sampled_from(pool.example_targets()), min_size=1, max_size=2, unique_by=id))
    vms: list[tuple[str, str | None, dict[int, int]]] = []
    for target in targets:
        told = draw(st.sampled_from((words(target), words(target), None)))
        vms.append((f"vm{len(vms)}", told, dict(target.fresh)))
        for _ in range(draw(st.integers(1, 4))):
            vms.append((f"vm{len(vms)}", told, draw(pool.mutated(target, plain=draw(st.booleans())))))
    return targets, vms


@given(similar_vms(), st.integers(1, 5))
def test_classes_and_outcomes_of_batches_are_those_of_the_fleet(
    drawn: tuple[list[pool.Target], list[tuple[str, str | None, dict[int, int]]]], size: int
) -> None:
    targets, vms = drawn
    table, hosts = nested(vms), [target.host for target in targets]
    fleet = Fleet(table, hosts)
    classes, counts = in_batches(table, hosts, size)
    assert alike(classes) == alike(fleet.vm_classes.tolist())
    np.testing.assert_array_equal(counts, fleet.counts())


@pytest.mark.parametrize("resets", [0, 6])
def test_vms_that_differ_in_one_register_have_the_outcomes_of_the_fleet(resets: int) -> None:
    """Of these 42 had another outcome in batches: registers outside the catalogue that KVM looks at counted as alike.

    And of VMs whose guests left P and C in PMCR_EL0, fleets took those for alike of which one had counted cycles.
    """
    vm = next(vm for vm in register_sets(EXAMPLES / "vms.jsonl") if "pmu_v3" in vm.features)
    made = words_of(vm.features, vm.vgic, vm.enabled)
    own = {register: value & WORD for register, value in vm.to_mapping().items()}
    own[PMCR] |= resets
    own[PMCCNTR] = UNWRITTEN
    others = [own]
    for register, value in own.items():
        top = (1 << min(8 << (register >> 52 & 15), 64)) - 1
        others += [own | {register: new} for new in {value ^ 1, 0, top} - {value}]
    table = nested([(f"vm{at}", made, registers) for at, registers in enumerate(others)])
    hosts = [Host.load(path) for path in sorted((EXAMPLES / "captures").glob("*.json"))]
    fleet = Fleet(table, hosts)
    classes, counts = in_batches(table, hosts, 100)
    assert len(others) > 600
    differing = np.flatnonzero((counts != fleet.counts()).any(axis=1))
    assert len(differing) == 0, [
        hex(next(iter(set(others[at].items()) - set(own.items())))[0]) for at in differing
    ]
    assert alike(classes) == alike(fleet.vm_classes.tolist())
    sets = [
        RegisterSet.from_mapping(registers, features=vm.features, vgic=vm.vgic, enabled=vm.enabled)
        for registers in others
    ]
    assert alike(classes) == alike(Fleet(sets, hosts).vm_classes.tolist())
    refused = np.flatnonzero(counts[:, 3] > counts[0, 3])
    assert any(others[at].get(CCSIDR) == 0 and own.get(CCSIDR) for at in refused)


def test_a_vcpu_without_any_word_stays_one(tmp_path: Path) -> None:
    """Every example host was asked for such a vCPU; in tables it was one of which nobody knows how it was made."""
    vms = [
        host.fresh_set(features=[], vgic=False, name=f"vm{at}")
        for at, host in enumerate(Host.load(path) for path in sorted((EXAMPLES / "captures").glob("*.json")))
    ]
    sets = [vm for vm in vms if vm is not None]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "vms.jsonl").write_text("".join(json.dumps(vm.to_document()) + "\n" for vm in sets))
    ingest([tmp_path / "in", EXAMPLES / "captures"], tmp_path / "fleet")
    hosts = [Host.load(path) for path in sorted((EXAMPLES / "captures").glob("*.json"))]
    counts = Fleet(sets, hosts).counts()
    assert len(sets) > 10
    assert (counts[:, [0, 3]].sum(axis=0) > 0).all()
    table = nested([(vm.name, words_of([], vgic=False), vm.to_mapping()) for vm in sets])
    np.testing.assert_array_equal(Fleet(table, hosts).counts(), counts)
    np.testing.assert_array_equal(in_batches(table, hosts, 7)[1], counts)
    stored = Fleet.load(tmp_path / "fleet")
    assert stored.vm_names == [vm.name for vm in sets]
    np.testing.assert_array_equal(Fleet(StoredVms(tmp_path / "fleet"), hosts).counts(), counts)
    assert (config_of_words("none"), config_of_words(" none ")) == ((0, False, 0), (0, False, 0))
    with pytest.raises(ArgumentError, match=r"`none` says nothing about a vCPU; expected .* or none alone"):
        config_of_words("none,vgic")


def test_vcpus_that_differ_in_a_cache_are_two_kinds(tmp_path: Path) -> None:
    vm = next(register_sets(EXAMPLES / "vms.jsonl"))
    how: dict[str, Any] = {"features": vm.features, "vgic": vm.vgic, "enabled": vm.enabled}
    sets = [
        RegisterSet.from_mapping(vm.to_mapping() | {CCSIDR: value}, **how, name=f"a/vcpu{at}")
        for at, value in enumerate((vm[CCSIDR], 0))
    ]
    assert len(distinct_vcpus([SavedVcpu("a", at, one) for at, one in enumerate(sets)])) == 2
    table = nested([("a", words_of(vm.features, vm.vgic), one.to_mapping()) for one in sets])
    table = table.append_column("vcpu_index", pa.array([0, 1], pa.uint16()))
    pq.write_table(table, tmp_path / "vms.parquet")
    ingest([tmp_path / "vms.parquet", EXAMPLES / "captures"], tmp_path / "fleet")
    for fleet in (Fleet.load(tmp_path / "fleet"), Fleet(table, EXAMPLES / "captures")):
        assert fleet.vm_names == ["a/vcpu0", "a/vcpu1"]
        assert fleet.class_shape[0] == 2


# --- one road -------------------------------------------------------------------------------------

NAMES = {
    "vm": ("vm", "vm_id", "id"),
    "register": ("register", "reg_id", "REG", "register_id"),
    "value": ("value", "reg_val", "val"),
    "index": ("vcpu_index", "index"),
    "words": ("vcpu", "features"),
}
BAD = {
    "null": (WA3, None),
    "wide": (0x6020000000130000, 1 << 40),
    "nothing": (0x14, 1),
    "huge": (0x60F0000000150000, 1),
}
"""Rows that cannot be used."""


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """A table of VMs in any form that is read, with some rows that cannot be used."""
    rows: list[tuple[str | None, int, str | None, int | None, int | None]] = []
    indexed = draw(st.booleans())
    told = draw(st.booleans())
    vms = [f"vm{at}" for at in range(draw(st.integers(1, 5)))]
    for vm in draw(st.permutations(vms)):
        for index in draw(st.permutations(range(draw(st.integers(1, 3))))) if indexed else [0]:
            made = draw(st.sampled_from(("psci_0_2,vgic", "psci_0_2,pmu_v3,vgic", None, "", "nonsense")))
            name = vm if draw(st.integers(0, 19)) else None
            rows.append((name, index, made, WA1, draw(st.integers(0, 2))))
            rows.append((name, index, made, WA3, draw(st.integers(0, 2))))
            if draw(st.integers(0, 3)) == 0:
                rows.append((name, index, made, *draw(st.sampled_from(list(BAD.values())))))
            if draw(st.integers(0, 9)) == 0:
                rows.append((name, index, made, WA1, 1))
    if draw(st.integers(0, 4)) == 0:
        name, index, made, register, value = draw(st.sampled_from(rows))
        again = (name, index + draw(st.integers(0, 1)), made, register, value)
        rows.insert(draw(st.integers(0, len(rows))), again)
    names = {part: draw(st.sampled_from(words)) for part, words in NAMES.items()}
    if indexed and names["index"] == "index" and draw(st.booleans()):
        names["index"], names["words"] = "vcpu", "features"
    columns: dict[str, Any] = {}
    form = draw(st.sampled_from(("long", "lists", "structs")))
    if form != "long":
        rows, pairs = _gathered(rows)
    columns[names["vm"]] = [row[0] for row in rows]
    if indexed:
        columns[names["index"]] = pa.array(
            [row[1] for row in rows], draw(st.sampled_from((pa.int32(), pa.uint16())))
        )
    if told:
        columns[names["words"]] = [row[2] for row in rows]
    if form == "long":
        kinds = [draw(st.sampled_from(("words", "text", "signed"))) for _ in range(2)]
        columns[names["register"]] = _column([row[3] for row in rows], kinds[0])
        columns[names["value"]] = _column([row[4] for row in rows], kinds[1])
    elif form == "lists":
        for at, part in enumerate(("register", "value")):
            lists = [[pair[at] for pair in own] for own in pairs]
            columns[names[part]] = pa.array(lists, pa.list_(pa.uint64()))
    else:
        fields = (names["register"].lower(), names["value"])
        kind = pa.list_(pa.struct([(field, pa.uint64()) for field in fields]))
        columns["registers"] = pa.array(
            [[dict(zip(fields, pair, strict=True)) for pair in own] for own in pairs], kind
        )
    return pa.table(columns)


def _gathered(rows: list[Any]) -> tuple[list[Any], list[list[tuple[int | None, int | None]]]]:
    """Make one row of all neighbours of one vCPU."""
    heads: list[Any] = []
    pairs: list[list[tuple[int | None, int | None]]] = []
    for row in rows:
        if not heads or heads[-1][:2] != row[:2]:
            heads.append(row)
            pairs.append([])
        pairs[-1].append((row[3], row[4]))
    return heads, pairs


def _column(words_: list[int | None], kind: str) -> pa.Array:
    if kind == "text":
        return pa.array([None if word is None else hex(word) for word in words_], pa.string())
    column = pa.array(words_, pa.uint64())
    return column.view(pa.int64()) if kind == "signed" else column


def taken(vms: Any, hosts: list[Host]) -> tuple[Any, ...]:
    fleet = Fleet(vms, hosts, on_error="collect", threads=1)
    prefix = f"{vms}: " if isinstance(vms, Path) else ""
    rejected = [(row, reason.removeprefix(prefix)) for row, reason in fleet.rejected]
    assert all(reason.startswith(prefix) for _, reason in fleet.rejected)
    return list(fleet.vm_names), fleet.vm_classes.tolist(), fleet.counts().tolist(), rejected, fleet.inferred


def stands_apart(table: pa.Table) -> bool:
    """Tell whether a VM, or a vCPU of it, is named again after another one: in memory their rows are brought together."""
    numbers = next((name for name in table.column_names if name in ("vcpu_index", "index")), None)
    if numbers is None and "vcpu" in table.column_names and pa.types.is_integer(table.column("vcpu").type):
        numbers = "vcpu"
    names = table.column(0).to_pylist()
    indexes = [0] * len(names) if numbers is None else table.column(numbers).to_pylist()
    keys: tuple[list[Any], ...] = (names, list(zip(names, indexes, strict=True)))
    heads = [[key for at, key in enumerate(found) if at == 0 or found[at - 1] != key] for found in keys]
    return any(len(set(found)) < len(found) for found in heads)


@given(tables(), st.integers(1, 7), st.sampled_from(GATHERED))
def test_a_file_a_table_in_memory_and_a_stream_give_the_same_fleet_and_the_same_rejects(
    table: pa.Table, size: int, gathered: int
) -> None:
    hosts = [tiny_host(workaround_3=1), tiny_host(workaround_3=2)]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "vms.parquet"
        pq.write_table(table, path)
        of_file = taken(path, hosts)
    with gathered_up_to(gathered):
        assert taken(stream(table, size), hosts) == of_file
    if not stands_apart(table):
        assert taken(table, hosts) == of_file


@given(tables())
def test_what_ingest_sets_aside_is_what_a_fleet_sets_aside(table: pa.Table) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "vms.parquet"
        pq.write_table(table, path)
        found = ingest([path], Path(folder) / "fleet", on_error="collect")
        wanted = taken(path, [])
        assert found.rows == found.used + found.rejected == table.num_rows
        # Rows of a VM that cannot be used are set aside with the bad ones, for the reason of these.
        rejected = {(one.row, one.reason) for one in found.rejects}
        assert {row for row, _ in wanted[3]} <= {row for row, _ in rejected}
        assert bool(rejected) == bool(wanted[3])
        stored = {vm.name for vm in StoredVms(Path(folder) / "fleet")} if found.vms else set()
        assert stored <= set(wanted[0])
        unused = {row for row, _ in rejected}
        used = {name for row, name in enumerate(table.column(0).to_pylist()) if row not in unused}
        assert {name.partition("/vcpu")[0] for name in stored} == used
        # Who is taken whole by the one is by the other: what a fleet keeps in its place of others is unknown to every host.
        whole = Fleet(path, [tiny_host()], on_error="collect")
        unknown = whole.counts()[:, 2].astype(bool).tolist()
        known = {name for name, is_unknown in zip(whole.vm_names, unknown, strict=True) if not is_unknown}
        assert known <= stored
        if stored:
            fleets = [
                Fleet(vms, [tiny_host(), tiny_host(workaround_3=2)], on_error="collect")
                for vms in (path, StoredVms(Path(folder) / "fleet"))
            ]
            counts = [dict(zip(fleet.vm_names, fleet.counts().tolist(), strict=True)) for fleet in fleets]
            assert {name: counts[1][name] for name in known} == {name: counts[0][name] for name in known}


def test_who_is_alike_does_not_depend_on_batches_or_threads() -> None:
    """Later batches know who came in earlier ones, thread by thread; a thread that sees too many forgets them."""
    random = np.random.default_rng(5)
    count = 120_000
    # At first few classes, then more than a thread keeps, then those of the beginning with some new ones.
    level = np.concatenate([random.integers(0, 3, 40_000), np.arange(40_000), random.integers(0, 9, 40_000)])
    values = np.zeros(2 * count, np.uint64)
    values[::2], values[1::2] = level, random.integers(0, 3, count)
    registers = np.tile(np.array([WA1, WA3], np.uint64), count)
    table = pa.table({"vm": np.repeat(np.arange(count), 2), "register": registers, "value": values})
    hosts = [tiny_host(workaround_3=1)]
    wanted = Fleet(table, hosts, threads=1)
    assert wanted.class_shape[0] > 40_000
    assert wanted.vm_classes.tolist() == alike(zip(level.tolist(), values[1::2].tolist(), strict=True))
    for threads, size in ((1, 80_000), (2, 80_000), (2, 192_000), (3, 240_000)):
        with gathered_up_to(0):
            fleet = Fleet(stream(table, size), hosts, threads=threads)
        np.testing.assert_array_equal(fleet.vm_classes, wanted.vm_classes)
        np.testing.assert_array_equal(fleet.counts(), wanted.counts())


def test_a_vm_of_two_kinds_of_vcpus_is_not_taken_twice() -> None:
    lists = pa.list_(pa.uint64())
    registers, values = [[WA1, WA3]] * 2, [[0, 0], [0, 1]]
    one = {"vm": ["a", "a", "b"], "vcpu_index": pa.array([0, 1, 0], pa.int32())}
    two = pa.table(
        one | {"register": pa.array([*registers, [WA1]], lists), "value": pa.array([*values, [0]], lists)}
    )
    for again in (two.slice(0, 2), two.slice(0, 1)):
        table = pa.concat_tables([two, again])
        fleet = Fleet(stream(table, 9), [tiny_host()], on_error="collect")
        assert list(fleet.vm_names) == ["a/vcpu0", "a/vcpu1", "b"]
        assert {reason for _, reason in fleet.rejected} == {
            "the VM `a` occurs twice; its rows must be together"
        }
    fleet.remove_vms([0, 1])
    fleet.add_vms(two.slice(0, 2))
    assert list(fleet.vm_names) == ["b", "a/vcpu0", "a/vcpu1"]


def test_vms_without_a_name_are_not_each_other() -> None:
    lists = pa.list_(pa.uint64())
    columns = {
        "vm": pa.array([None, "a", "a", None], pa.string()),
        "vcpu_index": pa.array([0, 0, 1, 0], pa.int32()),
        "register": pa.array([[WA1, WA3]] * 4, lists),
        "value": pa.array([[0, 0], [0, 0], [0, 1], [0, 0]], lists),
    }
    fleet = Fleet(stream(pa.table(columns), 9), [tiny_host()], on_error="collect")
    assert list(fleet.vm_names) == ["", "a/vcpu0", "a/vcpu1", ""]
    assert fleet.rejected == [(0, "the VM has no name"), (3, "the VM has no name")]


def test_a_vm_that_comes_again_after_one_that_cannot_be_used_comes_twice(tmp_path: Path) -> None:
    """Whom rows belong to is told by the source: between them may stand what was set aside."""
    lists = pa.list_(pa.uint64())
    for between in (None, "b"):
        columns = {
            "vm": pa.array(["a", between, "a", "c"], pa.string()),
            "vcpu_index": pa.array([0, 0, 2, 0], pa.int32()),
            "register": pa.array([[WA1, WA3], [0x14], [WA1, WA3], [WA1, WA3]], lists),
            "value": pa.array([[0, 0], [1], [0, 0], [0, 0]], lists),
        }
        pq.write_table(pa.table(columns), tmp_path / "vms.parquet")
        found = ingest([tmp_path / "vms.parquet"], tmp_path / "fleet", on_error="collect")
        assert [one.row for one in found.rejects] == [1, 2]
        assert found.rejects[1].reason == "the VM `a` occurs twice; its rows must be together"
        assert found.vms == 2
        assert {row for row, _ in taken(tmp_path / "vms.parquet", [])[3]} == {1, 2}
