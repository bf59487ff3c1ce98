"""Who should judge firmware registers: what docs/schemes.md counts, on the recordings of the project."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from kvmfw.registers import registers, schemes_of
from tests.agreement import schemes
from tests.agreement.kvm import recordings
from tests.oracle.recordings import Recording

COMMITTED = Path(__file__).parent / "realkvm" / "recordings"


debate = cache(lambda: schemes.debate(COMMITTED))


def test_every_recorded_answer_of_a_firmware_register_is_counted_once_for_each_scheme() -> None:
    counted = debate()
    answers = [
        (write.register, write.errno is None)
        for path in recordings(COMMITTED)
        for series in schemes.firmware_series(Recording(path))
        for write in series.writes
        if schemes.is_debated(write.register)
    ]
    for scheme in schemes.SCHEMES:
        total = counted.total(scheme, real=False)
        assert total.total() == len(answers) > 1000
        assert total[schemes.TAKEN] + total[schemes.WRONG_REFUSE] == sum(takes for _, takes in answers)


def test_levels_are_an_order_where_versions_and_bitmaps_are_none() -> None:
    counted = debate()
    wrong = {
        name
        for (scheme, name), found in counted.real.items()
        if scheme == "signed4" and found[schemes.WRONG_ACCEPT] + found[schemes.WRONG_REFUSE]
    }
    assert "PSCI_VERSION" in wrong
    assert not wrong & {"SMCCC_ARCH_WORKAROUND_1", "SMCCC_ARCH_WORKAROUND_3"}
    text = "\n".join([*schemes.section(counted), *schemes.fleet_section(schemes.EXAMPLES)])
    assert "| signed4 | **all** |" in text
    assert "| nothing |" in text
    assert {one.name for one in registers() if "signed4" in schemes_of(one.id)} == schemes.WHY.keys()
