"""Captures and command lines are read in one place each: who asks of the document says the same of equal ones."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmfw import Host, Outcome, validate
from kvmfw.analysis.changed import set_level
from kvmfw.analysis.gates import GATES
from kvmfw.analysis.security import LEVELS, Protection, Security, compare_security, protection_of
from kvmfw.boot_options import given_options, options_in_effect
from kvmfw.captures import fresh_values
from kvmfw.collect.kinds import boot_options, kind_of
from kvmfw.errors import FormatError
from kvmfw.ids import is_surrounding
from kvmfw.testing import capture_document

CAPTURES = sorted((Path(__file__).parents[1] / "examples" / "captures").glob("*.json"))
WA1, WA3 = LEVELS[0], LEVELS[2]


def otherwise_written(capture: dict[str, Any]) -> dict[str, Any]:
    """Give a capture whose numbers are written in another way that the schema allows."""
    other: dict[str, Any] = json.loads(json.dumps(capture))
    other["registers"] = [f"0x{int(text, 16):016X}" for text in capture["registers"]]
    for vcpu in other["vcpus"]:
        if "values" in vcpu:
            vcpu["values"] = [None if text is None else f"0X{int(text, 16):020X}" for text in vcpu["values"]]
    return other


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_equal_captures_are_alike_to_all_who_read_them(path: Path) -> None:
    capture = json.loads(path.read_text())
    other = otherwise_written(capture)
    for gate in GATES:
        assert gate.key(other) == gate.key(capture), gate.name
    assert protection_of(other) == protection_of(capture)
    assert kind_of(other) == kind_of(capture)


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_fresh_values_are_those_that_the_core_reads(path: Path) -> None:
    host = Host.load(path)
    made = {vcpu["name"]: values for vcpu, values in fresh_values(json.loads(path.read_text()))}
    assert made
    for name, features, vgic, enabled in host.vcpus:
        found = host._native.registers(features, vgic, enabled)
        if name in made and [one[0] for one in host.vcpus if one[1:] == (features, vgic, enabled)] == [name]:
            assert found is not None
            assert {register: value for register, value in found if not is_surrounding(register)} == made[
                name
            ]


def test_a_level_that_no_vcpu_lists_is_not_there() -> None:
    capture: dict[str, Any] = capture_document({WA1: 1, WA3: 2})
    capture["vcpus"][0]["values"][0] = None
    assert protection_of(capture).levels == {WA3: 2}
    assert [values for _, values in fresh_values(capture)] == [{WA3: 2}]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("mitigations=off mitigations=auto", "mitigations=auto mitigations=off", False),
        ("mitigations=off kpti=0", "kpti=0 mitigations=off", True),
        ("root=1 quiet nokaslr", "nokaslr quiet root=2", True),
        ("cloud-init=x nokaslr", "cloud_init=y nokaslr", True),
        ("nokaslr -- single", "nokaslr -- emergency", True),
        ("ip=1.2.3.4 nokaslr", "nokaslr", True),
    ],
)
def test_of_one_kind_are_hosts_whose_options_take_effect_alike(one: str, other: str, same: bool) -> None:
    captures: list[dict[str, Any]] = [capture_document({WA3: 1}) for _ in range(2)]
    for capture, options in zip(captures, (one, other), strict=True):
        capture["host"]["boot_options"] = options
    assert (kind_of(captures[0]) == kind_of(captures[1])) is same
    if same:
        kinds = Protection(one, {}), Protection(other, {})
        assert compare_security(*kinds).security is Security.SAME


WORDS = st.sampled_from(
    [
        "mitigations=off",
        "mitigations=auto",
        "kpti=0",
        "kpti=1",
        "nospectre-bhb",
        "ssbd=force-off",
        "ssbd=kernel",
    ]
)


@given(st.lists(WORDS), st.lists(WORDS))
def test_hosts_of_one_kind_protect_alike(one: list[str], other: list[str]) -> None:
    lines = " ".join(one), " ".join(other)
    if boot_options(lines[0]) == boot_options(lines[1]):
        assert compare_security(*(Protection(line, {}) for line in lines)).security is Security.SAME


def test_options_that_were_not_recorded_are_not_none() -> None:
    captures: list[dict[str, Any]] = [capture_document({WA3: 1}) for _ in range(3)]
    captures[0]["host"]["boot_options"] = None
    captures[1]["host"].pop("boot_options", None)
    captures[2]["host"]["boot_options"] = "None"
    kinds = [kind_of(capture) for capture in captures]
    assert kinds[0] == kinds[1] != kinds[2]


def test_a_command_line_is_read_as_the_kernel_reads_it() -> None:
    line = (
        'a.dyndbg="file x +p; func y" "b=1 2" kvm-arm.mode=nvhe mitigations=off mitigations="auto" -- nokaslr'
    )
    assert [(one.name, one.value) for one in given_options(line)] == [
        ("a.dyndbg", "file x +p; func y"),
        ("b", "1 2"),
        ("kvm_arm.mode", "nvhe"),
        ("mitigations", "off"),
        ("mitigations", "auto"),
    ]
    assert options_in_effect(line)["mitigations"].text == 'mitigations="auto"'
    weak = Protection("", {}), Protection('quiet x="nokaslr mitigations=off" -- nokaslr', {})
    assert compare_security(*weak).security is Security.SAME


def test_an_answer_has_one_form() -> None:
    """A nibble answer that refuses one value by name was taken, and the value with it; the schema has one form or the other."""
    capture: dict[str, Any] = json.loads(CAPTURES[0].read_text())
    nibbles = next(at for at, one in enumerate(capture["answers"]) if "nibbles" in one)
    values = next(at for at, one in enumerate(capture["answers"]) if "nibbles" not in one)
    schema = json.loads(resources.files("kvmfw").joinpath("schemas", "capture.json").read_text())
    told = jsonschema.Draft202012Validator(schema)
    for at, key, value in (
        (nibbles, "refused", {"EINVAL": ["0x1"]}),
        (nibbles, "kept", ["0x1"]),
        (nibbles, "otherwise", "EINVAL"),
        (values, "same", "."),
    ):
        other = json.loads(json.dumps(capture))
        other["answers"][at][key] = value
        assert not told.is_valid(other)
        with pytest.raises(FormatError, match=rf"answers\[{at}\]\.{key}: `{key}` (is of answers|needs)"):
            Host.from_json(json.dumps(other))
    other = json.loads(json.dumps(capture))
    other["host"]["revidr"] = "r0p1"
    with pytest.raises(FormatError, match=r"host\.revidr: `r0p1` is not a hexadecimal number"):
        Host.from_json(json.dumps(other))


def test_another_level_leaves_nothing_that_was_said_of_the_register() -> None:
    """A value of its own that the host refused went on speaking for the level that was supposed."""
    document: dict[str, Any] = capture_document({WA3: 1})
    document["vcpus"][0]["same_value_refused"] = {hex(WA3): "EINVAL"}
    supposed = Host.from_json(json.dumps(set_level(document, WA3, 0)))
    vm = supposed.fresh_set(features=["psci_0_2"])
    assert vm is not None
    assert validate(vm, supposed).outcome is Outcome.ACCEPT
