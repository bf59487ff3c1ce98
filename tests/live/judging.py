"""Judges the fuzzer's answers three ways: by the engine with the capture's answers (measured), by its rules alone
(derived), and by the oracle.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .batch import MOVING, Answer, Answers
from .predict import Engine, Expected
from .probing import probe
from .questions import SINGLE, Case
from .second import Oracle

MEASURED, DERIVED, ORACLE = WAYS = "measured", "derived", "oracle"
AGREED, UNKNOWN, WRONG = "agreed", "unknown", "wrong"
Json = dict[str, Any]
WORKAROUND_2 = 0x6030000000140002
# X0 to X30, SP and PC
GENERAL = range(0x6030000000100000, 0x6030000000100041, 2)
# What the vCPU is expected to be, and what each write to it.
Thought = tuple[str, list[Expected]]


@dataclass(frozen=True)
class Judged:
    """One answer beside its prediction.  index: of the write; None for the vCPU itself."""

    result: str
    index: int | None
    register: int | None
    value: int | None
    said: str
    predicted: str


@dataclass
class Kind:
    """What many answers with one cause have in common, and the first of them."""

    count: int
    example: str
    places: set[str] = field(default_factory=set)


@dataclass
class Score:
    """Counts of a boot or of many, per way of judging and kind of question, and kinds of what was not agreed."""

    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    kinds: dict[tuple[str, str, str, str, str, str], Kind] = field(default_factory=dict)
    seeds: set[int] = field(default_factory=set)

    def add(self, other: Score) -> None:
        self.counts += other.counts
        self.seeds |= other.seeds
        for key, kind in other.kinds.items():
            mine = self.kinds.setdefault(key, Kind(0, kind.example))
            mine.count += kind.count
            mine.places |= kind.places

    def total(self, way: str, result: str | None = None) -> int:
        return sum(
            number for (one, _, said), number in self.counts.items() if one == way and result in (None, said)
        )

    def share(self, way: str) -> float:
        """Of all answers, those that were not predicted."""
        return self.total(way, UNKNOWN) / max(1, self.total(way))


def words(answer: Answer, register: int, value: int) -> tuple[str, str]:
    """(Outcome, how it is told) of an answer."""
    if answer.errno:
        return "refused", f"refused {probe.errno_name(answer.errno)}"
    if answer.read == value or register in MOVING:
        return "kept", "kept"
    read = "nothing" if answer.read is None else short(hex(answer.read))
    return "changed", f"changed, reads {read}"


def compare(answer: Answer, register: int, value: int, expected: Expected) -> tuple[str, str]:
    """(Result, how the answer is told)."""
    outcome, told = words(answer, register, value)
    if expected.outcome == "unknown":
        return UNKNOWN, told
    same = expected.outcome == outcome or (expected.outcome == "taken" and outcome != "refused")
    if outcome == "refused" and expected.errno is not None:
        same &= expected.errno == probe.errno_name(answer.errno)
    if outcome == "changed" and expected.read_back is not None:
        same &= answer.read == int(expected.read_back, 16)
    # A register that moves by itself may be called changed, too.
    if register in MOVING and outcome == "kept" and expected.outcome == "changed":
        same = True
    return AGREED if same else WRONG, told


def short(text: str) -> str:
    """The ends of a long number."""
    return text if len(text) <= 40 else f"{text[:12]}..{text[-16:]} ({len(text) - 2} digits)"


def tell(expected: Expected) -> str:
    if expected.outcome == "refused":
        return f"refused {expected.errno or ''}".strip()
    if expected.outcome == "changed":
        return f"changed, reads {short(expected.read_back or '?')}"
    return expected.outcome


class Judge:
    """Judges the answers of one boot against its capture; predicts first, and keeps what it predicted."""

    def __init__(self, engine: Engine, capture: Json, place: str) -> None:
        self._engine = engine
        self._host = engine.host(capture)
        self._oracle = Oracle(capture)
        self._place = place
        self._predicted: dict[tuple[int, str], Thought | None] = {}

    def predict(self, cases: list[Case]) -> str:
        """Predict every answer each way; the beginning of the predictions' SHA-256."""
        self._predicted = {}
        digest = hashlib.sha256()
        for number, case in enumerate(cases):
            for way in WAYS:
                thought = self._expected(case, way)
                self._predicted[id(case), way] = thought
                digest.update(f"{number} {way} {thought}\n".encode())
        return digest.hexdigest()[:16]

    def _expected(self, case: Case, way: str) -> Thought | None:
        """(What the vCPU is expected to be, what each write is); None where the VMM refuses by itself."""
        derive_only = way == DERIVED
        if case.kind == SINGLE and way == ORACLE:
            return "kept", self._oracle.singles(case)
        if case.kind == SINGLE:
            return "kept", self._engine.singles(self._host, case, derive_only)
        prediction = self._engine.restore(self._host, case, derive_only)
        if prediction.by_vmm:
            return None
        if way == ORACLE:
            prediction = self._oracle.restore(case)
        return prediction.vcpu, [prediction.expected(hex(register)) for register, _ in case.writes]

    def case(self, case: Case, said: list[Answers], way: str) -> Iterator[Judged]:
        """Every answer of a case beside its prediction."""
        key = id(case), way
        expected = self._predicted[key] if key in self._predicted else self._expected(case, way)
        if expected is None:
            return
        vcpu, writes = expected
        for number, answers in enumerate(said):
            if isinstance(answers, int) and case.policy != "kvm" and case.vcpu.enabled:
                # A VMM enables by itself what the host offers; here it was enabled because the set said so.
                continue
            if isinstance(answers, int) and case.state != "fresh":
                # This vCPU does not come into this state (its PMU is not initialised): nothing was asked.
                continue
            if isinstance(answers, int):
                result = {"refused": AGREED, "unknown": UNKNOWN}.get(vcpu, WRONG)
                yield Judged(result, None, None, None, f"vCPU refused {probe.errno_name(answers)}", vcpu)
                continue
            if vcpu == "refused":
                yield Judged(WRONG, None, None, None, "vCPU made", vcpu)
                continue
            for index, ((register, value), answer) in enumerate(zip(case.writes, answers, strict=True)):
                if number and register == WORKAROUND_2:
                    # Written to the second vCPU, it meets the ID registers that the first one's restore left.
                    continue
                result, told = compare(answer, register, value, writes[index])
                yield Judged(result, index, register, value, told, tell(writes[index]))

    def score(self, cases: list[Case], said: list[list[Answers]]) -> Score:
        """All cases of a boot, judged each way."""
        score = Score()
        for way in WAYS:
            for case, answers in zip(cases, said, strict=True):
                for one in self.case(case, answers, way):
                    score.counts[way, case.kind, one.result] += 1
                    if one.result != AGREED:
                        self._note(score, way, case, one)
        return score

    def disagreements(self, cases: list[Case], said: list[list[Answers]]) -> list[tuple[Case, int | None]]:
        """The first of each kind of wrong answer, smaller cases first: what is worth making small."""
        found: dict[tuple[str, ...], tuple[Case, int | None]] = {}
        for case, answers in sorted(
            zip(cases, said, strict=True), key=lambda pair: pair[0].kind, reverse=True
        ):
            for one in self.case(case, answers, MEASURED):
                if one.result == WRONG:
                    found.setdefault((family(one.register), *kind_words(one)), (case, one.index))
        return list(found.values())

    def _note(self, score: Score, way: str, case: Case, one: Judged) -> None:
        key = (way, one.result, case.kind, family(one.register), *kind_words(one))
        vcpu = case.vcpu.name or " ".join(case.vcpu.features)
        also = " through the second vCPU" if case.kind == SINGLE and case.vcpus == 2 else ""
        order = f", order of {case.policy}" if case.kind != SINGLE and len(case.writes) > 1 else ""
        written = "" if one.value is None else f": {one.register:#x} written as {short(hex(one.value))}"
        example = (
            f"{self._place}, vCPU {vcpu}, {case.state}{also}{order}{written}: "
            f"KVM {one.said}; predicted {one.predicted}"
        )
        kind = score.kinds.setdefault(key, Kind(0, example))
        kind.count += 1
        kind.places.add(f"{self._place} {vcpu} {case.state}")


def family(register: int | None) -> str:
    """Registers that are alike, under one name."""
    if register is None:
        return "vCPU"
    if register in GENERAL:
        return "general registers"
    if register >> 16 & 0xFFFF == 0x15 and register != probe.SVE_VLS:
        return "SVE registers"
    return hex(register)


def kind_words(one: Judged) -> tuple[str, str]:
    """What KVM and the engine said, without values."""
    return one.said.split(", reads")[0], one.predicted.split(", reads")[0]
