"""Predicted captures against recordings: every pair of recordings of one CPU with the same options under two kernels.

A capture is predicted from the one recording, with the image of the other's kernel or with its release alone. Then what fresh
vCPUs read is compared with what they read, and every write that the other recording answered is judged with the predicted
capture as host.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path

import kvmfw
from kvmfw.kernels import Foretold, Kernel, Target
from tests.agreement.kvm import RESTORES, RUNNING_STATE, SINGLE, UNKNOWN, WRONG, Judge, Tally
from tests.oracle.recordings import Recording
from tests.realkvm.convert import convert

NOT_MADE = "the vCPU is not told"


@dataclass
class Compared:
    """What came of it: lists and fresh values by word, writes as `tests.agreement` counts them, reasons of what is unknown."""

    pairs: int = 0
    lists: Counter[str] = field(default_factory=Counter)
    values: Counter[str] = field(default_factory=Counter)
    writes: Tally = field(default_factory=Tally)
    not_told: int = 0
    unknown: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    @property
    def answers(self) -> Counter[str]:
        """The writes by result, those to vCPUs that were not told among the unknown ones."""
        found = Counter(self.writes.total)
        found[UNKNOWN] += self.not_told
        return found

    @property
    def all_wrong(self) -> list[str]:
        """Everything that was wrong."""
        return [*self.wrong, *self.writes.wrong]


class Predicted(Judge):
    """Asks a predicted capture about the vCPUs of a recording."""

    def __init__(self, recording: Recording, host: kvmfw.Host) -> None:
        self.recording = recording
        self.derive_only = True
        self.host = host


def files_by_machine(folder: Path) -> dict[str, dict[str, Path]]:
    """The recordings of a folder: CPU and options -> kernel -> file."""
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    for path in sorted([*folder.glob("*__*.json.gz"), *folder.glob("*__*.json")]):
        kernel, _, rest = path.name.partition("__")
        found[rest.removesuffix(".gz")][kernel] = path
    return found


def pairs(folder: Path, kernels: dict[str, Kernel] | None) -> Iterator[tuple[Path, Path]]:
    """Every pair of recordings of one machine under two kernels; where there are images, under kernels with one."""
    for paths in files_by_machine(folder).values():
        known = [kernel for kernel in paths if kernels is None or kernel in kernels]
        for old, new in permutations(known, 2):
            yield paths[old], paths[new]


def compare(folder: Path, kernels: dict[str, Kernel] | None, compared: Compared | None = None) -> Compared:
    """Predict every recording from every other of its machine: by images, or (None) by releases."""
    compared = Compared() if compared is None else compared
    loaded: dict[Path, Recording] = {}
    for was, will in pairs(folder, kernels):
        if was not in loaded:
            # Pairs come machine by machine.
            loaded = {
                path: one
                for path, one in loaded.items()
                if path.name.partition("__")[2] == was.name.partition("__")[2]
            }
        old, new = (
            loaded.setdefault(path, Recording(path)) if path not in loaded else loaded[path]
            for path in (was, will)
        )
        if not old.configs or not new.configs:
            continue
        compared.pairs += 1
        judge_pair(old, new, kernels, compared)
    return compared


def judge_pair(old: Recording, new: Recording, kernels: dict[str, Kernel] | None, compared: Compared) -> None:
    """Predict one recording from another, and judge all that it has."""
    document = convert(old.raw, old.name)
    target = Target.of(new.release) if kernels is None else Target.of(kernels[new.release])
    foretold = Foretold(
        document,
        kvmfw.Host.from_json(json.dumps(document)),
        target,
        None if kernels is None else kernels[old.release],
    )
    predicted = foretold.document()
    host = kvmfw.Host.from_json(json.dumps(predicted))
    told = {vcpu["name"]: vcpu for vcpu in predicted["vcpus"]}
    pair = f"{old.name} -> {new.release}"
    recorded = {
        name: config
        for name, config in new.configs.items()
        if name in old.configs and config.facts.features == old.configs[name].facts.features
    }
    for name, config in recorded.items():
        compare_vcpu(pair, host, name if name in told else None, config.facts.registers, compared)
    judge = Predicted(new, host)
    for series in new.series():
        if series.config.name not in recorded:
            continue
        if series.config.name not in told:
            compared.not_told += len(series.writes)
        elif series.kind in SINGLE and not series.sequence:
            judge.single(series, compared.writes)
        elif series.kind in RESTORES:
            judge.restore(series, compared.writes)


def compare_vcpu(
    pair: str,
    host: kvmfw.Host,
    name: str | None,
    recorded: Mapping[int, int],
    compared: Compared,
    *,
    left_out: Container[int] = RUNNING_STATE,
) -> None:
    """Compare the list and the fresh values of one vCPU of a predicted host; None is one that was not told."""
    if name is None:
        compared.lists["unknown"] += len(recorded)
        compared.values["unknown"] += len(recorded)
        compared.unknown[f"list: {NOT_MADE}"] += len(recorded)
        return
    _, features, vgic, enabled = next(row for row in host.vcpus if row[0] == name)
    unsure, bits = host.unknown(features=features, vgic=vgic, enabled=enabled)
    fresh = host.fresh_set(features=features, vgic=vgic, enabled=enabled)
    assert fresh is not None
    values = fresh.to_mapping()
    for register in {*values, *recorded, *unsure}:
        listed = register in recorded
        label = kvmfw.register_name(register)
        if register in unsure:
            compared.lists["unknown"] += 1
            compared.unknown[f"list: {label}"] += 1
        elif (register in values) != listed:
            compared.lists["wrong"] += 1
            compared.wrong.append(f"{pair} {name}: {label} {'is' if listed else 'is not'} listed")
        else:
            compared.lists["right"] += 1
        if not listed or register not in values or register in left_out or register in RUNNING_STATE:
            continue
        hidden = bits.get(register, 0)
        if (values[register] ^ recorded[register]) & ~hidden:
            compared.values["wrong"] += 1
            compared.wrong.append(
                f"{pair} {name}: {label} reads {recorded[register]:#x},"
                f" predicted {values[register]:#x} without {hidden:#x}"
            )
        elif hidden:
            compared.values["unknown"] += 1
            compared.unknown[f"value: {label}"] += 1
        else:
            compared.values["right"] += 1


def report(compared: Compared, by: str) -> bool:
    """Print what came of it; whether nothing was wrong, and something was compared."""
    print(f"predicted by {by}: {compared.pairs} pairs of recordings")
    for what, counted in (
        ("lists", compared.lists),
        ("fresh values", compared.values),
        ("answers to writes", compared.answers),
    ):
        total = sum(counted.values())
        wrong = sum(counted[word] for word in ("wrong", *WRONG))
        share = counted["unknown"] / total if total else 0
        print(f"    {what}: {total:,}, {wrong} wrong, {counted['unknown']:,} unknown ({share:.1%})")
    unknown = Counter(compared.unknown)
    for (_, register), counts in compared.writes.registers.items():
        unknown[f"write: {register}"] += counts[UNKNOWN]
    unknown[f"write: {NOT_MADE}"] += compared.not_told
    for reason, times in unknown.most_common(40):
        if times:
            print(f"    {times:9,} {reason}")
    for line in compared.all_wrong[:40]:
        print(f"    WRONG {line}")
    return not compared.all_wrong and compared.pairs > 0
