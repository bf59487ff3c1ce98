"""Compares two captures of the same kernel, CPU and options: equal wherever both asked.

    python -m tests.live.compare CAPTURE OTHER

OTHER may also be a recording in the older format of tests/realkvm; it is converted first.
Facts that cannot be equal (the host's name, boot options that only speed the emulation up) are left
out, and so is what only one of the two asked.  Exit 0: equal, 2: not equal, 1: cannot be read.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.realkvm.convert import convert

from .probing import probe

Json = dict[str, Any]
Key = tuple[Any, ...]

# Time goes on between boots: these may read anything.
MOVING = {hex(register) for register in probe.COUNTERS}
# The address that the kernel picks for its own code shows in no register; nothing else is left out.
HOST_FACTS = ("kernel", "kernel_build", "midr", "vulnerabilities", "capabilities")
MAY_BE_CUT = 40


def load(path: Path) -> Json:
    """A capture, or a recording turned into one."""
    raw = path.read_bytes()
    document: Json = json.loads(gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw)
    if document.get("format") == "kvmfw-capture":
        return document
    return convert(document, path.name.removesuffix(".gz").removesuffix(".json"))


def host_facts(capture: Json) -> Iterator[tuple[Key, Any]]:
    for name in HOST_FACTS:
        value = capture["host"].get(name)
        if isinstance(value, dict):
            for key, one in value.items():
                yield ("host", name, key), one
        elif value is not None:
            yield ("host", name), value


def vcpu_facts(capture: Json) -> Iterator[tuple[Key, Any]]:
    for vcpu in capture["vcpus"]:
        name = vcpu["name"]
        for key in ("features", "enabled", "refused", "vgic", "pmu_initialised"):
            yield (name, key), vcpu.get(key)
        if "values" not in vcpu:
            continue
        pairs = zip(capture["registers"], vcpu["values"], strict=True)
        listed = {register: value for register, value in pairs if value is not None}
        yield (name, "list"), list(listed)
        for register, value in listed.items():
            if register not in MOVING:
                yield (name, "value", register), value
        if vcpu.get("same_value_refused") is not None:
            yield (name, "own value"), vcpu["same_value_refused"]


def by_value(answer: Json, sweeps: Json) -> dict[str, str]:
    """Written value -> "kept", what it read back, or errno."""
    said = dict.fromkeys(answer.get("kept", ()), "kept")
    said |= {written: f"reads {back}" for written, back in answer.get("changed", {}).items()}
    for errno, values in answer.get("refused", {}).items():
        said |= dict.fromkeys(values, errno)
    if "otherwise" in answer:
        rest = [value for value in sweeps[answer["sweep"]] if value not in said]
        said |= dict.fromkeys(rest, answer["otherwise"])
    return said


def by_nibble(answer: Json) -> dict[str, str]:
    """(Shift and value, zero, ones) -> code, and what changed values read back."""
    value = int(answer["value"], 16)
    said = {"zero": answer["zero"], "ones": answer["ones"]}
    for shift in range(0, 64, 4):
        now = value >> shift & 15
        plain = "".join(answer["same"] if n == now else answer["other"] for n in range(16))
        for n, code in enumerate(answer["nibbles"].get(str(shift), plain)):
            said[f"{n:#x} at bit {shift}"] = code
    changed = answer.get("changed", {})
    said |= {f"read back of {written}": back for written, back in changed.items()}
    return said


def answer_facts(capture: Json) -> Iterator[tuple[Key, Any]]:
    for answer in capture["answers"]:
        said = by_nibble(answer) if "nibbles" in answer else by_value(answer, capture["sweeps"])
        for where in answer["asked_on"]:
            for vcpu in where["vcpus"]:
                for state in where["states"]:
                    place = (vcpu, state, answer["register"])
                    yield (*place, "before"), answer["value"]
                    for written, code in said.items():
                        yield (*place, written), code


def group_facts(capture: Json) -> Iterator[tuple[Key, Any]]:
    for group in capture["absent"]:
        for errno, registers in group["refused"].items():
            for vcpu in group["vcpus"]:
                for register in registers:
                    yield (vcpu, "absent", register), errno
    for group in capture["writable_masks"]:
        for vcpu in group["vcpus"]:
            yield (vcpu, "masks"), group["masks"]


def facts(capture: Json) -> dict[Key, Any]:
    """Everything that a capture says, one small fact per key."""
    found: dict[Key, Any] = {}
    for source in (host_facts, vcpu_facts, answer_facts, group_facts):
        found.update(source(capture))
    return found


def ran(capture: Json) -> set[tuple[str, str]]:
    """(vCPU, state) in which the capture says that it asked."""
    return {
        (vcpu, state)
        for answer in capture["answers"]
        for where in answer["asked_on"]
        for vcpu in where["vcpus"]
        for state in where["states"]
    }


def difference(one: Json, other: Json) -> tuple[int, list[str], int, int]:
    """(facts in both, what differs, facts only in the first, facts only in the second)."""
    first, second = facts(one), facts(other)
    both = first.keys() & second.keys()
    words = [
        f"{' '.join(str(part) for part in key)}: {first[key]} against {second[key]}"
        for key in sorted(both, key=str)
        if first[key] != second[key]
    ]
    return len(both), words, len(first.keys() - both), len(second.keys() - both)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("capture", type=Path)
    parser.add_argument("other", type=Path)
    parser.add_argument("--only-one", action="store_true", help="also list what only one of them asked")
    arguments = parser.parse_args(argv)
    try:
        one, other = load(arguments.capture), load(arguments.other)
    except (OSError, ValueError) as error:
        print(f"compare: {error}", file=sys.stderr)
        return 1
    both, words, left, right = difference(one, other)
    for line in words:
        print(line)
    if arguments.only_one:
        first, second = facts(one), facts(other)
        for sign, mine, other_facts in (("<", first, second), (">", second, first)):
            for key in sorted(mine.keys() - other_facts.keys(), key=str):
                print(sign, *key, mine[key])
    print(
        f"{arguments.capture.name}: {both} facts in both, {len(words)} differ; "
        f"{left} only in the first, {right} only in the second"
    )
    return 2 if words else 0


if __name__ == "__main__":
    raise SystemExit(main())
