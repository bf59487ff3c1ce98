"""Domains of libvirt: which options are known, and that what may change registers is never passed over."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kvmfw.errors import FormatError, InputError
from kvmfw.inventory.making import Making
from kvmfw.inventory.told import Told
from kvmfw.readers.formats import detect, told_of

DATA = Path(__file__).parent / "data" / "inventory"


def libvirt(tmp_path: Path, old: str, new: str) -> Told:
    text = (DATA / "n1-612-a" / "web-1.xml").read_text()
    assert old in text
    path = tmp_path / "vm.xml"
    path.write_text(text.replace(old, new))
    (one,) = told_of(path, "libvirt")
    return one


@pytest.mark.parametrize(
    ("old", "new", "making"),
    [
        (
            "<gic version='3'/>",
            "<gic version='2'/>",
            Making(frozenset({"vgic_v2"}), frozenset({"pmu_v3", "vgic"})),
        ),
        ("<gic version='3'/>", "", Making(off=frozenset({"pmu_v3"}))),
        (
            "<acpi/>",
            "<acpi/><pmu state='off'/>",
            Making(frozenset({"vgic"}), frozenset({"pmu_v3", "vgic_v2"})),
        ),
        ("host-passthrough", "maximum", Making(frozenset({"vgic"}), frozenset({"pmu_v3", "vgic_v2"}))),
        (
            "<acpi/>",
            "<mte state='on'/>",
            Making(frozenset({"vgic", "mte"}), frozenset({"pmu_v3", "vgic_v2"})),
        ),
        (
            "<clock",
            "<qemu:commandline><qemu:arg value='-cpu'/><qemu:arg value='host,kvm-psci-version=1.1'/></qemu:commandline><clock",
            Making(frozenset({"vgic"}), frozenset({"vgic_v2"}), psci=0x10001),
        ),
        (
            "<acpi/>",
            "<acpi/><vmcoreinfo state='on'/>",
            Making(frozenset({"vgic"}), frozenset({"pmu_v3", "vgic_v2"})),
        ),
    ],
)
def test_libvirts_options_are_known(old: str, new: str, making: Making, tmp_path: Path) -> None:
    assert libvirt(tmp_path, old, new).making == making


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("<acpi/>", "<pmu state='on'/>", "`pmu_v3` is said to be on and to be off"),
        ("policy='disable'", "policy='optional'", "is not known: optional"),
        (
            "<clock",
            "<qemu:commandline><qemu:arg value='-global'/></qemu:commandline><clock",
            "may be made otherwise",
        ),
        ("<cpu mode='host-passthrough' check='none'>", "<cpu>", "names no mode"),
        ("</domain>", "</domain><domain type='kvm'></domain>", "several domains"),
        ("machine='virt", "machine='sbsa-ref", "machine `sbsa-ref"),
    ],
)
def test_what_may_change_registers_is_never_passed_over(
    old: str, new: str, says: str, tmp_path: Path
) -> None:
    with pytest.raises(FormatError, match=says):
        libvirt(tmp_path, old, new)


def test_blank_lines_before_the_declaration_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "vm.xml"
    path.write_text(
        "\n<?xml version='1.0' encoding='UTF-8'?>\n" + (DATA / "n1-612-a" / "web-1.xml").read_text()
    )
    assert told_of(path, detect(path))[0].vm == "web-1"


def test_the_machine_of_qemu_2_6_has_no_pmu(tmp_path: Path) -> None:
    text = (DATA / "n1-612-a" / "web-1.xml").read_text()
    text = re.sub(r"<feature[^>]*name='pmu'[^>]*/>", "", text)
    for machine, off in (
        ("virt-2.6", {"pmu_v3", "vgic_v2"}),
        ("virt-2.12", {"vgic_v2"}),
        ("virt", {"vgic_v2"}),
    ):
        path = tmp_path / "vm.xml"
        path.write_text(re.sub(r"machine='[^']*'", f"machine='{machine}'", text))
        (told,) = told_of(path, "libvirt")
        assert told.making == Making(frozenset({"vgic"}), frozenset(off)), machine


def test_a_status_of_libvirt_says_that_a_vm_was_booted_there(tmp_path: Path) -> None:
    text = (DATA / "n1-612-a" / "web-1.xml").read_text()
    for reason, native in (("booted", True), ("migrated", False), ("unpaused", None)):
        path = tmp_path / "web-1.xml"
        path.write_text(f"<domstatus state='running' reason='{reason}' pid='7'>{text}</domstatus>")
        assert told_of(path, detect(path))[0].is_native is native


def test_no_entity_is_expanded(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE d [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><domain type="kvm"><name>&b;</name></domain>'
    path = tmp_path / "vm.xml"
    for data in (bomb.encode(), bomb.encode("utf-16")):
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"document type|not UTF-8|no format"):
            told_of(path, "libvirt")
