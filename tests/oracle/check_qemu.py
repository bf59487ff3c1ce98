"""`python -m tests.oracle.check_qemu FOLDER [MORE...]`: the model of QEMU against the real loads of FOLDER.

A folder holds outcomes.json and registers.json.gz, and stands beside recordings of KVM. MORE folders only
tell what other hosts look like. First the refusals that were seen are KVM's answers (this proves the VMM
half), then KVM's answers are predicted from facts only. A load that ends at the machine type is counted
apart: no register decides.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.oracle import Answer, Facts, Vm, restoring, vmm
from tests.oracle.facts import (
    PMU_V3,
    PSCI_0_2,
    PTRAUTH_ADDRESS,
    PTRAUTH_GENERIC,
    SVE,
    accept,
    refuse,
)

Load = dict[str, Any]
VmMaker = Callable[[Load, dict[int, int]], restoring.Vm]
WORKAROUND_3 = 0x6030_0000_0014_0003


class Replay:
    """A VM which refuses exactly the writes that were seen refused."""

    def __init__(self, refused: dict[tuple[int, int], str], own: dict[int, int]) -> None:
        self.refused, self.values = refused, dict(own)

    def write(self, register: int, value: int) -> Answer:
        errno = self.refused.get((register, value))
        if errno is not None:
            return refuse(errno)
        self.values[register] = value
        return accept(value)

    def read(self, register: int) -> int | None:
        return self.values.get(register)

    def doubts(self, register: int) -> bool:  # noqa: ARG002
        return False

    def finalize(self) -> None: ...


class Folder:
    def __init__(self, path: Path) -> None:
        self.loads: list[Load] = json.loads((path / "outcomes.json").read_text())
        packed, plain = path / "registers.json.gz", path / "registers.json"
        text = gzip.decompress(packed.read_bytes()).decode() if packed.exists() else plain.read_text()
        self.streams = {
            name: {int(r, 16): int(v, 16) for r, v in regs.items()} for name, regs in json.loads(text).items()
        }
        sysfs = path / "host-vulnerabilities.json"
        self.vulnerabilities: dict[str, dict[str, str]] = (
            json.loads(sysfs.read_text()) if sysfs.exists() else {}
        )
        self.hosts: list[tuple[Load, str]] = []
        for load in self.loads:
            source = load["source"]
            if "edited" not in source and source["stream"] in self.streams:
                self.hosts.append((source, source["stream"]))

    def learn(self, other: Folder) -> None:
        """Take the hosts of another folder too, but none of its loads."""
        self.streams = other.streams | self.streams
        self.vulnerabilities = other.vulnerabilities | self.vulnerabilities
        self.hosts += other.hosts

    def own(self, target: Load) -> tuple[dict[int, int], bool] | None:
        """The target's list and values, from a stream saved there; False: the list holds."""
        best: tuple[tuple[bool, ...], str] | None = None
        for host, stream in self.hosts:
            if (
                host["kernel"] != target["kernel"]
                or host["cpu"] != target["cpu"]
                or variant(host) != variant(target)
            ):
                continue
            same = all(host.get(key) == target.get(key) for key in ("cmdline", "el3_arch_features"))
            rank = (same, "psci" not in host["variant"], not host["ran"], host["qemu"] == target["qemu"])
            if best is None or rank > best[0]:
                best = rank, stream
        if best is None:
            return None
        own, exact = self.streams[best[1]], best[0][0]
        if not exact and "but not BHB" in self.sysfs(target).get("spectre_v2", ""):
            return own | {WORKAROUND_3: 0}, True  # what such a command line changes, as sysfs shows it
        return own, exact

    def sysfs(self, target: Load) -> dict[str, str]:
        el3 = target.get("el3_arch_features")
        host = (target["kernel"], target["cpu"], target["cmdline"] or "-", *([str(el3)] if el3 else []))
        return self.vulnerabilities.get(" ".join(host), {})


def variant(host: Load) -> str:
    return re.sub(r",kvm-psci-version=[\d.]+", "", host["variant"])


def policy(target: Load) -> str:
    version = re.match(r"(?:\d+:)?(\d+)\.(\d+)", target["qemu"])
    assert version, target["qemu"]
    known = {(11, 1): "qemu-11.1", (10, 2): "qemu-10.2", (10, 0): "qemu-10.0"}
    for least, name in known.items():
        if (int(version[1]), int(version[2])) >= least:
            return name
    return "qemu-7.2"


NAMES = (
    (
        r"system register op0:(\d+) op1:(\d+) crn:(\d+) crm:(\d+) op2:(\d+)",
        (14, 11, 7, 3, 0),
        0x6030_0000_0013_0000,
    ),
    (r"fw reg (\d+)", (0,), 0x6030_0000_0014_0000),
    (r"fw feat reg (\d+)", (0,), 0x6030_0000_0016_0000),
)


def named(line: str) -> int | None:
    """The register id of QEMU's words for it."""
    if match := re.search(r"demuxed reg (\w+)", line):
        return 0x6020_0000_0011_0000 | int(match[1], 16) & 0xFFFF
    for pattern, shifts, base in NAMES:
        if match := re.search(pattern, line):
            return base | sum(int(part) << shift for part, shift in zip(match.groups(), shifts, strict=True))
    return None


def named_in(stderr: str, words: str) -> list[int]:
    found = (named(line) for line in stderr.splitlines() if words in line)
    return list(dict.fromkeys(register for register in found if register is not None))


@dataclass
class Tally:
    counts: Counter[str] = field(default_factory=Counter)
    disagreements: list[str] = field(default_factory=list)

    def compare(self, what: str, expected: object, got: object, load: Load) -> None:
        self.counts[f"{what}: compared"] += 1
        if expected == got:
            self.counts[f"{what}: agreed"] += 1
        else:
            self.disagreements.append(f"{what}: {describe(load)}: real {show(expected)}, model {show(got)}")


def show(thing: object) -> str:
    if isinstance(thing, list | set | tuple):
        return "[" + " ".join(show(item) for item in thing) + "]"
    return hex(thing) if isinstance(thing, int) else str(thing)


def describe(load: Load) -> str:
    target, edited = load["target"], " (edited)" if "edited" in load["source"] else ""
    at = [
        target["kernel"],
        target["cpu"],
        target["cmdline"] or "-",
        str(target.get("el3_arch_features", "-")),
        target["qemu"].split("+")[0],
    ]
    return f"{load['source']['stream']}{edited} -> {' '.join(at)} {target['variant']}"


def errno_name(errno: object) -> str:
    names = {2: "ENOENT", 1: "EPERM", 16: "EBUSY", 22: "EINVAL", 14: "EFAULT", 8: "ENOEXEC"}
    return names.get(abs(errno), str(errno)) if isinstance(errno, int) else str(errno)


def refusals(load: Load) -> dict[tuple[int, int], str]:
    def number(n: int | str) -> int:
        return n if isinstance(n, int) else int(n, 0)

    return {(number(r), number(v)): errno_name(e) for r, v, e in load["refused_sets"]}


def judged(folder: Folder, tally: Tally) -> Iterator[tuple[Load, dict[int, int], dict[int, int], bool]]:
    for load in folder.loads:
        tally.counts["loads"] += 1
        own = folder.own(load["target"])
        if "Machine type received is" in load["stderr"]:
            tally.counts["machine type, not judged"] += 1
        elif own is None:
            tally.counts["no stream of such a target, not judged"] += 1
        elif load["source"]["stream"] not in folder.streams:
            tally.counts["no registers of the stream, not judged"] += 1
        else:
            tally.counts["edited streams"] += "edited" in load["source"]
            yield load, folder.streams[load["source"]["stream"]], *own


TIMERS = {0x6030_0000_0013_0000 | op for op in (0xDF01, 0xDF02, 0xDF11, 0xDF12, 0xDF19, 0xDF1A)}


def check(folder: Folder, make: VmMaker) -> Tally:
    tally = Tally()
    for load, saved, own, exact in judged(folder, tally):
        vm = make(load, own)
        run = vmm.restore(policy(load["target"]), saved, own, vm)
        seen = refusals(load)
        if run.outcome is restoring.Outcome.UNKNOWN:
            tally.counts["model says unknown"] += 1
            continue
        tally.counts["only the list of such a target known"] += not exact
        tally.compare("outcome", load["outcome"], run.exit, load)
        tally.compare(
            "refused registers, in order",
            list(dict.fromkeys(r for r, _ in seen)),
            run.of("refused"),
            load,
        )
        if seen:
            tally.compare(
                "first refused register",
                next(iter(seen))[0],
                next(iter(run.of("refused")), None),
                load,
            )
            tally.compare(
                "passes with a refusal",
                load["refused_passes"],
                sum(bool(p) for p in run.passes),
                load,
            )
            if exact:
                tally.compare(
                    "refused calls",
                    seen,
                    {(f.register, f.value): f.errno for f in run.findings if f.kind == "refused"},
                    load,
                )
        if policy(load["target"]) != "qemu-11.1":
            tally.compare(
                "length test",
                "Invalid value" in load["stderr"],
                restoring.Finding(None, "list") in run.findings,
                load,
            )
        else:
            only = [r for r in run.of("list") + run.of("dropped") if not vmm.tolerated_by_11_1(r, saved[r])]
            tally.compare(
                "stream-only registers named",
                named_in(load["stderr"], "fail migration"),
                sorted(only),
                load,
            )
            warned = [r for r in sorted(own) if r not in saved and not vmm.tolerated_by_11_1(r, 1)]
            tally.compare("own-only registers named", named_in(load["stderr"], "skip it"), warned, load)
        if "resaved" in load:
            again = load["resaved"]
            ids = {key: {int(r, 16) for r in again[key]} - TIMERS for key in ("gone", "added", "changed")}
            tally.compare("resaved: gone", ids["gone"], set(run.of("dropped")), load)
            tally.compare("resaved: added", ids["added"], set(run.of("defaulted")) - TIMERS, load)
            if not isinstance(vm, Replay):
                tally.compare("resaved: changed", ids["changed"], set(run.of("changed")) - TIMERS, load)
    return tally


def replay(load: Load, own: dict[int, int]) -> restoring.Vm:
    return Replay(refusals(load), own)


ID_AA64PFR0, ID_AA64ISAR1, ID_AA64ISAR2 = (
    0x6030_0000_0013_C020,
    0x6030_0000_0013_C031,
    0x6030_0000_0013_C032,
)
PAUTH_ISAR1, PAUTH_ISAR2 = 0xFF000FF0, 0xFF00  # GPI GPA API APA; APA3 GPA3


class Predictor:
    """VMs of the oracle: list and values of a stream, masks of a recording of this kernel and CPU."""

    def __init__(self, folder: Folder, recordings: list[Path]) -> None:
        self.folder, self.recordings = folder, recordings
        self.cache: dict[tuple[str, str, int], tuple[str, dict[int, int] | None]] = {}

    def recorded(self, kernel: str, cpu: str, features: int) -> tuple[str, dict[int, int] | None]:
        """Release and writable masks; those of the nearest vCPU configuration."""
        key = (kernel, cpu, features)
        if key not in self.cache:
            found: list[tuple[tuple[bool, bool], str, dict[int, int] | None]] = []
            for path in (
                p for place in self.recordings for p in sorted(place.glob(f"{kernel}-*__{cpu}*__*.json.gz"))
            ):
                if path.name.split("__")[1].split("+")[0] != cpu or "xrestore" in path.name:
                    continue
                recording = json.loads(gzip.decompress(path.read_bytes()))
                for config in recording["configs"].values():
                    if "masks" in config:
                        rank = (int(config["init"]["feat"], 16) == features, "default" in path.name)
                        ranges = config["masks"].get("range0")
                        known = isinstance(ranges, dict)  # else the errno of a kernel without the ioctl
                        masks = {int(r, 16): int(m, 16) for r, m in ranges.items()} if known else None
                        found.append((rank, recording["meta"]["release"], masks))
            best = max(found, key=lambda f: f[0], default=((False, False), f"{kernel}-arm64", None))
            self.cache[key] = best[1:]
        return self.cache[key]

    def __call__(self, load: Load, own: dict[int, int]) -> Vm:
        target = load["target"]
        features = PSCI_0_2 | (0 if "pmu=off" in target["variant"] else PMU_V3)
        if own.get(ID_AA64PFR0, 0) >> 32 & 0xF:
            features |= SVE
        if own.get(ID_AA64ISAR1, 0) & PAUTH_ISAR1 or own.get(ID_AA64ISAR2, 0) & PAUTH_ISAR2:
            features |= PTRAUTH_ADDRESS | PTRAUTH_GENERIC
        release, masks = self.recorded(target["kernel"], target["cpu"], features)
        # QEMU enables no capability that changes an answer, and the vGIC is there
        facts = Facts(
            release,
            features,
            vgic=True,
            registers=own,
            masks=masks,
            vulnerabilities=self.folder.sysfs(target),
        )
        return Vm(facts)


def report(title: str, tally: Tally) -> None:
    print(f"== {title}")
    for key, count in tally.counts.items():
        if not key.endswith("agreed"):
            agreed = (
                tally.counts.get(key.replace("compared", "agreed"), 0) if key.endswith("compared") else None
            )
            print(
                f"  {key.removesuffix(': compared'):45} {count:5}"
                + (f"   agreed {agreed}" if agreed is not None else "")
            )
    for line in tally.disagreements:
        print("  !", line)


def main(arguments: list[str]) -> int:
    if not arguments:
        print(__doc__, file=sys.stderr)
        return 1
    paths = [Path(argument) for argument in arguments]
    folder = Folder(paths[0])
    for path in paths[1:]:
        folder.learn(Folder(path))
    seen = check(folder, replay)
    report("the VMM, with the refusals that were seen", seen)
    predicted = check(folder, Predictor(folder, [path.resolve().parent / "realkvm" for path in paths]))
    report("the VMM and KVM, both predicted", predicted)
    return 2 if seen.disagreements or predicted.disagreements else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
