"""Sets, hosts, names and their stores as Python takes them: round trips, slices, and arguments that are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import kvmfw
from kvmfw import Fleet, Host, RegisterSet
from kvmfw.errors import ArgumentError, FormatError, InputError
from kvmfw.ingest import ingest
from kvmfw.names import Names
from kvmfw.readers.stored import births_of
from kvmfw.report import read_waivers
from kvmfw.testing import capture_document, tiny_host, tiny_set
from tests.support.command import run
from tests.test_cli import files

__all__ = ["files"]

WA1 = 0x6030000000140001


@pytest.mark.parametrize("vmm", [None, *(one.name for one in kvmfw.vmms())])
@pytest.mark.parametrize("host", [None, "h"])
def test_a_set_read_again_from_its_document_is_the_same(vmm: str | None, host: str | None) -> None:
    document = tiny_set(name="vm").to_document() | {"version": 3, "vmm": vmm, "host": host}
    one = RegisterSet.from_json(
        json.dumps({key: value for key, value in document.items() if value is not None})
    )
    again = RegisterSet.from_json(json.dumps(one.to_document()))
    assert (again.vmm, again.host, again.name) == (vmm, host, "vm")
    assert again.to_document() == one.to_document()
    assert again.to_document()["version"] == (3 if vmm else 1)


def test_sets_hosts_and_names_show_what_they_are() -> None:
    assert repr(tiny_set(name="vm")) == f"<RegisterSet vm: {len(tiny_set())} registers>"
    assert repr(tiny_set(name="")).startswith("<RegisterSet (no name): ")
    host = tiny_host(name="h")
    assert repr(host) == f"<Host h: {host.kernel}, {len(host.vcpus)} vCPU configurations>"
    assert repr(Fleet([tiny_set(name="a")], [host]).vm_names) == "<Names: 1>"


def test_names_are_a_sequence_as_lists_are() -> None:
    listed = ["a", "b", "", "\N{GREEK SMALL LETTER ALPHA}", "e"]
    names = Fleet([tiny_set(name=name) for name in listed if name], [tiny_host()]).vm_names
    wanted = [name for name in listed if name]
    for part in (
        slice(None),
        slice(1, 3),
        slice(None, None, -1),
        slice(-2, None),
        slice(3, 1),
        slice(0, 99, 2),
    ):
        assert names[part] == wanted[part]
    for row in range(-4, 4):
        assert names[row] == wanted[row]
    for row in (4, -5):
        with pytest.raises(IndexError):
            names[row]
    assert names == wanted
    assert names != wanted[:-1]
    for other in ("abc", 7, None):
        assert names != cast("object", other)
    assert isinstance(names, Names)


@pytest.mark.parametrize(
    ("vms", "hosts", "sentence"),
    [
        ([tiny_set(), 7], [tiny_host()], "VM 1 is a int; expected a kvmfw.RegisterSet"),
        ([tiny_set()], [7], "host 0 is a int; expected a kvmfw.Host"),
    ],
)
def test_what_is_neither_a_set_nor_a_host_is_told(vms: list[Any], hosts: list[Any], sentence: str) -> None:
    with pytest.raises(ArgumentError, match=sentence):
        Fleet(vms, hosts)


# ---------------------------------------------------------------- fleets on disk


def test_a_host_whose_capture_is_missing_is_set_aside(files: Path) -> None:
    (files / "fleet" / "hosts.csv").write_text("host,capture\nh1,old\nh2,gone\n")
    found = ingest([files / "fleet"], files / "out", on_error="collect")
    # The capture that no host names is a host of its own.
    assert (found.hosts, found.rejected) == (2, 1)
    assert [(one.row, one.reason) for one in found.rejects] == [(3, "there is no capture named `gone`")]
    with pytest.raises(InputError, match="there is no capture named `gone`"):
        ingest([files / "fleet"], files / "other")
    assert not (files / "other").exists()


@pytest.mark.parametrize("column", ["vcpu", "wide", "vmm", "born"])
def test_columns_that_older_fleets_have_not_say_nothing(column: str, files: Path) -> None:
    """A fleet on disk whose tables lack a column that came later is read, and judged the same."""
    ingest([files / "fleet"], files / "out")
    before = Fleet.load(files / "out")
    lacking = 0
    for path in (files / "out").rglob("*.parquet"):
        table = pq.read_table(path)
        if column in table.column_names:
            pq.write_table(table.drop_columns([column]), path)
            lacking += 1
    assert lacking
    after = Fleet.load(files / "out")
    assert after.vm_names == before.vm_names
    assert after.vm_homes.tolist() == before.vm_homes.tolist()
    assert after.counts().tolist() == before.counts().tolist()
    assert births_of(files / "out").null_count == 3


def test_a_capture_in_a_fleet_that_cannot_be_is_told_with_its_row(files: Path) -> None:
    ingest([files / "fleet"], files / "out")
    (path,) = [
        path for path in (files / "out").rglob("*.parquet") if "document" in pq.read_schema(path).names
    ]
    table = pq.read_table(path)
    texts = [text.replace("kvmfw-capture", "other") for text in table.column("document").to_pylist()]
    place = table.column_names.index("document")
    pq.write_table(
        table.set_column(place, "document", pa.array(texts, table.schema.field("document").type)), path
    )
    with pytest.raises(
        FormatError, match=r"captures: row 0: format: found `other`, expected `kvmfw-capture`"
    ):
        Fleet.load(files / "out")


# ---------------------------------------------------------------- waivers


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('waiver = ["all"]', "waiver 1: expected a table"),
        (
            '[[waiver]]\nrule = "KVMFW-NONE"\nreason = "r"\nexpires = 2999-01-01',
            "waiver 1: there is no rule `KVMFW-NONE`",
        ),
    ],
)
def test_waivers_of_nothing_are_refused(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "w.toml"
    path.write_text(text)
    with pytest.raises(FormatError) as raised:
        read_waivers(path)
    assert sentence in str(raised.value)
    assert str(path) in str(raised.value)


def test_what_is_waived_is_told_with_its_reason_and_fails_nothing(files: Path) -> None:
    (files / "fleet" / "hosts.csv").write_text("host,capture\nh1,old\nh2,new\nh3,new\n")
    waivers = files / "w.toml"
    waivers.write_text(
        '[[waiver]]\nrule = "KVMFW-STRANDED"\nsubject = "*"\nreason = "they stay"\nexpires = 2999-01-01\n'
    )
    plain = run("audit", files / "fleet", "--fail-on", "stranded", "--format", "junit")
    assert plain.exit_code == 2
    waived = run("audit", files / "fleet", "--fail-on", "stranded", "--format", "junit", "--waivers", waivers)
    assert waived.exit_code == 0
    assert "waived until 2999-01-01: they stay" in waived.stdout
    assert "<failure" in plain.stdout
    assert "<failure" not in waived.stdout
    text = run(
        "audit", files / "fleet", "--fail-on", "stranded", "--format", "markdown", "--waivers", waivers
    ).stdout
    (listed,) = [line for line in text.splitlines() if line.startswith("## Waived (")]
    assert f"({waived.stdout.count('waived until')})" in listed
    assert "they stay, until 2999-01-01" in text


def test_a_set_of_a_capture_is_the_hosts_own() -> None:
    host = Host.from_json(json.dumps(capture_document({WA1: 2}, name="h")))
    assert host.name == "h"
    with pytest.raises(ArgumentError, match="this host has no vCPU named `other`"):
        host.ask("other", WA1, [1])
