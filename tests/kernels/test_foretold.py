"""Captures of hosts that nobody asked: what follows is told, the rest is UNKNOWN, in a verdict, a fleet and a gate alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import kvmfw
from kvmfw.cli import main
from kvmfw.errors import ArgumentError, FormatError
from kvmfw.kernels import Foretold, Target
from kvmfw.registers import named
from tests.agreement.kvm import UNKNOWN
from tests.kernels.answers import Compared, compare, report
from tests.support.kernels import image_like

ROOT = Path(__file__).parents[2]
RECORDINGS = ROOT / "tests" / "realkvm" / "recordings"
CAPTURES = ROOT / "examples" / "captures"
OLD = CAPTURES / "5.10.0-32-arm64__neoverse-v1__mitigations-off.json"
NEW = CAPTURES / "6.12.117+deb13-arm64__neoverse-v1__default.json"
ISAR2, TCR2 = named("ID_AA64ISAR2_EL1"), named("TCR2_EL1")
Json = dict[str, Any]


def predicted(capture: Path, release: str) -> Json:
    document = json.loads(capture.read_text())
    return Foretold(document, kvmfw.Host.load(capture), Target.of(release)).document()


def host_of(document: Json) -> kvmfw.Host:
    return kvmfw.Host.from_json(json.dumps(document))


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_what_was_recorded_of_one_cpu_under_two_kernels_was_predicted() -> None:
    """Of the committed recordings two are of one machine: Neoverse V1 under 6.12.117 and 7.3.4."""
    compared = compare(RECORDINGS, None, Compared())
    assert report(compared, "release"), compared.all_wrong[:9]
    assert compared.pairs == 2
    total = sum(compared.answers.values())
    assert total > 300_000
    assert compared.answers[UNKNOWN] < 0.1 * total
    assert compared.lists["right"] > 4_000
    assert compared.values["right"] > 4_000


def test_a_predicted_capture_is_one() -> None:
    document = predicted(OLD, "6.12.117")
    assert document["version"] == 4
    assert document["host"]["predicted"]["from"] == "5.10.0-32-arm64"
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(document, json.loads(run("schema", "capture").stdout))
    host = host_of(document)
    assert (host.kernel, host.predicted_from) == ("6.12.117", "5.10.0-32-arm64")
    assert kvmfw.Host.load(OLD).predicted_from is None


def test_what_is_the_machines_stays_under_another_kernel() -> None:
    document = json.loads(OLD.read_text())
    document["version"] = 3
    machine = {
        "ICC_CTLR_EL1": {"value": "0xcc00"},
        "CNTFRQ_EL0": {"value": "0x3b9aca0"},
        "VGIC_V2": {"errno": "ENODEV"},
    }
    answered = machine["ICC_CTLR_EL1"] | {"kept": ["0xcc00"]}
    document["surroundings"] = machine | {"ICC_CTLR_EL1": answered, "PAGE_SIZE": {"value": "0x1000"}}
    host = host_of(document)
    then = Foretold(document, host, Target.of("6.12.117")).document()
    # Pages and answers are the kernel's.
    assert then["surroundings"] == machine
    vm = saved()
    unlike = kvmfw.RegisterSet.from_mapping(
        vm.to_mapping() | {named("ICC_CTLR_EL1"): 0x8C00},
        features=vm.features,
        vgic=vm.vgic,
        enabled=vm.enabled,
    )
    assert kvmfw.validate(unlike, host_of(then)).outcome is kvmfw.Outcome.REFUSE


def saved(**more: int) -> kvmfw.RegisterSet:
    """The VM that the host itself would start, as far as that is known, with these values."""
    host = host_of(predicted(OLD, "6.12.117"))
    name, features, vgic, enabled = host.vcpus[0]
    fresh = host.fresh_set(features=features, vgic=vgic, enabled=enabled)
    assert fresh is not None
    values = fresh.to_mapping() | {named(register): value for register, value in more.items()}
    return kvmfw.RegisterSet.from_mapping(values, features=features, vgic=vgic, enabled=enabled, name=name)


@pytest.mark.parametrize("vmm", ["kvm", "qemu-10.0", "qemu-11.1", "firecracker"])
def test_a_verdict_names_what_is_not_known(vmm: str) -> None:
    host = host_of(predicted(OLD, "6.12.117"))
    # 5.10 has no field MOPS, which 6.12 has.
    vm = saved(ID_AA64ISAR2_EL1=1 << 16)
    verdict = kvmfw.validate(vm, host, vmm=vmm)
    assert verdict.outcome is kvmfw.Outcome.UNKNOWN
    found = next(one for one in verdict.findings if one.register == ISAR2)
    assert (found.outcome, found.evidence) == (kvmfw.Outcome.UNKNOWN, "none")
    assert "ID_AA64ISAR2_EL1.MOPS = 1 where what it offers is not known" in found.sentence
    # 0 is taken under every limit.
    taken = kvmfw.validate(saved(ID_AA64ISAR2_EL1=0), host, vmm=vmm)
    assert all(one.register != ISAR2 for one in taken.findings)
    fleet = kvmfw.Fleet([vm, saved(ID_AA64ISAR2_EL1=0)], [host], vmm=vmm)
    outcomes = [verdict.outcome, taken.outcome]
    assert [kvmfw.Outcome(code) for code in fleet.validate_pairs([0, 1], [0, 0])] == outcomes


@pytest.mark.parametrize("vmm", ["kvm", "qemu-10.0", "qemu-11.1", "firecracker"])
def test_a_register_that_may_be_listed_is_not_known(vmm: str) -> None:
    document = predicted(NEW, "6.18.15")
    for vcpu in document["vcpus"]:
        vcpu["unknown"]["listed"].append(f"{TCR2:#x}")
    host = host_of(document)
    _, features, vgic, enabled = host.vcpus[0]
    fresh = host.fresh_set(features=features, vgic=vgic, enabled=enabled)
    assert fresh is not None
    assert TCR2 not in fresh
    for values in (fresh.to_mapping() | {TCR2: 0}, fresh.to_mapping() | {named("ID_AA64MMFR3_EL1"): 0x1}):
        vm = kvmfw.RegisterSet.from_mapping(values, features=features, vgic=vgic, enabled=enabled)
        verdict = kvmfw.validate(vm, host, vmm=vmm)
        found = [one for one in verdict.findings if one.register == TCR2]
        assert [one.outcome for one in found] == [kvmfw.Outcome.UNKNOWN]
        assert "not known whether" in found[0].sentence
        fleet = kvmfw.Fleet([vm], [host], vmm=vmm)
        assert kvmfw.Outcome(fleet.validate_pairs([0], [0])[0]) is verdict.outcome


@pytest.mark.parametrize(
    ("unknown", "words"),
    [
        ({"listed": ["0x603000000013c020"]}, "it is known that it is listed"),
        ({"bits": {"0x603000000013ffff": "0x1"}}, "a register of at most 8 bytes that has a value"),
        ({"listed": ["0x603000000013c103", "0x603000000013c103"]}, "occurs twice"),
        ({"bits": {"0x6030000000140000": "0x10000000000000000"}}, "wider than"),
        ({"absent": []}, "unknown field"),
    ],
)
def test_what_contradicts_itself_is_no_capture(unknown: Json, words: str) -> None:
    document = predicted(NEW, "6.18.15")
    document["vcpus"][0]["unknown"] = unknown
    with pytest.raises(FormatError, match=words):
        host_of(document)


def test_nothing_is_predicted_from_a_prediction() -> None:
    document = predicted(OLD, "6.12.117")
    with pytest.raises(ArgumentError, match=r"was predicted; predict from the one of 5\.10\.0-32-arm64"):
        Foretold(document, host_of(document), Target.of("7.3.4"))
    with pytest.raises(ArgumentError, match=r"kernels from 5\.10 on are known"):
        Foretold(json.loads(OLD.read_text()), kvmfw.Host.load(OLD), Target.of("4.14.336"))
    with pytest.raises(ArgumentError, match="neither a file nor a kernel release"):
        Target.of("vmlinuz-next")


def test_the_same_kernel_shows_the_same() -> None:
    host, capture = kvmfw.Host.load(NEW), predicted(NEW, "6.12.117+deb13-arm64")
    told = host_of(capture)
    refused = {vcpu["name"] for vcpu in json.loads(NEW.read_text())["vcpus"] if "refused" in vcpu}
    assert [row[0] for row in told.vcpus] == [row[0] for row in host.vcpus if row[0] not in refused]
    for _, features, vgic, enabled in told.vcpus:
        now, then = (one.fresh_set(features=features, vgic=vgic, enabled=enabled) for one in (host, told))
        assert now is not None
        assert then is not None
        assert now.to_mapping() == then.to_mapping()
        assert told.unknown(features=features, vgic=vgic, enabled=enabled) == ([], {})


def test_the_gate_needs_no_host(tmp_path: Path) -> None:
    """The release gate of a kernel that no host has booted, by its image and by its release."""
    image = tmp_path / "vmlinuz"
    image.write_bytes(image_like((7, 3, 4)))
    for kernel in ("7.3.4", image):
        result = run("diff", NEW, "--kernel", kernel, "--format", "json")
        assert result.exit_code == 2, result.output
        document = json.loads(result.stdout)
        rows = {row["register"]: row for row in document["registers"]}
        # 7.3 shows TCR2_EL1 by a field that this CPU does not have, and 6.12 to every VM.
        assert rows["TCR2_EL1"]["forward"] == "REFUSE"
    assert "name either AFTER or --kernel" in run("diff", NEW).stderr
    assert "kvmfw whatif --kernel" in run("diff", ROOT / "examples", "--kernel", "7.3.4").stderr
    backward = run("diff", NEW, "--kernel", "6.1.192", "--format", "json")
    rows = {row["register"]: row for row in json.loads(backward.stdout)["registers"]}
    assert rows["CLIDR_EL1"]["back"] == "UNKNOWN"
    assert (
        "what a VM that starts under 6.1.192 has in CLIDR_EL1"
        in rows["CLIDR_EL1"]["back_finding"]["sentence"]
    )


def test_a_fleet_may_boot_another_kernel() -> None:
    result = run("whatif", ROOT / "examples", "--kernel", f"{NEW.stem}=7.3.4", "--format", "json")
    assert result.exit_code in (0, 2), result.output
    assert json.loads(result.stdout)["changed_hosts"] == ["v1-612-a"]
    wrong = run("whatif", ROOT / "examples", "--kernel", NEW.stem)
    assert "is not CAPTURE=IMAGE|RELEASE" in wrong.stderr


def test_the_verb_writes_a_capture(tmp_path: Path) -> None:
    out = tmp_path / "predicted.json"
    assert run("predict", OLD, "--kernel", "6.12.117", "-o", out).exit_code == 0
    assert json.loads(out.read_text()) == predicted(OLD, "6.12.117")
    assert kvmfw.Host.load(out).predicted_from == "5.10.0-32-arm64"
