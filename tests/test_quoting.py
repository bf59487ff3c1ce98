"""Names are quoted for where they go: terminals, shells, spreadsheets, Markdown, URIs. No name is restricted."""

from __future__ import annotations

import csv
import io
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

import kvmfw
from kvmfw import quoting
from kvmfw.cli import main
from kvmfw.testing import capture_document

FORMULA = '=HYPERLINK("http://example.org","x")'
EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202ereversed\nnext ![x](http://example.org/x.png) `$(id)`"
FORMATS = ("table", "json", "markdown", "sarif", "junit", "html")


def run(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """A fleet whose names are made to hurt: one VM that its host takes, one that it refuses."""
    folder = tmp_path / "fleet of <b> & co"
    (folder / "captures").mkdir(parents=True)
    document = capture_document({0x6030000000140003: 1}, name=FORMULA + EVIL)
    (folder / "captures" / "a.json").write_text(json.dumps(document))
    host = kvmfw.Host.from_json(json.dumps(document))
    own = host.fresh_set(features=["psci_0_2"], name=f"+{EVIL}")
    assert own is not None
    other: dict[str, Any] = dict(own.to_document()) | {"id": f"-{EVIL}"}
    other["registers"] |= {"0x60300000001400ff": "0x1"}
    lines = (json.dumps(one) + "\n" for one in (own.to_document(), other))
    (folder / "vms.jsonl").write_text("".join(lines))
    return folder


@pytest.mark.parametrize("form", FORMATS)
def test_no_name_steers_a_terminal(form: str, fleet: Path) -> None:
    found = run("audit", fleet, "--format", form, "--fail-on", "none")
    assert found.exit_code == 0, found.output
    assert "reversed" in found.stdout
    assert not [letter for letter in found.output if not letter.isprintable() and letter != "\n"]


def test_no_name_steers_a_terminal_by_other_verbs(fleet: Path) -> None:
    vm, host = f"-{EVIL}", FORMULA + EVIL
    calls = [
        ("explain", fleet, vm, host, "--all"),
        ("explain", fleet, vm, host, "--format", "json"),
        ("explain", fleet, "nobody", host),
        ("explain", fleet, f"{vm}?", host),
        ("whatif", fleet, "--remove", host),
        ("whatif", fleet, "--remove", f"{host}?"),
        ("emit", fleet, "qemu"),
        ("emit", fleet, "openstack"),
        ("emit", fleet, "kubernetes"),
        ("audit", fleet, "--vmm", EVIL),
        ("audit", fleet.parent / EVIL.replace("/", "_")),
    ]
    for call in calls:
        found = run(*call)
        steering = [letter for letter in found.output if not letter.isprintable() and letter != "\n"]
        assert not steering, (call, found.output)
        assert found.output, call


def test_json_says_names_as_they_are(fleet: Path) -> None:
    found = json.loads(run("audit", fleet, "--format", "json", "--fail-on", "none").stdout)
    assert f"-{EVIL}" in [row["vm"] for row in found["stranded"]]


def test_no_cell_of_a_csv_is_a_formula(fleet: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("audit", fleet, "--format", "csv", "-o", out, "--fail-on", "none").exit_code == 0
    cells = [
        cell
        for path in out.glob("*.csv")
        for row in csv.reader(io.StringIO(path.read_text("utf-8")))
        for cell in row
    ]
    assert [cell for cell in cells if "HYPERLINK" in cell or "reversed" in cell]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@", "\t", "\r"))]
    assert not [cell for cell in cells if cell.startswith("-") and not cell[1:2].isdigit()]


def test_markdown_has_no_link_and_no_image_of_a_name(fleet: Path) -> None:
    text = run("audit", fleet, "--format", "markdown", "--fail-on", "none").stdout
    assert "reversed" in text
    assert "![x]" not in text
    assert "`$(id)`" not in text


def test_a_place_in_sarif_is_a_uri(fleet: Path) -> None:
    document = json.loads(run("audit", fleet, "--format", "sarif", "--fail-on", "none").stdout)
    places = {
        place["physicalLocation"]["artifactLocation"]["uri"]
        for result in document["runs"][0]["results"]
        for place in result["locations"]
    }
    assert len(places) == 1
    assert places.pop().endswith("/fleet%20of%20%3Cb%3E%20%26%20co")


@given(st.text())
def test_printable_text_is_one_line_and_printable(text: str) -> None:
    assert quoting.printable(text).isprintable()
    assert quoting.printable(text) == text or not text.isprintable()


@given(st.text())
def test_a_shell_reads_a_quoted_name_as_one_word(text: str) -> None:
    assert shlex.split(quoting.shell_word(text)) == [quoting.printable(text)]


@given(st.text())
def test_no_spreadsheet_takes_a_cell_for_a_formula(text: str) -> None:
    cell = quoting.csv_cell(text)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert cell.removeprefix("'") == text.removeprefix("'") or cell == text


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_text_is_printable_and_reads_as_what_it_was_made_of(data: object) -> None:
    text = quoting.json_text(data)
    assert all(line.isprintable() for line in text.split("\n"))
    assert json.loads(text) == data
