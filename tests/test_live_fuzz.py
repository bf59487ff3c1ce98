"""The fuzzer's parts that need no emulated machine: questions, batches, judging, keeping, making small."""

from __future__ import annotations

import errno
import json
import struct
from pathlib import Path
from typing import Any

import pytest

import kvmfw
from tests.live import fuzz, guest_fuzz, store, vector
from tests.live.batch import Answer, Answers, Batch
from tests.live.judging import (
    AGREED,
    MEASURED,
    UNKNOWN,
    WRONG,
    Judge,
    Judged,
    compare,
    family,
)
from tests.live.minimise import Search, minimise, searches
from tests.live.predict import Engine, Expected
from tests.live.questions import RESTORE, SINGLE, STATES, SVE_VLS, Case, Material, Questions, Vcpu, size_of
from tests.support import golden

Json = dict[str, Any]
PSCI, BITMAP, PFR0 = 0x6030000000140000, 0x6030000000160000, 0x603000000013C020
COUNTER, SP, VECTOR = 0x603000000013DF1A, 0x603000000010003E, 0x6080000000150000
PLAIN = Vcpu("plain", ("psci_0_2",), False, False, ())
SVE = Vcpu("sve", ("psci_0_2", "sve"), False, False, ())


def capture(*, kernel: str = "6.12.117") -> Json:
    """Two vCPUs, one of them with vectors."""
    registers = [SP, SVE_VLS, VECTOR, PSCI, BITMAP, PFR0]
    plain = ["0x0", None, None, "0x10001", "0x1", "0x11"]
    sve = ["0x0", "0x3", "0x0", "0x10001", "0x1", "0x100000011"]
    vcpus = [
        {"name": "plain", "features": ["psci_0_2"], "vgic": False, "values": plain},
        {"name": "sve", "features": ["psci_0_2", "sve"], "vgic": False, "values": sve},
        {"name": "el2", "features": ["psci_0_2", "has_el2"], "refused": "EINVAL"},
    ]
    host = {"name": "here", "kernel": kernel, "midr": "0x410fd0c1"}
    document = {"format": "kvmfw-capture", "version": 1, "host": host}
    return document | {"registers": [hex(one) for one in registers], "vcpus": vcpus, "writable_masks": []}


def questions(seed: str) -> list[Case]:
    return Questions(Material.of(capture(), [], []), seed).cases(600, 20)


def test_the_same_seed_asks_the_same_and_another_one_something_else() -> None:
    assert questions("1 here") == questions("1 here")
    assert questions("1 here") != questions("2 here")


def test_every_vcpu_is_asked_in_every_state_alone_and_beside_another() -> None:
    cases = questions("1 here")
    singles = {(case.vcpu.name, case.state, case.vcpus) for case in cases if case.kind == SINGLE}
    assert singles == {(name, state, n) for name in ("plain", "sve") for state in STATES for n in (1, 2)}
    registers = {register for case in cases for register, _ in case.writes}
    assert registers > {SP, SVE_VLS, VECTOR, PSCI, BITMAP, PFR0}
    assert any(register >> 14 & 3 == 3 and register >> 11 & 7 == 4 for register in registers)  # EL2
    sizes = [value.bit_length() <= 8 * size_of(register) for case in cases for register, value in case.writes]
    assert all(sizes)
    assert len(sizes) > 600


def test_restores_are_changed_shortened_and_lengthened() -> None:
    restores = [case for case in questions("1 here") if case.kind == RESTORE and len(case.writes) > 1]
    fresh = {(SP, 0), (PSCI, 0x10001), (BITMAP, 1), (PFR0, 0x11)}
    assert any({(SP, 0), (PSCI, 0x10001)} - set(case.writes) for case in restores)
    assert len({frozenset(case.writes) for case in restores}) > 5
    assert any(set(case.writes) >= fresh for case in restores)
    for case in restores:
        assert SVE_VLS not in [register for register, _ in case.writes[1:]]


class Guest:
    """Makes a batch's accesses as the guest's loop does, on registers that are a dictionary."""

    def __init__(self, files: dict[str, bytes], *, refuse: int = -1) -> None:
        self.memory = bytearray(files["batch"])
        self.description = json.loads(files["cases.json"])
        self.refuse = refuse
        self.log: list[tuple[int, str, int]] = []

    def output(self) -> bytes:
        refused = {}
        for number, case in enumerate(self.description["cases"]):
            if number == self.refuse:
                refused[str(number)] = errno.EINVAL
                continue
            registers: dict[tuple[int, int], bytes] = {}
            for index in range(case["accesses"]):
                code = self._access(case["records"] + guest_fuzz.RECORD * index, registers)
                self.memory[case["results"] + index] = -code & 255
        start, size = self.description["answers"]
        head = json.dumps({"refused": refused}).encode() + b"\n"
        return head + bytes(self.memory[start : start + size])

    def _access(self, at: int, registers: dict[tuple[int, int], bytes]) -> int:
        fd, request, argument = struct.unpack_from("=3Q", self.memory, at)
        place = argument - guest_fuzz.BASE
        if request == 0x4004AEC2:
            assert struct.unpack_from("=i", self.memory, place) == (4,)
            self.log.append((fd, "finalize", 0))
            return 0
        register, address = struct.unpack_from("=2Q", self.memory, place)
        cell = slice(address - guest_fuzz.BASE, address - guest_fuzz.BASE + size_of(register))
        if register == BITMAP:
            return errno.ENOENT
        if request == 0x4010AEAC:
            self.log.append((fd, "set", register))
            if register == PFR0:
                return errno.EBUSY
            # This register takes only its low byte.
            whole = bytes(self.memory[cell])
            registers[fd, register] = whole[:1] + bytes(len(whole) - 1) if register == SP else whole
            return 0
        self.memory[cell] = registers.get((fd, register), bytes(size_of(register)))
        return 0


def single(vcpu: Vcpu, *writes: tuple[int, int], state: str = "fresh", vcpus: int = 1) -> Case:
    return Case(SINGLE, vcpu, state, vcpus, "kvm", list(writes))


def test_single_writes_come_back_as_they_were_answered() -> None:
    cases = [single(PLAIN, (SP, 0x1234), (PSCI, 2), (BITMAP, 1), (PFR0, 3)), single(SVE, (VECTOR, 1 << 2000))]
    batch = Batch(cases)
    found = batch.answers(Guest(batch.files()).output())
    first = [Answer(0, 0x34), Answer(0, 2), Answer(errno.ENOENT, None), Answer(errno.EBUSY, 0)]
    assert found == [[first], [[Answer(0, 1 << 2000)]]]


def test_restores_write_lengths_first_then_finalise_and_read_at_the_end() -> None:
    case = Case(RESTORE, SVE, "fresh", 2, "kvm", [(PSCI, 2), (SVE_VLS, 3), (VECTOR, 9)])
    batch = Batch([case, single(PLAIN, (SP, 1))])
    guest = Guest(batch.files())
    found = batch.answers(guest.output())
    answers: Answers = [Answer(0, 2), Answer(0, 3), Answer(0, 9)]
    assert found == [[answers, answers], [[Answer(0, 1)]]]
    one = ["set", "finalize", "set", "set"]
    assert [word for fd, word, _ in guest.log[:8]] == one * 2
    assert [fd for fd, _, _ in guest.log[:8]] == [100] * 4 + [101] * 4
    assert [register for _, _, register in guest.log[:4]] == [SVE_VLS, 0, PSCI, VECTOR]


def test_a_refused_machine_answers_with_its_errno_alone() -> None:
    batch = Batch([single(PLAIN, (SP, 1)), single(PLAIN, (SP, 2))])
    assert batch.answers(Guest(batch.files(), refuse=0).output()) == [[errno.EINVAL], [[Answer(0, 2)]]]


def test_answers_of_another_length_are_an_error() -> None:
    batch = Batch([single(PLAIN, (SP, 1))])
    with pytest.raises(ValueError, match="bytes of answers"):
        batch.answers(Guest(batch.files()).output()[:-1])


def test_the_loop_steps_by_one_record() -> None:
    step = struct.unpack("<13I", guest_fuzz.LOOP)[9]
    assert step & ~(0xFFF << 10) == 0x91000129  # add x9, x9, #
    assert step >> 10 & 0xFFF == guest_fuzz.RECORD


def test_what_is_kept_reads_back_the_same(tmp_path: Path) -> None:
    cases = [
        single(PLAIN, (SP, 5), (PSCI, 2), state="ran", vcpus=2),
        Case(RESTORE, SVE, "fresh", 1, "kvm", [(VECTOR, 1 << 2047)]),
        Case(RESTORE, SVE, "fresh", 1, "kvm", [(VECTOR, 1)]),
    ]
    said: list[list[Answers]] = [[[Answer(0, 5), Answer(22, None)]], [[Answer(0, 1)]], [22]]
    store.save(tmp_path / "one.answers.gz", {"seed": 7}, cases, said)
    assert store.load(tmp_path / "one.answers.gz") == ({"seed": 7}, cases, said)
    assert [path.name for path in tmp_path.iterdir()] == ["one.answers.gz"]


def test_a_sample_keeps_every_vcpu_and_whole_restores(tmp_path: Path) -> None:
    cases = questions("1 here")
    said: list[list[Answers]] = [[[Answer(0, value) for _, value in case.writes]] for case in cases]
    store.save(
        tmp_path / "here.1.answers.gz", {"host": "here", "capture": "here.json", "seed": 1}, cases, said
    )
    (tmp_path / "here.json").write_text(json.dumps(capture()))
    fuzz.sample(tmp_path, tmp_path / "to", most=200)
    assert fuzz.capture_of(tmp_path / "to", "here.json") == capture()
    head, fewer, answers = store.load(tmp_path / "to" / "here.1.answers.gz")
    assert head["seed"] == 1
    places = {(case.vcpu.name, case.state, case.vcpus) for case in cases if case.kind == SINGLE}
    assert {(case.vcpu.name, case.state, case.vcpus) for case in fewer if case.kind == SINGLE} == places
    assert all(case in cases for case in fewer if case.kind == RESTORE)
    count = sum(len(case.writes) for case in fewer)
    assert 100 < count < 400
    assert [[Answer(0, value) for _, value in case.writes] for case in fewer] == [one[0] for one in answers]


@pytest.mark.parametrize(
    ("answer", "expected", "result"),
    [
        (Answer(0, 5), Expected("kept"), AGREED),
        (Answer(0, 4), Expected("kept"), WRONG),
        (Answer(0, 4), Expected("changed", read_back="0x4"), AGREED),
        (Answer(0, 4), Expected("changed", read_back="0x3"), WRONG),
        (Answer(0, 4), Expected("changed"), AGREED),
        (Answer(0, 5), Expected("changed", read_back="0x4"), WRONG),
        (Answer(22, 0), Expected("refused", "EINVAL"), AGREED),
        (Answer(22, 0), Expected("refused", "ENOENT"), WRONG),
        (Answer(22, 0), Expected("kept"), WRONG),
        (Answer(0, 5), Expected("refused", "EINVAL"), WRONG),
        (Answer(0, 5), Expected("unknown"), UNKNOWN),
        (Answer(22, 0), Expected("unknown"), UNKNOWN),
        (Answer(0, 4), Expected("taken"), AGREED),
        (Answer(0, 5), Expected("taken"), AGREED),
        (Answer(22, 0), Expected("taken"), WRONG),
    ],
)
def test_an_answer_agrees_only_with_what_was_predicted(
    answer: Answer, expected: Expected, result: str
) -> None:
    assert compare(answer, PFR0, 5, expected)[0] == result


def test_a_counter_may_read_anything_but_a_refusal_is_one() -> None:
    assert compare(Answer(0, 77), COUNTER, 5, Expected("kept"))[0] == AGREED
    assert compare(Answer(22, 77), COUNTER, 5, Expected("kept"))[0] == WRONG


def judge() -> Judge:
    return Judge(Engine(), capture(), "here")


def test_answers_are_counted_and_told_by_kind() -> None:
    cases = [single(PLAIN, (PSCI, 0x10001), (PSCI, 0x77)), single(PLAIN, (SP, 1), state="ran")]
    one = judge()
    digest = one.predict(cases)
    score = one.score(cases, [[[Answer(0, 0x10001), Answer(0, 0x77)]], [errno.ENOEXEC]])
    assert (score.total(MEASURED), score.total(MEASURED, WRONG)) == (2, 1)
    (kind,) = [kind for key, kind in score.kinds.items() if key[:2] == (MEASURED, WRONG)]
    assert "0x6030000000140000 written as 0x77: KVM kept; predicted refused EINVAL" in kind.example
    assert one.disagreements(cases, [[[Answer(0, 0x10001), Answer(0, 0x77)]], []]) == [(cases[0], 1)]
    assert digest == judge().predict(cases) != judge().predict(cases[:1])


def test_a_set_of_another_kind_of_vcpu_is_judged_as_a_whole() -> None:
    nested = Vcpu("", ("psci_0_2", "has_el2"), False, False, ())
    case = Case(RESTORE, nested, "fresh", 1, "kvm", [(PSCI, 2)])
    one = judge()
    assert [said.result for said in one.case(case, [errno.EINVAL], MEASURED)] == [AGREED]
    assert [said.result for said in one.case(case, [[Answer(0, 2)]], MEASURED)] == [WRONG]


def test_a_refused_vcpu_stays_refused_whatever_else_is_said_of_the_whole() -> None:
    class Finding:
        register, errno, reads, rule = None, None, None, "KVMFW-LIST"

        def __init__(self, outcome: kvmfw.Outcome) -> None:
            self.outcome = outcome

    class Verdict:
        def __init__(self, *outcomes: kvmfw.Outcome) -> None:
            self.findings = [Finding(one) for one in outcomes]

    refuse, change = kvmfw.Outcome.REFUSE, kvmfw.Outcome.CHANGE
    for verdict in (Verdict(refuse, change), Verdict(change, refuse)):
        assert Engine()._translate(verdict).vcpu == "refused"
    assert Engine()._translate(Verdict(change)).vcpu == "changed"


def test_registers_that_are_alike_are_one_family() -> None:
    assert family(0x6030000000100000) == family(SP) == "general registers"
    assert family(VECTOR) == "SVE registers"
    assert family(SVE_VLS) == hex(SVE_VLS)
    assert family(None) == "vCPU"


# ---------------------------------------------------------------- making small

MANY = [(0x6030000000100000 + 2 * index, index) for index in range(60)]


class Boots:
    """Says that a case fails where all of some writes are in it."""

    def __init__(self, *culprits: tuple[int, int]) -> None:
        self.culprits = set(culprits)
        self.count = 0

    def fails(self, asked: list[tuple[Case, int | None]]) -> list[bool]:
        self.count += 1
        return [self.culprits <= set(case.writes) for case, _ in asked]


@pytest.mark.parametrize(
    "culprits", [[MANY[7]], [MANY[7], MANY[8]], [MANY[0], MANY[30], MANY[59]], MANY[10:20]]
)
def test_a_disagreement_comes_down_to_the_writes_that_it_needs(culprits: list[tuple[int, int]]) -> None:
    case = Case(RESTORE, PLAIN, "fresh", 1, "kvm", MANY)
    found = searches([(case, MANY.index(culprits[-1]))])
    boots = Boots(*culprits)
    rounds = minimise(found, boots.fails)
    assert found[0].reproduced
    assert found[0].case.writes == culprits
    assert boots.count == rounds < 24


def test_a_vcpu_that_should_have_been_refused_needs_no_write() -> None:
    found = searches([(Case(RESTORE, PLAIN, "fresh", 1, "kvm", MANY), None)])
    minimise(found, Boots().fails)
    assert found[0].case.writes == []


def test_what_does_not_fail_again_is_not_called_reproduced() -> None:
    found = searches([(Case(RESTORE, PLAIN, "fresh", 1, "kvm", MANY), 0)])
    assert minimise(found, lambda asked: [False] * len(asked)) == 1
    assert not found[0].reproduced


def test_a_single_write_is_asked_alone() -> None:
    found = searches([(single(PLAIN, *MANY), 5)])
    assert found == [Search(single(PLAIN, MANY[5]), MANY[5][0])]
    boots = Boots(MANY[5])
    minimise(found, boots.fails)
    assert (found[0].reproduced, boots.count) == (True, 1)


def test_a_small_disagreement_is_a_vector_that_the_tests_can_read(tmp_path: Path) -> None:
    case = Case(RESTORE, PLAIN, "fresh", 1, "kvm", [(PSCI, 0x77), (SP, 0x1234)])
    said: list[Answers] = [[Answer(0, 0x77), Answer(0, 0x34)]]
    wrong = [Judged(WRONG, 0, PSCI, 0x77, "kept", "refused EINVAL")]
    vector.write_vectors(tmp_path, capture(), "here", [(Search(case, PSCI), said, wrong)])
    document = json.loads((tmp_path / "here.vectors.json").read_text())
    (read,) = [golden.read_case("here", {}, one) for one in document["cases"]]
    assert (read.outcome, read.state) == ("CHANGE", "fresh")
    assert read.registers == {PSCI: 0x77, SP: 0x1234, PFR0: 0x11}
    assert [(one.register, one.effect, one.reads) for one in read.findings] == [(SP, "rewritten", 0x34)]


def test_two_vcpus_are_made_one_after_the_other() -> None:
    log: list[str] = []

    class Vcpu:
        run = write = None

        def __init__(self, number: int) -> None:
            self.number = number
            log.append(f"make {number}")

        def init(self, target: int, features: int) -> int:
            log.append(f"init {self.number} {target} {features}")
            return errno.EINVAL if features == 9 else 0

    assert guest_fuzz.Both(Vcpu).init(5, 1) == 0
    assert log == ["make 0", "init 0 5 1", "make 1", "init 1 5 1"]
    log.clear()
    assert guest_fuzz.Both(Vcpu).init(5, 9) == errno.EINVAL
    assert log == ["make 0", "init 0 5 9"]


def test_the_second_vcpu_of_a_restore_is_not_judged_by_what_the_first_ones_registers_changed() -> None:
    level = 0x6030000000140002
    case = Case(RESTORE, PLAIN, "fresh", 2, "firecracker", [(level, 3), (PSCI, 0x10001)])
    answers: Answers = [Answer(0, 3), Answer(0, 0x10001)]
    said = list(judge().case(case, [answers, answers], MEASURED))
    assert [(one.register, one.value) for one in said] == [(level, 3), (PSCI, 0x10001), (PSCI, 0x10001)]
