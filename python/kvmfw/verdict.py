"""Verdicts: the outcome of one pair, with every finding."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any, NoReturn

from kvmfw import _native
from kvmfw.errors import TruthError
from kvmfw.sets import Host, RegisterSet
from kvmfw.vmms import Surrounding, find_vmm

__all__ = ["FieldDifference", "Finding", "Outcome", "Verdict", "validate"]

_NO_TRUTH = (
    "{what} is neither true nor false; compare it, as in `{outcome} < kvmfw.Outcome.UNKNOWN` (taken) or"
    " `{outcome} is kvmfw.Outcome.REFUSE`"
)


class Outcome(IntEnum):
    """Outcome of a unit or a pair; a pair's is the greatest of its units'.

    An outcome has no truth value, although it is a number: ACCEPT is 0, so ``if outcome:`` would hold for
    what is refused. Whether CHANGE and UNKNOWN count as taken is for the caller to say.

    >>> max(Outcome.CHANGE, Outcome.ACCEPT)
    <Outcome.CHANGE: 1>

    Raises
    ------
    TruthError
        When it stands where true or false is asked for.
    """

    ACCEPT = 0
    CHANGE = 1
    UNKNOWN = 2
    REFUSE = 3

    def __bool__(self) -> NoReturn:
        raise TruthError(_NO_TRUTH.format(what="an outcome", outcome="outcome"))

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class FieldDifference:
    """A field of a register in which what was saved and what the host has differ.

    Attributes
    ----------
    name : str
        The name of the field; empty for bits without one.
    high, low : int
        Its highest and lowest bit.
    saved, own : int
        Its number in what was saved, and in what the host has, or stores.
    """

    name: str
    high: int
    low: int
    saved: int
    own: int


@dataclass(frozen=True, slots=True, repr=False)
class Finding:
    """One unit's part in a verdict.

    Attributes
    ----------
    register : int or None
        The register id; ``None`` where the vCPU as a whole is judged.
    name : str
        The register's name, or what the unit is called.
    unit : str
        The kind of unit that it belongs to: ``vcpu``, ``list`` or ``register``.
    saved : int or None
        What was saved; ``None`` where the set does not hold the register.
    own : int or None
        What a fresh vCPU of the host has.
    outcome : Outcome
        What this unit says.
    effect : str
        ``kept``, ``raised``, ``dropped``, ``rewritten``, ``defaulted``, ``refused`` or ``unknown``.
    errno : str or None
        The error with which KVM refuses, such as ``EINVAL``.
    reads : int or None
        What the register reads after the restore, where that is known and not what was saved.
    needs : str or None
        What would tell, where it is not known what happens.
    rule : str
        The stable id of the rule that speaks.
    evidence : str
        ``measured``, ``derived``, ``proved`` (derived, and proved of the host's kernel image) or ``none``.
    fields : tuple of FieldDifference
        The fields that it is about; none where it is about the value as a whole.
    offers : str
        What the host offers for this register.
    sentence : str
        One plain sentence.
    """

    register: int | None
    name: str
    unit: str
    saved: int | None
    own: int | None
    outcome: Outcome
    effect: str
    errno: str | None
    reads: int | None
    needs: str | None
    rule: str
    evidence: str
    fields: tuple[FieldDifference, ...]
    offers: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.outcome.name}: {self.sentence}"

    def __repr__(self) -> str:
        return f"<Finding {self.outcome.name} {self.rule}, {self.evidence}: {self.sentence}>"

    def to_dict(self) -> dict[str, Any]:
        """Give the finding as JSON-ready data; ids and values are hexadecimal strings."""
        return {
            "register": None if self.register is None else f"{self.register:#x}",
            "name": self.name,
            "unit": self.unit,
            "saved": None if self.saved is None else f"{self.saved:#x}",
            "own": None if self.own is None else f"{self.own:#x}",
            "outcome": self.outcome.name,
            "effect": self.effect,
            "errno": self.errno,
            "reads": None if self.reads is None else f"{self.reads:#x}",
            "needs": self.needs,
            "rule": self.rule,
            "evidence": self.evidence,
            "fields": [asdict(field) for field in self.fields],
            "offers": self.offers,
            "sentence": self.sentence,
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of one pair, and everything that led to it.

    A verdict has no truth value: there are four outcomes, and which of them count as taken is for the caller
    to say. ``if kvmfw.validate(vm, host):`` would hold for every pair, refused ones as well, so it raises
    `TruthError`, as NumPy arrays and data frames do where there is no one answer.

    Attributes
    ----------
    outcome : Outcome
        The greatest outcome of the findings; ``ACCEPT`` where there are none.
    findings : tuple of Finding
        Every unit that does not simply accept, in write order: all, never only the first.
    vmm : str
        The restore policy that the verdict holds for.
    scheme : str
        Who judged.
    left_open : tuple of str, optional
        The words of `not_judged`; without it all that the VMM's row of the table names.
    """

    outcome: Outcome
    findings: tuple[Finding, ...]
    vmm: str
    scheme: str
    left_open: tuple[str, ...] | None = None

    def __bool__(self) -> NoReturn:
        raise TruthError(_NO_TRUTH.format(what="a verdict", outcome="verdict.outcome"))

    def _repr_html_(self) -> str:
        from html import escape  # noqa: PLC0415 - few look at verdicts in a notebook

        from kvmfw.quoting import printable  # noqa: PLC0415 - as above

        rows = "".join(
            "<tr>" + "".join(f"<td>{escape(printable(cell))}</td>" for cell in cells) + "</tr>"
            for cells in ((one.outcome.name, one.sentence, one.rule, one.evidence) for one in self.findings)
        )
        words = f"{self.outcome.name}, vmm {escape(self.vmm)}, scheme {escape(self.scheme)}"
        head = "<tr><th>outcome</th><th>finding</th><th>rule</th><th>evidence</th></tr>"
        return f"<table><caption>{words}</caption>{head}{rows}</table>"

    @classmethod
    def _from_native(cls, native: tuple[int, list[tuple[Any, ...]], list[str], str], scheme: str) -> Verdict:
        outcome, rows, left_open, vmm = native
        return cls(Outcome(outcome), tuple(_finding(*row) for row in rows), vmm, scheme, tuple(left_open))

    @property
    def not_judged(self) -> tuple[Surrounding, ...]:
        """What the VMM restores beside registers, or relies on: this verdict does not say whether that arrives.

        Examples
        --------
        >>> [beside.word for beside in Verdict(Outcome.ACCEPT, (), "kvm", "kvm").not_judged][:2]
        ['vgic', 'distributor']
        """
        beside = find_vmm(self.vmm).not_judged
        return tuple(one for one in beside if self.left_open is None or one.word in self.left_open)

    def to_dict(self) -> dict[str, Any]:
        """Give the verdict as JSON-ready data."""
        return {
            "outcome": self.outcome.name,
            "vmm": self.vmm,
            "scheme": self.scheme,
            "findings": [finding.to_dict() for finding in self.findings],
            "not_judged": [beside.word for beside in self.not_judged],
        }


def _finding(who: tuple[Any, ...], what: tuple[Any, ...], why: tuple[Any, ...]) -> Finding:
    register, name, unit = who
    saved, own, outcome, effect, errno, reads, needs = what
    rule, evidence, fields, offers, sentence = why
    return Finding(
        register,
        name,
        unit,
        saved,
        own,
        Outcome(outcome),
        effect,
        errno,
        reads,
        needs,
        rule,
        evidence,
        tuple(FieldDifference(*field) for field in fields),
        offers,
        sentence,
    )


def validate(
    vm: RegisterSet,
    host: Host,
    *,
    vmm: str = "kvm",
    scheme: str = "kvm",
    state: str = "fresh",
    derive_only: bool = False,
) -> Verdict:
    """Judge one pair: whether ``host`` takes the registers of ``vm``, and why not.

    Parameters
    ----------
    vm : RegisterSet
        What was saved.
    host : Host
        The target's capture.
    vmm : str
        The restore policy.
    scheme : {"kvm", "signed4", "equal"}
        Who judges.
    state : {"fresh", "exited", "ran"}
        What the target vCPU has done before the writes; a restore meets a fresh one.
    derive_only : bool
        Leave the capture's answers out and judge by rules alone.

    Returns
    -------
    Verdict
        The outcome with every finding, in write order.

    Raises
    ------
    ArgumentError
        When a word is not known.

    Examples
    --------
    >>> from kvmfw.testing import tiny_host, tiny_set
    >>> verdict = validate(tiny_set(workaround_3=2), tiny_host(workaround_3=1))
    >>> verdict.outcome
    <Outcome.REFUSE: 3>
    >>> print(verdict.findings[0])
    REFUSE: SMCCC_ARCH_WORKAROUND_3 was saved as 0x2, this host takes levels 0 to 1; KVM refuses it (EINVAL)
    >>> validate(tiny_set(workaround_3=1), tiny_host(workaround_3=1)).outcome
    <Outcome.ACCEPT: 0>
    """
    native = _native.validate(vm._native, host._native, vmm, scheme, state, derive_only)
    return Verdict._from_native(native, scheme)
