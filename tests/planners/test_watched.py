"""A fleet folder that is watched: a fleet and its number change at once."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kvmfw.fleet import Fleet
from kvmfw.planners import watched
from kvmfw.planners.watched import Watched
from tests.test_derived import with_vmms

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_a_fleet_that_is_being_read_has_no_number_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "fleet"
    folder.mkdir()
    for name in ("captures", "hosts.csv", "vms.jsonl"):
        source = EXAMPLES / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    now = Watched(folder, every=0.0)
    first = now.loaded()
    assert first.number == 1
    begun, go_on = threading.Event(), threading.Event()

    class Slow(Fleet):
        @classmethod
        def load(cls, *arguments: Any, **options: Any) -> Fleet:
            begun.set()
            assert go_on.wait(60)
            return Fleet.load(*arguments, **options)

    monkeypatch.setattr(watched, "Fleet", Slow)
    lines = (folder / "vms.jsonl").read_text().splitlines(keepends=True)
    (folder / "vms.jsonl").write_text("".join(lines[:-1]))
    until = time.monotonic() + 60
    while not begun.wait(0.01) and time.monotonic() < until:
        assert now.loaded() is first  # a look that began before the change does not see it
    assert begun.is_set()
    assert now.loaded() is first
    go_on.set()
    until = time.monotonic() + 60
    while now.loaded() is first and time.monotonic() < until:
        time.sleep(0.01)
    second = now.loaded()
    assert second.number == 2
    assert second.snapshot.shape[0] == first.snapshot.shape[0] - 1


@pytest.mark.parametrize(
    ("vmms", "judged"),
    [
        ([""], "kvm"),
        (["qemu-8.2", "qemu-7.2"], "qemu-7.2"),
        (["qemu-7.2", "qemu-11.1"], "qemu"),
        (["crosvm", "qemu-7.2"], "own"),
    ],
)
def test_a_folder_is_judged_by_the_vmms_that_it_tells(
    vmms: list[str], judged: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = with_vmms(tmp_path / "fleet", vmms)
    assert Watched(folder).loaded().snapshot.vmm == judged
    assert ("judged as plain KVM" in caplog.text) == (judged == "kvm")
    assert Watched(folder, vmm="crosvm").loaded().snapshot.vmm == "crosvm"


def test_a_folder_that_is_again_what_it_was_has_no_problem_any_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = with_vmms(tmp_path / "fleet", ["qemu-7.2"])
    now = Watched(folder, every=0.0)
    first = now.loaded()

    def looked(until: Callable[[], bool]) -> None:
        end = time.monotonic() + 60
        while not until() and time.monotonic() < end:
            assert now.loaded() is first
            time.sleep(0.01)
        assert until()

    hosts = (folder / "hosts.csv").rename(tmp_path / "away.csv")
    (folder / "hosts.csv").mkdir()
    looked(lambda: now.problem is not None)
    assert now.loaded().snapshot is first.snapshot, "the older fleet answers"
    said = now.problem
    looked(lambda: now.problem == said)
    assert caplog.text.count("the fleet is kept as it was") == 1, "it is said once, not at every look"
    (folder / "hosts.csv").rmdir()
    hosts.rename(folder / "hosts.csv")
    looked(lambda: now.problem is None)
