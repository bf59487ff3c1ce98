"""Register sets that follow from births beside saved ones: the small version of `python -m tests.agreement.births`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import kvmfw
from kvmfw.errors import FormatError
from kvmfw.inventory.birth import Birth, Births
from kvmfw.inventory.guest import as_written_most
from kvmfw.inventory.history import History
from kvmfw.inventory.making import making_of_cpu
from tests.agreement.births import Saved, Tally, check, compare
from tests.test_inventory import DOCUMENTS, N1, births, register

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


@pytest.mark.parametrize(
    ("born", "left"), [("5.10.0-32", 6), ("6.1.0-56", 0), ("6.12.117+deb13", 0), ("7.3.4+deb13", 0)]
)
def test_kernels_leave_in_pmcr_what_a_guest_wrote_or_do_not(born: str, left: int) -> None:
    """P and C reset counters; until 6.3 they stay behind in what is saved (specification, 5.5)."""
    made = births().registers(Birth((N1[born],), making_of_cpu("host"), "qemu"))
    assert made[register("PMCR_EL0")] & 6 == left
    target = kvmfw.Host.from_json(DOCUMENTS[N1["6.12.117+deb13"]])
    lost = {f.name for f in kvmfw.validate(made, target).findings if f.rule == "KVMFW-FIRST-RUN"}
    assert ("PMCCNTR_EL0" in lost, "PMEVCNTR0_EL0" in lost) == (left > 0, left > 0)


@pytest.mark.parametrize(
    ("kernel", "left"), [("5.10.0-32", 6), ("6.1.0-56", 0), ("6.12.117+deb13", 0), ("7.3.4+deb13", 2)]
)
def test_what_a_vm_brought_along_in_pmcr_is_gone_where_the_first_run_writes_it_again(
    kernel: str, left: int
) -> None:
    host = kvmfw.Host.from_json(DOCUMENTS[N1[kernel]])
    control = register("PMCR_EL0")
    assert as_written_most({control: 0x3002}, host, pmu=True)[control] == 0x3000 | left
    assert as_written_most({control: 0x3002}, host, pmu=False)[control] == 0x3002


def test_a_vm_with_a_gicv2_keeps_it_and_is_refused_where_there_is_none() -> None:
    """Libvirt says which it is; a capture says whether its host makes one."""
    making = making_of_cpu("host,pmu=off").with_words({"vgic": False, "vgic_v2": True})
    both = json.loads(DOCUMENTS[N1["6.1.0-56"]])
    both |= {"version": 3, "surroundings": {"VGIC_V2": {"value": "0x1"}}}
    made = Births({"both": json.dumps(both)}, History({"both": "both"}, {"both": "both"}))
    born = made.registers(Birth(("both",), making, "qemu"))
    assert (born.vgic, born.surroundings["VGIC_V2"]) == (False, 1)
    target = kvmfw.Host.from_json(DOCUMENTS[N1["7.3.4+deb13"]])
    verdict = kvmfw.validate(born, target, vmm="qemu-10.0")
    assert ("VGIC_V2", "refused") in {(one.name, one.effect) for one in verdict.findings}
    with pytest.raises(FormatError, match="the VM has a GICv2, and this host makes none"):
        births().registers(Birth((N1["7.3.4+deb13"],), making, "qemu"))
    with pytest.raises(FormatError, match="GICv2 or a GICv3"):
        made.registers(Birth(("both",), making_of_cpu("host,pmu=off"), "qemu"))
