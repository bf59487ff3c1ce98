"""Benches: refuse a debug build, choose the size, print and store the ratios."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import kvmfw
from benches.fleets import SHAPES, Synthetic
from benches.race import ROWS, table
from kvmfw import _native

HERE = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fleets", choices=sorted(SHAPES), default=os.environ.get("KVMFW_FLEETS", "tiny"))


def pytest_configure() -> None:
    """Refuse a debug build: its times say nothing."""
    if _native.build_info()[1]:
        raise pytest.UsageError("this is a debug build of kvmfw; benches need a release build")


@pytest.fixture(scope="session")
def made(request: pytest.FixtureRequest) -> Callable[[str], Synthetic]:
    """Give the fleet of a name in the chosen size, one at a time: `large` takes 4 GB."""
    known: dict[str, Synthetic] = {}

    def give(name: str) -> Synthetic:
        if name not in known:
            known.clear()
            shapes = {shape.name: shape for shape in SHAPES[request.config.getoption("--fleets")]}
            known[name] = Synthetic.make(shapes[name])
        return known[name]

    return give


@pytest.fixture(scope="session")
def note() -> Callable[..., None]:
    """Add a row to the table: figure, contender, speed, ratio."""
    return lambda figure, contender, speed, ratio="": ROWS.append((figure, contender, speed, "", ratio))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if ROWS:
        terminalreporter.section("ratios in this run")
        for line in table():
            terminalreporter.write_line(line)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if not ROWS or session.config.getoption("--fleets") != "full" or "KVMFW_RESULTS" not in os.environ:
        return
    packages = ("numpy", "pyarrow", "numba", "duckdb", "polars")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    cpu = next((line.split(":")[1].strip() for line in _cpu_lines() if line.startswith("model name")), "?")
    text = [
        "# Results of the benches",
        "",
        f"{datetime.datetime.now(tz=datetime.UTC):%Y-%m-%d}, {cpu}, {os.cpu_count()} cores shared with others"
        f" (load {os.getloadavg()[0]:.1f}), {platform.platform()}.",
        f"kvmfw {kvmfw.__version__}, Python {platform.python_version()}, {versions}.",
        "Command: `KVMFW_RESULTS=1 pytest benches/test_fleets.py -q --fleets full`.",
        "Contenders take turns of some calls, of which the first does not count; a ratio is that of the medians over rounds.",
        "On a busy machine only ratios mean something, and CPU time more than the clock.",
        "",
        *table(),
        "",
    ]
    (HERE / "RESULTS.md").write_text("\n".join(text))


def _cpu_lines() -> Iterator[str]:
    path = Path("/proc/cpuinfo")
    if path.exists():
        yield from path.read_text().splitlines()
