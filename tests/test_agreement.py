"""Real kernels' answers, asked of the engine again: measured and derived, without one disagreement.

A few recordings are part of the project; all of them are compared when they stand beside the checkout, and
any folder of recordings can be with ``make agreement RECORDINGS=folder``.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.agreement import kvm, qemu, vectors
from tests.oracle.crossed import Restores
from tests.oracle.recordings import Recording
from tests.realkvm.convert import convert, dump

HERE = Path(__file__).parent / "realkvm" / "recordings"
DATA = Path(os.environ.get("KVMFW_DATA", Path(__file__).parents[2] / "shared" / "data"))
RECORDINGS = kvm.recordings(HERE)


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name.split(".json")[0])
@pytest.mark.parametrize("derive_only", [False, True], ids=["measured", "derived"])
def test_the_engine_says_what_the_kernel_said(path: Path, derive_only: bool) -> None:
    tally = kvm.Tally()
    kvm.check(Recording(path), Restores(HERE), derive_only=derive_only, tally=tally)
    assert tally.total.total() > 30_000
    assert tally.wrong == []
    share = tally.total[kvm.UNKNOWN] / tally.total.total()
    assert share <= (0.03 if derive_only else 0.005), tally.registers


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name.split(".json")[0])
def test_a_capture_is_compact(path: Path) -> None:
    assert len(dump(convert(Recording(path).raw, path.name))) < 150_000


def test_a_wrong_answer_is_seen() -> None:
    """The comparison itself: a kernel that answers otherwise is a disagreement."""
    recording = Recording(HERE / "6.12.117+deb13-arm64__neoverse-v1__default.json.gz")
    raw = recording.raw["configs"]["psci02"]["fw"]["fresh"]["0x6030000000140003"]
    raw["accepted"].remove("0x1")
    tally, honest = kvm.Tally(), Recording(recording.path)
    judge = kvm.Judge(honest, derive_only=False)
    for series in recording.series():
        if series.kind == "firmware" and series.config.name == "psci02" and series.label == "fresh":
            judge.single(series, tally)
    assert [line.split(":")[0] for line in tally.wrong] == ["wrong accept"]


@pytest.mark.skipif(
    not (DATA / "fw-vectors.json").exists(), reason="the kernels' vectors are not beside this checkout"
)
def test_the_kernels_own_functions_agree() -> None:
    for check, least in ((vectors.firmware, 7000), (vectors.identification, 1100)):
        compared, wrong = check(DATA)
        assert compared >= least
        assert wrong == []


@pytest.mark.skipif(
    not (DATA / "realqemu").exists(), reason="real loads of QEMU are not beside this checkout"
)
def test_real_loads_of_qemu_are_predicted() -> None:
    tally = qemu.check(DATA / "realqemu", [HERE, DATA / "realkvm"])
    assert tally.total["loads"] > 400
    assert tally.total["outcome agreed"] == tally.total["loads"]
    assert tally.wrong == []
