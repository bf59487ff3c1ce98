"""Captures that contradict themselves, or say what cannot be: refused, with the place and the reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from kvmfw import Host
from kvmfw.errors import FormatError
from kvmfw.testing import capture_document

Json = dict[str, Any]
WA1, PFR0, VLS = "0x6030000000140001", "0x603000000013c020", "0x606000000015ffff"
ASKED = [{"vcpus": ["vm"], "states": ["fresh"]}]
BY_VALUE = {
    "register": WA1,
    "asked_on": ASKED,
    "value": "0x2",
    "kept": ["0x2"],
    "changed": {},
    "refused": {"EINVAL": ["0x3"]},
}
CODES = {"same": ".", "other": "i", "zero": "i", "ones": "i"}
BY_NIBBLE = {"register": PFR0, "asked_on": ASKED, "value": "0x1", "nibbles": {"0": "." * 16}, **CODES}


def capture() -> Json:
    document: Json = capture_document({int(WA1, 16): 2, int(PFR0, 16): 1}, name="h")
    refused = {"name": "sve", "features": ["psci_0_2", "sve"], "refused": "EINVAL"}
    return document | {
        "version": 2,
        "vcpus": [*document["vcpus"], refused],
        "answers": [],
        "absent": [],
        "writable_masks": [],
        "sweeps": {"all": ["0x0", "0x1"]},
    }


def _with(**changes: Any) -> Callable[[Json], Any]:
    return lambda document: document.update(changes)


def _host(**changes: Any) -> Callable[[Json], Any]:
    return lambda document: document["host"].update(changes)


def _vcpu(**changes: Any) -> Callable[[Json], Any]:
    def change(document: Json) -> None:
        document["vcpus"][0].update(changes)
        for key in [key for key, value in changes.items() if value is ...]:
            del document["vcpus"][0][key]

    return change


def _answers(*answers: Json) -> Callable[[Json], Any]:
    return _with(answers=[*answers])


def _masks(mask: str, *vcpus: str) -> Callable[[Json], Any]:
    return _with(writable_masks=[{"vcpus": [*vcpus], "masks": {PFR0: mask}}])


def _trial(written: Json, changed: Json, *vcpus: str) -> Callable[[Json], Any]:
    return _with(first_run=[{"vcpus": [*vcpus], "written": written, "changed": changed}])


REFUSED: dict[str, tuple[Callable[[Json], Any], str]] = {
    "id that is none": (
        lambda one: one["registers"].__setitem__(0, "PC"),
        "registers[0]: `PC` is not a register id",
    ),
    "register twice": (_with(registers=[WA1, WA1.upper().replace("X", "x")]), "registers: register "),
    "name of a vCPU twice": (
        lambda one: one["vcpus"][1].update(name="vm"),
        "vcpus[1].name: the vCPU name `vm` occurs twice",
    ),
    "feature that is none": (_vcpu(features=["colour"]), "vcpus[0].features: "),
    "capability that is none": (_vcpu(enabled=["colour"]), "vcpus[0].enabled: "),
    "refused and made": (
        _vcpu(refused="EINVAL"),
        "vcpus[0]: a vCPU has either `refused` or `values`, not both",
    ),
    "refused with an error that is none": (
        lambda one: one["vcpus"][1].update(refused="E2"),
        "vcpus[1].refused: `E2` is not a known",
    ),
    "nothing of the controller": (
        _vcpu(vgic=...),
        "vcpus[0].vgic: is missing; a vCPU has it unless it was `refused`",
    ),
    "nothing of the values": (
        _vcpu(values=...),
        "vcpus[0].values: is missing; a vCPU has it unless it was `refused`",
    ),
    "too few values": (
        _vcpu(values=["0x2"]),
        "vcpus[0].values: has 1 entries, expected 2, one for each of `registers`",
    ),
    "value that is none": (
        _vcpu(values=["0x2", "one"]),
        "vcpus[0].values: `one` is not a hexadecimal number",
    ),
    "refusal of the own value that is none": (
        _vcpu(same_value_refused={WA1: "E2"}),
        "vcpus[0].same_value_refused: `E2` is not",
    ),
    "refusal of the own value twice": (
        _vcpu(same_value_refused={PFR0: "EINVAL", PFR0.upper().replace("X", "x"): "EPERM"}),
        "vcpus[0].same_value_refused: register ",
    ),
    "refusal of the own value of a register that no KVM looks at": (
        _vcpu(same_value_refused={WA1: "EINVAL", "0x6030000000100040": "EINVAL"}),
        "vcpus[0].same_value_refused: 0x6030000000100040 refused its own value, which no KVM looks at",
    ),
    "no MIDR": (_host(midr="r0p1"), "host.midr: `r0p1` is not a hexadecimal number"),
    "no MIDR of a CPU": (
        _host(cores=[{"midr": "x", "revidr": "0x0", "processors": [0]}]),
        "host.cores: `x` is not a hexadecimal number",
    ),
    "number of a capability with a sign": (
        _host(capabilities={"+165": 44}),
        "host.capabilities: `+165` is not a capability number",
    ),
    "capability in another spelling": (
        _host(capabilities={"165": 44, "0165": 0}),
        "host.capabilities: `0165` is not a capability number",
    ),
    "mask of a vCPU that there is not": (
        _masks("0x1", "other"),
        "writable_masks[0]: there is no vCPU named `other`",
    ),
    "mask of a vCPU that was refused": (
        _masks("0x1", "sve"),
        "writable_masks[0]: the vCPU `sve` was refused, it cannot have answered",
    ),
    "mask wider than its register": (
        _masks("0x10000000000000000", "vm"),
        f"writable_masks[0].masks.{PFR0}: ",
    ),
    "absent with an error that is none": (
        _with(absent=[{"vcpus": ["vm"], "refused": {"E2": []}}]),
        "absent[0].refused: `E2` is not a known error name",
    ),
    "absent id that is none": (
        _with(absent=[{"vcpus": ["vm"], "refused": {"ENOENT": ["PC"]}}]),
        "absent[0].refused.ENOENT: `PC` is not a register id",
    ),
    "absent twice": (
        _with(
            absent=[
                {
                    "vcpus": ["vm"],
                    "refused": {"ENOENT": ["0x6030000000140009"], "EPERM": ["0x6030000000140009"]},
                }
            ]
        ),
        "absent[0]: register 0x6030000000140009 occurs twice",
    ),
    "first run of a value that is none": (
        _trial({PFR0: "x"}, {}, "vm"),
        f"first_run[0].written.{PFR0}: `x` is not",
    ),
    "first run to a value that is none": (
        _trial({}, {PFR0: "x"}, "vm"),
        f"first_run[0].changed.{PFR0}: `x` is not",
    ),
    "first run of an id that is none": (_trial({"PC": "0x1"}, {}, "vm"), "first_run[0].written: `PC` is not"),
    "first run to an id that is none": (_trial({}, {"PC": None}, "vm"), "first_run[0].changed: `PC` is not"),
    "first run of a vCPU that there is not": (
        _trial({}, {}, "other"),
        "first_run[0]: there is no vCPU named `other`",
    ),
    "answer of a register that is none": (
        _answers(BY_VALUE | {"register": "PC"}),
        "answers[0].register: `PC` is not",
    ),
    "answer in a state that is none": (
        _answers(BY_VALUE | {"asked_on": [{"vcpus": ["vm"], "states": ["asleep"]}]}),
        "answers[0].asked_on: `asleep` is not a state; expected fresh, exited or ran",
    ),
    "two answers": (
        _answers(BY_VALUE, BY_VALUE),
        "answers[1]: register 0x6030000000140001 has two answers on `vm`, state fresh",
    ),
    "answered twice": (
        _answers(BY_VALUE | {"kept": ["0x2", "0x3"]}),
        "answers[0]: the value 0x3 of register ",
    ),
    "refused with a word that is none": (
        _answers(BY_VALUE | {"refused": {"E2": []}}),
        "answers[0].refused: `E2` is not a known",
    ),
    "sweep that there is not": (
        _answers(BY_VALUE | {"sweep": "some", "otherwise": "EINVAL"}),
        "answers[0].sweep: there is no sweep named `some`",
    ),
    "otherwise of nothing": (
        _answers(BY_VALUE | {"otherwise": "EINVAL"}),
        "answers[0]: `otherwise` needs the name of a `sweep`",
    ),
    "otherwise with a word that is none": (
        _answers(BY_VALUE | {"sweep": "all", "otherwise": "E2"}),
        "answers[0].otherwise: `E2` is not a known error name",
    ),
    "nibble that is none": (
        _answers(BY_NIBBLE | {"nibbles": {"3": "." * 16}}),
        "answers[0].nibbles.3: expected a multiple of 4",
    ),
    "nibble beyond the register": (
        _answers(BY_NIBBLE | {"nibbles": {"64": "." * 16}}),
        "answers[0].nibbles.64: expected a multiple",
    ),
    "too few codes": (
        _answers(BY_NIBBLE | {"nibbles": {"0": "." * 15}}),
        "answers[0].nibbles.0: expected 16 answer codes",
    ),
    "code that is none": (
        _answers(BY_NIBBLE | {"nibbles": {"0": "Z" * 16}}),
        "answers[0].nibbles.0: expected 16 answer codes",
    ),
    "nibble twice": (
        _answers(BY_NIBBLE | {"nibbles": {"0": "." * 16, "00": "i" * 16}}),
        "answers[0].nibbles.00: the nibble occurs twice",
    ),
    "no code for the same": (
        _answers(BY_NIBBLE | {"same": ".."}),
        "answers[0].same: `..` is not one answer code",
    ),
    "changed to what is none": (
        _answers(BY_NIBBLE | {"changed": {"0x1": "x"}}),
        "answers[0].changed: `x` is not a hexadecimal",
    ),
    "changed to two": (
        _answers(BY_NIBBLE | {"changed": {"0x1": "0x0", "0x01": "0x2"}}),
        "answers[0]: the value 0x1 of register 0x603000000013c020 is answered twice",
    ),
    "nibbles of a wide register": (
        _answers(BY_NIBBLE | {"register": VLS}),
        "answers[0].value: register 0x606000000015ffff is wider than 8 bytes",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_capture_that_cannot_be_is_refused_with_its_place(what: str) -> None:
    document = capture()
    assert Host.from_json(json.dumps(document)).name == "h"
    change, sentence = REFUSED[what]
    change(document)
    with pytest.raises(FormatError) as raised:
        Host.from_json(json.dumps(document))
    assert str(raised.value).startswith(sentence)


@pytest.mark.parametrize(
    "key", ["sweeps", "host.capabilities", "vcpus[0].same_value_refused", "host.vulnerabilities"]
)
def test_a_key_that_stands_twice_is_refused_wherever_names_are_free(key: str) -> None:
    """Whoever read the first would judge otherwise than who read the last."""
    document = capture()
    document["host"] |= {"capabilities": {"165": 44}, "vulnerabilities": {"meltdown": "Not affected"}}
    document["vcpus"][0]["same_value_refused"] = {WA1: "EINVAL"}
    text = json.dumps(document)
    assert Host.from_json(text).name == "h"
    member = {
        "sweeps": '"all": ["0x0", "0x1"]',
        "host.capabilities": '"165": 44',
        "vcpus[0].same_value_refused": f'"{WA1}": "EINVAL"',
        "host.vulnerabilities": '"meltdown": "Not affected"',
    }[key]
    assert text.count(member) == 1
    with pytest.raises(FormatError) as raised:
        Host.from_json(text.replace(member, f"{member}, {member}"))
    name = member.split('"')[1]
    twice = f"register {name}" if name == WA1 else f"`{name}`"
    assert str(raised.value) == f"{key}: {twice} occurs twice"
