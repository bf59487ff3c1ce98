"""The incident of 2025 on Graviton 4: a kernel update changed WORKAROUND_3 from 2 to 1, and trapped VMs.

Told twice: with the dumps of the real hosts where they are at hand (read in place), and with recordings
of our own on which mitigations are switched on.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import kvmfw
from kvmfw.cli import main

ROOT = Path(__file__).parents[1]
DUMPS = ROOT.parent / "shared" / "data" / "firecracker"
BEFORE, AFTER = "NEOVERSE_V2_6.1__2025-03-14_3476905df.json", "NEOVERSE_V2_6.1__2025-06-17_220cdb012.json"
CAPTURES = ROOT / "examples" / "captures"
OFF = CAPTURES / "5.10.0-32-arm64__neoverse-v1__mitigations-off.json"
ON = CAPTURES / "5.10.0-32-arm64__neoverse-v1__default.json"
MIDR = 0x603000000013C000
WA3 = "SMCCC_ARCH_WORKAROUND_3"


def capture_of_dump(path: Path, name: str) -> dict[str, Any]:
    """Make a capture of a register dump: one vCPU as Firecracker makes it, and no answers."""
    dump = json.loads(path.read_bytes())
    values = {
        int(one["addr"], 16): int(one["bitmap"], 2) for one in dump["guest_cpu_config"]["reg_modifiers"]
    }
    return {
        "format": "kvmfw-capture",
        "version": 1,
        "host": {"name": name, "kernel": dump["kernel_version"], "midr": f"{values[MIDR]:#x}"},
        "registers": [f"{register:#x}" for register in values],
        "vcpus": [
            {
                "name": "firecracker",
                "features": ["psci_0_2"],
                "vgic": True,
                "values": [f"{value:#x}" for value in values.values()],
            }
        ],
    }


def make_fleet(
    folder: Path,
    captures: Mapping[str, Any],
    hosts: Mapping[str, str],
    vms: Mapping[str, tuple[str, str]],
) -> Path:
    """Make a fleet folder: the capture of each host; for each VM its host, and where it was started."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "captures").mkdir(parents=True)
    for name, document in captures.items():
        (folder / "captures" / f"{name}.json").write_text(json.dumps(document))
    with (folder / "hosts.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("host", "capture"), *hosts.items()])
    lines = []
    for vm, (home, kind) in vms.items():
        made = kvmfw.Host.from_json(json.dumps(captures[kind])).fresh_set(features=["psci_0_2"], name=vm)
        assert made is not None
        lines.append(json.dumps(made.to_document() | {"host": home}))
    (folder / "vms.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def run(*arguments: str | Path) -> tuple[int, Any]:
    result = CliRunner().invoke(main, [*map(str, arguments), "--format", "json"])
    assert result.exit_code in (0, 2), result.output
    return result.exit_code, json.loads(result.stdout)


def capture(path: Path, name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_bytes())
    document["host"]["name"] = name
    return document


def tell(tmp_path: Path, captures: dict[str, Any], *, strict: str, lenient: str) -> None:
    """Tell the story: VMs saved on `strict` are refused by hosts of `lenient`, not the other way."""
    everywhere = dict.fromkeys(("a", "b", "c"), strict)
    started = {"vm-1": ("a", strict), "vm-2": ("a", strict), "vm-3": ("b", strict)}
    today = make_fleet(tmp_path / "today", captures, everywhere, started)
    code, audit = run("audit", today)
    assert (code, audit["stranded"], audit["traps"]) == (0, [], [])

    # The gate in front of the update: the captures alone already tell.
    code, diff = run("diff", *(write(tmp_path, captures[name], name) for name in (strict, lenient)))
    assert code == 2
    (row,) = [one for one in diff["registers"] if one["register"] == WA3]
    assert (row["forward"], row["back"]) == ("REFUSE", "CHANGE")
    assert row["forward_finding"]["errno"] == "EINVAL"

    # The roll-out has reached b and c: a's VMs are named, and what strands them.
    halfway = make_fleet(tmp_path / "halfway", captures, everywhere | {"b": lenient, "c": lenient}, started)
    code, change = run("diff", today, halfway)
    assert code == 2
    assert change["newly_stranded"] == [{"vm": "vm-1", "host": "a"}, {"vm": "vm-2", "host": "a"}]
    assert [one["unit"] for one in change["blockers"]] == [WA3]

    # After it, with VMs started on updated hosts: they can come to a, and what runs on a cannot leave.
    later = started | {"vm-3": ("b", lenient), "vm-4": ("c", lenient)}
    after = make_fleet(tmp_path / "after", captures, everywhere | {"b": lenient, "c": lenient}, later)
    code, audit = run("audit", after)
    assert code == 2
    assert [row["vm"] for row in audit["stranded"]] == ["vm-1", "vm-2"]
    (trap,) = audit["traps"]
    assert (trap["names"], trap["entrants"], trap["residents"]) == (["a"], 2, 2)
    first = audit["blockers"][0]
    assert (first["unit"], first["freed"], first["rules"]) == (WA3, 2, ["KVMFW-WA3-LEVEL"])


def write(folder: Path, document: dict[str, Any], name: str) -> Path:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(document))
    return path


@pytest.mark.skipif(not (DUMPS / BEFORE).exists(), reason="the dumps of Graviton 4 hosts are not at hand")
def test_the_update_of_real_graviton_4_hosts_makes_a_trap(tmp_path: Path) -> None:
    captures = {
        name: capture_of_dump(DUMPS / file, name) for name, file in (("6.1.129", BEFORE), ("6.1.140", AFTER))
    }
    tell(tmp_path, captures, strict="6.1.129", lenient="6.1.140")


def test_mitigations_switched_on_make_a_trap_of_our_own_recordings(tmp_path: Path) -> None:
    captures = {"on": capture(ON, "on"), "off": capture(OFF, "off")}
    tell(tmp_path, captures, strict="on", lenient="off")


def test_whatif_foretells_the_update(tmp_path: Path) -> None:
    captures = {"on": capture(ON, "on"), "off": capture(OFF, "off")}
    hosts = {"a": "on", "b": "off", "c": "off"}
    vms = {"vm-1": ("b", "off"), "vm-2": ("a", "on")}
    fleet = make_fleet(tmp_path / "fleet", captures, hosts, vms)
    code, change = run("whatif", fleet, "--replace", f"off={write(tmp_path, captures['on'], 'new')}")
    assert (code, change["newly_stranded"], change["freed"]) == (0, [], [{"vm": "vm-2", "host": "a"}])
    code, change = run("whatif", fleet, "--level", f"off:{WA3}=1")
    assert [one["vm"] for one in change["freed"]] == ["vm-2"]
    code, proposed = run("whatif", fleet, "--best", "2")
    assert [(one["capture"], one["becomes"], one["freed"]) for one in proposed["upgrades"]] == [
        ("off", "on", 1)
    ]
