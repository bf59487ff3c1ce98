"""Writes a small disagreement as a golden vector: what the host shows, what was written, what KVM answered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .batch import Answer, Answers
from .judging import Judged, words
from .minimise import Search
from .probing import probe
from .questions import vcpus_of

Json = dict[str, Any]
ID_FIRST, ID_LAST = 0x603000000013C000, 0x603000000013C03F


def vector(capture: Json, place: str, search: Search, answers: list[Answer], told: str) -> Json:
    """One case in the format of tests/vectors; the host shows the registers written and its ID registers."""
    case = search.case
    wanted = {register for register, _ in case.writes}
    shown: dict[int, int] = next((values for vcpu, values in vcpus_of(capture) if vcpu == case.vcpu), {})
    registers = {
        hex(register): hex(value)
        for register, value in shown.items()
        if register in wanted or ID_FIRST <= register <= ID_LAST
    }
    masks = next(
        (group["masks"] for group in capture["writable_masks"] if case.vcpu.name in group["vcpus"]), None
    )
    host: Json = {"kernel": capture["host"]["kernel"], "registers": registers, "masks": masks}
    host |= {"features": list(case.vcpu.features), "vgic": case.vcpu.vgic, "enabled": list(case.vcpu.enabled)}
    host |= {"vulnerabilities": capture["host"].get("vulnerabilities", {})}
    findings: list[Json] = []
    outcome = "ACCEPT"
    for (register, value), answer in zip(case.writes, answers, strict=True):
        said, _ = words(answer, register, value)
        if said == "refused":
            findings.append({"register": hex(register), "effect": "refused", "errno": told_errno(answer)})
            outcome = "REFUSE"
        elif said == "changed" and answer.read is not None:
            effect = "rewritten" if answer.read else "dropped"
            findings.append({"register": hex(register), "effect": effect, "reads": hex(answer.read)})
            outcome = "CHANGE" if outcome == "ACCEPT" else outcome
    return {
        "name": f"{place}: {told}",
        "source": f"run: {place}, {case.vcpu.name}",
        "host": host,
        "set": {"registers": {hex(register): hex(value) for register, value in case.writes}},
        "vmm": case.policy,
        "state": case.state,
        "expect": {"outcome": outcome, "findings": findings, "others": "ignored"},
    }


def told_errno(answer: Answer) -> str:
    return str(probe.errno_name(answer.errno))


def write_vectors(
    folder: Path, capture: Json, place: str, small: list[tuple[Search, list[Answers], list[Judged]]]
) -> None:
    """All small disagreements of a host in one file of vectors."""
    cases = []
    for search, said, wrong in small:
        answers = said[-1]
        if isinstance(answers, int) or not wrong:
            continue
        one = wrong[0]
        told = f"{one.register or 0:#x} KVM {one.said}, engine {one.predicted}"
        cases.append(vector(capture, place, search, answers, told))
    document = {"about": f"Found by fuzzing {place}.", "hosts": {}, "cases": cases}
    (folder / f"{place}.vectors.json").write_text(json.dumps(document, indent=1) + "\n")
