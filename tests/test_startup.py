"""What a call imports: who asks for the version or judges two files does not wait for tables and charts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kvmfw.cli import VERBS, main

EXAMPLES = Path(__file__).parents[1] / "examples"
HEAVY = {"jinja2", "matplotlib", "msgspec", "numpy", "pyarrow", "scipy"}
ON_A_TERMINAL = {"rich"}
LATER = {"kvmfw.files", "kvmfw.sets", "kvmfw.verdict"}
CAPTURE = min((EXAMPLES / "captures").glob("*.json"))


def imported(program: str) -> set[str]:
    """Run a program in a Python of its own; tell which top-level packages it has imported."""
    text = f"import sys, warnings; warnings.simplefilter('ignore'); {program}; print(*sys.modules, file=sys.stderr)"
    ran = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    names = ran.stderr.split()
    return {*names, *(name.partition(".")[0] for name in names)}


def called(*arguments: str | Path) -> str:
    words = [str(argument) for argument in arguments]
    return f"from kvmfw.cli import main; main({words!r}, standalone_mode=False)"


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_version_and_help_need_nothing_of_tables(option: str) -> None:
    assert not imported(called(option)) & (HEAVY | ON_A_TERMINAL | LATER)


def test_two_files_are_judged_without_readers_of_tables() -> None:
    found = imported(called("validate", EXAMPLES / "vm.json", CAPTURE))
    assert not found & HEAVY
    assert "rich" in found, "the test looks at what was called"


def test_sets_and_hosts_are_read_and_judged_without_readers_of_tables() -> None:
    read = f"kvmfw.RegisterSet.load({str(EXAMPLES / 'vm.json')!r}), kvmfw.Host.load({str(CAPTURE)!r})"
    assert not imported(f"import kvmfw; kvmfw.validate(*({read}))") & (HEAVY | ON_A_TERMINAL)


def test_what_is_imported_later_is_there_when_it_is_asked_for() -> None:
    asked = "import kvmfw; kvmfw.Fleet([], []); kvmfw.Audit; kvmfw.readers.FORMATS; kvmfw.probe.POLICIES; dir(kvmfw)"
    assert "numpy" in imported(asked)
    every = "import kvmfw; assert set(kvmfw.__all__) <= set(dir(kvmfw)); [getattr(kvmfw, name) for name in kvmfw.__all__]"
    imported(every)


@pytest.mark.parametrize("verb", VERBS)
def test_the_list_of_verbs_says_what_each_says_of_itself(verb: str) -> None:
    command = main.get_command(main.make_context("kvmfw", [verb], resilient_parsing=True), verb)
    assert command is not None
    assert command.get_short_help_str(100) == VERBS[verb]
    assert command.name == verb
