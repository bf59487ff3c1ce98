"""The probe's order of writing is the core's: the probe is one file and cannot ask, so a law compares."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kvmfw
from kvmfw import probe, readers
from kvmfw.captures import fresh_values
from kvmfw.ids import SVE, group_of, is_surrounding
from kvmfw.registers import named
from kvmfw.testing import tiny_set
from tests.support.command import EXAMPLES

SNAPSHOTS = Path(__file__).parent / "realvmm" / "snapshots"


def in_file_order(one: kvmfw.RegisterSet) -> list[int]:
    found = [register for register, _ in one._native.in_file_order()]
    return [register for register in found if not is_surrounding(register)]


def orders(one: kvmfw.RegisterSet) -> Iterator[tuple[str, list[int], list[int]]]:
    """What the probe writes of a set, and the core says is written, for each VMM of which the probe has an order."""
    registers = in_file_order(one)
    for row in kvmfw.vmms():
        for policy, order in probe.POLICIES.items():
            if f"{row.name}-".startswith(f"{policy}-"):
                yield row.name, order(registers), one._native.write_order(row.name)


GROUPS = (0x6030000000100000, 0x6040000000100054, 0x6020000000110000, 0x603000000013C000, 0x6030000000140000)
LISTED = sorted(next(readers.register_sets(EXAMPLES / "vms.jsonl")))
IDS = st.one_of(
    st.sampled_from([*LISTED, 0x606000000015FFFF, 0x6080000000150060, 0x6030000000160003]),
    st.builds(lambda group, at: group + at, st.sampled_from(GROUPS), st.integers(0, 60)),
)


@given(st.lists(IDS, unique=True, min_size=2, max_size=40), st.booleans())
def test_the_probes_order_of_writing_is_the_cores(ids: list[int], ascending: bool) -> None:
    document = tiny_set().to_document()
    document["registers"] = {f"{id_:#x}": "0x0" for id_ in (sorted(ids) if ascending else ids)}
    found = list(orders(kvmfw.RegisterSet.from_json(json.dumps(document))))
    assert len(found) > 6
    for name, written, wanted in found:
        assert written == wanted, name


def test_the_probes_order_is_the_cores_for_what_vmms_saved() -> None:
    sets = [*readers.register_sets(SNAPSHOTS), *islice(readers.register_sets(EXAMPLES / "vms.jsonl"), 40)]
    assert any(in_file_order(one) != list(one) for one in sets)
    for one in sets:
        for name, written, wanted in orders(one):
            assert written == wanted, (one.name, name)


CAPTURES = sorted((EXAMPLES / "captures").glob("*.json"))
CLIDR, CTR = (named(name) for name in ("CLIDR_EL1", "CTR_EL0"))


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_the_order_of_a_sorted_set_is_that_in_which_its_kernel_listed_it(path: Path) -> None:
    """The third judge: captures keep the order of KVM_GET_REG_LIST. Of 6.12, which lists CLIDR and CTR in their places, a set
    does not tell that it is no older one; of SVE state, which is taken by id, KVM lists Z before P."""
    in_place = {CLIDR, CTR} if path.stem.startswith("6.12") else set()
    seen = 0
    for _, values in fresh_values(json.loads(path.read_text())):
        in_place = in_place | {register for register in values if group_of(register) == SVE}
        wanted = [register for register in values if register not in in_place]
        one = kvmfw.RegisterSet.from_mapping({register: values[register] for register in sorted(values)})
        for order in (probe.POLICIES["firecracker"](sorted(values)), one._native.write_order("firecracker")):
            assert [register for register in order if register not in in_place] == wanted
            seen += 1
    assert seen
