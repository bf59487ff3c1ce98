"""Keeps what was asked and answered, so that newer rules can be judged by it without booting again.

A boot is one gzip file of JSON lines: first what was booted and with which seed, then a case a line.  An answer is
0 (taken, and reads what was written) or [errno, what it read].
"""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from .batch import Answer, Answers
from .questions import SINGLE, Case, Vcpu

Json = dict[str, Any]


def packed(answers: Answers, writes: list[tuple[int, int]]) -> Any:
    if isinstance(answers, int):
        return answers
    return [
        0 if (answer.errno, answer.read) == (0, value) else [answer.errno, answer.read]
        for answer, (_, value) in zip(answers, writes, strict=True)
    ]


def unpacked(said: Any, writes: list[tuple[int, int]]) -> Answers:
    if isinstance(said, int):
        return said
    return [
        Answer(0, value) if one == 0 else Answer(one[0], one[1])
        for one, (_, value) in zip(said, writes, strict=True)
    ]


def save(path: Path, head: Json, cases: list[Case], said: list[list[Answers]]) -> None:
    """Write a boot, whole or not at all."""
    lines = [json.dumps(head)]
    for case, answers in zip(cases, said, strict=True):
        line = {"kind": case.kind, "vcpu": case.vcpu.plain(), "state": case.state, "vcpus": case.vcpus}
        line |= {"policy": case.policy, "writes": case.writes}
        line["answers"] = [packed(one, case.writes) for one in answers]
        lines.append(json.dumps(line, separators=(",", ":")))
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(gzip.compress("\n".join(lines).encode(), 9, mtime=0))
    temporary.replace(path)


def fewer(cases: list[Case], said: list[list[Answers]], most: int) -> tuple[list[Case], list[list[Answers]]]:
    """About so many of the answers, of every vCPU and state: each n-th single write, each n-th restore."""
    step = max(1, sum(len(case.writes) * case.vcpus for case in cases) // most)
    kept: list[Case] = []
    answers: list[list[Answers]] = []
    restores = 0
    for case, one in zip(cases, said, strict=True):
        if case.kind == SINGLE:
            kept.append(replace(case, writes=case.writes[::step]))
            answers.append([part if isinstance(part, int) else part[::step] for part in one])
            continue
        if restores % step == 0:
            kept.append(case)
            answers.append(one)
        restores += 1
    return kept, answers


def load(path: Path) -> tuple[Json, list[Case], list[list[Answers]]]:
    """Read a boot."""
    first, *lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    cases, said = [], []
    for text in lines:
        line = json.loads(text)
        writes = [(register, value) for register, value in line["writes"]]
        vcpu = Vcpu.of(line["vcpu"])
        cases.append(Case(line["kind"], vcpu, line["state"], line["vcpus"], line["policy"], writes))
        said.append([unpacked(one, writes) for one in line["answers"]])
    return json.loads(first), cases, said
