"""Writes a small disagreement as a golden vector: what the host shows, what was written, what KVM answered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .batch import Answer, Answers
from .judging import Judged, words
from .minimise import Search
from .probing import probe
from .questions import Case, vcpus_of

Json = dict[str, Any]
IDENTIFICATION = range(0x603000000013C000, 0x603000000013C040)
# Their fields tell of a vGIC, and a vCPU without one loses them when it runs: a set of the fresh values is refused then.
GIC_HOLDERS = (0x603000000013C009, 0x603000000013C020)
LEVELS = (0x6030000000140001, 0x6030000000140002, 0x6030000000140003)
ORDER = ("ACCEPT", "CHANGE", "REFUSE")


def shown_host(capture: Json, case: Case) -> Json:
    """The vCPU as a host of a vector: the registers that are written, and those that rules look at."""
    written = {register for register, _ in case.writes}
    values: dict[int, int] = next((values for vcpu, values in vcpus_of(capture) if vcpu == case.vcpu), {})
    masks = next(
        (group["masks"] for group in capture["writable_masks"] if case.vcpu.name in group["vcpus"]), None
    )
    host: Json = {"kernel": capture["host"]["kernel"]}
    host["registers"] = {
        hex(register): hex(value)
        for register, value in values.items()
        if register in written or register in IDENTIFICATION
    }
    host |= {"masks": masks, "features": list(case.vcpu.features), "vgic": case.vcpu.vgic}
    host |= {"enabled": list(case.vcpu.enabled), "pmu_initialised": case.vcpu.pmu}
    return host | {"vulnerabilities": capture["host"].get("vulnerabilities", {})}


def finding(register: int, value: int, answer: Answer, fresh: str | None) -> Json | None:
    """What KVM answered to one write, in the words of a verdict; None where it is simply kept."""
    said, _ = words(answer, register, value)
    if said == "kept":
        return None
    if said == "refused":
        return {"register": hex(register), "effect": "refused", "errno": str(probe.errno_name(answer.errno))}
    reads = "0x0" if answer.read is None else hex(answer.read)
    effect = "raised" if register in LEVELS else "dropped" if reads == fresh else "rewritten"
    return {"register": hex(register), "effect": effect, "reads": reads}


def vector(capture: Json, place: str, case: Case, answers: list[Answer], told: str) -> Json:
    """One case in the format of tests/vectors: the fresh values of the host, but for what is written."""
    host = shown_host(capture, case)
    fresh = host["registers"]
    written = {hex(register): hex(value) for register, value in case.writes}
    without = [hex(one) for one in GIC_HOLDERS if hex(one) in fresh and hex(one) not in written]
    saved: Json = {"from": "target", "registers": written}
    outcomes = ["ACCEPT"]
    if case.state != "fresh" and without:
        saved["without"] = without
        outcomes.append("CHANGE")
    pairs = zip(case.writes, answers, strict=True)
    findings = [
        found
        for (register, value), answer in pairs
        if (found := finding(register, value, answer, fresh.get(hex(register)))) is not None
    ]
    outcomes += ["REFUSE" if one["effect"] == "refused" else "CHANGE" for one in findings]
    return {
        "name": f"{place}, {case.state}: {told}",
        "source": f"run: {place}, {case.vcpu.name}",
        "host": host,
        "set": saved,
        "vmm": case.policy,
        "state": case.state,
        "expect": {"outcome": max(outcomes, key=ORDER.index), "findings": findings, "others": "ignored"},
    }


def write_vectors(
    folder: Path, capture: Json, place: str, small: list[tuple[Search, list[Answers], list[Judged]]]
) -> None:
    """All small disagreements of a host in one file of vectors."""
    cases = []
    for search, said, wrong in small:
        answers = said[-1]
        if isinstance(answers, int) or not wrong:
            continue
        told = f"{wrong[0].register or 0:#x} KVM {wrong[0].said}, predicted {wrong[0].predicted}"
        cases.append(vector(capture, place, search.case, answers, told))
    document = {"about": f"Found by fuzzing {place}.", "hosts": {}, "cases": cases}
    (folder / f"{place}.vectors.json").write_text(json.dumps(document, indent=1) + "\n")
