"""The Python surface: documents that cannot be used are named by file and place, and nothing panics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import kvmfw
from kvmfw.testing import capture_document, tiny_host, tiny_set

EXAMPLES = Path(__file__).parents[1] / "examples"
WORKAROUND_3 = 0x6030000000140003
SVE_VLS = 0x606000000015FFFF


def set_document(**changes: Any) -> dict[str, Any]:
    return {
        "format": "kvmfw-register-set",
        "version": 1,
        "id": "vm",
        "vcpu": {"features": ["psci_0_2"], "vgic": True},
        "registers": {f"{WORKAROUND_3:#x}": "0x1"},
    } | changes


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        (json.dumps(set_document())[:60], "line 1", "ends too early"),
        (json.dumps(set_document(version=4)), "version", "reads versions 1 to 3"),
        (json.dumps(set_document(format="kvmfw-capture")), "format", "expected `kvmfw-register-set`"),
        (
            json.dumps(set_document(registers={"0x6020000000110000": "0x100000000"})),
            "registers.0x6020000000110000",
            "4 bytes",
        ),
        (
            json.dumps(set_document(registers={"0x60f0000000140000": "0x1"})),
            "registers.0x60f0000000140000",
            "at most 256",
        ),
        (
            json.dumps(set_document()).replace('"0x6030000000140003": "0x1"', '"0x1": "0x1", "0x1": "0x1"'),
            "registers.0x1",
            "occurs twice",
        ),
        (
            json.dumps(set_document(registers={f"{WORKAROUND_3:#x}": "0x1" + "0" * 16})),
            f"registers.{WORKAROUND_3:#x}",
            "8 bytes",
        ),
        (json.dumps(set_document(registers={"psci": "0x1"})), "registers.psci", "not a register id"),
        (
            json.dumps(set_document(registers={f"{WORKAROUND_3:#x}": 1})),
            f"registers.{WORKAROUND_3:#x}",
            "expected a string",
        ),
        (json.dumps(set_document(colour="red")), "colour", "unknown field"),
        (json.dumps(set_document(vcpu={"features": ["svee"], "vgic": True})), "vcpu.features", "`svee`"),
        ("[]", "line 1", "expected"),
        ("\x00", "line 1", "expected value"),
        ("", "line 1", "ends too early"),
    ],
)
def test_bad_register_sets_are_named_by_place(tmp_path: Path, text: str, place: str, words: str) -> None:
    path = tmp_path / "vm.json"
    path.write_text(text)
    with pytest.raises(kvmfw.FormatError) as caught:
        kvmfw.RegisterSet.load(path)
    assert caught.value.file == str(path)
    assert caught.value.place.startswith(place), str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda d: d["vcpus"][0]["values"].pop(), "vcpus[0].values"),
        (lambda d: d["registers"].append(d["registers"][0]), "registers"),
        (lambda d: d["vcpus"].append(d["vcpus"][0]), "vcpus[1].name"),
        (lambda d: d.update(answers=[{"register": "0x1", "asked_on": [], "value": "0x1ff"}]), "answers[0]"),
        (lambda d: d.update(absent=[{"vcpus": ["nobody"], "refused": {}}]), "absent[0]"),
        (lambda d: d.update(absent=[{"vcpus": ["vm"], "refused": {"EODD": []}}]), "absent[0].refused"),
        (lambda d: d["host"].pop("kernel"), "host"),
        (lambda d: d["vcpus"][0].pop("vgic"), "vcpus[0].vgic"),
        (
            lambda d: d.update(
                answers=[
                    {
                        "register": f"{WORKAROUND_3:#x}",
                        "asked_on": [{"vcpus": ["vm"], "states": ["fresh"]}],
                        "value": "0x1",
                        "kept": ["0x1"],
                        "refused": {"EINVAL": ["0x1"]},
                    }
                ]
            ),
            "answers[0]",
        ),
        (
            lambda d: d.update(
                answers=[
                    {
                        "register": f"{WORKAROUND_3:#x}",
                        "asked_on": [{"vcpus": ["vm"], "states": ["fresh"]}],
                        "value": "0x1",
                        "nibbles": {"3": "." * 16},
                        **dict.fromkeys(("same", "other", "zero", "ones"), "."),
                    }
                ]
            ),
            "answers[0].nibbles.3",
        ),
    ],
)
def test_bad_captures_are_named_by_place(change: Any, place: str) -> None:
    document: dict[str, Any] = json.loads(json.dumps(capture_document({WORKAROUND_3: 1})))
    change(document)
    with pytest.raises(kvmfw.FormatError) as caught:
        kvmfw.Host.from_json(json.dumps(document))
    assert caught.value.place.startswith(place), str(caught.value)


def test_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(kvmfw.InputError, match=r"none\.json: No such file"):
        kvmfw.Host.load(tmp_path / "none.json")


@pytest.mark.parametrize("name", ["\ud800", "a\0b.json"])
def test_what_no_file_can_be_called_is_an_input_error(name: str) -> None:
    for read in (kvmfw.Host.load, kvmfw.RegisterSet.load, kvmfw.Fleet.load, kvmfw.Fleet.open):
        with pytest.raises(kvmfw.InputError):
            read(name)


def test_half_of_a_surrogate_pair_is_no_text() -> None:
    for read in (kvmfw.Host.from_json, kvmfw.RegisterSet.from_json):
        with pytest.raises(kvmfw.FormatError, match="line 2"):
            read('{"format":\n"\ud800"}')
    assert kvmfw.find_register("\ud800") is None


def test_values_wider_than_their_register_are_refused() -> None:
    with pytest.raises(kvmfw.ArgumentError, match="4 bytes"):
        kvmfw.RegisterSet.from_mapping({0x6020000000110000: 1 << 32})
    with pytest.raises(kvmfw.ArgumentError, match="0x6030000000140003"):
        kvmfw.RegisterSet.from_mapping({WORKAROUND_3: -1})
    wide = kvmfw.RegisterSet.from_mapping({SVE_VLS: 1 << 511})
    assert wide[SVE_VLS] == 1 << 511
    with pytest.raises(kvmfw.ArgumentError, match="64 bytes"):
        kvmfw.RegisterSet.from_mapping({SVE_VLS: 1 << 512})


def test_unknown_words_are_named() -> None:
    for words in ({"vmm": "vmware"}, {"scheme": "best"}, {"state": "old"}):
        with pytest.raises(kvmfw.ArgumentError, match="expected"):
            kvmfw.validate(tiny_set(), tiny_host(), **words)  # type: ignore[arg-type]


def test_the_incident_of_workaround_3() -> None:
    """A Graviton 4 VM saved with level 2, a host that a point release lowered to 1: forward refused, backward taken."""
    old, new = tiny_host(workaround_3=2, name="6.1.129"), tiny_host(workaround_3=1, name="6.1.140")
    forward = kvmfw.validate(tiny_set(workaround_3=2), new)
    assert forward.outcome is kvmfw.Outcome.REFUSE
    (finding,) = forward.findings
    assert (finding.register, finding.saved, finding.own, finding.errno) == (WORKAROUND_3, 2, 1, "EINVAL")
    assert finding.offers == "levels 0 to 1"
    assert finding.rule == "KVMFW-WA3-LEVEL"
    backward = kvmfw.validate(tiny_set(workaround_3=1), old)
    assert backward.outcome is kvmfw.Outcome.CHANGE
    assert backward.findings[0].effect == "raised"


def test_documents_round_trip() -> None:
    vm = kvmfw.RegisterSet.load(EXAMPLES / "vm.json")
    again = kvmfw.RegisterSet.from_json(json.dumps(vm.to_document()))
    assert again.to_mapping() == vm.to_mapping()
    assert (again.name, again.host, again.features, again.vgic) == (vm.name, vm.host, vm.features, vm.vgic)


def test_a_fresh_set_of_a_capture_is_taken_by_its_host() -> None:
    host = kvmfw.Host.load(EXAMPLES / "captures" / "7.3.4+deb13-arm64__neoverse-v1__default.json")
    vm = host.fresh_set(features=["psci_0_2"])
    assert vm is not None
    assert kvmfw.validate(vm, host).outcome is kvmfw.Outcome.ACCEPT
    assert host.fresh_set(features=["has_el2"]) is None


def test_a_vcpu_that_the_host_cannot_make_is_refused_and_one_not_asked_is_unknown() -> None:
    host = kvmfw.Host.load(EXAMPLES / "captures" / "7.3.4+deb13-arm64__neoverse-n1__default.json")
    registers = {WORKAROUND_3: 0}
    sve = kvmfw.RegisterSet.from_mapping(registers, features=["psci_0_2", "sve"])
    verdict = kvmfw.validate(sve, host)
    assert (verdict.outcome, verdict.findings[0].errno) == (kvmfw.Outcome.REFUSE, "EINVAL")
    odd = kvmfw.RegisterSet.from_mapping(registers, features=["pmu_v3"])
    assert kvmfw.validate(odd, host).outcome is kvmfw.Outcome.UNKNOWN
    off, on = (kvmfw.RegisterSet.from_mapping(registers, features=words) for words in (["power_off"], []))
    assert kvmfw.validate(off, host) == kvmfw.validate(on, host), (
        "how a vCPU starts says nothing of its registers"
    )


def test_all_examples_can_be_read() -> None:
    fleet = kvmfw.Fleet.load(EXAMPLES)
    assert fleet.shape[0] >= 40
    assert len(set(fleet.host_names)) == fleet.shape[1] >= 12
    assert (fleet.vm_homes >= 0).all()
    captures = sorted((EXAMPLES / "captures").glob("*.json"))
    assert len(captures) >= 12
    assert all(path.stat().st_size < 150_000 for path in captures)


def test_fleet_and_single_verdicts_agree_on_the_examples() -> None:
    fleet = kvmfw.Fleet.load(EXAMPLES)
    vms = list(kvmfw.readers.register_sets(EXAMPLES / "vms.jsonl"))
    captures = {path.stem: kvmfw.Host.load(path) for path in (EXAMPLES / "captures").glob("*.json")}
    lines = (EXAMPLES / "hosts.csv").read_text().splitlines()[1:]
    hosts = [captures[line.split(",")[1]] for line in lines]
    for vmm in ("kvm", "qemu-10.2", "qemu-11.1", "firecracker", "cloud-hypervisor", "crosvm"):
        fleet = kvmfw.Fleet(vms, hosts, vmm=vmm)
        table = fleet.class_table()[fleet.vm_classes][:, fleet.host_classes]
        for row in range(0, len(vms), 7):
            for column, host in enumerate(hosts):
                expected = kvmfw.validate(vms[row], host, vmm=vmm).outcome
                assert table[row, column] == expected, (vmm, vms[row].name, host.name)
