"""Turn recordings of real KVM (the format of realkvm/README.md) into kvmfw captures.

A recording keeps one boot of one kernel as the recording probe printed it; a capture
(docs/formats.md) keeps the same facts once each: every value of a sweep that was
answered, every errno, every read-back.  Nothing is judged here.

    python -m tests.realkvm.convert RECORDING... --out FOLDER
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

Json = dict[str, Any]

FEATURES = {
    0: "power_off",
    1: "el1_32bit",
    2: "psci_0_2",
    3: "pmu_v3",
    4: "sve",
    5: "ptrauth_address",
    6: "ptrauth_generic",
    7: "has_el2",
    8: "has_el2_e2h0",
    9: "pmu_v3_strict",
}
ENABLED_BY_CONFIGURATION = {"impid": ["writable_imp_id_regs"], "mte": ["mte"]}
STATES = {"fresh": "fresh", "imm": "exited", "mmio": "ran"}
CODES = {
    "i": "EINVAL",
    "n": "ENOENT",
    "b": "EBUSY",
    "p": "EPERM",
    "x": "ENXIO",
    "B": "E2BIG",
    "a": "EACCES",
    "f": "EFAULT",
    "o": "EOPNOTSUPP",
}
ERRNOS = {
    1: "EPERM",
    2: "ENOENT",
    6: "ENXIO",
    7: "E2BIG",
    8: "ENOEXEC",
    13: "EACCES",
    14: "EFAULT",
    16: "EBUSY",
    22: "EINVAL",
    95: "EOPNOTSUPP",
}
EINVAL = 22
SVE_VLS = "0x606000000015ffff"
# The two names of one register.
PMOVSCLR, PMOVSSET = "0x603000000013dce3", "0x603000000013dcf3"
ID_BLOCK = 0x6030000000130000


def load(path: Path) -> Json:
    """Read one recording, compressed or not."""
    raw = path.read_bytes()
    document: Json = json.loads(gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw)
    return document


def number(text: str) -> int:
    """Value of a recorded register: hexadecimal, or bytes in memory order for wide ones."""
    if not text.startswith("b:"):
        return int(text, 16)
    body, _, zeros = text[2:].partition("+")
    if body.startswith("0*"):
        return 0
    del zeros
    return int.from_bytes(bytes.fromhex(body), "little")


def hexadecimal(value: int) -> str:
    return f"{value:#x}"


def short_id(low: str) -> str:
    return hexadecimal(ID_BLOCK | int(low, 16))


def merge_orders(orders: Iterable[list[str]]) -> list[str]:
    """One order that every given order is a subsequence of."""
    merged: list[str] = []
    for order in orders:
        at = 0
        known = {register: index for index, register in enumerate(merged)}
        result: list[str] = []
        for register in order:
            if register in known:
                if known[register] < at:
                    raise ValueError(f"{register} is listed in two different orders")
                result.extend(merged[at : known[register]])
                at = known[register] + 1
            result.append(register)
        merged = result + merged[at:]
    return merged


def features(word: int) -> list[str]:
    return [FEATURES[bit] for bit in range(32) if word >> bit & 1]


class Answers:
    """Collects answers, one record for all vCPUs and states that answered alike."""

    def __init__(self) -> None:
        self._records: dict[str, tuple[Json, dict[str, list[str]]]] = {}

    def add(self, record: Json, vcpu: str, state: str) -> None:
        key = json.dumps(record, sort_keys=True)
        _, where = self._records.setdefault(key, (record, {}))
        where.setdefault(vcpu, []).append(state)

    def records(self) -> list[Json]:
        out: list[Json] = []
        for record, where in self._records.values():
            by_states: dict[tuple[str, ...], list[str]] = {}
            for vcpu, states in where.items():
                by_states.setdefault(tuple(states), []).append(vcpu)
            asked = [{"vcpus": vcpus, "states": list(states)} for states, vcpus in by_states.items()]
            out.append({"register": record["register"], "asked_on": asked} | record)
        return sorted(out, key=lambda record: int(record["register"], 16))


def firmware_answers(sweeps: Json) -> Iterator[tuple[str, Json]]:
    """(recorded state, record) of every firmware register of one configuration."""
    for recorded, registers in sweeps.items():
        for register, entry in registers.items():
            if register == "absent":
                continue
            changed = {w: r for w, r in entry.get("reads_back", {}).items() if r.startswith("0x")}
            record: Json = {"register": register, "value": entry["v"], "sweep": "firmware"}
            record["kept"] = [v for v in entry["accepted"] if v not in changed]
            if changed:
                record["changed"] = changed
            refused = entry.get("refused", {})
            rest = [errno for errno, values in refused.items() if isinstance(values, str)]
            explicit = {errno: values for errno, values in refused.items() if not isinstance(values, str)}
            if explicit:
                record["refused"] = explicit
            if rest:
                record["otherwise"] = rest[0]
            yield recorded, record


def identification_answers(sweeps: Json) -> Iterator[tuple[str, Json]]:
    """(recorded state, record) of every ID register of one configuration."""
    for recorded, registers in sweeps.items():
        for register, entry in registers.items():
            if register in ("raz_only_zero", "raz_only_zero_busy"):
                code = "i" if register == "raz_only_zero" else "b"
                for low in entry.split():
                    yield (
                        recorded,
                        {"register": short_id(low), "value": "0x0", "nibbles": {}, "same": ".", "other": code}
                        | {"zero": ".", "ones": code},
                    )
                continue
            same = "." if not entry["s"] else {v: k for k, v in CODES.items()}[ERRNOS[entry["s"]]]
            record: Json = {"register": register, "value": entry["v"], "nibbles": entry.get("f", {})}
            record |= {"same": same, "other": entry["d"], "zero": entry["z"], "ones": entry["o"]}
            if entry.get("rb"):
                record["changed"] = {w: r for w, r, errno in entry["rb"] if not errno}
            yield recorded, record


def vector_length_answer(sve: Json) -> Json | None:
    """What SVE_VLS took before the vCPU was finalized."""
    if "sets" not in sve:
        return None
    default = sum(int(word, 16) << 64 * at for at, word in enumerate(sve["prefin"]["default"]))
    record: Json = {"register": SVE_VLS, "value": hexadecimal(default), "kept": [], "refused": {}}
    seen: set[int] = set()
    for text, errno, *_ in sve["sets"]:
        low, _, word = text.partition(":")
        value = int(low, 16)
        if word == "w1":
            value |= 1 << 64
        elif word == "w7":
            value |= 1 << 511
        if value in seen:
            continue
        seen.add(value)
        if errno:
            record["refused"].setdefault(ERRNOS[errno], []).append(hexadecimal(value))
        else:
            record["kept"].append(hexadecimal(value))
    return record


def absent_registers(configuration: Json) -> Iterator[tuple[str, str, str]]:
    """(recorded state, errno of a write, id) of ids that this KVM does not know."""
    for recorded, registers in configuration.get("fw", {}).items():
        for words, ids in registers.get("absent", {}).items():
            errno = words.rsplit(" ", 1)[1]
            for register in ids:
                yield recorded, errno, register
    unreadable = configuration.get("id_unreadable", {})
    for recorded, groups in unreadable.items():
        for words, ids in (unreadable["fresh"] if groups == "as fresh" else groups).items():
            errno = words.rsplit(" ", 1)[1]
            for low in ids.split():
                yield recorded, errno, short_id(low)
    for words, ids in configuration.get("unknown", {}).items():
        if words == "known":
            continue
        errno = words.rsplit(" ", 1)[1]
        for register in ids:
            yield "fresh", errno, register


def listed(configuration: Json) -> dict[str, list[Any]]:
    """The rows of the registers that a vCPU lists, by register.

    The recording probe wrote each register back before it read the next one. From 6.7 to 6.12 writing
    PMOVSCLR_EL0 clears what PMOVSSET_EL0, its other name, would have read, which then is what the first one read.
    """
    rows = {row[0]: row for row in configuration["regs"]}
    if PMOVSCLR in rows and PMOVSSET in rows:
        rows[PMOVSSET] = [PMOVSSET, rows[PMOVSCLR][1], *rows[PMOVSSET][2:]]
    return rows


def that_ran(configuration: Json, part: str) -> Json:
    """The answers of a part, without those of vCPUs that never ran: KVM_RUN had refused them (PMU not initialised)."""
    refused = {state for state, ran in configuration.get("ran", {}).items() if ran["e"] == EINVAL}
    return {state: said for state, said in configuration.get(part, {}).items() if state not in refused}


def convert(recording: Json, name: str) -> Json:
    """The capture of one recording.

    ``recording`` is the parsed file, ``name`` becomes the host's name.  Raises
    ``ValueError`` when the recording holds something that a capture cannot say.
    """
    meta, host = recording["meta"], recording["host"]
    made = {label: c for label, c in recording["configs"].items() if "regs" in c}
    registers = merge_orders([[row[0] for row in c["regs"]] for c in made.values()])
    answers = Answers()
    absent: dict[str, tuple[Json, list[str]]] = {}
    masks: dict[str, tuple[Json, list[str]]] = {}
    vcpus: list[Json] = []
    for label, configuration in recording["configs"].items():
        init = configuration["init"]
        word = int(init["feat"], 16)
        vcpu: Json = {"name": label, "features": features(word)}
        enabled = ENABLED_BY_CONFIGURATION.get(label)
        if enabled:
            vcpu["enabled"] = enabled
        if label not in made:
            errno = next((init[k] for k in ("e_cap", "e_vm", "e_vcpu", "e_init", "e_fin") if init.get(k)), 0)
            if errno:
                # Where the host has no such feature the recording asked without a vGIC.
                vcpus.append(vcpu | {"refused": ERRNOS[errno]})
            continue
        vcpu["vgic"] = bool(init["vgic"])
        vcpu["pmu_initialised"] = bool(init["pmu"])
        values = listed(configuration)
        vcpu["values"] = [hexadecimal(number(values[r][1])) if r in values else None for r in registers]
        same = {r: ERRNOS[row[2]] for r, row in values.items() if row[2]}
        vcpu["same_value_refused"] = same
        vcpus.append(vcpu)
        for recorded, record in firmware_answers(that_ran(configuration, "fw")):
            answers.add(record, label, STATES[recorded])
        for recorded, record in identification_answers(that_ran(configuration, "id")):
            answers.add(record, label, STATES[recorded])
        lost: dict[str, dict[str, list[str]]] = {}
        for recorded, errno, register in absent_registers(configuration):
            ids = lost.setdefault(STATES[recorded], {}).setdefault(errno, [])
            if register not in ids:
                ids.append(register)
        if lost:
            key = json.dumps(lost["fresh"], sort_keys=True)
            absent.setdefault(key, ({"refused": lost["fresh"]}, []))[1].append(label)
        reported = configuration.get("masks", {}).get("range0")
        if isinstance(reported, dict):
            key = json.dumps(reported, sort_keys=True)
            masks.setdefault(key, (reported, []))[1].append(label)
    vls = vector_length_answer(recording.get("sve", {}))
    if vls:
        for vcpu in vcpus:
            if "sve" in vcpu["features"] and "values" in vcpu:
                answers.add(vls, vcpu["name"], "fresh")
    capture: Json = {
        "format": "kvmfw-capture",
        "version": 1,
        "host": {
            "name": name,
            "kernel": meta["release"],
            "kernel_build": meta["version"],
            "machine": f"{host['cpu']} ({host['accel']}, qemu {host['qemu'].split()[0]})",
            "midr": meta["midr_el1"],
            "boot_options": meta["cmdline"],
            "vulnerabilities": meta["vuln"],
            "capabilities": meta["vmcaps"],
        },
        "registers": registers,
        "vcpus": vcpus,
        "sweeps": {"firmware": recording["sweep"]},
        "answers": answers.records(),
        "absent": [{"vcpus": labels} | record for record, labels in absent.values()],
        "writable_masks": [{"vcpus": labels, "masks": record} for record, labels in masks.values()],
    }
    return capture


def dump(capture: Json) -> str:
    """The capture as text: one line per vCPU, answer and group, stable for the same input."""
    lines = ["{"]
    for key, value in capture.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            rows = ",\n".join("  " + json.dumps(row, separators=(",", ":")) for row in value)
            lines.append(f" {json.dumps(key)}: [\n{rows}\n ],")
        else:
            lines.append(f" {json.dumps(key)}: {json.dumps(value, separators=(',', ':'))},")
    lines[-1] = lines[-1].rstrip(",")
    return "\n".join([*lines, "}", ""])


def recordings(folder: Path) -> list[Path]:
    """The recordings of a folder that hold vCPU configurations, in name order."""
    found = sorted([*folder.glob("*.json.gz"), *folder.glob("*.json")])
    return [path for path in found if path.name != "index.json"]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recordings", nargs="+", type=Path, metavar="RECORDING")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for path in arguments.recordings:
        name = path.name.removesuffix(".gz").removesuffix(".json")
        text = dump(convert(load(path), name))
        (arguments.out / f"{name}.json").write_text(text)
        print(f"{name}: {len(text)} bytes", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
