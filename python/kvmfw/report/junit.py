"""JUnit XML: one test for each VM, trap and host class, for pipelines that show tests."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from kvmfw.analysis import Report
from kvmfw.analysis.not_judged import HOMELESS
from kvmfw.quoting import printable
from kvmfw.report.issues import KINDS, Issue

__all__ = ["junit"]


def junit(report: Report, found: Sequence[Issue], failing: frozenset[str]) -> str:
    """Give issues as JUnit XML.

    Parameters
    ----------
    report : Report
        The audit.
    found : sequence of Issue
        What was found.
    failing : frozenset of str
        The words of `--fail-on`: their issues are failures, all others are skipped with their message.
    """
    root = ElementTree.Element("testsuites", name="kvmfw")
    for word, kind in KINDS.items():
        members = [issue for issue in found if issue.word == word]
        failures = sum(word in failing and issue.waiver is None for issue in members)
        skipped = _not_judged(report, word)
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=kind.title,
            tests=str(len(members) + len(skipped) or 1),
            failures=str(failures),
            errors="0",
            skipped=str(len(members) + len(skipped) - failures),
        )
        if not members and not skipped:
            # An empty suite reads as one that did not run.
            ElementTree.SubElement(suite, "testcase", name="none found", classname=f"kvmfw.{word}")
        for issue in members:
            _case(suite, issue, failing)
        for name, why in skipped:
            case = ElementTree.SubElement(suite, "testcase", name=name, classname=f"kvmfw.{word}")
            ElementTree.SubElement(case, "skipped", message=printable(why))
    root.set("tests", str(sum(int(suite.get("tests", "0")) for suite in root)))
    root.set("failures", str(sum(int(suite.get("failures", "0")) for suite in root)))
    facts = report.facts
    name = f"kvmfw: {facts['vms']} VMs, {facts['hosts']} hosts, vmm {facts['vmm']}, scheme {facts['scheme']}"
    root.set("name", name)
    ElementTree.indent(root, " ")
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _not_judged(report: Report, word: str) -> list[tuple[str, str]]:
    """Give what a suite leaves open, with the reason: it counts as skipped, not as none found."""
    if word == HOMELESS:
        rows = report.tables["not_judged"]
        return [(row["what"], row["sentence"]) for row in rows if row["word"] != HOMELESS]
    table = KINDS[word].table
    return [("not done", report.not_done[table])] if table in report.not_done else []


def _case(suite: ElementTree.Element, issue: Issue, failing: frozenset[str]) -> None:
    name = " / ".join(filter(None, (issue.subject, issue.host, issue.register)))
    case = ElementTree.SubElement(suite, "testcase", name=printable(name), classname=f"kvmfw.{issue.rule}")
    if issue.waiver is not None:
        text = f"waived until {issue.waiver.expires}: {issue.waiver.reason}"
        ElementTree.SubElement(case, "skipped", message=printable(text))
    elif issue.word in failing:
        failure = ElementTree.SubElement(case, "failure", message=printable(issue.message), type=issue.rule)
        failure.text = printable(issue.message)
    else:
        ElementTree.SubElement(case, "skipped", message=printable(issue.message))
