"""Numbers from outside: what is no whole number of the right size is told in one sentence, at every door alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import kvmfw
from kvmfw.errors import ArgumentError, InputError, MissingError
from kvmfw.testing import tiny_host, tiny_set

TREAT: dict[str, Any] = {"unknown": "refuse", "change": "accept"}
NONE: list[Any] = [-1, 1 << 64, 10**30, True, False, 0.0, 0.7, float("nan"), None, "x", b"x", [0], 1j]
NONE += [np.int8(-1), np.float64(0.0), np.bool_(False)]


def fleet() -> kvmfw.Fleet:
    return kvmfw.Fleet([tiny_set(name="a")], [tiny_host(name="h")], threads=1)


def rows(ask: Callable[[kvmfw.Snapshot, Any], Any]) -> Callable[[Any], Any]:
    return lambda number: ask(fleet().snapshot(), number)


MISSING: dict[str, Callable[[Any], Any]] = {
    "VmHandle": kvmfw.VmHandle,
    "HostHandle": kvmfw.HostHandle,
    "changes_since": rows(lambda now, number: now.changes_since(number)),
    "class_candidates": rows(lambda now, number: now.class_candidates(number, **TREAT)),
    "candidates": rows(lambda now, number: now.candidates(number, **TREAT)),
    "class_row": rows(lambda now, number: now.class_row(number)),
    "can_empty": rows(lambda now, number: now.can_empty(number, **TREAT)),
    "explain": rows(lambda now, number: now.explain(number, 0)),
    "explain, host": rows(lambda now, number: now.explain(0, number)),
    "validate_pairs": rows(lambda now, number: now.validate_pairs([number], [0])),
    "validate_pairs, host": rows(lambda now, number: now.validate_pairs([0], [number])),
    "candidates_of": rows(lambda now, number: now.candidates_of([number], home="include", **TREAT)),
    "expand": rows(lambda now, number: now.arcs(**TREAT).expand([number])),
    "remove_vms": lambda number: fleet().remove_vms([number]),
    "remove_hosts": lambda number: fleet().remove_hosts([number]),
    "move": lambda number: fleet().move(number, 0),
}
WRONG: dict[str, Callable[[Any], Any]] = {
    "candidates_of, bare": rows(
        lambda now, number: now.candidates_of(
            [number] if isinstance(number, list) else number, home="include", **TREAT
        )
    ),
    "from_mapping, id": lambda number: kvmfw.RegisterSet.from_mapping({_hashable(number): 1}),
    "from_mapping, value": lambda number: kvmfw.RegisterSet.from_mapping({0x6030000000140000: number}),
    "fields_of": kvmfw.fields_of,
}


def _hashable(number: Any) -> Any:
    return tuple(number) if isinstance(number, list) else number


def assert_is_told(error: type[Exception], door: Callable[[Any], Any], number: Any) -> None:
    with pytest.raises(error) as told:
        door(number)
    assert str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("door", MISSING)
@pytest.mark.parametrize("number", NONE, ids=repr)
def test_what_a_number_does_not_name_is_missing(door: str, number: Any) -> None:
    assert_is_told(MissingError, MISSING[door], number)


@pytest.mark.parametrize("door", WRONG)
@pytest.mark.parametrize("number", NONE, ids=repr)
def test_a_wrong_number_is_an_input_error(door: str, number: Any) -> None:
    assert_is_told(InputError, WRONG[door], number)


@pytest.mark.parametrize("threads", [0, 1025, 1 << 31, *(one for one in NONE if one is not None)], ids=repr)
def test_threads_are_some_that_a_machine_may_have(threads: Any) -> None:
    with pytest.raises(ArgumentError):
        kvmfw.Fleet([tiny_set()], [tiny_host()], threads=threads)


@pytest.mark.parametrize("end", [0.7, True, "x", [0]], ids=repr)
def test_ends_of_a_matrix_are_rows(end: Any) -> None:
    for vms in (slice(end), slice(end, None), slice(None, None, end)):
        with pytest.raises(ArgumentError):
            fleet().validate_matrix(vms=vms, **TREAT)


def test_numbers_of_numpy_are_numbers() -> None:
    now = fleet().snapshot()
    kinds: list[Any] = [np.int8, np.uint8, np.int64, np.uint64]
    for kind in kinds:
        zero, one = kind(0), kind(1)
        assert kvmfw.VmHandle(zero) == kvmfw.VmHandle(0) == now.vm(zero)
        assert now.changes_since(zero).generation == now.changes_since(one).generation == 1
        assert now.vm_names[zero] == now.vm_names[-1] == "a"
        assert kvmfw.RegisterSet.from_mapping({0x6030000000140000: one})[0x6030000000140000] == 1


def test_a_generation_that_is_yet_to_come_is_missing() -> None:
    one = fleet()
    with pytest.raises(MissingError, match="generation 2 is yet to come; this is generation 1"):
        one.changes_since(2)
    before = one.snapshot()
    one.move("a", "h")
    assert one.changes_since(2).generation == 2
    with pytest.raises(MissingError):
        before.changes_since(2)


@pytest.mark.parametrize("number", [1, -2, 1 << 64], ids=repr)
def test_names_are_a_sequence(number: int) -> None:
    with pytest.raises(IndexError):
        fleet().vm_names[number]
    for other in (0.7, "a", None):
        with pytest.raises(TypeError):
            fleet().vm_names[other]  # type: ignore[call-overload]


@pytest.mark.parametrize("count", [1, 70, 3000])
def test_names_are_taken_in_any_order(count: int) -> None:
    names = kvmfw.Fleet([tiny_set(name=f"vm ä{row}") for row in range(count)], [tiny_host()]).vm_names
    rows = np.random.default_rng(count).integers(0, count, 5 * count)
    assert names.take(rows) == [names[row] for row in rows.tolist()]
    assert names.take(rows[::2]) == [names[row] for row in rows[::2].tolist()]
    assert names.take(rows[:0]) == []
    for stray in (-1, count, -(1 << 63)):
        with pytest.raises(IndexError, match=f"row {stray} is out of range; there are {count}"):
            names.take(np.array([0, stray, 0]))
