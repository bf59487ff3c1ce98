"""What came is worked on while what comes next is made: in order, whole, and with the faults of a plain loop."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmfw.readers.behind import behind


class WrongError(Exception):
    """A fault of the tests."""


@given(
    st.lists(st.tuples(st.booleans(), st.booleans()), max_size=8),
    st.none() | st.integers(0, 8),
)
def test_what_comes_of_items_is_what_a_loop_makes_of_them(
    items: list[tuple[bool, bool]], breaks: int | None
) -> None:
    """Each item says whether it is short and whether work on it fails; the source itself may break off."""

    def source() -> Iterator[tuple[int, bool, bool]]:
        for at, (short, fails) in enumerate(items):
            if at == breaks:
                raise WrongError("source")
            yield at, short, fails

    def work(item: tuple[int, bool, bool]) -> int:
        if item[2]:
            raise WrongError(f"work on {item[0]}")
        return item[0]

    def told(results: Iterator[int]) -> tuple[list[int], str | None]:
        done: list[int] = []
        try:
            done.extend(results)
        except WrongError as error:
            return done, str(error)
        return done, None

    found, wrong = told(behind(work, source(), lambda item: item[1]))
    expected, fault = told(map(work, source()))
    assert wrong == fault
    if fault is None:
        assert found == expected


def test_no_more_than_three_items_are_made_before_the_first_is_done() -> None:
    go_on = threading.Event()
    made: list[int] = []

    def source() -> Iterator[int]:
        for item in range(6):
            made.append(item)
            yield item
            if item == 1:
                go_on.set()

    def work(item: int) -> tuple[int, int]:
        # Others are asked for meanwhile.
        assert item or go_on.wait(10)
        return item, len(made)

    results = list(behind(work, source(), lambda _: True))
    assert [item for item, _ in results] == list(range(6))
    assert results[0][1] >= 2
    assert all(seen <= item + 3 for item, seen in results)


def test_what_is_wrong_first_is_told_and_what_waits_behind_it_is_not() -> None:
    def work(item: int) -> int:
        if item:
            raise WrongError(f"work on {item}")
        return item

    with pytest.raises(WrongError, match=r"^work on 1$"):
        list(behind(work, range(5), lambda _: True))


def test_an_interrupt_while_the_next_is_made_leaves_nothing_at_work() -> None:
    done: list[int] = []
    at_work = threading.Event()

    def source() -> Iterator[int]:
        yield 1
        assert at_work.wait(10)
        raise KeyboardInterrupt

    def work(item: int) -> int:
        at_work.set()
        done.append(item)
        return item

    with pytest.raises(KeyboardInterrupt):
        list(behind(work, source(), lambda _: True))
    assert done == [1]
    assert not any(thread.name.startswith("kvmfw-behind") for thread in threading.enumerate())


def test_where_there_can_be_no_thread_all_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    where: list[str] = []

    def work(item: int) -> int:
        where.append(threading.current_thread().name)
        return item

    assert list(behind(work, range(3), lambda _: True)) == [0, 1, 2]
    assert where == [threading.main_thread().name] * 3
