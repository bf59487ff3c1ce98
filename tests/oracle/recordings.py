"""Reads recordings of real kernels: what a host shows (Facts), and every answer that was recorded.

The format is that of ``realkvm/README.md``.  Nothing here judges anything.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from .facts import Facts

ERRNO = {
    1: "EPERM",
    2: "ENOENT",
    6: "ENXIO",
    7: "E2BIG",
    8: "ENOEXEC",
    13: "EACCES",
    14: "EFAULT",
    16: "EBUSY",
    22: "EINVAL",
    95: "EOPNOTSUPP",
}
CODE = {
    "i": "EINVAL",
    "n": "ENOENT",
    "b": "EBUSY",
    "p": "EPERM",
    "x": "ENXIO",
    "B": "E2BIG",
    "a": "EACCES",
    "f": "EFAULT",
    "o": "EOPNOTSUPP",
    "?": "other",
}
SYSREG = 0x6030000000130000
ALL_ONES = (1 << 64) - 1
SVE_VLS = 0x606000000015FFFF
EINTR = 4
PHASES = ("fresh", "imm", "mmio")


@dataclass(frozen=True)
class Recorded:
    """One write and what the kernel answered."""

    register: int
    value: int
    errno: str | None
    read_back: int | None  # of an accepted write
    read_back_known: bool = True


@dataclass
class Series:
    """Writes that all start from the same state, or (``sequence``) follow one another on one VM."""

    kind: str
    config: Config
    writes: list[Recorded]
    has_run: bool = False
    run_refused: bool = False
    finalized: bool = True
    sequence: bool = False
    finalize_after_lengths: bool = False
    run_at: int | None = None  # the VM runs before this write of a sequence
    label: str = ""


@dataclass
class Config:
    name: str
    facts: Facts
    raw: dict[str, Any] = field(repr=False)


class Recording:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name.split(".json")[0]
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt") as stream:
            self.raw: dict[str, Any] = json.load(stream)

    @property
    def release(self) -> str:
        return str(self.raw["meta"]["release"])

    @cached_property
    def configs(self) -> dict[str, Config]:
        found = {}
        for name, raw in self.raw.get("configs", {}).items():
            if "regs" in raw:
                found[name] = Config(name, self._facts(raw), raw)
        return found

    def _facts(self, raw: dict[str, Any]) -> Facts:
        init = raw["init"]
        masks = raw.get("masks", {}).get("range0")
        return Facts(
            release=self.release,
            features=int(init["feat"], 16),
            vgic=bool(init["vgic"]),
            registers={int(r[0], 16): value_of(r[1]) for r in raw["regs"] if not r[1].startswith("E")},
            masks={int(k, 16): int(v, 16) for k, v in masks.items()} if isinstance(masks, dict) else None,
            caps=frozenset({init["ecap"]} if init.get("ecap") else ()),
            vulnerabilities=dict(self.raw["meta"].get("vuln", {})),
        )

    def series(self) -> Iterator[Series]:
        for config in self.configs.values():
            yield from listed(config)
            yield from firmware(config, [int(v, 16) for v in self.raw["sweep"]])
            yield from id_registers(config)
            yield from unreadable(config)
            yield from unknown_ids(config)
            yield from restored(config)
            yield from two_vcpus(config)
            yield from initialised_again(config)
        yield from vector_lengths(self)


def value_of(text: str) -> int:
    """A recorded value: hexadecimal, or ``b:`` and the bytes in memory order."""
    if not text.startswith("b:"):
        return int(text, 16)
    raw = b""
    for part in text[2:].split("+"):
        raw += bytes(int(part[2:])) if part.startswith("0*") else bytes.fromhex(part)
    return int.from_bytes(raw, "little")


def errno_name(number: int) -> str | None:
    return None if number == 0 else ERRNO.get(number, str(number))


def after_run(config: Config, phase: str) -> tuple[bool, bool]:
    """Has the VM of this phase run, and was its run refused instead?"""
    if phase == "fresh":
        return False, False
    ran = config.raw["ran"][phase]
    refused = run_refused(ran["rc"], ran["e"])
    return not refused, refused


def run_refused(result: int, errno: int) -> bool:
    return result != 0 and errno != EINTR


def listed(config: Config) -> Iterator[Series]:
    """Every listed register, written back as it was read."""
    fresh = [r for r in config.raw["regs"] if len(r) > 2]
    writes = [Recorded(int(r[0], 16), value_of(r[1]), errno_name(r[2]), None, False) for r in fresh]
    yield Series("list", config, writes)
    for phase, changes in config.raw.get("regs_after", {}).items():
        has_run, refused = after_run(config, phase)
        now = {r[0]: r for r in changes["changed"]}
        rows = [now.get(r[0], r) for r in fresh]
        writes = [
            Recorded(int(r[0], 16), value_of(r[1]), errno_name(r[2]), None, False) for r in rows if len(r) > 2
        ]
        yield Series("list", config, writes, has_run, refused, label=phase)


def firmware(config: Config, sweep: list[int]) -> Iterator[Series]:
    for phase, registers in config.raw.get("fw", {}).items():
        has_run, refused = after_run(config, phase)
        for text, row in registers.items():
            if text == "absent":
                for errnos, ids in row.items():
                    errno = errnos.rsplit(" ", 1)[1]
                    writes = [Recorded(int(i, 16), v, errno, None) for i in ids for v in sweep]
                    yield Series("firmware", config, writes, has_run, refused, label=f"{phase} absent")
                continue
            yield Series(
                "firmware", config, firmware_row(int(text, 16), row, sweep), has_run, refused, label=phase
            )


def firmware_row(register: int, row: dict[str, Any], sweep: list[int]) -> list[Recorded]:
    accepted = {int(v, 16) for v in row["accepted"]}
    read_back = {int(w, 16): int(r, 16) for w, r in row.get("reads_back", {}).items()}
    named = {int(v, 16): e for e, vs in row.get("refused", {}).items() if isinstance(vs, list) for v in vs}
    others = [e for e, vs in row.get("refused", {}).items() if not isinstance(vs, list)]
    writes = []
    for value in sweep:
        if value in accepted:
            writes.append(Recorded(register, value, None, read_back.get(value, value)))
        else:
            writes.append(Recorded(register, value, named.get(value) or others[0], None))
    return writes


def id_registers(config: Config) -> Iterator[Series]:
    for phase, registers in config.raw.get("id", {}).items():
        has_run, refused = after_run(config, phase)
        for text, row in registers.items():
            if text in ("raz_only_zero", "raz_only_zero_busy"):
                errno = "EBUSY" if text.endswith("busy") else "EINVAL"
                for low in row.split():
                    register = SYSREG | int(low, 16)
                    writes = [
                        Recorded(register, v, None if v == 0 else errno, 0 if v == 0 else None)
                        for v in swept(0)
                    ]
                    yield Series("id", config, writes, has_run, refused, label=phase)
                continue
            yield Series("id", config, id_row(int(text, 16), row), has_run, refused, label=phase)


def swept(value: int) -> Iterator[int]:
    """What the probe writes to an ID register: each nibble alone, then zero and all ones."""
    for shift in range(0, 64, 4):
        for nibble in range(16):
            yield value & ~(15 << shift) | nibble << shift
    yield 0
    yield ALL_ONES


def id_row(register: int, row: dict[str, Any]) -> list[Recorded]:
    value = int(row["v"], 16)
    read_back = {int(w, 16): int(r, 16) for w, r, e in row.get("rb", []) if e == 0}
    complete = row.get("nrb", 0) == len(row.get("rb", []))
    fields = row.get("f", {})
    own = "." if row["s"] == 0 else next(c for c, e in CODE.items() if e == errno_name(row["s"]))
    codes = []
    for shift in range(0, 64, 4):
        now = value >> shift & 15
        codes.append(fields.get(str(shift)) or "".join(own if n == now else row["d"] for n in range(16)))
    writes = []
    for written, code in zip(swept(value), "".join(codes) + row["z"] + row["o"], strict=True):
        if code == ".":
            writes.append(Recorded(register, written, None, written))
        elif code == "!":
            writes.append(
                Recorded(register, written, None, read_back.get(written), written in read_back or complete)
            )
        else:
            writes.append(Recorded(register, written, CODE[code], None))
    return writes


def unreadable(config: Config) -> Iterator[Series]:
    """Encodings of the ID space that cannot be read; zero was written to each."""
    phases = config.raw.get("id_unreadable", {})
    for phase, groups in phases.items():
        has_run, refused = after_run(config, phase)
        rows = phases["fresh"] if groups == "as fresh" else groups
        for errnos, lows in rows.items():
            errno = errnos.rsplit(" ", 1)[1]
            writes = [Recorded(SYSREG | int(low, 16), 0, errno, None) for low in lows.split()]
            yield Series("unlisted", config, writes, has_run, refused, label=phase)


def unknown_ids(config: Config) -> Iterator[Series]:
    """Ids that no kernel should know; zero was written, or what GET had returned."""
    writes = []
    for errnos, rows in config.raw.get("unknown", {}).items():
        for row in rows:
            if errnos == "known":
                result = row[2].removeprefix("set0 ")
                errno = None if result == "ok" else result
                register = int(row[0], 16)
                wide = config.facts.registers.get(register, int(row[1], 16))
                writes.append(Recorded(register, wide, errno, None, False))
            else:
                writes.append(Recorded(int(row, 16), 0, errnos.rsplit(" ", 1)[1], None))
    yield Series("unlisted", config, writes)


def restored(config: Config) -> Iterator[Series]:
    """What a vCPU that ran had, written in list order to a fresh one (already finalized)."""
    if "restore" not in config.raw:
        return
    changes = {r[0]: r for r in config.raw.get("regs_after", {}).get("mmio", {}).get("changed", [])}
    bad = {r[0]: r for r in config.raw["restore"]["bad"]}
    writes = []
    for row in config.raw["regs"]:
        if row[1].startswith("E"):
            continue
        register, text = int(row[0], 16), changes.get(row[0], row)[1]
        errno = errno_name(bad[row[0]][3]) if row[0] in bad else None
        writes.append(Recorded(register, value_of(text), errno, None, False))
    yield Series("restore", config, writes, sequence=True)


def two_vcpus(config: Config) -> Iterator[Series]:
    """Another value of each register through one vCPU; and through a second when the first has run."""
    cross = config.raw.get("cross", {})
    rows = [r for r in cross.get("shared", []) if r[3] == 0]
    writes = [Recorded(int(r[0], 16), int(r[4], 16), None, int(r[5], 16)) for r in rows]
    yield Series("two vCPUs", config, writes, label="before run")
    writes = []
    for register, own, same, other, errno, read_back in cross.get("v1after", []):
        writes.append(Recorded(int(register, 16), int(own, 16), errno_name(same), int(own, 16)))
        if errno == 0 or int(register, 16) >> 16 == 0x603000000013:  # a refused firmware sweep names no value
            back = int(read_back, 16) if errno == 0 else None
            writes.append(Recorded(int(register, 16), int(other, 16), errno_name(errno), back))
    refused = run_refused(*cross.get("run", [0, 0])[:2])
    yield Series("two vCPUs", config, writes, not refused, refused, label="the other has run")


def initialised_again(config: Config) -> Iterator[Series]:
    """Other values, perhaps a run, KVM_ARM_VCPU_INIT again: are the old values taken back?"""
    for phase, raw in config.raw.get("reinit", {}).items():
        rows = [(int(i, 16), int(old, 16), int(new, 16), errno) for i, old, new, _, _, errno in raw["regs"]]
        before = [Recorded(register, new, None, new) for register, _, new, _ in rows]
        after = [Recorded(register, old, errno_name(errno), None, False) for register, old, _, errno in rows]
        ran = len(before) if phase != "fresh" and not run_refused(*raw["run"][:2]) else None
        yield Series("INIT again", config, before + after, sequence=True, run_at=ran, label=phase)


def vector_lengths(recording: Recording) -> Iterator[Series]:
    """SVE_VLS before finalization: each set on its own, and what is refused afterwards."""
    sve, config = recording.raw.get("sve"), recording.configs.get("sve")
    if not sve or config is None or "sets" not in sve:
        return
    writes = []
    for text, errno, *differs in sve["sets"]:
        low, _, word = text.partition(":w")
        value = int(low, 16)
        if word:
            value |= 1 << 64 if word == "1" else 1 << 511
        read_back = value if not differs else int(differs[0], 16)
        writes.append(Recorded(SVE_VLS, value, errno_name(errno), read_back if errno == 0 else None))
    yield Series("sve", config, writes, finalized=False)
    for row in sve["fin"]:
        before = Recorded(SVE_VLS, int(row["w"], 16), errno_name(row["set"]), int(row["r"], 16))
        after = Recorded(SVE_VLS, int(row["r"], 16), errno_name(row["selfset"]), None, False)
        yield Series(
            "sve", config, [before, after], finalized=False, sequence=True, finalize_after_lengths=True
        )
