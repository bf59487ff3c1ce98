"""SARIF 2.1.0: issues for code-scanning dashboards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import kvmfw
from kvmfw.analysis.not_judged import HOMELESS
from kvmfw.quoting import uri
from kvmfw.report.issues import KINDS, Issue
from kvmfw.rules import rules as all_rules

__all__ = ["sarif"]

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def sarif(
    found: Sequence[Issue], source: str | Path, not_judged: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """Give issues as a SARIF document.

    Parameters
    ----------
    found : sequence of Issue
        What was found.
    source : str or Path
        What was audited; a relative path is relative to where the reader looks.
    not_judged : sequence of mapping
        The report's table of what was not judged; it becomes notifications of the run.
    """
    rules = all_rules()
    place = uri(Path(source))
    number = {rule.id: at for at, rule in enumerate(rules)}
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "kvmfw",
                        "semanticVersion": kvmfw.__version__,
                        "rules": [
                            {
                                "id": rule.id,
                                "shortDescription": {"text": rule.meaning},
                                "help": {"text": rule.source},
                            }
                            for rule in rules
                        ],
                    }
                },
                "invocations": [
                    {
                        "executionSuccessful": True,
                        "toolExecutionNotifications": [
                            {
                                "level": "error" if row["word"] == HOMELESS else "note",
                                "message": {"text": row["sentence"]},
                            }
                            for row in not_judged
                        ],
                    }
                ],
                "results": [_result(issue, number[issue.rule], place) for issue in found],
                "columnKind": "utf16CodeUnits",
            }
        ],
    }


def _result(issue: Issue, rule: int, place: str) -> dict[str, Any]:
    logical = [{"name": issue.subject, "kind": "resource"}]
    if issue.host is not None and issue.host != issue.subject:
        logical.append({"name": issue.host, "kind": "resource"})
    result: dict[str, Any] = {
        "ruleId": issue.rule,
        "ruleIndex": rule,
        "kind": "open" if issue.word == "unknown" else "fail",
        "level": KINDS[issue.word].level,
        "message": {"text": issue.message},
        "locations": [
            {
                "physicalLocation": {"artifactLocation": {"uri": place}, "region": {"startLine": 1}},
                "logicalLocations": logical,
            }
        ],
        "partialFingerprints": {"kvmfw/v1": issue.fingerprint},
        "properties": {"count": issue.count, "what": issue.word},
    }
    if issue.waiver is not None:
        until = issue.waiver.expires.isoformat()
        result["suppressions"] = [
            {
                "kind": "external",
                "status": "accepted",
                "justification": f"{issue.waiver.reason} (until {until})",
            }
        ]
    return result
