"""Packs the cases of a boot into the memory that the guest's loop works on, and reads the answers out of it.

Layout of the batch (guest_fuzz.py maps it at BASE): records, the values that are written, then everything that the
guest hands back in one piece: a byte per access, and what each register read.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .guest_fuzz import ACCESSES, BASE, FIRST_VCPU, RECORD
from .probing import probe
from .questions import RESTORE, SINGLE, SVE_VLS, Case, size_of

Json = dict[str, Any]
GET, SET, FINALIZE = probe.GET_ONE_REG, probe.SET_ONE_REG, probe.ARM_VCPU_FINALIZE
# What reads otherwise by itself is not compared with what it read before.
MOVING = probe.COUNTERS
NARROW, WIDE = 8, 256


@dataclass(frozen=True)
class Answer:
    """What KVM said to one write: its errno (0: taken), and what the register read afterwards."""

    errno: int
    read: int | None


Answers = list[Answer] | int


class Region:
    """Growing memory of which addresses are known before it is complete."""

    def __init__(self) -> None:
        self.size = 0
        self.bodies: list[tuple[int, bytes]] = []

    def take(self, size: int) -> int:
        at = self.size
        self.size += size + -size % 8
        return at

    def put(self, body: bytes) -> int:
        at = self.take(len(body))
        self.bodies.append((at, body))
        return at


class Batch:
    """All cases of one boot."""

    def __init__(self, cases: list[Case]) -> None:
        self._cases = cases
        self._region = Region()
        self._records: list[tuple[int, list[tuple[int, int, int, int]]]] = []
        self._plans: list[Json] = []
        self._writes = [self._written(case) for case in cases]
        self._finalize = self._region.put(struct.pack("=i", probe.FINALIZE_SVE))
        records = [self._region.take(RECORD * accesses(case)) for case in cases]
        # From here on the guest fills in and hands back.
        self._answers = self._region.size
        for case, written, at in zip(cases, self._writes, records, strict=True):
            self._plan(case, written, at)
        self._answers_size = self._region.size - self._answers

    def _written(self, case: Case) -> list[int]:
        """Where each value that a case writes is."""
        slot = slot_of(case)
        start = self._region.put(b"".join(value.to_bytes(slot, "little") for _, value in case.writes))
        return [start + slot * index for index in range(len(case.writes))]

    def _plan(self, case: Case, written: list[int], at: int) -> None:
        slot, count = slot_of(case), len(case.writes)
        results = self._region.take(accesses(case))
        plan = {"kind": case.kind, "vcpu": case.vcpu.plain(), "state": case.state, "vcpus": case.vcpus}
        plan |= {"records": at, "results": results, "slot": slot, "count": count, "accesses": accesses(case)}
        # A fresh vCPU takes vector lengths until it is finalised, which a restore does itself.
        plan["finalize"] = case.kind == SINGLE or case.state != "fresh"
        if case.kind == SINGLE:
            for name in ("read", "before", "after"):
                plan[name] = self._region.take(slot * count)
            plan["moving"] = [index for index, (register, _) in enumerate(case.writes) if register in MOVING]
            self._records.append((at, list(self._single(case, written, plan))))
        else:
            plan["read"] = self._region.take(slot * count * case.vcpus)
            self._records.append((at, list(self._restore(case, written, plan))))
        self._plans.append(plan)

    def _single(self, case: Case, written: list[int], plan: Json) -> Iterator[tuple[int, int, int, int]]:
        fd, slot = FIRST_VCPU + case.vcpus - 1, plan["slot"]
        for index, (register, _) in enumerate(case.writes):
            before, read, after = (plan[name] + slot * index for name in ("before", "read", "after"))
            yield fd, GET, register, before
            yield fd, SET, register, written[index]
            yield fd, GET, register, read
            yield fd, SET, register, before
            yield fd, GET, register, after

    def _restore(self, case: Case, written: list[int], plan: Json) -> Iterator[tuple[int, int, int, int]]:
        slot = plan["slot"]
        places = list(zip(case.writes, written, strict=True))
        for vcpu in range(case.vcpus):
            fd = FIRST_VCPU + vcpu
            lengths = [place for place in places if place[0][0] == SVE_VLS]
            for (register, _), at in lengths:
                yield fd, SET, register, at
            if finalizes(case):
                yield fd, FINALIZE, 0, self._finalize
            for (register, _), at in places:
                if register != SVE_VLS:
                    yield fd, SET, register, at
        for vcpu in range(case.vcpus):
            for index, ((register, _), _) in enumerate(places):
                place = plan["read"] + slot * (index + vcpu * len(places))
                yield FIRST_VCPU + vcpu, GET, register, place

    def files(self) -> dict[str, bytes]:
        """The batch and its description, as the guest reads them."""
        memory = bytearray(self._region.size + -self._region.size % 4096)
        for at, body in self._region.bodies:
            memory[at : at + len(body)] = body
        for start, rows in self._records:
            for index, (fd, request, register, place) in enumerate(rows):
                at = start + RECORD * index
                # An access to a register names it beside its value's place; finalising has its argument directly.
                argument = BASE + (place if request == FINALIZE else at + 24)
                struct.pack_into("=5Q", memory, at, fd, request, argument, register, BASE + place)
        description = {"cases": self._plans, "answers": [self._answers, self._answers_size]}
        return {"batch": bytes(memory), "cases.json": json.dumps(description).encode()}

    def answers(self, output: bytes) -> list[list[Answers]]:
        """What was said to every case: per vCPU that was written to, answers or the errno of the machine."""
        head, _, body = output.partition(b"\n")
        refused = {int(number): error for number, error in json.loads(head)["refused"].items()}
        if len(body) != self._answers_size:
            raise ValueError(f"{len(body)} bytes of answers, {self._answers_size} expected")
        memory = memoryview(bytes(self._answers) + body)
        found: list[list[Answers]] = []
        for number, (case, plan) in enumerate(zip(self._cases, self._plans, strict=True)):
            found.append([refused[number]] if number in refused else read_answers(case, plan, memory))
        return found


def slot_of(case: Case) -> int:
    return WIDE if any(size_of(register) > NARROW for register, _ in case.writes) else NARROW


def finalizes(case: Case) -> bool:
    return case.kind == RESTORE and case.state == "fresh" and "sve" in case.vcpu.features


def accesses(case: Case) -> int:
    if case.kind == SINGLE:
        return ACCESSES * len(case.writes)
    return case.vcpus * (2 * len(case.writes) + finalizes(case))


def read_answers(case: Case, plan: Json, memory: memoryview) -> list[Answers]:
    """Errnos are bytes: 0, or what is left of a negative number."""
    count, slot = plan["count"], plan["slot"]
    results = memory[plan["results"] : plan["results"] + plan["accesses"]]

    def value(index: int) -> int:
        at = plan["read"] + slot * index
        register = case.writes[index % count][0]
        return int.from_bytes(memory[at : at + size_of(register)], "little")

    if case.kind == SINGLE:
        return [
            [
                Answer(-results[5 * i + 1] & 255, None if results[5 * i + 2] else value(i))
                for i in range(count)
            ]
        ]
    steps = count + finalizes(case)
    # The order of writing: vector lengths, finalising, all others.
    first = [index for index, (register, _) in enumerate(case.writes) if register == SVE_VLS]
    rest = [index for index in range(count) if index not in first]
    order = [*first, *[-1] * finalizes(case), *rest]
    found: list[Answers] = []
    for vcpu in range(case.vcpus):
        said = dict(zip(order, results[vcpu * steps : (vcpu + 1) * steps], strict=True))
        reads = results[case.vcpus * steps + vcpu * count :]
        found.append(
            [Answer(-said[i] & 255, None if reads[i] else value(i + vcpu * count)) for i in range(count)]
        )
    return found
