"""Damaged input of every format: clear errors, never a guess; the table of docs/formats.md is made of these."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from kvmfw import Fleet, readers
from kvmfw.errors import InputError, RowError
from kvmfw.ingest import ingest
from kvmfw.readers.formats import told_of
from kvmfw.testing import tiny_host
from tests.support.damage import (
    INVENTORIES,
    again,
    corrupt,
    cpu_again,
    cut,
    cut_gzip,
    empty,
    json_edit,
    modifiers,
    narrow,
    not_utf8,
    put,
    section,
    setting,
    state,
    stream_edit,
    table_edit,
    text_edit,
    vcpu_named,
    vmstate_edit,
    with_cell,
    with_head,
)
from tests.support.damaged import FACTS
from tests.support.samples import MIDR, REGISTERS, WA1, long_table, write_table

DOCS = Path(__file__).parents[1] / "docs" / "formats.md"
Damage = tuple[Callable[[Path, str], Path], str]


WIDE = {f"{0x6020000000110000:#x}": "0x100000000"}
TABLE: dict[str, Damage] = {
    "cut off": (cut, "damaged or cut off"),
    "empty": (empty, "empty"),
    "corrupt": (corrupt(0.4), "damaged|null|wider|not the id|not text|expected"),
    "column missing": (
        table_edit(lambda table: table.drop_columns(["register"])),
        "no column `register`|no format",
    ),
    "value wider than its register": (table_edit(narrow), "wider|beyond|more than 4 bytes"),
    "register twice in a VM": (table_edit(with_cell("register", MIDR)), "occurs twice"),
}


def firecracker(inside: bool) -> dict[str, Damage]:
    return {
        "cut off": (cut, "ends too early|Expecting|Unterminated|Invalid"),
        "not UTF-8": (not_utf8, "not UTF-8"),
        "digit that is none": (modifiers(setting("bitmap", "0b012"), inside=inside), "is not a bitmap"),
        "value wider than its register": (
            modifiers(
                lambda listed: listed[0].update(addr="0x6020000000110000", bitmap="0b1" + "0" * 40),
                inside=inside,
            ),
            "wider than the register",
        ),
        "register id missing": (
            modifiers(lambda listed: listed[1].pop("addr"), inside=inside),
            "is not a number",
        ),
        "register twice": (modifiers(again, inside=inside), "occurs twice"),
        "bit left to the host": (
            modifiers(setting("bitmap", "0bx" + "0" * 63), inside=inside),
            "leaves to the host",
        ),
    }


def document(key: str) -> dict[str, Damage]:
    def wide(found: Any) -> Any:
        if "registers" in found and isinstance(found["registers"], dict):
            return found | {"registers": WIDE}
        found["vcpus"][0]["values"][0] = "0x10000000000000000"
        return found

    return {
        "cut off": (cut, "ends too early|EOF"),
        "not UTF-8": (not_utf8, "UTF-8|unicode|expected"),
        "key missing": (
            json_edit(lambda found: {k: v for k, v in found.items() if k != key}),
            "missing field",
        ),
        "key unknown": (json_edit(lambda found: found | {"more": 1}), "unknown field"),
        "version unknown": (json_edit(lambda found: found | {"version": 9}), "version 9 is not known"),
        "value wider than its register": (json_edit(wide), "more than|wider|bytes"),
    }


DAMAGES: dict[str, dict[str, Damage]] = {
    "register-set": document("vcpu"),
    "capture": document("host"),
    "parquet": TABLE,
    "arrow": TABLE,
    "csv": {
        "empty": (empty, "empty"),
        "not UTF-8": (not_utf8, "UTF8|UTF-8"),
        "column missing": TABLE["column missing"],
        "number that is none": (text_edit(f"{WA1}", "0xzz"), "the register is `0xzz`"),
        "value wider than its register": TABLE["value wider than its register"],
        "cell missing": (text_edit(f",{WA1},2\n", f",{WA1}\n"), "damaged.*[Ee]xpected 3 columns"),
    },
    "qemu-stream": {
        "cut off": (cut, "cut off"),
        "version unknown": (
            lambda folder, form: with_head(folder, form, b"QEVM\0\0\0\x02"),
            "stream version 2 is not known",
        ),
        "kind of section unknown": (
            lambda folder, form: with_head(folder, form, b"QEVM\0\0\0\x03\x44"),
            "byte 8: 0x44 is not a kind of section",
        ),
        "number of registers wrong": (stream_edit(put(0, struct.pack(">i", -5))), "which cannot be"),
        "ids not ascending": (stream_edit(put(4, b"\xff" * 8)), "expected ascending ids"),
        "array longer than its section": (stream_edit(put(0, struct.pack(">i", 4000))), "which cannot be"),
        "gzip cut off": (cut_gzip, "gzip file is damaged"),
        "vCPU twice": (cpu_again(described=False), "vCPU 0: its section occurs twice"),
        "vCPU described and not there": (cpu_again(described=True), "vCPU 1: the description names it"),
    },
    "qemu-analyze": {
        "cut off": (cut, "ends too early|Expecting|Unterminated"),
        "array missing": (section(lambda found: found.pop("cpreg_vmstate_values")), "is missing"),
        "arrays of different length": (
            section(lambda found: found["cpreg_vmstate_values"].pop()),
            "indexes but",
        ),
        "number that is none": (
            section(lambda found: found["cpreg_vmstate_values"].__setitem__(3, "7")),
            "is not a number",
        ),
        "number with too many bits": (
            section(lambda found: found["cpreg_vmstate_indexes"].__setitem__(3, "0x1" + "0" * 16)),
            "more than 64 bits",
        ),
        "ids not ascending": (
            section(lambda found: found["cpreg_vmstate_indexes"].reverse()),
            "expected ascending ids",
        ),
    },
    "firecracker-fingerprint": firecracker(True)
    | {
        "kernel missing": (
            json_edit(lambda found: found | {"kernel_version": ""}),
            "kernel release is missing",
        )
    },
    "firecracker-template": firecracker(False),
    "cloud-hypervisor": {
        "cut off": (cut, "ends too early|Expecting|Unterminated"),
        "no vCPU": (json_edit(lambda _: {"snapshots": {}}), "no vCPU"),
        "state is not JSON": (
            text_edit('{\\"Kvm\\"', "Kvm"),
            "the state: this is not JSON",
        ),
        "register of a wrong size": (state(lambda found: found["sys_regs"][0].pop()), "expected 16 bytes"),
        "core registers of a wrong size": (
            state(lambda found: found["core_regs"].pop()),
            "expected 864 bytes",
        ),
        "register twice": (
            state(lambda found: found["sys_regs"].append(found["sys_regs"][0])),
            "occurs twice",
        ),
        "no registers": (state(lambda found: found.pop("sys_regs")), "no `sys_regs`"),
        "vCPU twice": (json_edit(vcpu_named("vcpu-0")), "vCPU 0 occurs twice"),
        "vCPU missing": (json_edit(vcpu_named("2")), "vCPU 1 is missing"),
    },
    "firecracker-vmstate": {
        "cut off": (cut, "damaged or cut off"),
        "bit flipped": (vmstate_edit(0.5, seal=False), "checksum"),
        "magic number wrong": (
            lambda folder, form: with_head(folder, form, b"\0\0\xab\xab"),
            "no format that kvmfw reads",
        ),
        "of another architecture": (
            lambda folder, form: with_head(folder, form, bytes.fromhex("0000648684191007")),
            "x86_64",
        ),
        "no vCPU": (vmstate_edit(0.0, seal=True), "no vCPU"),
        "number of registers wrong": (vmstate_edit(None, seal=True), "registers, but"),
    },
    "get-reg-list": {
        "empty": (empty, "empty|no register"),
        "not UTF-8": (not_utf8, "not UTF-8"),
        "line that is none": (
            text_edit("\tKVM_REG_ARM_FW_REG(1),", "\tKVM_REG_FOO(1),"),
            "is not a register",
        ),
        "encoding out of range": (text_edit("(3, 0, 0, 0, 0)", "(3, 9, 0, 0, 0)"), "is not a register"),
        "register twice": (
            text_edit("\tKVM_REG_ARM_FW_REG(1),", "\tARM64_SYS_REG(3, 0, 0, 0, 0),"),
            "occurs twice",
        ),
    },
    "qemu-props": {
        "cut off": (cut, "ends too early|Expecting|Unterminated"),
        "not UTF-8": (not_utf8, "not UTF-8"),
        "field unknown": (text_edit("_EL1_VH", "_EL1_XX"), "names no field"),
        "range out of the field": (text_edit('"max": 1', '"max": 16'), "does not fit a field"),
        "neither bool nor range": (text_edit('"max": 1', '"most": 1'), "expected a bool"),
        "no property": (json_edit(lambda _: {"return": {"pmu": True}}), "no format|no property"),
    },
    **INVENTORIES,
}


def read(path: Path, form: str) -> None:
    if form in FACTS:
        readers.detect(path)
        readers.read_facts(path)
    elif form in INVENTORIES:
        told_of(path, readers.detect(path))
    elif form in ("capture", "firecracker-fingerprint"):
        if form != "capture":
            list(readers.register_sets(path))
        readers.hosts(path)
    else:
        Fleet(path, [tiny_host()])


CASES = [pytest.param(form, name, id=f"{form}: {name}") for form, found in DAMAGES.items() for name in found]


def test_every_format_has_five_kinds_of_damage() -> None:
    assert set(DAMAGES) == set(readers.FORMATS)
    assert all(len(found) >= 5 for found in DAMAGES.values())


@pytest.mark.parametrize(("form", "name"), CASES)
def test_damage_gives_a_clear_error(form: str, name: str, tmp_path: Path) -> None:
    make, words = DAMAGES[form][name]
    with pytest.raises(InputError, match=words) as raised:
        read(make(tmp_path, form), form)
    assert "Traceback" not in str(raised.value)
    assert len(str(raised.value)) < 600


@pytest.mark.parametrize(("form", "name"), CASES)
def test_damage_is_set_aside_and_counts_add_up(form: str, name: str, tmp_path: Path) -> None:
    if form in FACTS:
        pytest.skip("facts about a host are no part of a fleet")
    make, _ = DAMAGES[form][name]
    (tmp_path / "in").mkdir()
    good = tmp_path / "good.csv"
    good.write_text(f"vm,register,value\nother,{WA1},1\n")
    rejects = tmp_path / "rejects.csv"
    damaged = make(tmp_path / "in", form)
    found = ingest([damaged, good], tmp_path / "fleet", on_error="collect", rejects=rejects)
    assert found.rows == found.used + found.rejected
    assert found.rejected > 0 or name in ("bit left to the host", "corrupt"), found
    assert len(rejects.read_text().splitlines()) == found.rejected + 1
    assert found.vms >= 1


def test_damages_are_in_the_documentation() -> None:
    text = DOCS.read_text()
    for form, found in DAMAGES.items():
        rows = [
            line for line in text.splitlines() if line.startswith(f"| `{form}` |") and "damage" not in line
        ]
        listed = " ".join(rows)
        assert all(name in listed for name in found), (form, [name for name in found if name not in listed])


def test_one_bad_row_does_not_stop_the_others(tmp_path: Path) -> None:
    table = with_cell("register", None)(long_table(5))
    path = write_table(tmp_path, "parquet", table)
    found = ingest([path], tmp_path / "fleet", on_error="collect")
    assert (found.rows, found.used, found.rejected, found.vms) == (15, 12, 3, 4)
    assert [(one.row, one.reason.split(" ")[0]) for one in found.rejects] == [
        (3, "row"),
        (4, "the"),
        (5, "row"),
    ]
    with pytest.raises(RowError, match="missing or not a 64-bit number"):
        ingest([path], tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_vms_whose_rows_are_apart_are_named(tmp_path: Path) -> None:
    table = pa.concat_tables([long_table(2), long_table(1)])
    found = ingest([write_table(tmp_path, "parquet", table)], tmp_path / "fleet", on_error="collect")
    assert (found.vms, found.rejected) == (2, len(REGISTERS))
    assert "occurs twice" in found.rejects[0].reason
