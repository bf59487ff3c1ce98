"""Register sets that follow from births beside saved ones: the small version of `python -m tests.agreement.births`."""

from __future__ import annotations

from pathlib import Path

from kvmfw.inventory.birth import Birth
from kvmfw.inventory.making import making_of_cpu
from tests.agreement.births import Saved, Tally, check, compare
from tests.test_inventory import N1, births, register

ROOT = Path(__file__).parents[1]


def test_derived_sets_are_the_saved_ones_but_for_what_guests_write() -> None:
    tally = check([ROOT / "tests" / "realkvm" / "recordings"])
    assert tally.wrong == []
    assert tally.counts["derived"] >= 28
    assert tally.counts["values equal"] > 3000
    assert tally.counts["values that guests write"] < tally.counts["values equal"] / 10
    assert set(tally.not_known) == {"the registers of a nested VM's own hypervisor are its guest's"}


def test_a_difference_would_be_found() -> None:
    made, tally = births(), Tally()
    making = making_of_cpu("host,pmu=off")
    real = made.registers(Birth((N1["7.3.4+deb13"],), making, "qemu")).to_mapping()
    changed = real | {register("PSCI_VERSION"): 0x10000}
    shorter = {id_: value for id_, value in real.items() if id_ != register("PSCI_VERSION")}
    for label, registers in (("same", real), ("changed", changed), ("shorter", shorter)):
        compare(Saved(label, N1["7.3.4+deb13"], making, registers, whole=True), made, tally)
    assert [line.partition(":")[0] for line in tally.wrong] == ["changed", "shorter"]
