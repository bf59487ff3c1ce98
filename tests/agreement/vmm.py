"""`python -m tests.agreement.vmm FOLDER`: the engine against real loads of Firecracker and cloud-hypervisor.

A folder holds outcomes.json.gz (one entry for each load), registers.json.gz (what the snapshots hold, in the order of the
file), captures/ of the hosts and, of some, the snapshots themselves, which the readers must read to the same end.
Where a host was asked twice, the capture with more configurations speaks.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kvmfw
from kvmfw import readers
from kvmfw.readers.saved import register_set

__all__ = ["VmmTally", "check", "main", "rows"]

FEATURE_OF_TEMPLATE = {"sve": ["sve"], "pauth": ["ptrauth_address", "ptrauth_generic"], "pmu": ["pmu_v3"]}
RELEASES = {
    ("firecracker", "1.12"): "firecracker-1.12",
    ("firecracker", "1.16"): "firecracker-1.16",
    ("cloud-hypervisor", "53"): "cloud-hypervisor-53",
}


@dataclass
class VmmTally:
    """Counts of loads by VMM and release and by where the VM came from, and every disagreement."""

    counts: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    @property
    def total(self) -> Counter[str]:
        """All counts together."""
        return sum(self.counts.values(), Counter())


def policy(load: Any) -> str | None:
    """The policy of the VMM that took part in a load."""
    parts = load["target"]["version"].split(".")
    release = parts[0] if load["vmm"] == "cloud-hypervisor" else ".".join(parts[:2])
    return RELEASES.get((load["vmm"], release))


class Folder:
    """What a folder of real loads holds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.loads: list[Any] = _json(path / "outcomes.json.gz")
        self.registers: dict[str, Any] = _json(path / "registers.json.gz")
        self.hosts = dict(self._hosts())
        self._read: dict[str, list[kvmfw.RegisterSet]] = {}

    def _hosts(self) -> Iterator[tuple[str, kvmfw.Host]]:
        best: dict[str, kvmfw.Host] = {}
        for file in sorted((self.path / "captures").glob("*.json.gz")):
            host = kvmfw.Host.from_json(gzip.decompress(file.read_bytes()))
            name = file.name.removesuffix(".json.gz").removesuffix(".pmu_sve")
            if name not in best or len(host.vcpus) > len(best[name].vcpus):
                best[name] = host
        yield from best.items()

    def recorded(self, load: Any) -> list[kvmfw.RegisterSet] | None:
        """The VM of a load, from the recorded registers: one set for each vCPU."""
        found = self.registers.get(load["source"]["snapshot"])
        if found is None:
            return None
        features = None
        if found["vmm"] == "firecracker":
            features = ["psci_0_2", *FEATURE_OF_TEMPLATE.get(found["template"], [])]
        return [
            register_set(
                {int(r, 16): int(v, 16) for r, v in vcpu.items()}, f"vcpu{number}", features=features
            )
            for number, vcpu in enumerate(found["vcpus"])
        ]

    def from_file(self, load: Any) -> list[kvmfw.RegisterSet] | None:
        """The same, from the file that the VMM wrote, where it is there."""
        name = load["source"]["snapshot"]
        if name not in self._read:
            files = [self.path / "snapshots" / f"{name}.{end}" for end in ("vmstate.gz", "state.json.gz")]
            there = [file for file in files if file.exists()]
            self._read[name] = [one for file in there for one in readers.register_sets(file)]
        return self._read[name] or None


def _json(path: Path) -> Any:
    return json.loads(gzip.decompress(path.read_bytes()))


def check(folder: Path) -> VmmTally:
    """Predict every load of a folder and compare."""
    loads, tally = Folder(folder), VmmTally()
    for load in loads.loads:
        vmm, host = policy(load), loads.hosts.get(load["target"]["host"])
        if vmm is None or host is None:
            tally.skipped["no such release" if vmm is None else "no capture of the target"] += 1
            continue
        for source, sets in (("recorded", loads.recorded(load)), ("from the file", loads.from_file(load))):
            if sets is None:
                tally.skipped[f"{source}: no such snapshot"] += 1
                continue
            compare(load, vmm, [kvmfw.validate(one, host, vmm=vmm) for one in sets], source, tally)
    return tally


def compare(load: Any, vmm: str, verdicts: list[kvmfw.Verdict], source: str, tally: VmmTally) -> None:
    """Compare one load: how it ended, and which register was the first to be refused."""
    counts = tally.counts.setdefault((vmm, source), Counter())
    counts["loads"] += 1
    outcome = max(verdict.outcome for verdict in verdicts)
    counts[outcome.name] += 1
    place = f"{vmm} {source}: {load['source']['snapshot']} -> {load['target']['host']}"
    if outcome is kvmfw.Outcome.UNKNOWN:
        counts["undecided"] += 1
        reasons = [str(f) for one in verdicts for f in one.findings if f.outcome is outcome]
        tally.wrong.append(f"undecided: {place}: real {load['outcome']}; {reasons[0]}")
        return
    if (outcome is kvmfw.Outcome.REFUSE) != (load["outcome"] == "failed"):
        counts["wrong"] += 1
        reasons = [str(f) for one in verdicts for f in one.findings if f.outcome is outcome]
        tally.wrong.append(
            f"outcome: {place}: real {load['outcome']}, engine {outcome}; {(reasons or ['-'])[0]}"
        )
        return
    counts["right"] += 1
    refused = [kind for kind in load["refused"] if kind[0] in "WI"]
    if not refused:
        return
    kind, register, *_ = refused[0]
    real = int(register, 16) if kind == "W" else None
    # The first vCPU that fails ends the load.
    first = next(f for one in verdicts for f in one.findings if f.outcome is kvmfw.Outcome.REFUSE)
    counts["first refusal compared"] += 1
    if first.register == real:
        counts["first refusal right"] += 1
    else:
        said = "vCPU" if first.register is None else f"{first.register:#x}"
        tally.wrong.append(f"first refusal: {place}: real {refused[0]}, engine {said}")


COLUMNS = ("loads", "right", "wrong", "undecided", "first refusal compared", "first refusal right")


def rows(tally: VmmTally) -> list[tuple[str, ...]]:
    """The counts, for a table: VMM and release, where the VM came from, and each column."""
    found = [
        (vmm, source, *(f"{counts[key]:,}" for key in COLUMNS))
        for (vmm, source), counts in sorted(tally.counts.items())
    ]
    return [*found, ("all", "", *(f"{tally.total[key]:,}" for key in COLUMNS))]


def _print(lines: Iterable[tuple[str, ...]]) -> None:
    for vmm, source, *counts in lines:
        print(
            f"{vmm:20} {source:14}",
            *(f"{count:>{len(key)}}" for key, count in zip(COLUMNS, counts, strict=True)),
        )


def main(arguments: list[str] | None = None) -> int:
    """Compare and print, what was not judged first; 1 when anything disagrees or is undecided, 2 when nothing was judged."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    options = parser.parse_args(arguments)
    if not (options.folder / "outcomes.json.gz").exists():
        print(f"{options.folder}: nothing was judged: no loads (outcomes.json.gz)", file=sys.stderr)
        return 2
    tally = check(options.folder)
    print(f"not judged: {tally.skipped.total()}")
    print(
        *(f"    {n} {why}" for why, n in tally.skipped.items()), sep="\n", end="\n" if tally.skipped else ""
    )
    if not tally.counts:
        print(f"{options.folder}: nothing was judged", file=sys.stderr)
        return 2
    _print([("vmm", "vm", *COLUMNS), *rows(tally)])
    print(*tally.wrong, sep="\n")
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
