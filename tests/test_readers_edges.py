"""Edges of what readers take: the last that fits, the first that does not, and rows in any order."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

import kvmfw
from kvmfw.errors import FormatError
from kvmfw.readers import CpuTemplate, read_facts
from kvmfw.readers.analyze import analyzed_vcpus
from kvmfw.readers.saved import register_set
from kvmfw.readers.symbols import encoding_of
from kvmfw.testing import tiny_host

FIRMWARE = [0x6030000000140000 + number for number in range(4)]


@pytest.mark.parametrize("word", range(5))
def test_words_of_an_encoding_have_as_many_values_as_their_bits(word: int) -> None:
    last = [3, 7, 15, 15, 7]
    assert encoding_of(map(str, last)) == 0xFFFF
    one_more = [value + (at == word) for at, value in enumerate(last)]
    assert encoding_of(map(str, one_more)) is None


@pytest.mark.parametrize(
    "register",
    [0, 1 << 64, 0x0030000000140000, 0x0FF0000000140000, 0x6090000000140000, 1 << 68 | FIRMWARE[0]],
)
def test_what_is_no_id_of_kvm_is_told(register: int) -> None:
    with pytest.raises(FormatError, match="is not the id of a register that KVM can have"):
        register_set({register: 1}, "vm")
    assert register_set({FIRMWARE[0]: 1}, "vm").to_mapping() == {FIRMWARE[0]: 1}


@pytest.mark.parametrize(
    ("bitmap", "names"),
    [
        ("0b11xxxxx", ["psci_0_2", "ptrauth_address", "ptrauth_generic"]),
        ("0b10xxxxx", ["psci_0_2", "ptrauth_generic"]),
        ("0b00xxxxx", ["psci_0_2"]),
        ("0b1xxxxx", ["psci_0_2", "ptrauth_address"]),
    ],
)
def test_features_of_a_template_are_those_whose_bit_is_1(
    bitmap: str, names: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "template.json"
    path.write_text(json.dumps({"vcpu_features": [{"index": 0, "bitmap": bitmap}], "reg_modifiers": []}))
    assert CpuTemplate.load(path).feature_names() == names


@pytest.mark.parametrize("part", [5, "0b1", [], None])
@pytest.mark.parametrize("name", ["reg_modifiers", "vcpu_features"])
def test_a_part_of_a_template_that_is_no_object_is_named(part: object, name: str, tmp_path: Path) -> None:
    path = tmp_path / "template.json"
    path.write_text(json.dumps({"vcpu_features": [], "reg_modifiers": []} | {name: [part]}))
    with pytest.raises(FormatError, match=rf"{name}\[0\]: expected an object, found {type(part).__name__}"):
        CpuTemplate.load(path)


@pytest.mark.parametrize(("least", "most"), [(0, 0), (0, 15), (15, 15), (7, 8)])
def test_a_range_may_be_all_of_a_field_or_one_value(least: int, most: int, tmp_path: Path) -> None:
    path = tmp_path / "props.json"
    path.write_text(json.dumps({"return": {"SYSREG_ID_AA64MMFR1_EL1_VH": {"min": least, "max": most}}}))
    register = kvmfw.find_register("ID_AA64MMFR1_EL1")
    assert register is not None
    assert read_facts(path).ranges[register]["VH"] == (8, 4, least, most)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_vcpus_of_an_analysis_are_numbered_where_there_are_several(count: int) -> None:
    words = {"indexes": [hex(one) for one in FIRMWARE[:2]], "values": ["0x10001", "0x1"], "array_len": "0x2"}
    section = {f"cpreg_vmstate_{name}": told for name, told in words.items()}
    sections = {f"cpu ({at})": section for at in range(count)} | {"arm_gicv3 (9)": {}, "timer (10)": {}}
    found = analyzed_vcpus(sections, "vm")
    names = ["vm"] if count == 1 else [f"vm/vcpu{at}" for at in range(count)]
    assert [(one.registers.name, one.vcpu) for one in found] == list(zip(names, range(count), strict=True))


def test_rows_of_vcpus_may_stand_in_any_order() -> None:
    """Each register of every vCPU beside each other, as an export by register has them."""
    rows = [(vm, vcpu, register) for register in FIRMWARE[:3] for vm in ("b", "a") for vcpu in (1, 0)]
    columns = {
        "vm": [vm for vm, _, _ in rows],
        "index": [vcpu for _, vcpu, _ in rows],
        "register": pa.array([register for _, _, register in rows], pa.uint64()),
        # What differs between vCPUs of one VM is of the last register.
        "value": pa.array(
            [vcpu if register == FIRMWARE[2] else 1 for _, vcpu, register in rows], pa.uint64()
        ),
    }
    table = pa.table(columns)
    hosts = [tiny_host(name="h")]
    fleet, ordered = (
        kvmfw.Fleet(one, hosts)
        for one in (table, table.sort_by([("vm", "ascending"), ("index", "ascending")]))
    )
    assert sorted(fleet.vm_names) == sorted(ordered.vm_names)
    by_name = [dict(zip(one.vm_names, one.counts().tolist(), strict=True)) for one in (fleet, ordered)]
    assert by_name[0] == by_name[1]
    assert len(by_name[0]) == 4
