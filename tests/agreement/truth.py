"""Ask the engine about single writes to which the kernel's answer is known: folders of ``cases.json``.

python -m tests.agreement.truth FOLDER [--recordings FOLDER]

A case names a host (a capture in its folder, or a recording), a vCPU configuration, a state, a register, the value that was
written and what the kernel did. Each is judged with the host's answers and without them. A host of which there is no
recording is stood in for by one of the same CPU, under the release that the case names, without its answers.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import kvmfw
from tests.agreement.kvm import recordings
from tests.oracle.facts import parse_release
from tests.oracle.recordings import Recording
from tests.realkvm.convert import convert

BESIDE = Path(__file__).parents[3] / "shared" / "data"
Said = tuple[str, str | None, int | None]


@dataclass(frozen=True)
class Case:
    """One write, and what the kernel did: an errno, or what the register read afterwards."""

    host: str
    vcpu: Any  # the name of a configuration, or how a vCPU is made
    state: str
    register: int
    written: int
    errno: str | None
    reads: int

    def judge(self, said: Said) -> str:
        """Whether the engine said so: right, wrong or unknown."""
        effect, errno, reads = said
        if effect == "unknown":
            return "unknown"
        if (effect == "refused") != (self.errno is not None):
            return "wrong"
        if self.errno is not None:
            return "right" if errno == self.errno else "wrong"
        if effect == "kept":
            return "right" if self.reads == self.written else "wrong"
        return "right" if reads in (None, self.reads) and self.reads != self.written else "wrong"


def read_case(row: Any) -> Case:
    """Read a case in any of its spellings."""
    written = int(row.get("written", row.get("value")), 16)
    errno, reads = None, written
    answer = row.get("kernel", row.get("real"))
    if isinstance(answer, dict):
        errno = answer.get("errno")
        reads = int(answer.get("reads", hex(written)), 16)
    elif isinstance(answer, list):
        effect, errno, read = answer
        reads = written if effect in ("kept", "refused") else read
    elif answer.startswith("E"):
        errno = answer
    else:
        reads = int(answer, 16)
    return Case(
        host=row.get("capture", row.get("host")),
        vcpu=row.get("config", row.get("vcpu")),
        state=row.get("state", "fresh"),
        register=int(row["register"], 16),
        written=written,
        errno=errno,
        reads=reads,
    )


def cases_in(document: Any) -> Iterator[Any]:
    """Every case of a document: a list of them, or lists under any names."""
    if isinstance(document, list):
        yield from document
    else:
        for part in document.values():
            yield from part if isinstance(part, list) else ()


class Hosts:
    """Hosts by the names that cases give them."""

    def __init__(self, folder: Path) -> None:
        self.paths = {path.name.split(".json")[0]: path for path in recordings(folder)}
        self.known: dict[str, tuple[kvmfw.Host, bool]] = {}

    @cached_property
    def by_cpu(self) -> dict[str, list[str]]:
        """Recordings of a plain boot, by CPU."""
        found: dict[str, list[str]] = {}
        for name in self.paths:
            _, cpu, tag = name.split("__", 2)
            if tag == "default":
                found.setdefault(cpu, []).append(name)
        return found

    def recorded(self, name: str, release: str) -> kvmfw.Host:
        recording = Recording(self.paths[name])
        capture = convert(recording.raw, name)
        capture["host"]["kernel"] = release
        return kvmfw.Host.from_json(json.dumps(capture))

    def find(self, case: Case, folder: Path) -> tuple[kvmfw.Host, bool] | None:
        """The host of a case, and whether its own answers are known."""
        if (folder / case.host).is_file():
            return self.known.setdefault(case.host, (kvmfw.Host.load(folder / case.host), True))
        if case.host not in self.known:
            release, cpu, _ = case.host.split("__", 2)
            if case.host in self.paths:
                found = self.recorded(case.host, Recording(self.paths[case.host]).release)
                self.known[case.host] = found, True
            elif names := self.by_cpu.get(cpu):
                major, minor, _ = parse_release(release)

                def distance(name: str) -> tuple[int, int]:
                    other = parse_release(name)
                    return abs(other[0] - major), abs(other[1] - minor)

                self.known[case.host] = self.recorded(min(names, key=distance), release), False
        return self.known.get(case.host)


def ask(host: kvmfw.Host, case: Case, *, derive_only: bool) -> Said | None:
    """What the engine says; nothing where the host was not asked for such a vCPU."""
    vcpu = case.vcpu
    if isinstance(vcpu, dict):
        made = [
            name
            for name, features, vgic, enabled in host.vcpus
            if (set(features), vgic, set(enabled))
            == (set(vcpu["features"]), vcpu["vgic"], set(vcpu["enabled"]))
        ]
        vcpu = made[0] if made else None
    if vcpu not in [row[0] for row in host.vcpus]:
        return None
    (said,) = host.ask(vcpu, case.register, [case.written], state=case.state, derive_only=derive_only)
    return said


@dataclass
class TruthTally:
    """What became of the cases, by evidence, every case that is not right, and why others were not judged."""

    counts: dict[str, Counter[str]] = field(
        default_factory=lambda: {"measured": Counter(), "derived": Counter()}
    )
    skipped: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    @property
    def total(self) -> Counter[str]:
        """What became of the cases, with either evidence."""
        return sum(self.counts.values(), Counter[str]())


def check(folder: Path, hosts: Hosts) -> TruthTally:
    """Judge the cases of one folder."""
    tally = TruthTally()
    for row in cases_in(json.loads((folder / "cases.json").read_text())):
        case = read_case(row)
        found = hosts.find(case, folder)
        for evidence, counts in tally.counts.items():
            if found is None:
                tally.skipped[f"{evidence}: no recording of the host, and none of its CPU"] += 1
                continue
            host, has_answers = found
            if evidence == "measured" and not has_answers:
                tally.skipped[
                    "measured: another host of the same CPU stands in, its answers are not this one's"
                ] += 1
                continue
            said = ask(host, case, derive_only=evidence == "derived")
            if said is None:
                tally.skipped[f"{evidence}: the host was not recorded with such a vCPU"] += 1
                continue
            result = case.judge(said)
            counts[result] += 1
            if result != "right":
                name = kvmfw.register_name(case.register)
                real = case.errno or f"reads {case.reads:#x}"
                tally.wrong.append(
                    f"{result}, {evidence}: {case.host} {case.vcpu} {case.state}: {name} <- {case.written:#x}:"
                    f" engine {said}, kernel {real}"
                )
    return tally


def check_all(folder: Path, recorded: Path) -> dict[str, TruthTally]:
    """Judge every folder of cases below this one."""
    hosts = Hosts(recorded)
    folders = sorted(path.parent for path in folder.rglob("cases.json"))
    return {one.name: check(one, hosts) for one in folders}


def main(arguments: list[str] | None = None) -> int:
    """Judge and print, what was not judged first; 1 when the engine was wrong, 2 when nothing was judged."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="a folder of cases, or a folder of such folders")
    parser.add_argument("--recordings", type=Path, default=BESIDE / "realkvm", metavar="FOLDER")
    options = parser.parse_args(arguments)
    judged = check_all(options.folder, options.recordings)
    skipped = sum((tally.skipped for tally in judged.values()), Counter[str]())
    total = sum((tally.total for tally in judged.values()), Counter[str]())
    print(f"not judged: {skipped.total()} of {skipped.total() + total.total()}")
    print(
        *(f"    {count} {why}" for why, count in sorted(skipped.items())),
        sep="\n",
        end="\n" if skipped else "",
    )
    if not total:
        print(f"{options.folder}: nothing was judged", file=sys.stderr)
        return 2
    for name, tally in judged.items():
        for evidence, counts in tally.counts.items():
            print(f"{name:32} {evidence:9}", *(f"{n:5} {word}" for word, n in sorted(counts.items())))
        print(*(f"    {line}" for line in tally.wrong), sep="\n", end="\n" if tally.wrong else "")
    print("all:", *(f"{n} {word}" for word, n in sorted(total.items())))
    return 1 if total["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
