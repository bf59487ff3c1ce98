"""Make the fleet of ``examples/`` from captures of real KVM, as live runs keep them.

    python -m tests.live.run --capture-only --keep FOLDER --kernels ... --cpus ... --options ...
    python -m tests.realkvm.make_examples FOLDER... --out examples

Captures are taken as the probe wrote them; hosts are named after CPU and kernel; VMs are what such hosts
save: fresh register sets, and the same with levels, versions and bitmaps lowered as a VMM may do. A lowered
value is used only where the host's own KVM kept it.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Json = dict[str, Any]

# host name -> capture; several hosts may share one
HOSTS = {
    "n1-510-a": "5.10.0-32-arm64__neoverse-n1__default",
    "n1-510-b": "5.10.0-32-arm64__neoverse-n1__default",
    "n1-61-a": "6.1.0-56-arm64__neoverse-n1__default",
    "n1-61-b": "6.1.0-56-arm64__neoverse-n1__default",
    "n1-612-a": "6.12.117+deb13-arm64__neoverse-n1__default",
    "n1-612-b": "6.12.117+deb13-arm64__neoverse-n1__default",
    "n1-618-a": "6.18.15+deb13-arm64__neoverse-n1__default",
    "n1-73-a": "7.3.4+deb13-arm64__neoverse-n1__default",
    "v1-510-a": "5.10.0-32-arm64__neoverse-v1__default",
    "v1-510-nomit": "5.10.0-32-arm64__neoverse-v1__mitigations-off",
    "v1-61-nomit": "6.1.0-56-arm64__neoverse-v1__mitigations-off",
    "v1-612-a": "6.12.117+deb13-arm64__neoverse-v1__default",
    "v1-618-a": "6.18.15+deb13-arm64__neoverse-v1__default",
    "v1-618-b": "6.18.15+deb13-arm64__neoverse-v1__default",
    "v1-73-a": "7.3.4+deb13-arm64__neoverse-v1__default",
    "v1-73-nomit": "7.3.4+deb13-arm64__neoverse-v1__mitigations-off",
    "a57-510-a": "5.10.0-32-arm64__cortex-a57__default",
    "a57-612-nomit": "6.12.117+deb13-arm64__cortex-a57__mitigations-off",
    "a57-73-a": "7.3.4+deb13-arm64__cortex-a57__default",
    "a76-61-a": "6.1.0-56-arm64__cortex-a76__default",
    "a76-73-nomit": "7.3.4+deb13-arm64__cortex-a76__mitigations-off",
    "max-618-a": "6.18.15+deb13-arm64__max__default",
}
SINGLE_VM = "v1-510-a.gic3.fresh"
VCPUS = ("gic3", "pmu", "full")
PSCI, LEVELS = "0x6030000000140000", ("0x6030000000140001", "0x6030000000140003")
BITMAPS = ("0x6030000000160000", "0x6030000000160001", "0x6030000000160002")
LOWERED: dict[str, dict[str, str]] = {
    "fresh": {},
    "psci-1.0": {PSCI: "0x10000"},
    "levels-0": dict.fromkeys(LEVELS, "0x0"),
    "no-hypercalls": dict.fromkeys(BITMAPS, "0x0"),
    "portable": {PSCI: "0x10000", **dict.fromkeys(LEVELS, "0x0"), BITMAPS[2]: "0x1"},
}


def taken(capture: Json, vcpu: str, register: str, value: str) -> bool:
    """Tell whether the host's own KVM accepted this value."""
    for answer in capture["answers"]:
        here = any(vcpu in asked["vcpus"] and "fresh" in asked["states"] for asked in answer["asked_on"])
        if answer["register"] == register and here:
            return value in answer["kept"] or value in answer.get("changed", {})
    return False


def register_sets(name: str, capture: Json) -> Iterator[Json]:
    """What VMs on this host may have saved."""
    for vcpu in capture["vcpus"]:
        if vcpu["name"] not in VCPUS or "values" not in vcpu:
            continue
        fresh = {r: v for r, v in zip(capture["registers"], vcpu["values"], strict=True) if v is not None}
        for label, lowered in LOWERED.items():
            wanted = {r: v for r, v in lowered.items() if r in fresh}
            if lowered and (
                not wanted or not all(taken(capture, vcpu["name"], *item) for item in wanted.items())
            ):
                continue
            if label not in ("fresh", "portable") and vcpu["name"] != "gic3":
                continue
            yield {
                "format": "kvmfw-register-set",
                "version": 1,
                "id": f"{name}.{vcpu['name']}.{label}",
                "host": name,
                "vcpu": {"features": vcpu["features"], "vgic": vcpu["vgic"]},
                "registers": fresh | wanted,
            }


def captured(folders: list[Path], name: str) -> Path:
    """The file of a capture, in the first folder that has it."""
    found = (folder / f"{name}.capture.json" for folder in folders)
    path = next((path for path in found if path.exists()), None)
    if path is None:
        raise SystemExit(f"{name}.capture.json is in none of the folders")
    return path


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    paths = {name: captured(options.folders, name) for name in sorted(set(HOSTS.values()))}
    (options.out / "captures").mkdir(parents=True, exist_ok=True)
    for old in (options.out / "captures").glob("*.json"):
        old.unlink()
    captures = {}
    for name, path in paths.items():
        text = path.read_text()
        captures[name] = json.loads(text)
        (options.out / "captures" / f"{name}.json").write_text(text)
    with (options.out / "hosts.csv").open("w", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([("host", "capture"), *HOSTS.items()])
    with (options.out / "vms.jsonl").open("w") as stream:
        for host, name in HOSTS.items():
            for document in register_sets(host, captures[name]):
                stream.write(json.dumps(document, separators=(",", ":")) + "\n")
                if document["id"] == SINGLE_VM:
                    # Under a name of its own: whoever takes the folder in whole takes it as one VM more.
                    document |= {"id": "moving-vm"}
                    (options.out / "vm.json").write_text(json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
