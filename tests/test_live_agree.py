"""Answers of the live runs beside what was predicted: what agrees, what is counted apart, and what is good enough."""

from __future__ import annotations

from typing import Any

import pytest

from tests.live import run as live
from tests.live.agree import Tally, judge, table
from tests.live.predict import Expected, Prediction

Json = dict[str, Any]


def answer(outcome: str, errno: str | None = None, back: str = "0x1") -> Json:
    told: Json = {"register": "0x6030000000140000", "written": "0x1", "outcome": outcome, "read_back": back}
    return told | ({"errno": errno} if errno else {})


@pytest.mark.parametrize(
    ("said", "expected", "agrees"),
    [
        (answer("kept"), Expected("kept"), True),
        (answer("refused", "EINVAL"), Expected("refused", "EINVAL"), True),
        (answer("refused", "EINVAL"), Expected("refused"), True),
        (answer("refused", "EINVAL"), Expected("refused", "ENOENT"), False),
        (answer("refused", "EINVAL"), Expected("kept"), False),
        (answer("kept"), Expected("refused", "EINVAL"), False),
        (answer("changed", back="0x2"), Expected("changed", read_back="0x2"), True),
        (answer("changed", back="0x2"), Expected("changed", read_back="0x3"), False),
        (answer("changed"), Expected("kept"), False),
    ],
)
def test_an_answer_agrees_only_with_the_same_outcome_errno_and_value(
    said: Json, expected: Expected, agrees: bool
) -> None:
    prediction = Prediction(registers={said["register"]: expected})
    tally = judge({"id": "vm", "answers": [said]}, prediction, "target", "kvm")
    assert (tally.disagreements == []) is agrees
    assert tally.answers == 1


def test_a_register_that_moves_by_itself_may_be_said_to_change() -> None:
    told = answer("kept", back="0x0") | {"register": "0x603000000013df19", "written": "0x4"}
    for expected, agrees in ((Expected("changed", read_back="0x0"), True), (Expected("refused"), False)):
        prediction = Prediction(registers={told["register"]: expected})
        assert (
            judge({"id": "vm", "answers": [told]}, prediction, "target", "kvm").disagreements == []
        ) is agrees


def test_a_vmm_enables_only_what_the_host_offers() -> None:
    one = {"id": "vm", "vcpu": {"features": ["psci_0_2"], "enabled": ["writable_imp_id_regs"]}}
    made = {"name": "impid", "features": ["psci_0_2"], "enabled": ["writable_imp_id_regs"]}
    refused = {"vcpus": [made | {"refused": "EINVAL"}]}
    assert live.as_made(one, "kvm", refused) == live.as_made(one, "firecracker", {"vcpus": [made]}) == one
    assert live.as_made(one, "firecracker", refused)["vcpu"] == {"features": ["psci_0_2"], "enabled": []}


def test_what_was_not_predicted_is_counted_apart() -> None:
    prediction = Prediction(registers={"0x6030000000140000": Expected("unknown")})
    tally = judge({"id": "vm", "answers": [answer("kept")]}, prediction, "target", "kvm")
    assert (tally.unknown, tally.disagreements) == (1, [])


@pytest.mark.parametrize("predicted", ["kept", "refused", "unknown"])
def test_a_refused_vcpu_has_to_be_predicted(predicted: str) -> None:
    refused = {"id": "vm", "refused": "EINVAL", "answers": []}
    tally = judge(refused, Prediction(vcpu=predicted), "target", "kvm")
    assert len(tally.disagreements) == (predicted == "kept")
    assert (tally.vcpus_refused, tally.unknown) == (1, predicted == "unknown")
    made = judge({"id": "vm", "answers": [answer("kept")]}, Prediction(vcpu=predicted), "target", "kvm")
    assert len(made.disagreements) == (predicted == "refused")


def test_the_table_has_a_sum() -> None:
    lines = table(
        {("5.10", "6.1"): Tally(sets=1, kept=2), ("6.1", "5.10"): Tally(sets=1, refused=3)}, True
    ).splitlines()
    cells = [cell.strip() for cell in lines[-1].strip("|").split("|")]
    assert cells == ["all", "", "2", "0", "5", "2", "0", "3", "0", "0", "0"]


@pytest.mark.parametrize(
    ("unknown", "kept", "good"), [(0, 100, True), (1, 100, True), (2, 100, False), (0, 0, False)]
)
def test_the_share_of_unpredicted_answers_is_told_and_bounded(unknown: int, kept: int, good: bool) -> None:
    tallies = {("a", "b"): Tally(kept=kept, unknown=unknown)}
    lines, agreed = live.agreement(tallies, [], 0.01)
    assert agreed is good
    assert lines[0].startswith(f"Not predicted: {unknown} of {kept} answers")
    assert f"No disagreements in the {kept - unknown} answers that were predicted." in lines


def test_a_disagreement_is_never_good_enough() -> None:
    told = judge({"id": "vm", "answers": [answer("kept")]}, Prediction(vcpu="refused"), "target", "kvm")
    lines, agreed = live.agreement({("a", "b"): told}, told.disagreements, 1.0)
    assert not agreed
    assert not any(line.startswith("No disagreements") for line in lines)
