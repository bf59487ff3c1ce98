"""Whatever emit, baseline, whatif, upgrades and plan promise is what a re-judged fleet shows.

The promises are read from what is printed, applied here by plain loops, and judged pair by pair.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

import kvmfw
from kvmfw.cli import main

EXAMPLES = Path(__file__).parents[1] / "examples"
CAPTURES = sorted((EXAMPLES / "captures").glob("*.json"))
FEATURES = ["psci_0_2"]
UNKNOWN = kvmfw.Outcome.UNKNOWN


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


@cache
def host(path: Path) -> kvmfw.Host:
    return kvmfw.Host.load(path)


@cache
def fresh(path: Path) -> kvmfw.RegisterSet:
    made = host(path).fresh_set(features=FEATURES, name=path.stem)
    assert made is not None
    return made


def fleet_of(paths: Sequence[Path], folder: Path) -> Path:
    """Make a fleet of these captures, each a host with a fresh VM on it."""
    (folder / "captures").mkdir(parents=True)
    for path in paths:
        (folder / "captures" / path.name).symlink_to(path)
    lines = [json.dumps(fresh(path).to_document()) for path in paths]
    (folder / "vms.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@dataclass(frozen=True)
class Change:
    """What settings do to a VM before it runs."""

    bits: dict[int, tuple[int, int]]  # register -> (mask, value)
    hidden: frozenset[int] = frozenset()


def template(text: str) -> Change:
    bits = {}
    for one in json.loads(text)["reg_modifiers"]:
        digits = one["bitmap"].removeprefix("0b").replace("_", "")
        assert len(digits) == 8 << (int(one["addr"], 16) >> 52 & 0xF)
        mask = int("".join("0" if digit == "x" else "1" for digit in digits), 2)
        bits[int(one["addr"], 16)] = mask, int(digits.replace("x", "0"), 2)
    return Change(bits)


def qemu_options(text: str) -> Change:
    hidden = re.search(r'"x-mig-hidden-regs",\n(.*?) },', text, re.DOTALL)
    registers = frozenset(
        int(word, 16) for word in re.findall(r"0x[0-9a-f]+", hidden.group(1) if hidden else "")
    )
    bits: dict[int, tuple[int, int]] = {}
    for name, value in re.findall(r"SYSREG_(\w+?_EL[01]_[^,\n]+)=(0x[0-9a-f]+)", text):
        register, field = re.fullmatch(r"(\w+_EL[01])_(.*)", name).groups()  # type: ignore[union-attr]
        number = kvmfw.find_register(register)
        assert number is not None
        (place,) = [one for one in kvmfw.fields_of(kvmfw.find_register(register) or 0) if one.name == field]
        mask = ((1 << place.width) - 1) << place.shift
        known = bits.get(number, (0, 0))
        bits[number] = known[0] | mask, known[1] | int(value, 16) << place.shift
    if version := re.search(r"kvm-psci-version=(\d+)\.(\d+)", text):
        value = int(version.group(1)) << 16 | int(version.group(2))
        bits[0x6030000000140000] = (1 << 64) - 1, value
    return Change(bits, registers)


def everything(document: dict[str, Any]) -> Change:
    bits = {int(register, 16): (-1, int(value, 16)) for register, value in document["set"].items()}
    return Change(bits, frozenset(int(register, 16) for register in document["hide"]))


def started(path: Path, change: Change, vmm: str) -> kvmfw.RegisterSet:
    """Give what a VM saves that starts on this host with the change: what its own host makes of it."""
    registers = {
        register: value
        for register, value in fresh(path).to_mapping().items()
        if register not in change.hidden
    }
    for register, (mask, value) in change.bits.items():
        if register in registers:
            registers[register] = registers[register] & ~mask | value & mask
    own = kvmfw.RegisterSet.from_mapping(registers, features=FEATURES, name=path.stem)
    for finding in kvmfw.validate(own, without(path, change.hidden), vmm=vmm).findings:
        if finding.register in change.bits and finding.reads is not None:
            registers[finding.register] = finding.reads
    return kvmfw.RegisterSet.from_mapping(registers, features=FEATURES, name=path.stem)


@cache
def without(path: Path, hidden: frozenset[int]) -> kvmfw.Host:
    """Give the host as it is where the VMM hides registers: it does not list them."""
    if not hidden:
        return host(path)
    document = json.loads(path.read_text())
    kept = [at for at, text in enumerate(document["registers"]) if int(text, 16) not in hidden]
    document["registers"] = [document["registers"][at] for at in kept]
    for vcpu in document["vcpus"]:
        if vcpu.get("values") is not None:
            vcpu["values"] = [vcpu["values"][at] for at in kept]
        if vcpu.get("same_value_refused"):
            vcpu["same_value_refused"] = {
                key: errno for key, errno in vcpu["same_value_refused"].items() if int(key, 16) not in hidden
            }
    for key in ("answers",):
        document[key] = [one for one in document.get(key, []) if int(one["register"], 16) not in hidden]
    for group in document.get("writable_masks", []):
        group["masks"] = {key: mask for key, mask in group["masks"].items() if int(key, 16) not in hidden}
    return kvmfw.Host.from_json(json.dumps(document))


def refusals(paths: Sequence[Path], change: Change, vmm: str) -> set[tuple[str, str]]:
    """Judge every VM on every host, pair by pair: those not taken."""
    vms = [started(path, change, vmm) for path in paths]
    return {
        (vm.name, path.stem)
        for vm in vms
        for path in paths
        if kvmfw.validate(vm, without(path, change.hidden), vmm=vmm).outcome >= UNKNOWN
    }


TARGETS = {"firecracker": ("firecracker", template), "qemu": ("qemu-11.1", qemu_options)}


def assert_kept(paths: Sequence[Path], target: str, folder: Path, share: float = 1.0) -> bool:
    """Run emit for a fleet of these captures and hold its words against the pairs."""
    fleet = fleet_of(paths, folder)
    result = run("emit", fleet, target, "--share", str(share))
    assert result.exit_code in (0, 2), result.output
    vmm, read = TARGETS[target]
    change = read(result.stdout)
    offered = re.search(r"reached for (\d+) of (\d+) hosts: .*--share ([0-9.]+)", result.stderr)
    if result.exit_code == 0 and share == 1.0:
        assert not refusals(paths, change, vmm)
        assert "not reached" not in result.stderr
    elif result.exit_code == 2:
        missed = refusals(paths, change, vmm)
        assert missed
        assert "not reached for all" in result.stderr
        names = {name for pair in missed for name in pair}
        assert any(name in result.stderr for name in names)
        assert re.search(r"kvmfw: (REFUSE|UNKNOWN) \S+", result.stderr)
        assert offered, result.stderr
    if offered and share == 1.0:
        again = run("emit", fleet, target, "--share", offered.group(3))
        assert again.exit_code == 0, again.stderr
        document_names = offered.group(0)
        covered = [path for path in paths if path.stem in document_names]
        if len(covered) == int(offered.group(1)):
            assert not refusals(covered, read(again.stdout), vmm)
    return result.exit_code == 0


@pytest.mark.parametrize("target", TARGETS)
def test_what_emit_prints_for_two_captures_is_what_pairs_show(target: str, tmp_path: Path) -> None:
    """All 153 pairs of captures in examples, each as a fleet of two hosts with a fresh VM."""
    pairs = list(combinations(CAPTURES, 2))
    assert len(pairs) == 153
    # Captures of different CPUs differ in dozens of registers: one pair of each two CPUs is enough.
    seen: set[tuple[str, str]] = set()
    reached = 0
    for number, (one, other) in enumerate(pairs):
        cpus = one.stem.split("__")[1], other.stem.split("__")[1]
        if cpus[0] != cpus[1] and cpus in seen:
            continue
        seen.add(cpus)
        reached += assert_kept((one, other), target, tmp_path / str(number))
    assert reached >= 2


@settings(max_examples=8)
@given(
    st.lists(st.sampled_from(CAPTURES), min_size=2, max_size=6, unique=True),
    st.sampled_from(sorted(TARGETS)),
)
def test_what_emit_prints_for_some_captures_is_what_pairs_show(paths: list[Path], target: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert_kept(paths, target, Path(folder) / "fleet")


@settings(max_examples=8)
@given(st.lists(st.sampled_from(CAPTURES), min_size=1, max_size=5, unique=True))
def test_what_a_baseline_gives_is_what_pairs_show(paths: list[Path]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        fleet = fleet_of(paths, Path(folder) / "fleet")
        result = run("baseline", fleet, "--format", "json")
        document = json.loads(result.stdout)
        missed = refusals(paths, everything(document), "kvm")
        assert bool(missed) == (result.exit_code == 2) == bool(document["remains"]) != document["reached"]
        if missed:
            named = {
                (source, target)
                for one in document["remains"]
                for source in one["sources"]
                for target in one["targets"]
            }
            assert missed <= named
            assert document["outcome"] in ("UNKNOWN", "REFUSE")
        text = run("baseline", fleet, "--format", "register-set")
        assert text.exit_code == result.exit_code
        vm = kvmfw.RegisterSet.from_json(text.stdout)
        if text.exit_code == 0:
            assert all(kvmfw.validate(vm, host(path)).outcome < UNKNOWN for path in paths)
        if document["largest"]:
            covered = [path for path in paths if path.stem in document["largest"]]
            share = str(int(len(covered) / len(paths) * 1000) / 1000)
            again = run("baseline", fleet, "--format", "json", "--share", share)
            assert again.exit_code == 0
            told = json.loads(again.stdout)
            within = [path for path in paths if path.stem in told["covered"]]
            assert len(within) == len(covered)
            assert not refusals(within, everything(told), "kvm")


def largest_by_trying(paths: Sequence[Path], folder: Path) -> int:
    """Ask for every subset whether its baseline is reached: the size of the largest."""
    for size in range(len(paths), 0, -1):
        for number, part in enumerate(combinations(paths, size)):
            if run("baseline", fleet_of(part, folder / f"{size}-{number}")).exit_code == 0:
                return size
    return 0


@settings(max_examples=3)
@given(st.lists(st.sampled_from(CAPTURES), min_size=3, max_size=4, unique=True))
def test_the_offered_set_of_hosts_is_the_largest(paths: list[Path]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        document = json.loads(
            run("baseline", fleet_of(paths, Path(folder) / "all"), "--format", "json").stdout
        )
        offered = len(document["largest"]) if document["remains"] else len(paths)
        assert offered == largest_by_trying(paths, Path(folder))


def stranded(vms: Sequence[kvmfw.RegisterSet], hosts: Sequence[kvmfw.Host]) -> set[str]:
    return {
        vm.name
        for vm in vms
        if not any(kvmfw.validate(vm, one).outcome < UNKNOWN for one in hosts if one.name != vm.host)
    }


@settings(max_examples=6)
@given(st.lists(st.sampled_from(CAPTURES), min_size=2, max_size=6, unique=True))
def test_what_upgrades_and_plan_promise_is_what_a_re_judged_fleet_shows(paths: list[Path]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        fleet = fleet_of(paths, Path(folder) / "fleet")
        document = json.loads(run("audit", fleet, "--format", "json").stdout)
        vms = [fresh(path) for path in paths]
        hosts = {path.stem: host(path) for path in paths}
        before = stranded(vms, list(hosts.values()))
        assert {row["vm"] for row in document["stranded"]} == before
        state = dict(hosts)
        left = before
        for row in document["upgrades"]:
            state[row["capture"]] = hosts[row["becomes"]].renamed(row["capture"])
            now = stranded(vms, list(state.values()))
            assert (row["freed"], row["newly_stranded"]) == (len(left - now), len(now - left))
            assert row["stranded"] == len(now)
            left = now
        made = kvmfw.Fleet(vms, list(hosts.values()))
        units = dict(
            zip(made.units, (register for _, register, _ in made.snapshot()._native.units()), strict=True)
        )
        cured: set[str] = set()
        for row in document["plan"]:
            cured |= set(row["cured"])
            changed = [without_units(vm, cured, units) for vm in vms]
            assert row["freed"] == len(before - stranded(changed, list(hosts.values())))


def without_units(vm: kvmfw.RegisterSet, cured: set[str], units: dict[str, int | None]) -> kvmfw.RegisterSet:
    """Cure units by leaving their registers out; registers that nothing looks at are one unit, the list."""
    judged = {register for register in units.values() if register is not None}
    removed = {units[name] for name in cured}
    kept = {
        register: value
        for register, value in vm.to_mapping().items()
        if register not in removed and not ("register list" in cured and register not in judged)
    }
    return kvmfw.RegisterSet.from_mapping(kept, features=FEATURES, name=vm.name, host=vm.host)


@settings(max_examples=6)
@given(
    st.lists(st.sampled_from(CAPTURES), min_size=2, max_size=5, unique=True),
    st.sampled_from(["PSCI_VERSION", "SMCCC_ARCH_WORKAROUND_3", "VENDOR_HYP_BMAP_2"]),
)
def test_what_whatif_promises_is_what_a_re_judged_fleet_shows(paths: list[Path], name: str) -> None:
    register = kvmfw.find_register(name)
    assert register is not None
    with tempfile.TemporaryDirectory() as folder:
        fleet = fleet_of(paths, Path(folder) / "fleet")
        vms = [fresh(path) for path in paths]
        hosts = [host(path) for path in paths]
        before = stranded(vms, hosts)
        supposed = run("whatif", fleet, "--hide", name, "--format", "json")
        if not any(register in vm.to_mapping() for vm in vms):
            assert supposed.exit_code == 1
            assert "no VM and no host of the fleet has" in supposed.stderr
            return
        document = json.loads(supposed.stdout)
        hidden = frozenset([register])
        kept = [
            kvmfw.RegisterSet.from_mapping(
                {key: value for key, value in vm.to_mapping().items() if key != register},
                features=FEATURES,
                name=vm.name,
                host=vm.host,
            )
            for vm in vms
        ]
        after = stranded(kept, [without(path, hidden) for path in paths])
        assert {row["vm"] for row in document["newly_stranded"]} == after - before
        assert {row["vm"] for row in document["freed"]} == before - after
        old, new = paths[0], paths[1]
        document = json.loads(
            run("whatif", fleet, "--replace", f"{old.stem}={new}", "--format", "json").stdout
        )
        after = stranded(vms, [host(new).renamed(old.stem), *hosts[1:]])
        assert {row["vm"] for row in document["newly_stranded"]} == after - before
        assert {row["vm"] for row in document["freed"]} == before - after


@pytest.mark.parametrize("target", ["openstack", "kubernetes"])
def test_a_scheduler_is_told_of_vms_that_nothing_places(target: str, tmp_path: Path) -> None:
    one, other = CAPTURES[0], CAPTURES[1]
    fleet = fleet_of([one], tmp_path / "alone")
    assert run("emit", fleet, target).exit_code == 0
    (fleet / "vms.jsonl").write_text(json.dumps(fresh(other).to_document() | {"host": one.stem}) + "\n")
    result = run("emit", fleet, target)
    assert result.exit_code == 2
    assert f"no host takes 1 VMs, so nothing places them: {other.stem}" in result.stderr
    assert run("emit", fleet, target, "--fail-on", "none").exit_code == 0
