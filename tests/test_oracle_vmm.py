"""The oracle's model of the VMMs: one hand-written case per rule of a restore policy, and every real QEMU load."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.oracle import check_qemu, restoring, vmm
from tests.oracle.facts import Answer, accept, refuse, unknown

REALQEMU = Path(__file__).parents[2] / "shared" / "data" / "realqemu"

S = 0x6030_0000_0013_0000
CCSIDR0, CCSIDR3 = 0x6020_0000_0011_0000, 0x6020_0000_0011_0003
ID_AA64PFR1, ID_AA64MMFR3 = S | 0xC021, S | 0xC03B
SCTLR, SCTLR2, PMMIR, OSLSR = S | 0xC080, S | 0xC083, S | 0xC4F6, S | 0x808C
PSCI, WA1, WA2 = (0x6030_0000_0014_0000 + n for n in range(3))
STD, STD_HYP, VENDOR, VENDOR_2 = (0x6030_0000_0016_0000 + n for n in range(4))
TCR2, PIR = restoring.TCR2_EL1, restoring.PIR_EL1
Z0 = 0x6080_0000_0015_0000
SSBS = 0x20


class Host:
    """A KVM in miniature: a list, refusals by (id, value), fixed levels, and two rules that depend on the order."""

    def __init__(
        self,
        own: dict[int, int],
        refused: dict[tuple[int, int], str] | None = None,
        fixed: tuple[int, ...] = (),
    ) -> None:
        self.own, self.values, self.refused, self.fixed = own, dict(own), refused or {}, fixed
        self.unknown: set[int] = set()
        self.written: list[int] = []
        self.finalized = False

    def there(self, register: int) -> bool:
        if register not in self.own:
            return False
        return (
            register not in (TCR2, SCTLR2)
            or ID_AA64MMFR3 not in self.values
            or self.values[ID_AA64MMFR3] != 0
        )

    def write(self, register: int, value: int) -> Answer:
        self.written.append(register)
        if register == restoring.SVE_VLS and self.finalized:
            return refuse("EPERM")
        if register in self.unknown:
            return unknown("a rule")
        if not self.there(register):
            return refuse("ENOENT")
        if (register, value) in self.refused:
            return refuse(self.refused[register, value])
        if register == WA2 and value >= 2:  # 6.12 and later: the VM's own SSBS field decides
            return refuse("EINVAL") if self.values.get(ID_AA64PFR1, 0) & 0xF0 else accept(3)
        if register in self.fixed:
            return accept(self.own[register])
        self.values[register] = value
        return accept(value)

    def doubts(self, register: int) -> bool:  # noqa: ARG002
        return False

    def finalize(self) -> None:
        self.finalized = True

    def read(self, register: int) -> int | None:
        if register == WA2:
            return 0 if self.values.get(ID_AA64PFR1, 0) & 0xF0 else 3
        return self.values.get(register) if self.there(register) else None


def run(policy: str, saved: dict[int, int], host: Host) -> restoring.Restore:
    return vmm.restore(policy, saved, host.own, host)


def regs(*ids: int, value: int = 0) -> dict[int, int]:
    return dict.fromkeys(ids, value)


QEMUS = ("qemu-7.2", "qemu-10.0", "qemu-10.2", "qemu-11.1")
OLD_QEMUS = QEMUS[:3]


@pytest.mark.parametrize("policy", vmm.POLICIES)
def test_the_same_set_on_the_same_host_is_accepted(policy: str) -> None:
    saved = {restoring.X0: 7, PSCI: 0x10001, STD: 1, ID_AA64PFR1: SSBS, SCTLR: 5, CCSIDR0: 9}
    result = run(policy, saved, Host(dict(saved)))
    assert (result.outcome, result.findings, result.exit) == (restoring.Outcome.ACCEPT, [], "completed")


@pytest.mark.parametrize("policy", vmm.POLICIES)
def test_an_unknown_answer_is_unknown_and_a_refusal_outranks_it(policy: str) -> None:
    saved = {ID_AA64PFR1: SSBS, SCTLR: 5, PSCI: 1}
    host = Host(dict(saved))
    host.unknown.add(SCTLR)
    assert run(policy, saved, host).outcome is restoring.Outcome.UNKNOWN
    host = Host(dict(saved), {(PSCI, 1): "EINVAL"})
    host.unknown.add(SCTLR)
    assert run(policy, saved, host).outcome is restoring.Outcome.REFUSE


@pytest.mark.parametrize("policy", vmm.POLICIES)
def test_a_level_that_reads_back_otherwise_is_a_change(policy: str) -> None:
    result = run(policy, {WA1: 1, SCTLR: 0}, Host({WA1: 2, SCTLR: 0}, fixed=(WA1,)))
    assert result.findings == [restoring.Finding(WA1, "changed", 1, now=2)]
    assert result.outcome is restoring.Outcome.CHANGE


# --- QEMU -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", OLD_QEMUS)
def test_more_registers_than_own_fail_before_any_is_written(policy: str) -> None:
    host = Host(regs(SCTLR))
    result = run(policy, regs(SCTLR, VENDOR_2), host)
    assert (result.outcome, result.findings) == (restoring.Outcome.REFUSE, [restoring.Finding(None, "list")])


def test_7_2_writes_nothing_after_a_failed_merge_and_10_0_puts_the_own_list_once() -> None:
    old, new = Host(regs(SCTLR)), Host(regs(SCTLR))
    run("qemu-7.2", regs(SCTLR, VENDOR_2), old)
    run("qemu-10.0", regs(SCTLR, VENDOR_2), new)
    assert (old.written, new.written) == ([], [SCTLR])


@pytest.mark.parametrize("policy", OLD_QEMUS)
def test_a_stream_only_register_below_an_own_one_fails(policy: str) -> None:
    result = run(policy, regs(OSLSR, SCTLR), Host(regs(SCTLR, VENDOR)))
    assert result.findings[0] == restoring.Finding(OSLSR, "list", 0)
    assert result.exit == "failed"


@pytest.mark.parametrize("policy", OLD_QEMUS)
def test_what_was_merged_before_the_walk_failed_is_all_that_10_puts(policy: str) -> None:
    host = Host(regs(SCTLR, PIR, PSCI))
    run(policy, regs(SCTLR, TCR2, PSCI, value=5), host)
    assert host.values == (
        {SCTLR: 0, PIR: 0, PSCI: 0} if policy == "qemu-7.2" else {SCTLR: 5, PIR: 0, PSCI: 0}
    )


@pytest.mark.parametrize("policy", OLD_QEMUS)
@pytest.mark.parametrize("value", [0, 1])
def test_a_stream_only_tail_is_dropped_silently_when_the_length_fits(policy: str, value: int) -> None:
    result = run(policy, {SCTLR: 0, VENDOR_2: value}, Host(regs(PIR, SCTLR)))
    assert (result.exit, result.outcome) == ("completed", restoring.Outcome.CHANGE)
    assert result.findings == [
        restoring.Finding(VENDOR_2, "dropped", value),
        restoring.Finding(PIR, "defaulted", now=0),
    ]


def test_11_1_has_no_length_test_and_tolerates_four_registers() -> None:
    saved = {SCTLR: 0, **regs(TCR2, restoring.PIRE0_EL1, PIR, value=7), VENDOR_2: 0}
    result = run("qemu-11.1", saved, Host(regs(SCTLR)))
    assert (result.exit, result.of("dropped")) == (
        "completed",
        [TCR2, restoring.PIRE0_EL1, PIR, VENDOR_2],
    )


def test_11_1_tolerates_vendor_hyp_bmap_2_only_as_zero() -> None:
    assert run("qemu-11.1", {SCTLR: 0, VENDOR_2: 1}, Host(regs(SCTLR))).of("list") == [VENDOR_2]


def test_11_1_looks_at_the_tail_too() -> None:
    assert run("qemu-11.1", regs(SCTLR, PMMIR), Host(regs(SCTLR))).exit == "failed"


def test_11_1_the_last_stream_only_register_decides() -> None:
    saved = regs(SCTLR, PMMIR, VENDOR_2)
    assert run("qemu-11.1", saved, Host(regs(SCTLR, PSCI))).exit == "completed"
    del saved[VENDOR_2]
    assert run("qemu-11.1", saved, Host(regs(SCTLR, PSCI))).exit == "failed"
    saved[VENDOR_2] = 1
    assert run("qemu-11.1", saved, Host(regs(SCTLR, PSCI))).of("list") == [PMMIR, VENDOR_2]


@pytest.mark.parametrize("policy", QEMUS)
def test_an_own_only_register_appears_with_the_target_default(policy: str) -> None:
    host = Host({SCTLR: 0, VENDOR: 3})
    result = run(policy, regs(SCTLR), host)
    assert result.findings == [restoring.Finding(VENDOR, "defaulted", now=3)]
    assert host.written == [SCTLR, VENDOR] * 2  # it is written, too


@pytest.mark.parametrize("policy", QEMUS)
def test_an_own_only_register_hidden_by_the_saved_id_values_fails_the_load(policy: str) -> None:
    result = run(policy, {ID_AA64MMFR3: 0, SCTLR: 0}, Host({ID_AA64MMFR3: 1, SCTLR: 0, SCTLR2: 0}))
    assert result.findings == [restoring.Finding(SCTLR2, "refused", 0, errno="ENOENT")]
    assert result.exit == "failed"


@pytest.mark.parametrize("policy", ["kvm", "firecracker-1.16", "cloud-hypervisor-53", "crosvm"])
def test_others_do_not_write_own_only_registers_and_a_hidden_one_is_no_change(policy: str) -> None:
    host = Host({ID_AA64MMFR3: 1, SCTLR: 0, SCTLR2: 0})
    result = run(policy, {ID_AA64MMFR3: 0, SCTLR: 0}, host)
    assert (result.findings, SCTLR2 in host.written) == ([], False)
    result = run(policy, {SCTLR: 0}, Host({SCTLR: 0, VENDOR: 3}))
    assert result.findings == [restoring.Finding(VENDOR, "defaulted", now=3)]


@pytest.mark.parametrize("policy", QEMUS)
def test_qemu_writes_on_after_an_error_and_twice(policy: str) -> None:
    host = Host(regs(SCTLR, PSCI, STD), {(SCTLR, 0): "EINVAL", (PSCI, 0): "EINVAL"})
    result = run(policy, regs(PSCI, STD, SCTLR), host)
    assert result.of("refused") == [SCTLR, PSCI]
    assert result.passes == [[SCTLR, PSCI]] * 2
    assert host.written == [SCTLR, PSCI, STD] * 2


def test_qemu_takes_vector_lengths_from_its_own_command_line() -> None:
    host = Host({restoring.SVE_VLS: 3, Z0: 0, SCTLR: 0})
    result = run("qemu-10.2", {restoring.SVE_VLS: 1, Z0: 0, SCTLR: 0}, host)
    assert result.findings == [restoring.Finding(restoring.SVE_VLS, "dropped", 1, now=3)]
    assert restoring.SVE_VLS not in host.written


# --- orders ---------------------------------------------------------------------------------------

# firmware, then system registers, then demux: KVM's list order
IN_LIST_ORDER = {
    restoring.PC: 1,
    restoring.SVE_VLS: 1,
    Z0: 0,
    PSCI: 0,
    WA2: 3,
    VENDOR: 3,
    SCTLR: 0,
    ID_AA64PFR1: 0,
    CCSIDR0: 0,
}
WITHOUT_SVE = {r: v for r, v in IN_LIST_ORDER.items() if restoring.group(r) != restoring.SVE}


def test_kvm_writes_ascending_after_the_vector_lengths_and_never_stops() -> None:
    host = Host({})
    result = run("kvm", IN_LIST_ORDER, host)
    assert host.written == [restoring.SVE_VLS, *sorted(set(IN_LIST_ORDER) - {restoring.SVE_VLS})]
    assert result.of("refused") == host.written


@pytest.mark.parametrize("policy", ["kvm", "firecracker-1.16", "cloud-hypervisor-53"])
def test_vector_lengths_are_written_before_finalization_which_comes_without_them_too(policy: str) -> None:
    host = Host({SCTLR: 0, restoring.SVE_VLS: 3})
    assert run(policy, {SCTLR: 0, restoring.SVE_VLS: 3}, host).outcome is restoring.Outcome.ACCEPT
    assert (host.written, host.finalized) == ([restoring.SVE_VLS, SCTLR], True)
    host = Host({SCTLR: 0})
    run(policy, {SCTLR: 0}, host)
    assert host.finalized


@pytest.mark.parametrize(
    ("policy", "order"),
    [
        (
            "firecracker-1.16",
            [restoring.SVE_VLS, restoring.PC, Z0, PSCI, WA2, VENDOR, SCTLR, ID_AA64PFR1, CCSIDR0],
        ),
        (
            "cloud-hypervisor-53",
            [restoring.SVE_VLS, restoring.PC, Z0, PSCI, WA2, VENDOR, SCTLR, ID_AA64PFR1, CCSIDR0],
        ),
    ],
)
def test_vmms_that_write_in_saved_order(policy: str, order: list[int]) -> None:
    host = Host(IN_LIST_ORDER | {ID_AA64PFR1: 0})
    run(policy, IN_LIST_ORDER, host)
    assert host.written == order


def test_crosvm_writes_system_registers_by_encoding_then_caches_then_firmware() -> None:
    saved = WITHOUT_SVE | regs(vmm.TIMER_CVAL, vmm.TIMER_CNT, restoring.ELR_EL1, restoring.X0, CCSIDR3, WA1)
    host = Host(dict(saved))
    run("crosvm", saved, host)
    system = [ID_AA64PFR1, SCTLR, restoring.ELR_EL1, vmm.TIMER_CNT, vmm.TIMER_CVAL]
    assert host.written == [restoring.PC, restoring.X0, *system, CCSIDR0, CCSIDR3, PSCI, WA1, WA2]


@pytest.mark.parametrize("policy", ["firecracker-1.16", "cloud-hypervisor-53", "crosvm"])
def test_the_first_error_ends_the_restore(policy: str) -> None:
    host = Host({PSCI: 0, WA1: 0}, {(PSCI, 5): "EINVAL", (WA1, 5): "EINVAL"})
    result = run(policy, {PSCI: 5, WA1: 5}, host)
    assert (host.written, result.of("refused"), result.exit) == ([PSCI], [PSCI], "failed")


@pytest.mark.parametrize(
    ("policy", "outcome"),
    [
        ("kvm", restoring.Outcome.ACCEPT),
        ("qemu-10.2", restoring.Outcome.ACCEPT),
        ("qemu-11.1", restoring.Outcome.ACCEPT),
        ("crosvm", restoring.Outcome.ACCEPT),
        ("firecracker-1.16", restoring.Outcome.REFUSE),
        ("cloud-hypervisor-53", restoring.Outcome.REFUSE),
    ],
)
def test_workaround_2_of_a_vm_without_ssbs_depends_on_who_writes_the_id_register_first(
    policy: str, outcome: restoring.Outcome
) -> None:
    result = run(policy, {WA2: 3, ID_AA64PFR1: 0}, Host({WA2: 0, ID_AA64PFR1: SSBS}))
    assert result.outcome is outcome
    assert result.of("refused") == ([WA2] if outcome is restoring.Outcome.REFUSE else [])


def test_workaround_2_accepted_before_ssbs_goes_away_is_raised_afterwards() -> None:
    result = run("firecracker-1.16", {WA2: 0, ID_AA64PFR1: 0}, Host({WA2: 0, ID_AA64PFR1: SSBS}))
    assert result.findings == [restoring.Finding(WA2, "changed", 0, now=3)]


# --- what a VMM cannot or does not save -----------------------------------------------------------


def test_crosvm_loses_the_hypercall_bitmaps() -> None:
    result = run("crosvm", {VENDOR: 1, STD: 1}, Host({VENDOR: 3, STD: 1}))
    assert result.findings == [restoring.Finding(VENDOR, "dropped", 1, now=3)]
    assert result.writes == []


def test_crosvm_cannot_save_a_vcpu_with_sve() -> None:
    result = run("crosvm", {restoring.SVE_VLS: 1}, Host({restoring.SVE_VLS: 1}))
    assert (result.findings, result.outcome) == (
        [restoring.Finding(None, "unsaveable")],
        restoring.Outcome.REFUSE,
    )


def test_cloud_hypervisor_cannot_save_more_than_500_registers() -> None:
    many = regs(*(S + n for n in range(501)))
    assert run("cloud-hypervisor-53", many, Host(many)).findings == [restoring.Finding(None, "unsaveable")]
    assert run("firecracker-1.16", many, Host(many)).outcome is restoring.Outcome.ACCEPT


def test_cloud_hypervisor_writes_vector_registers_only_without_sve() -> None:
    v0 = restoring.VS[0]
    host = Host({v0: 0, SCTLR: 0, restoring.FPSR: 0})
    run("cloud-hypervisor-53", {SCTLR: 0, v0: 0, restoring.FPSR: 0}, host)
    assert host.written == [v0, restoring.FPSR, SCTLR]
    host = Host({restoring.SVE_VLS: 1, restoring.FPSR: 0})
    run("cloud-hypervisor-53", {restoring.SVE_VLS: 1, restoring.FPSR: 0}, host)
    assert host.written == [restoring.SVE_VLS]


def test_only_cloud_hypervisor_writes_before_there_is_a_vgic() -> None:
    assert set(vmm.POLICIES) & vmm.VGIC_COMES_AFTER == {"cloud-hypervisor-52", "cloud-hypervisor-53"}


# --- the words of QEMU, and all real loads --------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "register"),
    [
        ("Could not set register demuxed reg 6020000000110003 to 2 (is 1a)", CCSIDR3),
        (
            "Could not set register system register op0:3 op1:0 crn:1 crm:0 op2:3: unknown to KVM",
            SCTLR2,
        ),
        ("Could not set register fw reg 2 to 3 (is 0)", WA2),
        (
            "x: fw feat reg 3 in the incoming stream but unknown on the destination: fail migration",
            VENDOR_2,
        ),
        ("load of migration failed: Invalid argument", None),
    ],
)
def test_register_names_of_qemu(line: str, register: int | None) -> None:
    assert check_qemu.named(line) == register


@pytest.mark.skipif(not REALQEMU.exists(), reason="the recordings are not here")
def test_every_real_load_ends_as_the_model_says_given_the_refusals_that_were_seen() -> None:
    tally = check_qemu.check(check_qemu.Folder(REALQEMU), check_qemu.replay)
    assert tally.disagreements == []
    assert (
        tally.counts["outcome: compared"] == tally.counts["loads"] - tally.counts["machine type, not judged"]
    )
    assert tally.counts["first refused register: agreed"] > 100


@pytest.mark.skipif(not REALQEMU.exists(), reason="the recordings are not here")
def test_every_real_load_ends_as_predicted_from_facts_only() -> None:
    folder = check_qemu.Folder(REALQEMU)
    tally = check_qemu.check(folder, check_qemu.Predictor(folder, [REALQEMU.parent / "realkvm"]))
    assert [line for line in tally.disagreements if not line.startswith("resaved: changed")] == []
    assert tally.counts["model says unknown"] <= tally.counts["loads"] // 100
