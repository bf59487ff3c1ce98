"""Messages of failed restores: which register and field they name, which rule refused, what to do."""

from __future__ import annotations

import collections
import gzip
import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from kvmfw.cli import main
from kvmfw.messages import explain, in_the_way, read_messages
from kvmfw.messages.forms import FORMS, About
from kvmfw.testing import capture_document

DATA = Path(__file__).parent / "data" / "messages" / "run.json.gz"
RUN: dict[str, list[dict[str, Any]]] = json.loads(gzip.decompress(DATA.read_bytes()))
NOT_ABOUT_REGISTERS = ("warning: Machine type", "load of migration failed")


def run(*args: object, **more: Any) -> Result:
    return CliRunner().invoke(main, ["why", *map(str, args)], **more)


# --- what was run ---------------------------------------------------------------------------------


@pytest.mark.parametrize("load", RUN["qemu"], ids=range(len(RUN["qemu"])))
def test_registers_that_qemu_names_are_those_that_kvm_refused(load: dict[str, Any]) -> None:
    lines = [line for line in load["stderr"].splitlines() if line.strip()]
    found = list(read_messages(lines))
    read = {told.line for told in found}
    for number, line in enumerate(lines, start=1):
        assert number in read or any(words in line for words in NOT_ABOUT_REGISTERS), line
    refused = {
        (f"{told.register:#x}", told.errno)
        for told in found
        if told.register is not None and "Could not set" in told.text
    }
    if refused:
        assert refused == {(register, errno) for register, _, errno in load["refused"]}
    for told in found:
        if told.register is not None and told.saved is not None:
            assert [f"{told.register:#x}", f"{told.saved:#x}", told.errno] in load["refused"]
            if told.own is not None and "Could not" in told.text:
                assert told.own != told.saved
                assert explain(told).fields or told.saved >> 64


@pytest.mark.parametrize("load", RUN["others"], ids=range(len(RUN["others"])))
def test_what_other_vmms_say_is_what_kvm_refused(load: dict[str, Any]) -> None:
    found = list(read_messages(load["error"].splitlines()))
    assert found, load["error"]
    assert {told.speaker for told in found} == (
        {"Firecracker"} if load["vmm"] == "firecracker" else {"cloud-hypervisor"}
    )
    for told in found:
        for what, register, value, errno in load["refused"]:
            assert {"EINVAL": "22", "ENOENT": "2"}[told.errno or ""] == errno
            if load["vmm"] == "firecracker" and what == "W":
                assert (told.register, told.saved) in {
                    (int(register, 16), int(value, 16)),
                    (int(register, 16), None),
                }
            else:
                assert told.register is None
                assert told.about is (About.WHOLE if what == "W" else About.VCPU)


# --- what others have reported, with other values -------------------------------------------------

REPORTED: list[dict[str, Any]] = [
    json.loads(line) for line in DATA.with_name("reported.jsonl").read_text().splitlines()
]


@pytest.mark.parametrize("row", REPORTED, ids=range(len(REPORTED)))
def test_messages_of_reports(row: dict[str, Any]) -> None:
    (told,) = read_messages([row["line"]])
    assert (told.speaker, told.about.name.lower(), told.errno) == (row["speaker"], row["about"], row["errno"])
    found = explain(told)
    assert found.name == row["name"]
    assert (found.rule.id if found.rule else None) == row["rule"]
    assert ([told.field] if told.field else [one.name for one in found.fields]) == row["fields"]
    assert found.cure


def test_all_forms_are_among_what_was_run_and_reported() -> None:
    lines = [row["line"] for row in REPORTED]
    lines += [line for load in RUN["qemu"] for line in load["stderr"].splitlines()]
    lines += [load["error"] for load in RUN["others"]]
    read = {(told.speaker, told.about) for told in read_messages(lines)}
    assert read == {(form.speaker, form.about) for form in FORMS}
    for form in FORMS:
        assert any(form.pattern.search(line) for line in lines), form.pattern.pattern


def test_two_messages_in_one_line_are_two() -> None:
    line = "qemu-kvm: Invalid value 233 expecting positive value <= 232   qemu-kvm: Failed to load cpu:cpreg_vmstate_array_len"
    assert [told.about for told in read_messages([line])] == [About.COUNT, About.COUNT]
    nested = "load of migration failed: Operation not permitted: error while loading state for instance 0x0 of device 'cpu'"
    assert [told.about for told in in_the_way([*read_messages([nested])])] == [About.WHOLE]


@pytest.mark.parametrize(
    "line",
    [
        "ok 5 # SKIP ID_DFR0_EL1_PerfMon on AARCH64 only system",
        "not ok 3 ID_DFR0_EL1_PerfMon # SKIP",
        "not ok 80 test_vcpu_ftr_id_regs",
        "not ok 45 selftests: kvm: set_id_regs # exit=254",
        "0x602000000011 0002",
        "ID_AA64PFR0_EL1 is what the guest reads",
    ],
)
def test_lines_that_tell_of_no_register(line: str) -> None:
    assert not [*read_messages([line])]


def test_registers_that_a_test_does_not_know_are_new_and_not_missing() -> None:
    lines = [
        "vregs: There are 1 new registers.",
        "Consider adding them to the blessed reg list with the following lines:",
        "",
        "\tARM64_SYS_REG(3, 0, 10, 2, 4),",
        "vregs: There are 1 missing registers.",
        "The following lines are missing registers:",
        "",
        "\tARM64_SYS_REG(3, 0, 9, 14, 1),",
    ]
    assert [(told.line, told.about) for told in read_messages(lines)] == [(4, About.EXTRA), (8, About.ABSENT)]


def test_what_passed_or_follows_is_left_out_where_something_was_refused() -> None:
    log = "ok 1 ID_AA64ISAR0_EL1_RNDR\nnot ok 2 ID_AA64ISAR0_EL1_TLB\nqemu-kvm: load of migration failed: Invalid argument\n"
    found = json.loads(run("-", "--format", "json", input=log).stdout)["messages"]
    assert [one["fields"] for one in found] == [["TLB"]]
    alone = json.loads(run("ok 1 ID_AA64ISAR0_EL1_RNDR", "--format", "json").stdout)["messages"]
    assert [one["about"] for one in alone] == ["passed"]


def test_bytes_that_are_no_text_are_passed_over(tmp_path: Path) -> None:
    data = b"\xff\xfe Could not set register fw reg 3 to 2 (is 1)\n"
    log = tmp_path / "vm.log"
    log.write_bytes(data)
    for found in (run(log, "--format", "json"), run("-", "--format", "json", input=data)):
        assert [one["name"] for one in json.loads(found.stdout)["messages"]] == ["SMCCC_ARCH_WORKAROUND_3"]


@pytest.mark.parametrize(
    "piece", ["KVM_REG_ARM64 | ", "Failed to set ", "SetOneReg(0x603000000013c020, a(b)", "op0:3 ", "not ok "]
)
def test_a_line_that_repeats_itself_is_read_in_time_that_grows_with_it(piece: str) -> None:
    def seconds(size: int) -> float:
        line = (piece * size)[:size]
        start = time.process_time()
        collections.deque(read_messages([line]), maxlen=0)
        return time.process_time() - start

    assert seconds(1 << 16) < 5


@given(st.lists(st.text()))
def test_any_text_is_read_without_an_error(lines: list[str]) -> None:
    for told in read_messages(lines):
        assert explain(told).cure


@given(st.sampled_from([row["line"] for row in REPORTED[:28]]), st.text(max_size=40), st.text(max_size=40))
def test_what_stands_around_a_message_does_not_matter(line: str, before: str, after: str) -> None:
    (alone,) = read_messages([line])
    found = list(read_messages([f"{before} {line} {after}".replace("\n", " ")]))
    assert (alone.register, alone.about) in {(told.register, told.about) for told in found}


# --- the verb -------------------------------------------------------------------------------------


def test_a_log_of_many_lines_is_one_list(tmp_path: Path) -> None:
    log = tmp_path / "vm.log"
    log.write_text("\n".join(["starting up", REPORTED[0]["line"], "", REPORTED[17]["line"], "shutting down"]))
    found = json.loads(run(log, "--format", "json").stdout)["messages"]
    assert [(one["line"], one["name"]) for one in found] == [(2, "MIDR_EL1"), (4, "SMCCC_ARCH_WORKAROUND_3")]
    piped = json.loads(run("-", "--format", "json", input=log.read_text()).stdout)["messages"]
    assert piped == found
    text = run(log).stdout
    assert "line 2, QEMU: MIDR_EL1" in text
    assert "KVMFW-WA3-LEVEL" in text


def test_what_every_vcpu_says_is_told_once() -> None:
    log = f"{REPORTED[0]['line']}\n" * 16 + REPORTED[17]["line"]
    told = run("-", input=log).stdout
    assert told.count("what to do:") == 2
    assert "line 1 and 15 more, QEMU: MIDR_EL1" in told
    assert len(json.loads(run("-", "--format", "json", input=log).stdout)["messages"]) == 17


def test_with_a_capture_the_register_is_judged(tmp_path: Path) -> None:
    host = tmp_path / "host.json"
    host.write_text(json.dumps(capture_document({0x6030000000140003: 1})))
    for value, outcome in (("0x2", "REFUSE"), ("0x1", None)):
        told = run("0x6030000000140003", value, "--host", host, "--format", "json").stdout
        (found,) = json.loads(told)["messages"]
        assert [one["outcome"] for one in found["findings"]] == ([outcome] if outcome else [])


def test_text_that_is_none_says_what_was_expected() -> None:
    found = run("the cat sat on the mat")
    assert found.exit_code == 1
    assert found.output.startswith("kvmfw: no message that kvmfw knows; expected lines of QEMU")
    assert run("0x6030000000140003", "--vm", DATA).exit_code == 1
