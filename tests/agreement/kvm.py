"""The engine against recordings of real KVM: every recorded write is judged and compared.

With measured evidence the engine has the capture made of the recording; with derived evidence the answers
are hidden and only lists, fresh values, masks, features and the release are left.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path

import kvmfw
from tests.live.predict import AFTERWARDS
from tests.oracle.crossed import Restores
from tests.oracle.pmu import OTHER_NAME
from tests.oracle.recordings import SVE_VLS, Recorded, Recording, Series
from tests.realkvm.convert import convert

AGREED, UNKNOWN, NOT_JUDGED = "agreed", "unknown", "read-back not judged"
WRONG = ("wrong accept", "wrong refuse", "wrong errno", "wrong read-back")
COLUMNS = (AGREED, NOT_JUDGED, UNKNOWN, *WRONG)
STATES = {"imm": "exited", "mmio": "ran"}
Said = tuple[str, str | None, int | None]
FIRMWARE = 0x603000000014


@dataclass
class Tally:
    """Counts by (kernel, group) and by (kernel, register), and every disagreement."""

    counts: dict[tuple[str, str], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    registers: dict[tuple[str, str], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    wrong: list[str] = field(default_factory=list)

    @property
    def total(self) -> Counter[str]:
        """All counts together."""
        return sum(self.counts.values(), Counter())

    @property
    def disagreed(self) -> int:
        """How many answers disagree."""
        return sum(self.total[column] for column in WRONG)


def compare(said: Said, recorded: Recorded) -> str:
    """Name the result of one answer."""
    effect, errno, reads = said
    if effect == "unknown":
        return UNKNOWN
    refused = effect == "refused"
    if refused != (recorded.errno is not None):
        return "wrong refuse" if refused else "wrong accept"
    if refused:
        return AGREED if errno == recorded.errno else "wrong errno"
    if not recorded.read_back_known:
        return AGREED
    if effect == "kept":
        reads = recorded.value
    if reads is None or reads == recorded.read_back:
        return AGREED
    return NOT_JUDGED if is_running_state(recorded.register) else "wrong read-back"


def is_running_state(register: int) -> bool:
    """Timers: they move by themselves, so the engine says only that a write is accepted."""
    return register in RUNNING_STATE


# CNTPCT_EL0 and TIMER_CNT count; CNTP_CTL_EL0 and CNTV_CTL_EL0 tell whether the timer has expired.
RUNNING_STATE = frozenset(0x6030000000130000 | low for low in (0xDF01, 0xDF1A, 0xDF11, 0xDF19))


def read_at_the_end(writes: list[Recorded]) -> list[Recorded]:
    """What registers read when all is written, which is what a verdict tells.

    The probe read each register at once. Later writes do not change it, but for PMU registers with two names:
    what the later of the two left is what both read. Sets that hold two values for the two names are no VM's (on
    kernels where writing the one clears the other, the probe's own writes made such); of these nothing is compared.
    """
    written = {write.register: (at, write) for at, write in enumerate(writes)}

    def at_the_end(at: int, write: Recorded) -> Recorded:
        later, other = written.get(OTHER_NAME.get(write.register, 0), (at, write))
        if write.errno is not None or other.errno is not None:
            return write
        if other.value != write.value:
            return replace(write, read_back_known=False)
        return replace(write, read_back=other.read_back) if later > at else write

    return [at_the_end(at, write) for at, write in enumerate(writes)]


class Judge:
    """Asks the engine about the vCPUs of one recording."""

    def __init__(self, recording: Recording, *, derive_only: bool) -> None:
        self.recording = recording
        self.derive_only = derive_only
        capture = convert(recording.raw, recording.name)
        self.host = kvmfw.Host.from_json(json.dumps(capture))

    def single(self, series: Series, tally: Tally) -> None:
        """Writes that each meet the same vCPU."""
        # A vCPU whose run was refused has not run: it is asked about as a fresh one.
        phase = "" if series.run_refused else series.label.split(" ")[0]
        state = STATES.get(phase, "fresh")
        by_register: dict[int, list[Recorded]] = defaultdict(list)
        for recorded in series.writes:
            by_register[recorded.register].append(recorded)
        for register, writes in by_register.items():
            # The probe finalised the vCPU before all but the `sve` series; from there on SVE_VLS is as after a run.
            finalized = register == SVE_VLS and series.kind != "sve"
            said = self.host.ask(
                series.config.name,
                register,
                [recorded.value for recorded in writes],
                state="exited" if finalized else state,
                derive_only=self.derive_only,
            )
            self.count(series, writes, said, tally)

    def restore(self, series: Series, tally: Tally) -> None:
        """A whole set written to one fresh vCPU: one verdict, compared register by register."""
        vcpu = next(row for row in self.host.vcpus if row[0] == series.config.name)
        _, features, vgic, enabled = vcpu
        # Where the probe wrote to a finalised vCPU, the answer to SVE_VLS is not one to a restore.
        writes = [w for w in series.writes if w.register != SVE_VLS or series.finalize_after_lengths]
        writes = read_at_the_end(writes)
        saved = kvmfw.RegisterSet.from_mapping(
            {write.register: write.value for write in writes},
            features=features,
            vgic=vgic,
            enabled=enabled,
        )
        verdict = kvmfw.validate(saved, self.host, vmm="kvm", derive_only=self.derive_only)
        answers_to_writes = [f for f in verdict.findings if f.rule not in AFTERWARDS and f.saved is not None]
        said = {f.register: (f.effect, f.errno, f.reads) for f in answers_to_writes}
        for write in writes:
            if write.register >> 16 == FIRMWARE:
                # The probe wrote in the order of KVM's list: firmware registers met the host's own ID registers.
                (said[write.register],) = self.host.ask(
                    series.config.name, write.register, [write.value], derive_only=self.derive_only
                )
        answers = [said.get(write.register, ("kept", None, None)) for write in writes]
        self.count(series, writes, answers, tally)

    def count(self, series: Series, writes: list[Recorded], said: list[Said], tally: Tally) -> None:
        """Add answers to the counts."""
        kernel = self.recording.release.removesuffix("-arm64")
        counts = tally.counts[kernel, series.kind]
        for answer, write in zip(said, writes, strict=True):
            result = compare(answer, write)
            name = kvmfw.register_name(write.register)
            counts[result] += 1
            tally.registers[kernel, name][result] += 1
            if result in WRONG:
                tally.wrong.append(
                    f"{result}: {self.recording.name} {series.config.name} {series.kind} {series.label}: "
                    f"{name} <- {write.value:#x}: engine {answer}, kernel {write.errno or write.read_back}"
                )


# What follows other writes, or comes through a second vCPU, is the oracle's to replay: the engine speaks of restores.
SINGLE = frozenset({"list", "firmware", "id", "unlisted", "sve"})
RESTORES = frozenset({"restore", "restore between kernels"})


def check(recording: Recording, restores: Restores, *, derive_only: bool, tally: Tally) -> None:
    """Compare all answers of one recording."""
    if recording.configs:
        judge = Judge(recording, derive_only=derive_only)
        for series in recording.series():
            if series.kind in SINGLE and not series.sequence:
                judge.single(series, tally)
            elif series.kind in RESTORES:
                judge.restore(series, tally)
    target = restores.target(recording)
    if target is not None:
        judge = Judge(target, derive_only=derive_only)
        for series in restores.series(recording):
            judge.restore(series, tally)


def recordings(folder: Path) -> list[Path]:
    """The recordings of a folder, in name order."""
    found = sorted([*folder.glob("*.json"), *folder.glob("*.json.gz")])
    return [path for path in found if not path.name.startswith("index")]
