"""Pure functions on record batches give what one fleet on one machine gives."""

from __future__ import annotations

import pickle
from pathlib import Path

import pyarrow as pa
import pytest

from kvmfw import Fleet, RegisterSet
from kvmfw.arrow import CLASSIFIED, OUTCOMES, classify_batch, classify_batches, decide, validate_batch
from kvmfw.errors import ArgumentError
from kvmfw.readers import hosts, register_sets
from kvmfw.readers.blocks import block_of_sets
from kvmfw.readers.saved import SavedVcpu
from kvmfw.testing import tiny_host, tiny_set
from tests.support.samples import WA1, WA3, long_table, nested_table

EXAMPLES = Path(__file__).parents[1] / "examples"


def nested_examples() -> tuple[pa.Table, list[RegisterSet]]:
    vms = list({vm.name: vm for vm in register_sets(EXAMPLES / "vms.jsonl")}.values())
    block = block_of_sets([(at, [SavedVcpu(vm.name, 0, vm)]) for at, vm in enumerate(vms)])
    offsets = pa.array(block.starts, pa.int32())
    table = pa.table(
        {
            "vm": block.names,
            "vcpu": [block.words[kind] for kind in block.kinds.tolist()],
            "register": pa.ListArray.from_arrays(offsets, pa.array(block.register)),
            "value": pa.ListArray.from_arrays(offsets, pa.array(block.value)),
        }
    )
    return table, vms


def single_machine(vms: list[RegisterSet]) -> list[tuple[str, ...]]:
    fleet = Fleet(vms, hosts(EXAMPLES / "captures")[0])
    rows = zip(fleet.vm_names, *fleet.counts().T.tolist(), strict=True)
    return sorted((str(row[0]), *map(str, row[1:])) for row in rows)


def flat(outcomes: pa.Table) -> list[tuple[str, ...]]:
    rows = outcomes.select(["vm", "accept", "change", "unknown", "refuse"]).to_pylist()
    return sorted(tuple(str(value) for value in row.values()) for row in rows)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_batches_of_any_size_give_what_one_fleet_gives(size: int) -> None:
    table, vms = nested_examples()
    classified = [classify_batch(batch) for batch in table.to_batches(max_chunksize=size)]
    tables = decide(classified, EXAMPLES / "captures")
    outcomes = [validate_batch(batch, tables) for batch in classified]
    assert flat(pa.Table.from_batches(outcomes, OUTCOMES)) == single_machine(vms)


def test_functions_and_tables_can_be_pickled() -> None:
    table, _ = nested_examples()
    (batch,) = table.to_batches()
    classify, validate = pickle.loads(pickle.dumps((classify_batch, validate_batch)))
    tables = pickle.loads(pickle.dumps(decide([classify(batch)], EXAMPLES / "captures").to_pybytes()))
    assert validate(batch, tables).equals(validate_batch(classify_batch(batch), tables))
    assert classify(batch).schema == CLASSIFIED


def test_tables_do_not_depend_on_the_order_of_batches() -> None:
    table, _ = nested_examples()
    classified = [classify_batch(batch) for batch in table.to_batches(max_chunksize=11)]
    tables = decide(classified, EXAMPLES / "captures")
    assert tables.equals(decide(classified[::-1], EXAMPLES / "captures"))


def test_long_form_may_go_on_in_the_next_batch() -> None:
    table = long_table(5)
    found = pa.Table.from_batches(classify_batches(table.to_batches(max_chunksize=2)), CLASSIFIED)
    assert found.column("vm").to_pylist() == [f"vm{vm}" for vm in range(5)]
    assert len(set(found.column("class").to_pylist())) == 1
    nested = classify_batch(nested_table(5).to_batches()[0])
    assert nested.column("class").to_pylist() == found.column("class").to_pylist()


def test_unusable_vms_are_unknown_everywhere_and_say_why() -> None:
    table = pa.table(
        {"vm": ["good", "bad"], "register": [[WA1], [0x6000000000130000]], "value": [[1], [300]]}
    )
    classified = classify_batch(table.combine_chunks().to_batches()[0])
    tables = decide([classified], [tiny_host(), tiny_host(workaround_3=2)])
    rows = {row["vm"]: row for row in validate_batch(classified, tables).to_pylist()}
    assert (rows["bad"]["class"], rows["bad"]["unknown"]) == (None, 2)
    assert "wider than register" in rows["bad"]["problem"]
    assert (rows["good"]["problem"], rows["good"]["unknown"]) == (None, 0)


def test_vm_is_as_good_as_its_worst_vcpu() -> None:
    columns = {
        "vm": ["a", "a", "b", "b"],
        "vcpu_index": pa.array([0, 1, 0, 1], pa.uint16()),
        "register": [[WA1, WA3]] * 4,
        "value": [[0, 1], [0, 2], [0, 1], [0, 1]],
    }
    classified = classify_batch(pa.table(columns).combine_chunks().to_batches()[0])
    known = [tiny_host(workaround_3=1, name="new"), tiny_host(workaround_3=2, name="old")]
    rows = validate_batch(classified, decide([classified], known)).select(["vm", "refuse"]).to_pylist()
    assert rows == [{"vm": "a", "refuse": 1}, {"vm": "b", "refuse": 0}]


def test_classes_that_were_not_decided_are_an_error() -> None:
    one = classify_batch(nested_table(1).to_batches()[0])
    other = block_of_sets([(0, [SavedVcpu("x", 0, tiny_set())])])
    tables = decide([], [tiny_host()])
    assert len(other) == 1
    with pytest.raises(ArgumentError, match="was not decided"):
        validate_batch(one, tables)
