"""Failures that others met in the field, retold with recorded hosts: folders of ``expected.json``.

python -m tests.agreement.field FOLDER

A case names a host, a VM (a register set with some values edited, or a file that another tool wrote) and, by policy, the
outcome of the whole, of registers, their errno or what they read, and whether nothing else may be refused.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kvmfw
from kvmfw import Outcome, readers

CASES = Path(__file__).parents[1] / "data" / "field"


@dataclass
class FieldTally:
    """How many expectations were judged, and each that was not met."""

    judged: int = 0
    wrong: list[str] = field(default_factory=list)


def _text(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode()


def _vm(folder: Path, case: Any) -> kvmfw.RegisterSet:
    if "file" in case:
        (vm,) = readers.register_sets(folder / case["file"])
        return vm
    document = json.loads(_text(folder / f"{case['vm']}.json.gz"))
    registers = {int(register, 16): value for register, value in document["registers"].items()}
    registers |= {int(register, 16): value for register, value in case.get("edit", {}).items()}
    document["registers"] = {f"{register:#x}": value for register, value in registers.items()}
    return kvmfw.RegisterSet.from_json(json.dumps(document))


def differences(verdict: kvmfw.Verdict, expected: Any) -> Iterator[str]:
    """What a verdict says otherwise."""
    if "outcome" in expected and verdict.outcome.name not in expected["outcome"]:
        yield f"outcome {verdict.outcome.name}, right {'/'.join(expected['outcome'])}"
    found = {finding.register: finding for finding in verdict.findings if finding.register is not None}
    registers = {int(register, 16): right for register, right in expected.get("registers", {}).items()}
    for register, right in registers.items():
        finding = found.get(register)
        name, outcome = kvmfw.register_name(register), finding.outcome if finding else Outcome.ACCEPT
        if outcome.name not in right["outcome"]:
            yield f"{name} {outcome.name}, right {'/'.join(right['outcome'])}"
        elif outcome is Outcome.REFUSE and finding and finding.errno != right.get("errno", finding.errno):
            yield f"{name} {finding.errno}, right {right['errno']}"
        reads = int(right["reads"], 16) if "reads" in right else None
        if outcome is Outcome.CHANGE and finding and reads not in (None, finding.reads):
            yield f"{name} reads {finding.reads}, right {right['reads']}"
    if expected.get("only"):
        refused = {register for register, one in found.items() if one.outcome is Outcome.REFUSE}
        yield from (
            f"{kvmfw.register_name(more)} is refused too" for more in sorted(refused - registers.keys())
        )


def check(folder: Path) -> FieldTally:
    """Judge the cases of one folder."""
    tally = FieldTally()
    for case in json.loads((folder / "expected.json").read_text())["cases"]:
        host = kvmfw.Host.from_json(_text(folder / f"{case['host']}.json.gz"))
        vm = _vm(folder, case)
        for policy, expected in case["expect"].items():
            tally.judged += 1
            verdict = kvmfw.validate(vm, host, vmm=policy, state=case.get("state", "fresh"))
            said = "; ".join(differences(verdict, expected))
            if said:
                tally.wrong.append(f"{case['name']} [{policy}]: {said}")
    return tally


def folders(folder: Path) -> list[Path]:
    """Every folder of cases below this one."""
    return sorted(path.parent for path in folder.rglob("expected.json"))


def main(arguments: list[str] | None = None) -> int:
    """Judge and print; 1 when the engine was wrong, 2 when nothing was judged."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?", default=CASES)
    options = parser.parse_args(arguments)
    judged = {folder.name: check(folder) for folder in folders(options.folder)}
    if not any(tally.judged for tally in judged.values()):
        print(f"{options.folder}: nothing was judged: no cases", file=sys.stderr)
        return 2
    empty = [name for name, tally in judged.items() if not tally.judged]
    print(f"not judged: {len(empty)} folders without cases", *empty)
    for name, tally in judged.items():
        print(f"{name:40} {tally.judged:4} judged {len(tally.wrong):4} wrong")
        print(*(f"    {line}" for line in tally.wrong), sep="\n", end="\n" if tally.wrong else "")
    return 1 if any(tally.wrong for tally in judged.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
