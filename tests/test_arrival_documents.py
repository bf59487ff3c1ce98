"""What stands beside registers, in documents: those that cannot be are refused with a sentence."""

from __future__ import annotations

import json
from typing import Any

import pytest

import kvmfw
from kvmfw.testing import tiny_set
from tests.support.arrival import CAPTURE, host_with, id_of, vm_with


def test_a_set_with_surroundings_says_its_version_and_comes_back() -> None:
    vm = vm_with({"ICC_CTLR_EL1": 0x400})
    document = vm.to_document()
    assert (document["version"], document["surroundings"], document["registers"]) == (
        2,
        {"ICC_CTLR_EL1": "0x400"},
        {},
    )
    assert kvmfw.RegisterSet.from_json(json.dumps(document)).to_document() == document
    assert tiny_set().to_document()["version"] == 1
    assert len(vm) == 0


@pytest.mark.parametrize(
    ("beside", "problem"),
    [
        ({"ICC_CTLR": {"value": "0x0"}}, "`ICC_CTLR` is not known; expected one of ICC_CTLR_EL1, GICD_IIDR"),
        ({"PSCI_VERSION": {"value": "0x0"}}, "`PSCI_VERSION` is not known"),
        ({"VGIC_V2": {}}, "has either `value` or `errno`"),
        ({"VGIC_V2": {"value": "0x1", "errno": "ENODEV"}}, "has either `value` or `errno`"),
        ({"VGIC_V2": {"errno": "EIEIO"}}, "`EIEIO` is not a known error name"),
        ({"VGIC_V2": {"value": "0x7"}}, "VGIC_V2 is 0x7; expected 0x1"),
        ({"PAGE_SIZE": {"value": "0x3"}}, "PAGE_SIZE is 0x3; expected 0x1000, 0x4000 or 0x10000"),
        ({"IPA_BITS": {"value": "0x0"}}, "IPA_BITS is 0x0; expected 0x20 to 0x40 bits"),
        ({"CNTFRQ_EL0": {"errno": "EPERM"}}, "has no `value`, and every host has one"),
        (
            {"ICC_CTLR_EL1": {"errno": "ENODEV", "kept": ["0x0"]}},
            "answers to writes, and `errno` says that there is",
        ),
        ({"X" * 100_000: {"value": "0x1"}}, r"^surroundings: `X{119} \.\.\. "),
        (
            {"GITS_IIDR": {"value": "0x1", "kept": ["0x1"], "refused": {"EINVAL": ["0x1"]}}},
            "is answered twice",
        ),
    ],
)
def test_a_capture_that_cannot_be_is_refused_with_a_sentence(beside: dict[str, Any], problem: str) -> None:
    with pytest.raises(kvmfw.FormatError, match=problem):
        host_with(beside)


@pytest.mark.parametrize("kind", ["capture", "register-set"])
def test_documents_of_before_have_no_surroundings(kind: str) -> None:
    """An older kvmfw would read such a document and not look at them."""
    bare = json.loads(CAPTURE) if kind == "capture" else tiny_set().to_document()
    read = kvmfw.Host.from_json if kind == "capture" else kvmfw.RegisterSet.from_json
    value = {"value": "0x400"} if kind == "capture" else "0x400"
    told = {"surroundings": {"ICC_CTLR_EL1": value}}
    since = 3 if kind == "capture" else 2
    read(json.dumps(bare | told | {"version": since}))
    for version in range(1, since):
        read(json.dumps(bare | {"version": version}))
        with pytest.raises(
            kvmfw.FormatError, match=f"surroundings from version {since} on, and this one says {version}"
        ):
            read(json.dumps(bare | told | {"version": version}))


def test_what_stands_beside_registers_is_not_listed_among_them() -> None:
    one = hex(id_of("ICC_CTLR_EL1"))
    with pytest.raises(kvmfw.FormatError, match=r"registers\[0\]: .* is not the id of a register"):
        kvmfw.Host.from_json(CAPTURE.replace('"registers": []', f'"registers": ["{one}"]'))
    document = tiny_set().to_document()
    with pytest.raises(kvmfw.FormatError, match="named in `surroundings`"):
        kvmfw.RegisterSet.from_json(json.dumps(document | {"registers": {one: "0x400"}}))
