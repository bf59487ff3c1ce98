"""The oracle's rules, each accepted and refused once, and the oracle against recordings of real kernels."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.oracle import Answer, Facts, Vm
from tests.oracle import facts as f
from tests.oracle.check import Tally
from tests.oracle.crossed import Restores
from tests.oracle.fields import ID
from tests.oracle.recordings import Recording
from tests.oracle.vectors import firmware_vectors, id_vectors

DATA = Path(os.environ.get("KVMFW_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))

S = 0x6030000000130000
CORE = 0x6030000000100000
PSCI, WA1, WA2, WA3 = (0x6030000000140000 + n for n in range(4))
STD, STD_HYP, VENDOR, VENDOR_2 = (0x6030000000160000 + n for n in range(4))
PSTATE, X0, V0 = CORE | 0x42, CORE, 0x6040000000100054
PFR0, PFR1, DFR0, DFR0_32 = ID["ID_AA64PFR0"], ID["ID_AA64PFR1"], ID["ID_AA64DFR0"], ID["ID_DFR0"]
MMFR0, MMFR2, MMFR3, CTR = ID["ID_AA64MMFR0"], ID["ID_AA64MMFR2"], ID["ID_AA64MMFR3"], ID["CTR"]
PFR0_32, PFR1_32, AFR0 = ID["ID_PFR0"], ID["ID_PFR1"], S | 0xC00B
MIDR, CLIDR, OSLSR, SCTLR, TCR2 = S | 0xC000, S | 0xC801, S | 0x808C, S | 0xC080, S | 0xC103
PMCR, PMMIR, PMCNTENSET, PMCNTENCLR = S | 0xDCE0, S | 0xC4F6, S | 0xDCE1, S | 0xDCE2
TIMER_CNT, TIMER_CVAL = S | 0xDF1A, S | 0xDF02
CCSIDR = 0x6020000000110000
VLS, Z0 = 0x606000000015FFFF, 0x6080000000150000
MASKS = {
    PFR0: 0xFFFF00F0FF00FFFF,
    PFR1: 0x0F00000F0000F0FF,
    DFR0: 0xF000F00F0F,
    DFR0_32: 0xFFFFFFFF,
    PFR0_32: 0xFFFFFFFF,
    PFR1_32: 0xFFFFFFFF,
    MMFR0: 0xFF00FFFFFFFFFF0F,
    MMFR2: 0xF0FF000FF00FFFFF,
    MMFR3: 0xF0FFF,
    CTR: 0x300FC00F,
    MIDR: 0xFFFFFFFF,
}
LISTED = {
    X0: 0,
    PSTATE: 0x3C5,
    V0: 0,
    PSCI: 0x10003,
    WA1: 2,
    WA2: 0,
    WA3: 1,
    STD: 1,
    STD_HYP: 1,
    VENDOR: 3,
    VENDOR_2: 0,
    TIMER_CNT: 5,
    TIMER_CVAL: 0,
    MIDR: 0x413FD0C1,
    PFR0_32: 0x131,
    PFR1_32: 0x10011001,
    DFR0_32: 0x3000006,
    AFR0: 0,
    PFR0: 0x1100000011111112,
    PFR1: 0x20,
    DFR0: 0x10305406,
    MMFR0: 0x1125,
    MMFR2: 0x1011,
    MMFR3: 0x1,
    SCTLR: 0x30D50980,
    TCR2: 0,
    CLIDR: 0x82000023,
    OSLSR: 0xA,
    CTR: 0x9444C004,
    PMCR: 6 << 11,
    PMCNTENSET: 0,
    PMCNTENCLR: 0,
    PMMIR: 0x8,
    **{CCSIDR + n: 0x700FE01A for n in range(14)},
}
ONLY_NEW = {VENDOR_2, PMMIR}


def fresh(changed: dict[str, int]) -> dict[int, int]:
    return LISTED | {globals()[name]: value for name, value in changed.items()}


def facts(
    release: str = "6.18.15",
    features: int = f.PSCI_0_2 | f.PMU_V3,
    *,
    vgic: bool = False,
    masks: dict[int, int] | None = None,
    caps: frozenset[int] = frozenset(),
    vulnerable: str = "Mitigation: Speculative Store Bypass disabled via prctl",
    **changed: int,
) -> Facts:
    """A host of 6.18; ``changed`` are other fresh values, by the names above."""
    if f.parse_release(release)[:2] >= (6, 7):
        masks = MASKS | (masks or {})
    return Facts(release, features, vgic, fresh(changed), masks, caps, {"spec_store_bypass": vulnerable})


def old(release: str, features: int = f.PSCI_0_2, **changed: int) -> Facts:
    """A host before 6.3: existing caches only, none of the newest registers."""
    gone = ONLY_NEW | {CCSIDR + n for n in range(3, 14)}
    registers = {register: value for register, value in fresh(changed).items() if register not in gone}
    return Facts(release, features, False, registers, None)


KEPT, CHANGED, UNKNOWN = "kept", "reads back", "unknown"


def word(answer: Answer, value: int) -> str:
    if answer.unknown:
        return UNKNOWN
    if answer.errno:
        return answer.errno
    if answer.read_back == value:
        return KEPT
    return f"{CHANGED} {None if answer.read_back is None else hex(answer.read_back)}"


NEW = facts()
OLD_5_4 = old("5.4.200", PSCI=0x10000, WA2=0x12)
OLD_5_10 = old("5.10.223", PSCI=0x10000)
OLD_6_1 = old("6.1.192", PSCI=0x10001)
MAX = 1 << 64

CASES: list[tuple[str, Facts, int, int, str]] = [
    ("other architecture", NEW, 0x4030000000140000, 0, "EINVAL"),
    ("unknown group", NEW, 0x6030000000180000, 0, "ENOENT"),
    ("firmware index unknown", NEW, 0x6030000000140004, 0, "ENOENT"),
    ("firmware index unknown before 5.3", old("4.19.100"), 0x6030000000140004, 0, "EINVAL"),
    ("firmware size", NEW, 0x6020000000140000, 1, "ENOENT"),
    ("psci newest", NEW, PSCI, 0x10003, KEPT),
    ("psci older", NEW, PSCI, 0x2, KEPT),
    ("psci 0.1 with the feature", NEW, PSCI, 0x1, "EINVAL"),
    ("psci 0.1 without the feature", facts(features=0, PSCI=1), PSCI, 0x1, KEPT),
    ("psci 1.0 without the feature", facts(features=0, PSCI=1), PSCI, 0x10000, "EINVAL"),
    ("psci of a newer source", OLD_6_1, PSCI, 0x10003, "EINVAL"),
    ("psci 1.1 on 6.1", OLD_6_1, PSCI, 0x10001, KEPT),
    ("psci high bits", NEW, PSCI, 0x100010000, "EINVAL"),
    ("workaround 1 equal", NEW, WA1, 2, KEPT),
    ("workaround 1 lower", NEW, WA1, 0, f"{CHANGED} 0x2"),
    ("workaround 1 higher", facts(WA1=1), WA1, 2, "EINVAL"),
    ("workaround 3 bit outside", NEW, WA3, 0x10, "EINVAL"),
    ("workaround 2 level 1 on an SSBS host", NEW, WA2, 1, f"{CHANGED} 0x0"),
    ("workaround 2 level 3 on an SSBS host", NEW, WA2, 3, "EINVAL"),
    ("workaround 2 of a 5.4 SSBS host", OLD_5_10, WA2, 0x12, "EINVAL"),
    ("workaround 2 enabled at level 3", facts(WA2=3), WA2, 0x12, f"{CHANGED} 0x3"),
    ("workaround 2 enabled needs level 2", facts(WA2=3), WA2, 0x13, "EINVAL"),
    ("workaround 2 in 5.4: flag kept", OLD_5_4, WA2, 0x2, KEPT),
    ("workaround 2 in 5.4: level 3 above 2", OLD_5_4, WA2, 3, "EINVAL"),
    ("bitmap inside", NEW, VENDOR, 1, KEPT),
    ("bitmap outside", NEW, VENDOR, 4, "EINVAL"),
    ("bitmap unknown to 6.1", OLD_6_1, VENDOR_2, 0, "ENOENT"),
    ("5.10: id register equal", OLD_5_10, DFR0, 0x10305406, KEPT),
    ("5.10: id register lower", OLD_5_10, DFR0, 0x10305106, "EINVAL"),
    ("5.10: CSV2 lowered", OLD_5_10, PFR0, 0x1000000011111112, KEPT),
    ("5.10: CSV2 raised", OLD_5_10, PFR0, 0x1200000011111112, "EINVAL"),
    ("5.10: CSV3 lowered", OLD_5_10, PFR0, 0x0100000011111112, "EINVAL"),
    ("6.1: CSV3 lowered", OLD_6_1, PFR0, 0x0100000011111112, KEPT),
    ("5.10: AArch32 register on a 64-bit host", old("5.10.223", PFR0_32=0, PFR0=0x11), PFR1_32, 1, "EINVAL"),
    (
        "6.1: AArch32 writes ignored",
        old("6.1.192", PFR0_32=0, PFR1_32=0, PFR0=0x11),
        PFR1_32,
        1,
        f"{CHANGED} 0x0",
    ),
    ("6.1: hidden AArch32 register", old("6.1.192", PFR0_32=0, PFR0=0x11), AFR0, 1, "EINVAL"),
    ("6.2: PMUVer lowered", old("6.2.5", f.PSCI_0_2 | f.PMU_V3), DFR0, 0x10305106, KEPT),
    ("6.2: PMUVer removed with a PMU", old("6.2.5", f.PSCI_0_2 | f.PMU_V3), DFR0, 0x10305006, "EINVAL"),
    ("6.2: IMPDEF without a PMU", old("6.2.5", DFR0=0x10305006), DFR0, 0x10305F06, KEPT),
    ("6.6: PMUVer lowered", old("6.6.50", f.PSCI_0_2 | f.PMU_V3), DFR0, 0x10305106, KEPT),
    ("6.6: anything else", old("6.6.50"), MMFR2, 0x1001, "EINVAL"),
    ("field lowered", NEW, MMFR2, 0x1001, KEPT),
    ("field raised", NEW, MMFR2, 0x1012, "EINVAL"),
    ("field fixed", NEW, MMFR2, 0x101011, "EINVAL"),
    ("exact field at its safe value", NEW, MMFR0, 0x11100001125, KEPT),
    ("exact field at another value", NEW, MMFR0, 0x22200001125, "EINVAL"),
    ("inert mask bits keep the limit", NEW, PFR1, 0x100000020, "EINVAL"),
    ("signed field below zero", NEW, MMFR0, 0xF0001125, KEPT),
    ("PFR0: AArch64 at EL0 hidden", NEW, PFR0, 0x1100000011111110, "EINVAL"),
    ("PFR0: the same on 6.12", facts("6.12.43"), PFR0, 0x1100000011111110, KEPT),
    ("PFR0: the same between", facts("6.14.3"), PFR0, 0x1100000011111110, UNKNOWN),
    ("PFR0: MPAM may be the hardware's", NEW, PFR0, 0x1100010011111112, UNKNOWN),
    ("PFR0: MPAM 2 exists nowhere", NEW, PFR0, 0x1100020011111112, "EINVAL"),
    ("MMFR2: NV may be the hardware's", NEW, MMFR2, 0x2001011, UNKNOWN),
    ("MMFR2: NV an ordinary field on 6.12", facts("6.12.117"), MMFR2, 0x2001011, "EINVAL"),
    ("DFR0: IMPDEF PMU dropped", NEW, DFR0, 0x10305F06, f"{CHANGED} 0x10305006"),
    ("DFR0: debug version below 6", NEW, DFR0, 0x10305405, "EINVAL"),
    ("DFR0: signed PMU version", NEW, DFR0, 0x10305806, KEPT),
    ("DFR0: unsigned PMU version", facts("7.1.8"), DFR0, 0x10305806, "EINVAL"),
    ("DFR0: PMU version between", facts("6.12.92"), DFR0, 0x10305806, UNKNOWN),
    ("DFR0: signed PMU version, stable", facts("6.12.90"), DFR0, 0x10305806, KEPT),
    ("DFR0: unsigned PMU version, stable", facts("6.12.94"), DFR0, 0x10305806, "EINVAL"),
    ("ID_DFR0: PerfMon 1 and 2", NEW, DFR0_32, 0x1000006, "EINVAL"),
    ("ID_DFR0: IMPDEF dropped", NEW, DFR0_32, 0xF000006, f"{CHANGED} 0x6"),
    ("ID_DFR0: CopDbg below 6", NEW, DFR0_32, 0x3000005, "EINVAL"),
    ("AArch32 fixed by the mask", facts("6.17.8", masks={PFR0_32: 0}), PFR0_32, 0x130, "EINVAL"),
    ("AArch32 writable by the mask", facts("6.12.117"), PFR0_32, 0x130, KEPT),
    ("CTR: PIPT to VIPT", NEW, CTR, 0x94448004, KEPT),
    ("CTR: reserved L1Ip", NEW, CTR, 0x94444004, "EINVAL"),
    ("CTR: larger line", NEW, CTR, 0x9445C004, "EINVAL"),
    ("MIDR same", NEW, MIDR, 0x413FD0C1, KEPT),
    ("MIDR without the capability", NEW, MIDR, 0x411FD070, "EINVAL"),
    ("MIDR with the capability", facts(caps=frozenset({239})), MIDR, 0x411FD070, KEPT),
    ("MIDR bits above 31", facts(caps=frozenset({239})), MIDR, 1 << 32, "EINVAL"),
    ("CLIDR free from 6.3", NEW, CLIDR, 0x82000023, KEPT),
    ("CLIDR without a level of coherency, IDC set", NEW, CLIDR, 0x23, KEPT),
    ("CLIDR without a level of coherency, IDC clear", facts(CTR=0x8444C004), CLIDR, 0x23, "EINVAL"),
    ("CLIDR reserved bit", NEW, CLIDR, 1 << 47, "EINVAL"),
    ("CLIDR fixed before", OLD_6_1, CLIDR, 0x82000022, "EINVAL"),
    ("CCSIDR other value", NEW, CCSIDR + 4, 0x1FE01A, KEPT),
    ("CCSIDR line too small", NEW, CCSIDR + 4, 0x1FE019, "EINVAL"),
    ("CCSIDR 14", NEW, CCSIDR + 14, 0, "ENOENT"),
    ("CCSIDR before 6.3: same", OLD_6_1, CCSIDR, 0x700FE01A, KEPT),
    ("CCSIDR before 6.3: other", OLD_6_1, CCSIDR, 0x701FE01A, "EINVAL"),
    ("CCSIDR before 6.3: no such cache", OLD_6_1, CCSIDR + 5, 0, "ENOENT"),
    ("OSLSR lock", NEW, OSLSR, 0x8, KEPT),
    ("OSLSR model", NEW, OSLSR, 0x2, "EINVAL"),
    ("plain system register", NEW, SCTLR, MAX - 1, KEPT),
    ("system register not listed", NEW, S | 0xC105, 0, "ENOENT"),
    ("timer value", NEW, TIMER_CVAL, MAX - 1, KEPT),
    ("timer count moves", NEW, TIMER_CNT, 7, f"{CHANGED} None"),
    ("PMCR: counters lowered", NEW, PMCR, 4 << 11 | 1, KEPT),
    ("PMCR: too many counters ignored", NEW, PMCR, 9 << 11, f"{CHANGED} 0x3000"),
    ("PMCR: reserved bits dropped", NEW, PMCR, 0x41003000, f"{CHANGED} 0x3000"),
    ("counters that do not exist", NEW, PMCNTENSET, 0x800000FF, f"{CHANGED} 0x8000003f"),
    ("PMMIR slots hidden", facts("7.3.4"), PMMIR, 0, KEPT),
    ("PMMIR slots raised", facts("7.3.4"), PMMIR, 9, "EINVAL"),
    ("core: general register", NEW, X0, 1, KEPT),
    ("core: misaligned", NEW, CORE | 1, 0, "EINVAL"),
    ("core: beyond", NEW, CORE | 0x100, 0, "ENOENT"),
    ("core: EL1h", NEW, PSTATE, 0x5, KEPT),
    ("core: EL2h without nesting", NEW, PSTATE, 0x9, "EINVAL"),
    ("core: AArch32 user", NEW, PSTATE, 0x10, KEPT),
    ("core: AArch32 supervisor on a 64-bit vCPU", NEW, PSTATE, 0x13, "EINVAL"),
    ("core: V register", NEW, V0, 1, KEPT),
    ("core: V register with SVE", facts(features=f.SVE), V0, 1, "EINVAL"),
    ("SVE absent", NEW, VLS, 1, "ENOENT"),
    ("a kernel after 7.3", facts("7.4.0"), PSCI, 0x10002, UNKNOWN),
]


@pytest.mark.parametrize(
    ("host", "register", "value", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_rule(host: Facts, register: int, value: int, expected: str) -> None:
    assert word(Vm(host).write(register, value), value) == expected


RAN: list[tuple[str, Facts, int, int, str]] = [
    ("bitmap same", NEW, VENDOR, 3, KEPT),
    ("bitmap other", NEW, VENDOR, 1, "EBUSY"),
    ("bitmap outside comes first", NEW, VENDOR, 4, "EINVAL"),
    ("psci", NEW, PSCI, 0x10000, KEPT),
    ("id register same", NEW, MMFR2, 0x1011, KEPT),
    ("id register other", NEW, MMFR2, 0x1001, "EBUSY"),
    ("id register bad", NEW, MMFR2, MAX - 1, "EBUSY"),
    ("GIC gone without a vGIC", NEW, PFR0, 0x1100000010111112, KEPT),
    ("GIC stays with a vGIC", facts(vgic=True), PFR0, 0x1100000011111112, KEPT),
    ("wrapper before EBUSY", NEW, DFR0, 0, "EINVAL"),
    ("6.1 knows no EBUSY", OLD_6_1, PFR0, 0x0100000011111112, KEPT),
    ("MIDR with the capability", facts(caps=frozenset({239})), MIDR, 1, "EBUSY"),
    ("CLIDR", NEW, CLIDR, 0x82000003, KEPT),
    ("PMMIR changed", facts("7.3.4"), PMMIR, 0, "EBUSY"),
    ("PMCR keeps its counters", NEW, PMCR, 4 << 11, f"{CHANGED} 0x3000"),
]


@pytest.mark.parametrize(
    ("host", "register", "value", "expected"), [c[1:] for c in RAN], ids=[c[0] for c in RAN]
)
def test_rule_after_the_vm_ran(host: Facts, register: int, value: int, expected: str) -> None:
    assert word(Vm(host, has_run=True).write(register, value), value) == expected


@pytest.mark.parametrize(("vulnerable", "level"), [("Mitigation: x", 3), ("Vulnerable", 0), ("", None)])
def test_workaround_2_follows_the_ssbs_of_the_vm(vulnerable: str, level: int | None) -> None:
    vm = Vm(facts(vulnerable=vulnerable))
    assert vm.write(WA2, 3).errno == "EINVAL"
    assert vm.write(PFR1, 0).accepted
    assert vm.read(WA2) == level
    answer = vm.write(WA2, 3)
    assert answer.unknown if level is None else (answer.errno == ("EINVAL" if level == 0 else None))


def test_register_is_hidden_once_its_feature_is() -> None:
    vm = Vm(NEW)
    assert vm.write(TCR2, 1).accepted
    assert vm.write(MMFR3, 0).accepted
    assert vm.write(TCR2, 1).errno == "ENOENT"
    before_6_13 = Vm(facts("6.12.117"))
    assert before_6_13.write(MMFR3, 0).accepted
    assert before_6_13.write(TCR2, 1).accepted


def test_set_and_clear_registers_are_one() -> None:
    for release, left in (("6.12.117", 0), ("6.16.12", 3)):
        vm = Vm(facts(release))
        assert vm.write(PMCNTENSET, 3).read_back == 3
        assert vm.write(PMCNTENCLR, 3).read_back == left
        assert vm.read(PMCNTENSET) == left


def test_a_refused_write_leaves_no_trace() -> None:
    vm = Vm(NEW)
    before = {register: vm.read(register) for register in NEW.registers}
    for register in NEW.registers:
        for value in (0, 1, 0x100, MAX - 1):
            if vm.write(register, value).errno is None:
                vm.write(register, NEW.registers[register])
    moving = {TIMER_CNT, PMCNTENSET, PMCNTENCLR, PMCR}
    assert {r: v for r, v in before.items() if r not in moving} == {
        r: vm.read(r) for r in before if r not in moving
    }


def test_a_refused_run_takes_the_gic_but_leaves_registers_writable() -> None:
    vm = Vm(facts("6.16.12", masks={PFR1_32: 0}))
    vm.run(refused=True)
    assert vm.read(PFR1_32) == 0x11001
    assert vm.write(PFR1_32, 0x11001).errno == "EINVAL"
    assert vm.write(MMFR2, 0x1001).accepted


def test_vector_lengths_until_finalized() -> None:
    host = facts(features=f.SVE)
    host.registers.update({VLS: 0b1011, Z0: 0})
    for lengths, expected in (
        (0b1011, None),
        (0b11, None),
        (0, "EINVAL"),
        (0b111, "EINVAL"),
        (0b11011, "EINVAL"),
    ):
        assert Vm(host, finalized=False).write(VLS, lengths).errno == expected
    vm = Vm(host, finalized=False)
    assert vm.write(Z0, 0).errno == "EPERM"
    assert vm.write(VLS, 0b1).accepted
    vm.finalize()
    assert vm.write(VLS, 0b1).errno == "EPERM"
    assert vm.write(Z0, (1 << 256) - 1).read_back == (1 << 128) - 1


def test_aarch32_vcpu_keeps_low_halves() -> None:
    vm = Vm(facts(features=f.EL1_32BIT, PSTATE=0x1D3))
    assert vm.write(X0, 1 << 40 | 7).read_back == 7
    assert vm.write(PSTATE, 0x5).errno == "EINVAL"


def test_frozen_point_releases_are_not_read_as_zero() -> None:
    assert f.parse_release("5.10.0-32-arm64") == (5, 10, None)
    assert f.parse_release("6.12.43+deb12-arm64") == (6, 12, 43)
    assert f.parse_release("6.1.172-216.329.amzn2023.aarch64") == (6, 1, 172)


needs_data = pytest.mark.skipif(not (DATA / "realkvm").is_dir(), reason="no recordings here")


@needs_data
def test_agrees_with_the_kernels_own_functions() -> None:
    for compared, wrong in (firmware_vectors(DATA), id_vectors(DATA)):
        assert compared > 1000
        assert not wrong


@needs_data
def test_agrees_with_a_sample_of_recordings() -> None:
    """The smallest boot of every kernel, and a restore from other kernels."""
    folder = DATA / "realkvm"
    smallest: dict[str, Path] = {}
    for path in sorted(folder.glob("*.json.gz"), key=lambda p: p.stat().st_size):
        if "xrestore" not in path.name:
            smallest.setdefault(path.name.split("__")[0], path)
    tally, restores = Tally(), Restores(folder)
    for path in (*smallest.values(), *sorted(folder.glob("*cortex-a57__xrestore.json.gz"))[-1:]):
        recording = Recording(path)
        for series in (*recording.series(), *restores.series(recording)):
            tally.check(recording.name, series)
    assert tally.wrong == []
    total = tally.total
    assert total["agreed"] > 100_000
    assert total["unknown"] <= 0.01 * total.total()
