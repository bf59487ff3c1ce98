"""The rule ids that findings and issues bear: what each means, and where it is known from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from kvmfw import _native
from kvmfw.errors import ArgumentError

__all__ = ["Rule", "find_rule", "rule_of", "rules"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule id.

    Attributes
    ----------
    id : str
        The stable name, as in waivers and documents for machines.
    units : tuple of str
        The kinds of units whose findings bear it: ``vcpu``, ``list``, ``register``; none where audits do.
    meaning : str
        What it means, in a sentence.
    source : str
        Where it is known from.
    absence : bool
        Whether it says of a saved register that the host does not have it.
    """

    id: str
    units: tuple[str, ...]
    meaning: str
    source: str
    absence: bool


@cache
def _table() -> dict[str, Rule]:
    return {row[0]: Rule(row[0], tuple(row[1]), *row[2:]) for row in _native.rules()}


def rules() -> list[Rule]:
    """List all rule ids.

    Examples
    --------
    >>> [rule.id for rule in rules()][:3]
    ['KVMFW-VCPU', 'KVMFW-VMM', 'KVMFW-LIST-MISSING']
    """
    return list(_table().values())


def find_rule(name: str) -> Rule:
    """Give the rule of this id (any case).

    Raises
    ------
    ArgumentError
        When there is none.

    Examples
    --------
    >>> find_rule("kvmfw-wa3-level").meaning
    'The host does not take this level of WORKAROUND_3 (Spectre BHB).'
    """
    rule = _table().get(name.upper())
    if rule is None:
        raise ArgumentError(f"there is no rule `{name}`; `kvmfw rule` lists all")
    return rule


def rule_of(register: int, *, absent: bool = False) -> Rule:
    """Give the rule that speaks about a register, or about its absence from a host's list.

    >>> rule_of(0x6030000000140003).id, rule_of(0x6030000000140003, absent=True).id
    ('KVMFW-WA3-LEVEL', 'KVMFW-LIST-MISSING')
    """
    return find_rule(_native.rule_of(register, absent))
