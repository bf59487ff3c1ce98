"""Live runs: real Debian kernels with KVM, emulated with EL2, against the engine's predictions.

    python -m tests.live.run                                    # what `make live` does
    python -m tests.live.run --kernels 6.1,7.3 --cpus max       # fewer
    python -m tests.live.run --compare FOLDER-OF-RECORDINGS     # also compare the captures

First boot of every host (kernel x CPU x boot options): the probe captures it and saves register sets of
throwaway VMs.  Then the engine predicts what every other host answers to every one of these sets, and
edited copies of them.  Second boot of every host: the sets are really written, register by register, and
every answer is compared with its prediction.  Exit 0: all agree; 2: some do not, or too many were not predicted;
1: it, or one of the hosts, could not be run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support import sections

from . import compare, mode
from .agree import Disagreement, Tally, explain, judge, table
from .edits import edited
from .hosts import Host, Hosts, Results
from .machine import BootError
from .mode import listed, lose, say
from .predict import Engine, Prediction

Json = dict[str, Any]
KERNELS = ["5.10", "6.1", "6.12", "7.3"]

INTRODUCTION = """Written by `make live LIVE="--log docs/agreement.md"`; [live.md](live.md) tells how. Each host is
an unmodified Debian kernel on an emulated CPU with EL2. Register sets saved under one kernel, and edited copies of
them, were written to every host of another kernel; the engine's predictions were written to a file before the host
was asked. *Changed*: taken, but it reads otherwise when all is written.
"""


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = mode.parser_of(
        __doc__,
        kernels=KERNELS,
        cpus=["neoverse-n1", "max"],
        options=["", "mitigations=off"],
        keep="live-results",
    )
    parser.add_argument("--vmm", type=listed, default=["kvm", "firecracker"], help="orders of writing to try")
    parser.add_argument("--edits", type=int, default=1, metavar="N", help="edited copies of every saved set")
    parser.add_argument("--same-kernel", action="store_true", help="also restore between hosts of one kernel")
    parser.add_argument(
        "--unpredicted",
        type=float,
        default=0.01,
        metavar="SHARE",
        help="answers that need no prediction, at most",
    )
    parser.add_argument("--reuse", action="store_true", help="do not capture again what FOLDER holds")
    parser.add_argument(
        "--compare", type=Path, metavar="FOLDER", help="recordings or captures of the same hosts"
    )
    parser.add_argument(
        "--replay", action="store_true", help="judge FOLDER's stored answers again, boot nothing"
    )
    parser.add_argument("--no-predict", action="store_true", help="only ask, without the engine")
    parser.add_argument("--capture-only", action="store_true", help="stop after the first boots")
    return parser.parse_args(argv)


def compare_with(folder: Path, hosts: Results, known: list[Host]) -> tuple[list[str], int]:
    """Lines about every capture that has a recording of the same kernel, CPU and options, and what differs."""
    lines = ["Captures against earlier recordings, wherever both asked:", ""]
    lines += ["| host | facts in both | differ |", "| --- | --- | --- |"]
    differing: list[str] = []
    for host in known:
        others = [folder / f"{host.name}{end}" for end in (".json.gz", ".json", ".capture.json")]
        other = next((path for path in others if path.exists()), None)
        if other is None:
            continue
        both, words, _, _ = compare.difference(compare.load(hosts.capture_path(host)), compare.load(other))
        lines.append(f"| {host.name} | {both} | {len(words)} |")
        differing += [f"- {host.name}: {line}" for line in words[:20]]
    return [*lines, "", *differing], len(differing)


def sets_for(
    target: Host, known: list[Host], hosts: Results, arguments: argparse.Namespace
) -> Iterator[tuple[Host, Json]]:
    """(where it was saved, register set) of everything that is restored on a host."""
    for source in known:
        if source == target or (source.kernel == target.kernel and not arguments.same_kernel):
            continue
        for one in hosts.sets(source):
            yield source, one
            for seed in range(arguments.edits):
                yield source, edited(one, seed)


def as_made(one: Json, vmm: str, target: Json) -> Json:
    """A set as it is asked: KVM makes the vCPU that it tells of, a VMM enables what the host offers and no more."""
    vcpu = one["vcpu"]
    offered = {name for made in target["vcpus"] if "refused" not in made for name in made.get("enabled", ())}
    if vmm == "kvm" or offered.issuperset(vcpu.get("enabled", ())):
        return one
    return one | {"vcpu": vcpu | {"enabled": [name for name in vcpu["enabled"] if name in offered]}}


def predictions(
    engine: Engine | None, sets: list[Json], capture: Path, policies: list[str], keep: Path
) -> tuple[dict[str, list[Prediction]], str]:
    """Predictions per policy, written down before anything is asked, and the digest of what was written."""
    if engine is None:
        return {}, ""
    found = {vmm: engine.predict(sets, capture, vmm) for vmm in policies}
    text = json.dumps(
        {vmm: [one.plain() for one in row] for vmm, row in found.items()}, separators=(",", ":")
    )
    keep.write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    say(f"{keep.name}: predicted, sha256 {digest}")
    return found, digest


def restore_all(
    known: list[Host],
    hosts: Results,
    engine: Engine | None,
    arguments: argparse.Namespace,
    lost: dict[str, str],
) -> tuple[dict[tuple[str, str], Tally], list[str]]:
    """What came of each directed pair of kernels, and a line about each host's predictions."""
    tallies: dict[tuple[str, str], Tally] = {}
    digests: list[str] = []
    for target in known:
        pairs = list(sets_for(target, known, hosts, arguments))
        sets = [one for _, one in pairs]
        if not sets:
            continue
        # A replay leaves alone what was predicted before the real run.
        kind = "replayed" if arguments.replay else "predicted"
        keep = arguments.keep / f"{target.name}.{kind}.json"
        predicted, digest = predictions(engine, sets, hosts.capture_path(target), arguments.vmm, keep)
        digests.append(f"| {target.name} | {len(sets)} | {digest or 'not predicted'} |")
        capture = compare.load(hosts.capture_path(target))
        written: dict[str, list[Json]] = {}
        thoughts: dict[str, list[tuple[Host, Prediction | None]]] = {}
        for vmm in arguments.vmm:
            expected: list[Prediction | None] = [*predicted[vmm]] if engine else [None] * len(sets)
            written[vmm], thoughts[vmm] = [], []
            for (source, one), thought in zip(pairs, expected, strict=True):
                if thought is not None and thought.by_vmm:
                    tallies.setdefault((source.kernel, target.kernel), Tally()).add(Tally(sets=1, by_vmm=1))
                    continue
                written[vmm].append(as_made(one, vmm, capture))
                thoughts[vmm].append((source, thought))
        try:
            answers = hosts.restore(target, written)
        except BootError as error:
            lose(lost, target, error)
            continue
        for vmm in arguments.vmm:
            for (source, thought), said in zip(thoughts[vmm], answers[vmm], strict=True):
                tally = tallies.setdefault((source.kernel, target.kernel), Tally())
                tally.add(judge(said, thought, target.name, vmm))
    return tallies, digests


def unpredicted(tallies: dict[tuple[str, str], Tally]) -> tuple[int, int]:
    """(Answers that were not predicted, all answers)."""
    return sum(tally.unknown for tally in tallies.values()), sum(tally.answers for tally in tallies.values())


def agreement(
    tallies: dict[tuple[str, str], Tally], disagreements: list[Disagreement], most: float
) -> tuple[list[str], bool]:
    """What the answers came to, in lines, and whether that is good enough; what was not looked at comes first."""
    unknown, answers = unpredicted(tallies)
    share = unknown / max(1, answers)
    lines = [f"Not predicted: {unknown} of {answers} answers ({share:.2%}; at most {most:.2%} may be)."]
    if share > most:
        lines.append("That is too many: the rest says little.")
    lines += explain(disagreements)
    if not disagreements:
        lines.append(f"No disagreements in the {answers - unknown} answers that were predicted.")
    return [*lines, ""], share <= most and not disagreements and answers > 0


def report(arguments: argparse.Namespace, parts: list[str]) -> None:
    """Print the report; with --log, put it under its own heading of that document."""
    text = "\n".join(parts) + "\n"
    print(text)
    if arguments.log:
        sections.keep(arguments.log, sections.LIVE, f"{INTRODUCTION}\n{text}")


def recorded(hosts: Hosts, wanted: list[Host], reuse: bool, lost: dict[str, str]) -> list[Host]:
    """The hosts that could be captured."""
    known = []
    for host in wanted:
        try:
            hosts.record(host, reuse)
            known.append(host)
        except BootError as error:
            lose(lost, host, error)
    return known


def first_boots(arguments: argparse.Namespace, lost: dict[str, str]) -> tuple[Results, list[Host], str]:
    """(results with a capture and register sets of every host, the hosts, what they ran on)."""
    if arguments.replay:
        results = Results(arguments.keep)
        return results, results.hosts(), "replayed: the answers are older than the predictions"
    hosts, wanted, version = mode.bootable(arguments)
    known = recorded(hosts, wanted, arguments.reuse, lost)
    hosts.write_hosts(known)
    return hosts, known, version


def run(arguments: argparse.Namespace) -> int:
    engine = None if arguments.no_predict or arguments.capture_only else Engine()
    started = time.monotonic()
    lost: dict[str, str] = {}
    results, known, version = first_boots(arguments, lost)
    parts = []
    good = True
    if arguments.compare:
        lines, differing = compare_with(arguments.compare, results, known)
        parts += [*lines, ""]
        good &= not differing
    if not arguments.capture_only:
        tallies, digests = restore_all(known, results, engine, arguments, lost)
        policies = ", ".join(arguments.vmm)
        parts += [f"Restores in the order of {policies}:", "", table(tallies, engine is not None), ""]
        if engine is not None:
            disagreements = [one for tally in tallies.values() for one in tally.disagreements]
            lines, agreed = agreement(tallies, disagreements, arguments.unpredicted)
            parts += lines
            good &= agreed
        parts += ["Predictions, by the host that was asked afterwards:", ""]
        parts += ["| host | register sets | sha256 begins |", "| --- | --- | --- |", *digests, ""]
    parts += [f"- Not asked: {name}: {why}" for name, why in sorted(lost.items())]
    parts.append(f"{len(known)} hosts, {time.monotonic() - started:.0f} s in all, {version}.")
    report(arguments, parts)
    if not good:
        return 2
    return 1 if lost else 0


def main(argv: list[str] | None = None) -> int:
    arguments = parse(argv)
    return mode.ended("live", lambda: run(arguments))


if __name__ == "__main__":
    raise SystemExit(main())
