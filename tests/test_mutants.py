"""Changes that `python -m tests.mutants` makes: each does something else, and is gone with its child."""

from __future__ import annotations

import time
from pathlib import Path
from types import ModuleType

import pytest

from tests.mutants.changes import Change, changes, exchange
from tests.support.children import in_child
from tests.support.modules import load

SOURCE = '''
LIMIT = 1 + 1

def level(number: int, known: bool = True) -> str:
    """What a number is."""
    if number < 2 and not known:
        raise ValueError(f"{number + 1:>3}")
    names = [name for at, name in enumerate(("low", "high")) if at == (number > 4)]
    return names[0] if known else "nobody's"

class Bits:
    def __init__(self) -> None:
        self.words: list[int] = []

    def add(self, word: int) -> int:
        self.words.append(word | 1)
        self.words.sort()
        while True:
            if len(self.words) != 3:
                break
            self.words.pop()
        total = 0
        for one in self.words:
            if one == 5:
                continue
            total += one << 1
        return (lambda by: total - by)(len(self.words))
'''


@pytest.fixture
def module(tmp_path: Path) -> ModuleType:
    file = tmp_path / "changed.py"
    file.write_text(SOURCE)
    return load(file, "changed")


def answers(module: ModuleType) -> list[object]:
    found: list[object] = []
    for number in range(7):
        for known in (True, False):
            try:
                found.append(module.level(number, known))
            except Exception as error:
                found.append(repr(error))
    bits = module.Bits()
    for word in (8, 4, 6, 2, 16):
        try:
            found += [bits.add(word), list(bits.words)]
        except Exception as error:
            found.append(repr(error))
    return found


def test_changes_of_functions_are_seen_in_what_these_do(module: ModuleType) -> None:
    of_all = changes(Path(str(module.__file__)))
    assert {
        "Lt",
        "And",
        "not gone",
        "gone",
        "Add",
        "Eq",
        "Gt",
        "return None",
        "BitOr",
        "True",
        "NotEq",
        "Break",
    } <= {one.what for one in of_all}
    # What is made once, where a module is loaded, and what nobody runs, is not changed.
    assert min(one.line for one in of_all) > SOURCE.split("def level", maxsplit=1)[0].count("\n")
    before = answers(module)

    def is_seen(change: Change) -> bool:
        try:
            seen: bool = in_child(lambda: exchange(change) and answers(module) != before, 1)
        except TimeoutError:
            return True
        return seen

    assert [str(change) for change in of_all if not is_seen(change)] == []
    assert answers(module) == before


def test_a_child_that_does_not_end_is_ended() -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        in_child(lambda: time.sleep(60), 0.2)
    assert time.monotonic() - began < 10


def test_a_child_that_ends_itself_is_told(tmp_path: Path) -> None:
    with pytest.raises(ChildProcessError):
        in_child(lambda: (_ for _ in ()).throw(ValueError), 10)
    assert in_child(lambda: ["done", tmp_path.name], 10) == ["done", tmp_path.name]
