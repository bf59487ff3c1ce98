"""Issues: what an audit found that someone should look at, with stable rule ids, and waivers for them."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from kvmfw.analysis import Report
from kvmfw.analysis.not_judged import HOMELESS
from kvmfw.errors import ArgumentError, FormatError
from kvmfw.readers.source import whole
from kvmfw.rules import find_rule
from kvmfw.verdict import Outcome

__all__ = ["KINDS", "Issue", "Kind", "Waiver", "expired", "issues", "read_waivers", "waive"]


class Kind(NamedTuple):
    """What its suite in JUnit is called, its level in SARIF, and the table of the report that it is made of."""

    title: str
    level: str
    table: str


KINDS = {
    HOMELESS: Kind("what was not judged", "error", "not_judged"),
    "stranded": Kind("VMs that no other host takes", "error", "stranded"),
    "few": Kind("VMs with few targets", "warning", "few_targets"),
    "trap": Kind("one-way traps", "error", "traps"),
    "drain": Kind("hosts that cannot be emptied", "warning", "drain"),
    "refuse": Kind("registers that hosts refuse", "warning", ""),
    "unknown": Kind("registers that are not known", "none", ""),
}


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing that an audit found.

    Attributes
    ----------
    word : str
        What `--fail-on` calls it: one of `KINDS`.
    rule : str
        The stable rule id.
    subject : str
        The VM, host or host class that it is about.
    host : str or None
        The VM's host, or the host class that refuses.
    register : str or None
        The register, where the issue is about one.
    message : str
        One sentence.
    count : int
        How many pairs, VMs or hosts it stands for.
    waiver : Waiver or None
        The waiver that covers it.
    """

    word: str
    rule: str
    subject: str
    host: str | None
    register: str | None
    message: str
    count: int
    waiver: Waiver | None = None

    def __post_init__(self) -> None:
        find_rule(self.rule)

    @property
    def fingerprint(self) -> str:
        """A stable name for this issue: it stays the same while rule, subject, host and register do."""
        parts = "\0".join((self.rule, self.word, self.subject, self.host or "", self.register or ""))
        return hashlib.sha256(parts.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Waiver:
    """A decision to live with an issue until a day.

    Attributes
    ----------
    rule : str
        The rule id that it covers.
    reason : str
        Why.
    expires : date
        The last day on which it holds.
    scope : dict of str to str
        Patterns (``*`` and ``?``) for subject, host and register; those not named match anything.
    """

    rule: str
    reason: str
    expires: date
    scope: dict[str, str] = field(default_factory=dict)

    def covers(self, issue: Issue) -> bool:
        """Tell whether it covers an issue."""
        if issue.rule != self.rule:
            return False
        found = {"subject": issue.subject, "host": issue.host or "", "register": issue.register or ""}
        return all(fnmatchcase(found[key], pattern) for key, pattern in self.scope.items())


SCOPE = ("subject", "host", "register")


def read_waivers(path: str | Path) -> list[Waiver]:
    """Read a waivers file (TOML).

    Each ``[[waiver]]`` has ``rule``, ``reason``, ``expires`` (a date) and optionally ``subject``, ``host``
    and ``register`` (patterns).

    Raises
    ------
    InputError
        When it cannot be used; the sentence says where and what was expected.
    """
    file = str(path)
    text = whole(Path(path))
    try:
        document = tomllib.loads(text.decode("utf-8"))
    except RecursionError as error:
        raise FormatError("the document is nested too deeply", file=file) from error
    except ValueError as error:
        raise FormatError(f"is not TOML: {error}", file=file) from error
    entries = document.pop("waiver", [])
    if document or not isinstance(entries, list):
        raise FormatError("expected nothing but [[waiver]] tables", file=file)
    return [_waiver(entry, f"waiver {number}", file) for number, entry in enumerate(entries, start=1)]


def _waiver(entry: Any, place: str, file: str) -> Waiver:
    if not isinstance(entry, dict):
        raise FormatError("expected a table", place, file=file)
    for key in ("rule", "reason", "expires"):
        if key not in entry:
            raise FormatError(f"`{key}` is missing; expected rule, reason and expires", place, file=file)
    for key, value in entry.items():
        if key not in ("rule", "reason", "expires", *SCOPE):
            problem = f"`{key}` is not known; expected rule, reason, expires, {', '.join(SCOPE)}"
            raise FormatError(problem, place, file=file)
        if key == "expires":
            if type(value) is not date:
                raise FormatError("`expires` is not a date; expected such as 2027-01-31", place, file=file)
        elif not isinstance(value, str) or not value.strip():
            raise FormatError(f"`{key}` is not a text", place, file=file)
    try:
        rule = find_rule(entry["rule"]).id
    except ArgumentError as error:
        raise FormatError(str(error), place, file=file) from error
    scope = {key: entry[key] for key in SCOPE if key in entry}
    return Waiver(rule, entry["reason"], entry["expires"], scope)


def expired(waivers: Iterable[Waiver], today: date) -> list[Waiver]:
    """Give the waivers that no longer hold."""
    return [waiver for waiver in waivers if waiver.expires < today]


def waive(found: Iterable[Issue], waivers: Sequence[Waiver], today: date) -> list[Issue]:
    """Mark the issues that a waiver covers which still holds."""
    holding = [waiver for waiver in waivers if waiver.expires >= today]
    if not holding:
        return list(found)
    return [
        replace(issue, waiver=next((waiver for waiver in holding if waiver.covers(issue)), None))
        for issue in found
    ]


def issues(report: Report) -> list[Issue]:
    """Give everything that an audit found, what it could not judge first, then VMs, in a stable order."""
    tables = report.tables
    found = [
        Issue(HOMELESS, "KVMFW-HOMELESS", "fleet", None, None, row["sentence"], row["count"])
        for row in tables["not_judged"]
        if row["word"] == HOMELESS
    ]
    found.extend(
        Issue(
            "stranded",
            "KVMFW-STRANDED",
            row["vm"],
            row["host"],
            None,
            f"{row['vm']}{_on(row['host'])} is stranded: no other host takes it",
            1,
        )
        for row in tables.get("stranded", ())
    )
    found.extend(
        Issue(
            "few",
            "KVMFW-FEW-TARGETS",
            row["vm"],
            row["host"],
            None,
            f"{row['vm']}{_on(row['host'])} has only {row['targets']} target{_s(row['targets'])}",
            1,
        )
        for row in tables.get("few_targets", ())
    )
    for row in tables.get("traps", ()):
        names = ", ".join(row["names"][:5]) + (", ..." if len(row["names"]) > 5 else "")
        verb = "them" if row["hosts"] > 1 else "it"
        message = f"{names}: {row['entrants']} VMs of other hosts can enter, none of the {row['residents']}"
        message += f" VMs there can leave {verb}"
        found.append(Issue("trap", "KVMFW-TRAP", row["names"][0], None, None, message, row["residents"]))
    for row in tables.get("drain", ()):
        if not row["drains"]:
            message = (
                f"{row['name']} cannot be emptied: {row['stranded']} of its {row['residents']} VMs are taken"
            )
            message += f" nowhere else, {row['unplaced']} find no free place"
            found.append(
                Issue(
                    "drain",
                    "KVMFW-DRAIN",
                    row["name"],
                    None,
                    None,
                    message,
                    row["stranded"] + row["unplaced"],
                )
            )
    found.extend(_unit_issues(report))
    return found


def _on(host: str | None) -> str:
    return f" on {host}" if host is not None else ""


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _unit_issues(report: Report) -> list[Issue]:
    """One issue for each unit, host class and outcome REFUSE or UNKNOWN; its first VM speaks for the others."""
    frame, census = report.frame, report.census
    first = {row["class"]: row["first"] for row in report.tables["host_classes"]}
    names = frame.fleet.units
    found = []
    columns = (census.unit, census.host_class, census.outcome, census.vms)
    for unit, host_class, outcome, count in zip(*(column.tolist() for column in columns), strict=True):
        if outcome == Outcome.CHANGE:
            continue
        finding = report.samples.finding(unit, host_class, Outcome(outcome))
        word = "refuse" if outcome == Outcome.REFUSE else "unknown"
        message = f"host class {host_class} ({first[host_class]}), {count} VM{_s(count)}: for example, "
        message += finding.sentence
        found.append(Issue(word, finding.rule, names[unit], first[host_class], finding.name, message, count))
    return found
