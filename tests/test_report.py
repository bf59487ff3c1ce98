"""Reports: every form says the same, validates, and works without anything from elsewhere."""

from __future__ import annotations

import base64
import csv
import html
import json
import os
import re
import zlib
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import numpy as np
import pyarrow.parquet as pq
import pytest

import kvmfw
from kvmfw.analysis import TABLES, Report, examine, make_frame
from kvmfw.errors import FormatError
from kvmfw.report import issues, junit, read_waivers, sarif, waive, write_tables
from kvmfw.report.html import html_report
from kvmfw.report.issues import expired
from kvmfw.report.shown import shown_classes
from kvmfw.testing import tiny_host, tiny_set
from tests.support.command import EXAMPLES, needs_examples, run
from tests.support.slow_audit import random_fleet

TEXT = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string", "minLength": 1}}}
SARIF = {
    "type": "object",
    "required": ["version", "runs"],
    "properties": {
        "version": {"const": "2.1.0"},
        "runs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["tool"],
                "properties": {
                    "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                    "tool": {
                        "required": ["driver"],
                        "properties": {
                            "driver": {
                                "required": ["name"],
                                "properties": {
                                    "semanticVersion": {
                                        "type": "string",
                                        "pattern": r"^[0-9]+\.[0-9]+\.[0-9]+",
                                    },
                                    "rules": {
                                        "uniqueItems": True,
                                        "items": {
                                            "required": ["id"],
                                            "properties": {"shortDescription": TEXT},
                                        },
                                    },
                                },
                            }
                        },
                    },
                    "results": {
                        "items": {
                            "type": "object",
                            "required": ["message", "ruleId", "locations", "partialFingerprints"],
                            "properties": {
                                "message": TEXT,
                                "kind": {"enum": ["fail", "open", "pass", "review", "notApplicable"]},
                                "level": {"enum": ["none", "note", "warning", "error"]},
                                "ruleIndex": {"type": "integer", "minimum": -1},
                                "partialFingerprints": {"additionalProperties": {"type": "string"}},
                                "suppressions": {
                                    "uniqueItems": True,
                                    "items": {
                                        "required": ["kind"],
                                        "properties": {
                                            "kind": {"enum": ["inSource", "external"]},
                                            "status": {"enum": ["accepted", "underReview", "rejected"]},
                                        },
                                    },
                                },
                            },
                        }
                    },
                },
            },
        },
    },
}
"""The parts of SARIF 2.1.0 that are used; KVMFW_SARIF_SCHEMA names a file with the standard's own schema."""


def report_of(seed: int) -> Report:
    made = random_fleet(seed)
    columns = {"capacity": [str(count) for count in made.capacity], "zone": made.zone}
    fleet = kvmfw.Fleet(made.vms, made.hosts)
    return examine(make_frame(fleet), columns=columns, few=3, group_by="zone")


@pytest.mark.parametrize("seed", range(5))
def test_sarif_validates_and_is_stable(seed: int) -> None:
    report = report_of(seed)
    found = issues(report)
    document = sarif(found, "fleet")
    jsonschema.validate(document, SARIF)
    if standard := os.environ.get("KVMFW_SARIF_SCHEMA"):
        jsonschema.validate(document, json.loads(Path(standard).read_text()))
    assert document == sarif(issues(report_of(seed)), "fleet")
    (scan,) = document["runs"]
    rules = [rule["id"] for rule in scan["tool"]["driver"]["rules"]]
    prints = [result["partialFingerprints"]["kvmfw/v1"] for result in scan["results"]]
    assert len(prints) == len(set(prints))
    assert len(prints) == len(found)
    for result in scan["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        assert (result["kind"] == "fail") == (result["level"] != "none")


@pytest.mark.parametrize("seed", range(5))
def test_junit_counts_what_it_holds(seed: int) -> None:
    report = report_of(seed)
    found = issues(report)
    root = ElementTree.fromstring(junit(report, found, frozenset({"stranded"})))
    assert_junit(root)
    assert int(root.get("failures", "")) == len(report.tables["stranded"])


def assert_junit(root: ElementTree.Element) -> None:
    """Check the structure that JUnit readers rely on (junit-10.xsd of Jenkins)."""
    assert root.tag == "testsuites"
    assert set(root.keys()) <= {"name", "time", "tests", "failures", "disabled", "errors"}
    for suite in root:
        assert suite.tag == "testsuite"
        assert set(suite.keys()) <= {"name", "tests", "failures", "errors", "skipped", "time", "timestamp"}
        cases = list(suite)
        assert all(case.tag == "testcase" and case.get("name") and case.get("classname") for case in cases)
        assert int(suite.get("tests", "")) == len(cases)
        children = [child.tag for case in cases for child in case]
        assert set(children) <= {"failure", "skipped"}
        assert int(suite.get("failures", "")) == children.count("failure")
        assert int(suite.get("skipped", "")) == children.count("skipped")


class Loader(HTMLParser):
    """Collects what a page would load, the links inside of it and the ids they lead to."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: set[str] = set()
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value is None:
                continue
            if name == "id":
                self.ids.append(value)
            if name == "src" or (name in ("href", "xlink:href") and tag != "a"):
                self.loaded.append(value)
            if name == "href" and tag == "a":
                self.links.add(value)


@pytest.mark.parametrize("seed", range(8))
def test_html_stands_alone_and_its_links_lead_somewhere(seed: int) -> None:
    report = report_of(seed)
    page = html_report(report, issues(report), title="<fleet> & co")
    assert "<title>&lt;fleet&gt; &amp; co: fleet audit</title>" in page
    loader = Loader()
    loader.feed(page)
    assert [one for one in loader.loaded if not one.startswith(("data:", "#"))] == []
    assert "@import" not in page
    assert "url(http" not in page
    assert len(loader.ids) == len(set(loader.ids))
    inside = {link[1:] for link in loader.links if not re.fullmatch(r"#v\d+(h\d+)?", link)}
    assert inside <= set(loader.ids)
    assert all(link.startswith("#") for link in loader.links)
    data = json.loads(re.findall(r'id="data">(.*?)</script>', page, re.DOTALL)[0])
    assert len(data["vms"]) == report.facts["vm_classes"]
    assert page == html_report(report, issues(report), title="<fleet> & co")


def test_a_name_is_one_text_wherever_the_page_has_it() -> None:
    """Names are no sentences: they have no code between backticks, and no letter that steers a terminal or turns what is read."""
    names = ["a`b`c", "\x1b[31mred", "two\nlines", "\u202eturned", *(f"vm{row}" for row in range(30))]
    shown = ["a`b`c", "\ufffd[31mred", "two\ufffdlines", "\ufffdturned"]
    hosts = [tiny_host(workaround_3=level, name=f"h`{level}`\x1b") for level in (0, 1)]
    vms = [tiny_set(workaround_3=2, name=name) for name in names]
    homes = np.zeros(len(names), dtype=np.int64)
    report = examine(make_frame(kvmfw.Fleet(vms, hosts), homes=homes))
    page = html_report(report, issues(report), title="fleet")
    assert [row["vm"] for row in report.tables["stranded"]] == names
    (drawn,) = (
        json.loads(text)
        for text in re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
    )
    assert drawn[0][:4] == shown
    cells = re.findall(r"<tr><td>(.*?)</td><td>(.*?)</td>", page)
    assert [cell for cell, _ in cells if cell in shown] == shown
    assert {host for cell, host in cells if cell in shown} == {"h`0`\ufffd"} == set(drawn[1])
    data = json.loads(re.findall(r'id="data">(.*?)</script>', page, re.DOTALL)[0])
    assert data["vmNames"] == shown[:1]
    assert "h`0`\ufffd" in " ".join(data["hostLabels"])
    assert not re.search(r"\\u00[01]", page)


@pytest.mark.parametrize("seed", range(4))
def test_the_page_has_the_heat_map_once_and_in_words(seed: int) -> None:
    report = report_of(seed)
    page = html_report(report, issues(report), title="fleet")
    data = json.loads(re.findall(r'id="data">(.*?)</script>', page, re.DOTALL)[0])
    cells = shown_classes(report).cells
    assert "outcomes" not in data
    assert page.count("data:image") == 1
    ((words, packed),) = re.findall(
        r'<image id="cells" role="img" aria-label="([^"]*)".*?href="data:image/png;base64,([^"]*)"', page
    )
    # What the script reads: chunks of a PNG of 8 bits with a palette, rows without a filter.
    chunks, png, at = dict[bytes, bytes](), base64.b64decode(packed), 8
    while at < len(png):
        length = int.from_bytes(png[at : at + 4], "big")
        chunks[png[at + 4 : at + 8]] = png[at + 8 : at + 8 + length]
        at += 12 + length
    assert chunks[b"IHDR"][8:] == bytes((8, 3, 0, 0, 0))
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), dtype=np.uint8).reshape(len(cells), -1)
    np.testing.assert_array_equal(rows, np.pad(cells, ((0, 0), (1, 0))))
    assert base64.b64encode(cells.tobytes()).decode() not in page
    counts = {outcome.name: int((cells == outcome).sum()) for outcome in kvmfw.Outcome}
    assert words.endswith(": " + ", ".join(f"{count:,} {name}" for name, count in counts.items()))
    said = {tuple(map(int, key.split())): text for key, text in data["examples"].items()}
    assert said
    assert all(text.startswith(kvmfw.Outcome(outcome).name) for (_, _, outcome), text in said.items())
    assert re.search(r'<div id="map" tabindex="0" role="group" aria-label="[^"]*arrow keys', page)
    assert all(f"Arrow{where}:" in page for where in ("Up", "Down", "Left", "Right"))


@pytest.mark.parametrize(("unknown", "change"), [(False, True), (False, False), (True, True), (True, False)])
def test_the_first_card_counts_what_is_counted_as_taken(unknown: bool, change: bool) -> None:
    made = random_fleet(1)
    report = examine(make_frame(kvmfw.Fleet(made.vms, made.hosts), unknown=unknown, change=change))
    shares = {row["outcome"]: row["share"] for row in report.tables["totals"]}
    assert shares["CHANGE"] > 0
    assert shares["UNKNOWN"] > 0
    taken = shares["ACCEPT"] + shares["CHANGE"] * change + shares["UNKNOWN"] * unknown
    assert f">{taken:.1%}<" in html_report(report, issues(report), title="fleet")


@needs_examples
def test_every_form_says_the_same(tmp_path: Path) -> None:
    numbers = json.loads(run("audit", EXAMPLES, "--format", "json").stdout)
    run("audit", EXAMPLES, "--format", "csv", "-o", tmp_path / "csv")
    run("audit", EXAMPLES, "--format", "parquet", "-o", tmp_path / "parquet")
    for name in ("totals", "stranded", "blockers", "traps", "cures", "drain"):
        rows = pq.read_table(tmp_path / "parquet" / f"{name}.parquet").to_pylist()
        assert rows == numbers[name]
        with (tmp_path / "csv" / f"{name}.csv").open(newline="") as file:
            listed = list(csv.DictReader(file))
        assert len(listed) == len(rows)
        assert all(list(row) == list(numbers[name][0]) for row in listed)
    table = run("audit", EXAMPLES, "--top", "100000").stdout
    text = run("audit", EXAMPLES, "--top", "100000", "--format", "markdown").stdout
    for row in numbers["stranded"]:
        assert row["vm"] in table
        assert f"| {row['vm']} | {row['host']} |" in text
    for row in numbers["totals"]:
        assert f"{row['pairs']:,}" in table
        assert f"| {row['outcome']} | {row['pairs']:,} |" in text
    page = run("audit", EXAMPLES, "--format", "html").stdout
    assert f"<b>{len(numbers['stranded'])}</b>stranded VMs" in page


@pytest.mark.parametrize("seed", range(8))
def test_tables_have_their_columns_also_when_empty(seed: int, tmp_path: Path) -> None:
    report = report_of(seed)
    keys = {table.name: table.keys for table in TABLES}
    for name, rows in report.tables.items():
        for row in rows:
            assert name == "host_classes" or tuple(row) == keys[name]
    written = write_tables(report.tables, tmp_path, "csv")
    for path in written:
        (header,) = csv.reader(path.read_text().splitlines()[:1])
        assert path.stem == "host_classes" or tuple(header) == keys[path.stem]


@needs_examples
@pytest.mark.parametrize("width", [80, 160])
def test_tables_fit_the_terminal(width: int) -> None:
    for verb in (["audit"], ["schemes"], ["baseline"], ["whatif", "--best", "2"], ["audit", "--few", "5"]):
        result = run(verb[0], EXAMPLES, *verb[1:], width=width)
        assert result.exit_code in (0, 2), result.output
        assert max(map(len, result.stdout.splitlines())) <= width, verb


@needs_examples
def test_every_cure_of_a_step_is_told_with_what_it_is_about() -> None:
    plan = json.loads(run("audit", EXAMPLES, "--format", "json").stdout)["plan"]
    table = " ".join(run("audit", EXAMPLES, width=600).stdout.split())
    page = html.unescape(re.sub("<[^>]*>", "", run("audit", EXAMPLES, "--format", "html").stdout))
    parts = 0
    for step in plan:
        for line in step["do"]:
            assert line in table
            assert line.replace("`", "") in page
            about, _, cure = line.partition(": ")
            parts += set(about.split(" and ")[0].split(", ")) <= set(step["cured"]) and bool(cure)
    assert parts >= 4


@needs_examples
def test_moves_have_one_column_where_a_terminal_is_narrow() -> None:
    moves = json.loads(run("audit", EXAMPLES, "--format", "json").stdout)["relaxed"]
    narrow = run("audit", EXAMPLES, "--top", "1000", width=80).stdout
    for name in {row[end] for row in moves for end in ("source", "target")}:
        assert len(name) > 45 or name in narrow


@needs_examples
def test_exit_codes_follow_fail_on_and_waivers(tmp_path: Path) -> None:
    assert run("audit", EXAMPLES).exit_code == 2
    assert run("audit", EXAMPLES, "--fail-on", "none").exit_code == 0
    waivers = tmp_path / "waivers.toml"
    waivers.write_text(
        '[[waiver]]\nrule = "KVMFW-STRANDED"\nsubject = "*"\nreason = "they stay"\nexpires = 2999-01-01\n'
    )
    assert run("audit", EXAMPLES, "--fail-on", "stranded").exit_code == 2
    waived = run("audit", EXAMPLES, "--fail-on", "stranded", "--waivers", waivers, "--format", "sarif")
    assert waived.exit_code == 0
    assert "issues are waived" in waived.stderr
    results = json.loads(waived.stdout)["runs"][0]["results"]
    assert all(result["suppressions"] for result in results if result["ruleId"] == "KVMFW-STRANDED")
    waivers.write_text(waivers.read_text().replace("2999", "2001"))
    late = run("audit", EXAMPLES, "--fail-on", "stranded", "--waivers", waivers, "--format", "json")
    assert late.exit_code == 2
    assert "expired on 2001-01-01" in late.stderr


@needs_examples
def test_files_appear_whole(tmp_path: Path) -> None:
    page = tmp_path / "out.html"
    result = run("audit", EXAMPLES, "--format", "json", "--html", page)
    assert page.read_text().endswith("</html>\n")
    assert json.loads(result.stdout)["vms"] > 0
    assert [path.name for path in tmp_path.iterdir()] == ["out.html"]
    nowhere = run("audit", EXAMPLES, "--html", tmp_path / "missing" / "out.html")
    assert nowhere.exit_code == 1
    assert nowhere.stderr.count("\n") == 1


def test_waivers_cover_by_rule_and_pattern(tmp_path: Path) -> None:
    report = report_of(1)
    found = issues(report)
    rule = found[0].rule
    path = tmp_path / "waivers.toml"
    path.write_text(
        f'[[waiver]]\nrule = "{rule}"\nsubject = "{found[0].subject}"\nreason = "r"\nexpires = 2030-05-06\n'
    )
    waivers = read_waivers(path)
    marked = waive(found, waivers, date(2030, 5, 6))
    assert [issue.waiver is not None for issue in marked] == [
        issue.rule == rule and issue.subject == found[0].subject for issue in found
    ]
    assert not any(issue.waiver for issue in waive(found, waivers, date(2030, 5, 7)))
    assert expired(waivers, date(2030, 5, 7)) == waivers


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nonsense", "is not TOML"),
        ("a = 1", "nothing but"),
        ('[[waiver]]\nrule = "X"\nreason = "r"', "`expires` is missing"),
        ('[[waiver]]\nrule = "X"\nreason = "r"\nexpires = "soon"', "not a date"),
        ('[[waiver]]\nrule = "X"\nreason = ""\nexpires = 2030-01-01', "`reason` is not a text"),
        ('[[waiver]]\nrule = "X"\nreason = "r"\nexpires = 2030-01-01\nvm = "a"', "`vm` is not known"),
    ],
)
def test_bad_waivers_say_where(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "w.toml"
    path.write_text(text)
    with pytest.raises(FormatError, match=re.escape(words)) as caught:
        read_waivers(path)
    assert "w.toml" in str(caught.value)
