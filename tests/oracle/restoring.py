"""A restore as a sequence of writes to a VM: what came of each, and what of the set as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Literal, Protocol

from .pmu import OTHER_NAME

Registers = Mapping[int, int]
Kind = Literal[
    "refused", "unknown", "changed", "dropped", "defaulted", "list", "unsaveable", "run", "gone", "doubt"
]


class Answer(Protocol):
    """What KVM said to one write: an errno name; accepted, and what a read then gives; or unknown."""

    @property
    def errno(self) -> str | None: ...

    @property
    def read_back(self) -> int | None: ...

    @property
    def altered(self) -> bool: ...

    @property
    def moves(self) -> bool: ...

    @property
    def unknown(self) -> bool: ...


class Fate(Protocol):
    """What the first run makes of a register: another value (None: not told which), nothing, or it is unknown."""

    @property
    def now(self) -> int | None: ...

    @property
    def gone(self) -> bool: ...

    @property
    def unknown(self) -> bool: ...


class Vm(Protocol):
    """A target VM that answers writes and remembers them."""

    def write(self, register: int, value: int, /) -> Answer: ...

    def read(self, register: int, /) -> int | None:
        """The value a read gives now; None when the register is not there or its value is not known."""

    def doubts(self, register: int, /) -> bool:
        """Is it not known what a write left there?"""

    def finalize(self) -> None:
        """KVM_ARM_VCPU_FINALIZE: from here on the SVE vector lengths are fixed (no effect without SVE)."""


class Outcome(IntEnum):
    ACCEPT = 0
    CHANGE = 1
    UNKNOWN = 2
    REFUSE = 3


SEVERITY: Final[dict[Kind, Outcome]] = {
    "refused": Outcome.REFUSE,  # KVM refused the write
    "list": Outcome.REFUSE,  # the VMM refused the register list before any write
    "unsaveable": Outcome.REFUSE,  # this VMM could not have saved such a vCPU
    "unknown": Outcome.UNKNOWN,  # nobody knows what KVM says to the write
    "changed": Outcome.CHANGE,  # accepted, but reads back otherwise
    "dropped": Outcome.CHANGE,  # in the set, but the VMM does not write it
    "defaulted": Outcome.CHANGE,  # not in the set, the target's own value appears
    "run": Outcome.CHANGE,  # accepted, but the first run changes it
    "gone": Outcome.CHANGE,  # accepted, but after the first run it is not there
    "doubt": Outcome.UNKNOWN,  # accepted, but nobody knows what the first run makes of it
}


@dataclass(frozen=True)
class Finding:
    """One register's part; `register` is None only for a list that is too long as a whole."""

    register: int | None
    kind: Kind
    value: int | None = None  # what was saved (or the default that was written)
    errno: str | None = None
    now: int | None = None  # what the guest sees instead

    @property
    def outcome(self) -> Outcome:
        return SEVERITY[self.kind]


@dataclass
class Restore:
    """One restore: every write in order, and what came of it. Findings are in the order of arising."""

    vm: Vm
    findings: list[Finding] = field(default_factory=list)
    writes: list[tuple[int, int]] = field(default_factory=list)
    passes: list[list[int]] = field(
        default_factory=list
    )  # QEMU: the refused registers of each pass over the list
    answers: dict[int, Answer] = field(
        default_factory=dict
    )  # the last answer to each register that was accepted

    @property
    def outcome(self) -> Outcome:
        return max((f.outcome for f in self.findings), default=Outcome.ACCEPT)

    @property
    def exit(self) -> Literal["completed", "failed", "unknown"]:
        """How the VMM ends, e.g. QEMU's MIGRATION event."""
        if self.outcome is Outcome.REFUSE:
            return "failed"
        return "unknown" if self.outcome is Outcome.UNKNOWN else "completed"

    def find(self, finding: Finding) -> None:
        if not any((f.register, f.kind) == (finding.register, finding.kind) for f in self.findings):
            self.findings.append(finding)

    def of(self, kind: Kind) -> list[int]:
        return [f.register for f in self.findings if f.kind == kind and f.register is not None]

    def write(self, register: int, value: int) -> bool:
        """One KVM_SET_ONE_REG. False: refused."""
        self.writes.append((register, value))
        answer = self.vm.write(register, value)
        self.answers.pop(register, None)
        if answer.unknown:
            self.find(Finding(register, "unknown", value))
        elif answer.errno is not None:
            self.find(Finding(register, "refused", value, errno=answer.errno))
            return False
        else:
            self.answers[register] = answer
        return True

    def compare(self, saved: Registers) -> None:
        """After all writes: which registers does the guest not see as saved?"""
        for register, value in saved.items():
            if register not in self.answers:
                continue
            answer, now = self.answers[register], self.vm.read(register)
            if now is None and not answer.moves and not answer.altered and self.vm.doubts(register):
                self.find(Finding(register, "unknown", value))  # a later write put it in doubt
                continue
            now = answer.read_back if now is None else now
            if now is None and not answer.moves and not answer.altered:
                self.find(Finding(register, "unknown", value))
            elif answer.altered if now is None else now != value:
                self.find(Finding(register, "changed", value, now=now))

    def run(self, saved: Registers, fates: Mapping[int, Fate]) -> None:
        """The first KVM_RUN: what it makes of registers that were taken."""
        for register, fate in fates.items():
            if register not in saved or register not in self.answers:
                continue
            kind: Kind = "doubt" if fate.unknown else "gone" if fate.gone else "run"
            self.find(Finding(register, kind, saved[register], now=fate.now))

    def own_only(self, saved: Registers, own: Registers) -> None:
        """Own registers that the set lacks and that were not written keep the default, if still there.

        A set without any core register is a list as QEMU has it: it says nothing about them.
        """
        has_core = any(group(r) == CORE for r in saved)
        for register in own:
            if group(register) == CORE and not has_core:
                continue
            if OTHER_NAME.get(register) in saved:
                continue  # written by its other name
            if register not in saved and (now := self.vm.read(register)) is not None:
                self.find(Finding(register, "defaulted", now=now))


# --- register ids ---------------------------------------------------------------------------------

CORE, DEMUX, SYSREG, FW, SVE, BMAP = 0x10, 0x11, 0x13, 0x14, 0x15, 0x16
SVE_VLS: Final = 0x6060_0000_0015_FFFF
TCR2_EL1: Final = 0x6030_0000_0013_C103
PIRE0_EL1: Final = 0x6030_0000_0013_C512
PIR_EL1: Final = 0x6030_0000_0013_C513
VENDOR_HYP_BMAP_2: Final = 0x6030_0000_0016_0003

X0, SP, PC, PSTATE = (
    0x6030_0000_0010_0000,
    0x6030_0000_0010_003E,
    0x6030_0000_0010_0040,
    0x6030_0000_0010_0042,
)
SP_EL1, ELR_EL1 = 0x6030_0000_0010_0044, 0x6030_0000_0010_0046
SPSRS = tuple(0x6030_0000_0010_0048 + 2 * n for n in range(5))  # EL1, abt, und, irq, fiq
XS = tuple(X0 + 2 * n for n in range(31))
VS = tuple(0x6040_0000_0010_0054 + 4 * n for n in range(32))
FPSR, FPCR = 0x6020_0000_0010_00D4, 0x6020_0000_0010_00D5


def group(register: int) -> int:
    return (register >> 16) & 0xFFF


def in_groups(saved: Registers, *groups: int) -> list[int]:
    """The ids of these groups, in saved order."""
    return [r for r in saved if group(r) in groups]
