"""Fuzzing: random and mutated writes to real kernels, each predicted before it is made.

    python -m tests.live.fuzz --kernels 6.12,7.3 --cpus max cortex-a57      # boot, ask, judge
    python -m tests.live.fuzz --replay FOLDER                               # judge kept answers again, boot nothing

One boot asks tens of thousands of questions (questions.py) of a host whose capture is known.  All predictions are
made and their digest is printed before the boot.  What was asked and answered is kept (store.py); a disagreement is
made small (minimise.py) and written as a vector.  Exit 0: no wrong answer and few enough unpredicted ones, 2: not
so, 1: it could not be run.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from pathlib import Path
from typing import Any

from tests.support import sections

from . import compare, mode, store
from .batch import Answers, Batch
from .hosts import Host, Hosts
from .judging import DERIVED, MEASURED, WAYS, WRONG, Judge, Judged, Score
from .machine import BootError
from .minimise import minimise, searches
from .mode import say
from .predict import Engine
from .questions import Case, Material, Questions
from .reporting import grid_table, report_kinds, score_table, unknown_table
from .vector import write_vectors

Json = dict[str, Any]
KERNELS = ["6.1", "6.12", "6.18", "7.3"]
INTRODUCTION = """Written by `make live MODE=fuzz`; [live.md](live.md) tells how. Each host is an unmodified Debian kernel on an
emulated CPU with EL2, asked random and mutated single writes and whole restores; all was predicted before. *Measured*:
by the engine with the answers of the host's capture, *derived*: by its rules alone, *oracle*: by the second judge.
Wrong or not predicted, of all answers.
"""


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = mode.parser_of(
        __doc__, kernels=KERNELS, cpus=["max", "neoverse-n1"], options=[""], keep="live-fuzz"
    )
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--boots", type=int, default=1, help="boots of each host, each with the next seed")
    parser.add_argument("--singles", type=int, default=20000, help="single writes of a boot, about")
    parser.add_argument("--restores", type=int, default=60, help="whole restores of a boot")
    parser.add_argument(
        "--also", nargs="*", type=Path, default=[], help="folders of more captures for values"
    )
    parser.add_argument("--no-minimise", action="store_true", help="do not make disagreements small")
    parser.add_argument("--unknown-measured", type=float, default=0.01, help="greatest share not predicted")
    parser.add_argument("--unknown-derived", type=float, default=0.03, help="the same, by rules alone")
    parser.add_argument("--replay", type=Path, metavar="FOLDER", help="judge the answers kept there")
    parser.add_argument(
        "--sample", type=Path, metavar="FOLDER", help="keep a part of the replayed answers there"
    )
    parser.add_argument("--found", type=Path, metavar="FILE", help="write every kind of disagreement there")
    return parser.parse_args(argv)


class Session:
    """What all boots have in common."""

    def __init__(self, arguments: argparse.Namespace, hosts: Hosts) -> None:
        self._arguments = arguments
        self._hosts = hosts
        self._engine = Engine()
        # Captures of other hosts, from which values are taken.
        ends = ("*.json", "*.json.gz")
        paths = [path for folder in arguments.also for end in ends for path in sorted(folder.glob(end))]
        self._captures = {path.name: compare.load(path) for path in paths if path.name != "index.json"}
        self._sets: list[Json] = []

    def meet(self, host: Host) -> None:
        """See that the host has a capture; from now on values of its registers are asked elsewhere, too."""
        path = self._hosts.capture_path(host)
        recorded = self._captures.get(f"{host.name}.json.gz")
        if recorded is not None and not path.exists():
            say(f"{host.name}: taking the recording as its capture")
            path.write_text(json.dumps(recorded))
        if recorded is None:
            self._hosts.record(host, reuse=True)
            self._sets += self._hosts.sets(host)
        self._captures[host.name] = compare.load(path)

    def boot(self, host: Host, seed: int) -> Score:
        """One boot of a host: questions, predictions, answers, and what they came to."""
        arguments, hosts = self._arguments, self._hosts
        others = [one for name, one in self._captures.items() if name != host.name]
        material = Material.of(self._captures[host.name], others, self._sets)
        cases = Questions(material, f"{seed} {host.name}").cases(arguments.singles, arguments.restores)
        judge = Judge(self._engine, self._captures[host.name], host.name)
        started = time.monotonic()
        digest = judge.predict(cases)
        predicted = time.monotonic() - started
        said, seconds = self.ask(host, cases)
        head: Json = {"host": host.name, "kernel": host.kernel, "cpu": host.cpu, "options": host.options}
        head |= {
            "seed": seed,
            "machine": arguments.machine,
            "capture": hosts.capture_path(host).name,
            "predictions": digest,
        }
        store.save(arguments.keep / f"{host.name}.{seed}.answers.gz", head, cases, said)
        score = judge.score(cases, said)
        score.seeds.add(seed)
        count = score.total(MEASURED)
        rate = count / max(seconds, 0.01)
        say(
            f"{host.name}, seed {seed}: predictions {digest} in {predicted:.0f} s; {count} answers in "
            f"{seconds:.0f} s ({rate:.0f}/s); wrong {score.total(MEASURED, WRONG)} measured, "
            f"{score.total(DERIVED, WRONG)} derived; unknown {score.share(MEASURED):.2%}, {score.share(DERIVED):.2%}"
        )
        if not arguments.no_minimise:
            self._minimise(host, judge, cases, said)
        return score

    def ask(self, host: Host, cases: list[Case]) -> tuple[list[list[Answers]], float]:
        """Really make the writes; the answers and the seconds that the guest needed for them."""
        batch = Batch(cases)
        argv = ["/jobs/batch", "/jobs/cases.json"]
        jobs: list[Json] = [{"name": "fuzz", "program": "kvmfw_fuzz", "argv": argv}]
        boot = self._hosts.run(host, jobs, batch.files())
        output = boot.outputs["fuzz"]
        if output.exit != 0:
            raise BootError(f"{host.name}: fuzzing exited with {output.exit}\n{boot.console[-2000:]}")
        return batch.answers(output.body), output.seconds

    def _minimise(self, host: Host, judge: Judge, cases: list[Case], said: list[list[Answers]]) -> None:
        """Make one disagreement of each kind small, and write it as a vector."""
        chosen = judge.disagreements(cases, said)
        if not chosen:
            return
        found = searches(chosen)
        answers: dict[int, tuple[list[Answers], list[Judged]]] = {}

        def fails(asked: list[tuple[Case, int | None]]) -> list[bool]:
            replies, _ = self.ask(host, [case for case, _ in asked])
            result = []
            for (case, register), reply in zip(asked, replies, strict=True):
                wrong = [
                    one
                    for one in judge.case(case, reply, MEASURED)
                    if one.result == WRONG and one.register == register
                ]
                answers[id(case)] = reply, wrong
                result.append(bool(wrong))
            return result

        rounds = minimise(found, fails)
        small = [(search, *answers[id(search.case)]) for search in found if search.reproduced]
        say(f"{host.name}: {len(small)} of {len(found)} kinds reproduced and made small in {rounds} boots")
        for search in found:
            if not search.reproduced:
                say(
                    f"{host.name}: not reproduced: {search.register or 0:#x} of {len(search.case.writes)} writes"
                )
        write_vectors(self._arguments.keep, self._captures[host.name], host.name, small)


def capture_of(folder: Path, name: str) -> Json:
    """The capture beside kept answers, compressed or not."""
    path = folder / name
    return compare.load(path if path.exists() else path.with_name(f"{name}.gz"))


def replay(folder: Path) -> dict[str, Score]:
    """Judge everything that a folder keeps."""
    engine = Engine()
    scores: dict[str, Score] = {}
    judges: dict[str, Judge] = {}
    for path in sorted(folder.glob("*.answers.gz")):
        head, cases, said = store.load(path)
        name = head["host"]
        if name not in judges:
            judges = {name: Judge(engine, capture_of(folder, head["capture"]), name)}
        score = judges[name].score(cases, said)
        score.seeds.add(head["seed"])
        scores.setdefault(name, Score()).add(score)
    return scores


def sample(folder: Path, to: Path, most: int = 6000) -> None:
    """Keep a part of every host's first boot beside its compressed capture and the sets that were saved on it."""
    to.mkdir(parents=True, exist_ok=True)
    seen = set()
    for path in sorted(folder.glob("*.answers.gz")):
        head, cases, said = store.load(path)
        if head["host"] not in seen:
            seen.add(head["host"])
            store.save(to / path.name, head, *store.fewer(cases, said, most))
            capture = json.dumps(capture_of(folder, head["capture"]), separators=(",", ":")).encode()
            (to / f"{head['capture']}.gz").write_bytes(gzip.compress(capture, 9, mtime=0))
            saved = folder / f"{head['host']}.sets.jsonl"
            if saved.exists():
                (to / f"{saved.name}.gz").write_bytes(gzip.compress(saved.read_bytes(), 9, mtime=0))


def boots(arguments: argparse.Namespace) -> dict[str, Score]:
    """Boot every host, and go on to the next one where one cannot be asked."""
    hosts, wanted, _ = mode.bootable(arguments)
    session = Session(arguments, hosts)
    scores: dict[str, Score] = {}
    for host in wanted:
        try:
            session.meet(host)
            for seed in range(arguments.seed, arguments.seed + arguments.boots):
                scores.setdefault(host.name, Score()).add(session.boot(host, seed))
        except BootError as error:
            say(f"{error} Going on without it.")
    return scores


def run(arguments: argparse.Namespace) -> int:
    scores = replay(arguments.replay) if arguments.replay else boots(arguments)
    whole = Score()
    for score in scores.values():
        whole.add(score)
    print("\n".join(score_table(scores, whole)))
    kinds = report_kinds(whole)
    print("\n".join(kinds))
    if arguments.sample and arguments.replay:
        sample(arguments.replay, arguments.sample)
    if arguments.log:
        text = "\n".join(
            [
                *(INTRODUCTION, *score_table(scores, whole)),
                *("", "Answers by kernel and host:", "", *grid_table(scores)),
                *("", "Not predicted, by register; live.md says why:", "", *unknown_table(whole)),
            ]
        )
        sections.keep(arguments.log, sections.FUZZ, text)
    if arguments.found:
        arguments.found.write_text("\n".join([*score_table(scores, whole), "", *kinds]) + "\n")
    for way in WAYS:
        say(f"fuzz: not predicted, {way}: {whole.share(way):.2%}")
    return 0 if good_enough(whole, arguments.unknown_measured, arguments.unknown_derived) else 2


def good_enough(score: Score, most_measured: float, most_derived: float) -> bool:
    """No answer is wrong, few enough were not predicted, and there are answers."""
    wrong = sum(score.total(way, WRONG) for way in WAYS)
    few = score.share(MEASURED) <= most_measured and score.share(DERIVED) <= most_derived
    return few and not wrong and score.total(MEASURED) > 0


def main(argv: list[str] | None = None) -> int:
    arguments = parse(argv)
    return mode.ended("fuzz", lambda: run(arguments))


if __name__ == "__main__":
    raise SystemExit(main())
