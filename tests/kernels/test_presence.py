"""Which registers a host would list: what follows from tables is said, what a running kernel may hide is unknown."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kvmfw.kernels import Descriptor, FieldRow, Kernel, Made, presences
from kvmfw.registers import named

SYSTEM = 0x6030_0000_0013_0000
PLAIN, HIDDEN, PMU, MTE, PIR, POR, NESTED, VALUELESS = (
    SYSTEM | 3 << 14 | number for number in range(0x700, 0x708)
)
CLIDR, MIDR, FIELD = named("CLIDR_EL1"), named("MIDR_EL1"), named("ID_AA64MMFR3_EL1")
CACHES = {0x6020_0000_0011_0000 | number for number in range(14)}
TIMERS = {0x6030_0000_0013_DF19, 0x6030_0000_0013_DF1A, 0x6030_0000_0013_DF02}
PHYSICAL = {0x6030_0000_0013_DF11, 0x6030_0000_0013_DF12, 0x6030_0000_0013_DF01}
FIRMWARE = {0x6030_0000_0014_0000 | number for number in range(4)}
CORE = 0x6030_0000_0010_0000
S1PIE = FieldRow(8, 4, False, True, True, "lower", 0)


def one(
    register: int, visibility: str | None = None, setter: str | None = None, stored: bool = True
) -> Descriptor:
    return Descriptor(register, "access", None, None, setter, visibility, stored, 0, 0)


DESCRIPTORS = [
    one(PLAIN),
    one(HIDDEN, "hidden_visibility"),
    one(PMU, "pmu_visibility"),
    one(MTE, "mte_visibility"),
    one(PIR, "s1pie_visibility"),
    one(POR, "s1poe_visibility"),
    one(NESTED, "sve_el2_visibility"),
    one(VALUELESS, stored=False),
    one(CLIDR, setter="set_clidr"),
]
NEW = Kernel(
    "7.3.4",
    "#1",
    1,
    {FIELD: (S1PIE,)},
    {row.register: row for row in DESCRIPTORS},
    (),
    tuple(sorted(FIRMWARE)),
    "BTF",
    {},
)
OLD = replace(
    NEW,
    release="5.10.0-32-arm64",
    build="#1 SMP Debian 5.10.223-1",
    descriptors={PLAIN: one(PLAIN)},
    invariants=(MIDR, CLIDR),
    firmware=None,
    problems={"firmware registers": "there is no list"},
)


def said(
    kernel: Kernel, words: str = "", listed: set[int] | None = None, field: int | None = None
) -> dict[int, bool | None]:
    made = Made(frozenset(words.split()), frozenset(listed or {CORE, PLAIN}))
    return {one.register: one.listed for one in presences(made, kernel, lambda *_: field)}


def test_tables_say_what_is_there() -> None:
    found = said(NEW)
    assert [found[register] for register in (CORE, PLAIN, HIDDEN, VALUELESS, CLIDR)] == [
        True,
        True,
        False,
        False,
        True,
    ]
    assert {found[register] for register in CACHES | TIMERS | PHYSICAL | FIRMWARE} == {True}


def test_a_register_that_the_kernel_does_not_have_vanishes() -> None:
    gone = SYSTEM | 2 << 14 | 7
    assert said(NEW, listed={gone, 0x6030_0000_0016_0003})[gone] is False
    assert said(NEW, listed={0x6030_0000_0016_0003})[0x6030_0000_0016_0003] is False


@pytest.mark.parametrize(
    ("register", "words", "there"),
    [
        (PMU, "", False),
        (PMU, "pmu_v3", True),
        (MTE, "pmu_v3", False),
        (MTE, "mte", True),
        (NESTED, "sve", False),
    ],
)
def test_how_the_vcpu_is_made_decides(register: int, words: str, there: bool) -> None:
    assert said(NEW, words)[register] is there


@pytest.mark.parametrize(("field", "shown"), [(None, None), (0, False), (1, True), (2, True)])
def test_what_a_field_shows_is_known_as_far_as_the_field(field: int | None, shown: bool | None) -> None:
    for listed in ({PIR, POR}, {PLAIN}):
        found = said(NEW, listed=listed, field=field)
        assert (found[PIR], found[POR]) == (shown, shown)
    assert said(NEW, "has_el2", field=field)[NESTED] is None
    assert said(NEW, "has_el2", field=field)[PIR] is None


def test_an_old_kernel_lists_the_caches_that_exist() -> None:
    some = {0x6020_0000_0011_0000, 0x6020_0000_0011_0002}
    found = said(OLD, listed=some)
    assert {register for register in CACHES if found[register]} == some
    assert {said(OLD, listed=CACHES)[register] for register in CACHES} == {None}
    assert {said(NEW, listed=some)[register] for register in CACHES} == {True}


def test_what_an_old_image_does_not_tell_is_unknown() -> None:
    found = said(OLD, listed={0x6030_0000_0014_0003})
    assert found[MIDR]
    assert found[0x6030_0000_0014_0000]
    assert found[0x6030_0000_0014_0003] is None
    assert {found[register] for register in PHYSICAL} == {None}
    blind = replace(NEW, descriptors=None, problems={"sys_reg_descs": "was not found"})
    assert [said(blind)[register] for register in (CORE, PLAIN, min(CACHES))] == [True, None, None]
