"""Replays every recorded write against the oracle, which does not see the recorded answers.

    python -m tests.oracle.check FOLDER [--show N]

Prints, per kernel and register group, how many answers were compared, agreed, unknown, and disagreed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from .crossed import Restores
from .facts import Answer
from .machine import Vm
from .recordings import SVE_VLS, Recorded, Recording, Series

AGREED, UNKNOWN = "agreed", "unknown"
WRONG_ACCEPT, WRONG_REFUSE = "wrong accept", "wrong refuse"
WRONG_ERRNO, WRONG_READ_BACK = "wrong errno", "wrong read-back"
COLUMNS = (AGREED, UNKNOWN, WRONG_ACCEPT, WRONG_REFUSE, WRONG_ERRNO, WRONG_READ_BACK)


def compare(answer: Answer, recorded: Recorded) -> str:
    if answer.unknown:
        return UNKNOWN
    if answer.errno is None and recorded.errno is not None:
        return WRONG_ACCEPT
    if answer.errno is not None and recorded.errno is None:
        return WRONG_REFUSE
    if answer.errno != recorded.errno:
        return WRONG_ERRNO
    if recorded.errno is None and recorded.read_back_known and answer.read_back is not None:
        return AGREED if answer.read_back == recorded.read_back else WRONG_READ_BACK
    return AGREED


@dataclass
class Tally:
    results: dict[tuple[str, str], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    needs: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    seen: dict[str, tuple[Counter[str], Counter[tuple[str, str]]]] = field(default_factory=dict)

    @property
    def total(self) -> Counter[str]:
        return sum(self.results.values(), Counter())

    @property
    def disagreed(self) -> int:
        return sum(n for result, n in self.total.items() if result not in (AGREED, UNKNOWN))

    def check(self, source: str, series: Series) -> None:
        """Replay one series.  The same writes on the same facts (another boot) are counted, not repeated."""
        key = ""
        if series.kind in ("id", "firmware", "unlisted"):
            facts = series.config.facts
            steady = {i: v for i, v in facts.registers.items() if not is_moving(i)}
            known = (
                facts.release,
                facts.features,
                facts.vgic,
                facts.caps,
                steady,
                facts.masks,
                facts.vulnerabilities,
            )
            key = f"{hash(repr(known))} {series.has_run} {series.run_refused} {series.writes!r}"
        if key not in self.seen or not key:
            counts, needs = self.replay(source, series)
            if key:
                self.seen[key] = counts, needs
        else:
            counts, needs = self.seen[key]
        release = series.config.facts.release.removesuffix("-arm64")
        self.results[release, series.kind] += counts
        self.needs += needs

    def replay(self, source: str, series: Series) -> tuple[Counter[str], Counter[tuple[str, str]]]:
        counts: Counter[str] = Counter()
        needs: Counter[tuple[str, str]] = Counter()
        vm = start(series)
        for position, recorded in enumerate(series.writes):
            if position == series.run_at:
                vm.run()
            answer = vm.write(recorded.register, recorded.value)
            result = compare(answer, recorded)
            counts[result] += 1
            if answer.needs:
                needs[answer.needs, f"{recorded.register:#x}"] += 1
            elif result != AGREED:
                self.wrong.append(
                    f"{result}: {source} {series.config.name} {series.kind} {series.label}: "
                    f"{recorded.register:#x} <- {recorded.value:#x}: "
                    f"said {answer}, was {recorded.errno} {recorded.read_back!r}"
                )
            if series.finalize_after_lengths and recorded.register == SVE_VLS and series.sequence:
                vm.finalize()
            elif not series.sequence and (answer.accepted or answer.unknown):
                vm = start(series)
        return counts, needs


def start(series: Series) -> Vm:
    vm = Vm(series.config.facts, series.has_run, finalized=series.finalized)
    if series.run_refused:
        vm.run(refused=True)
    return vm


def is_moving(register: int) -> bool:
    """Timers and general system state: not read by any rule for ID or firmware registers."""
    return register >> 16 == 0x603000000010 or (
        register >> 16 == 0x603000000013 and not 0xC000 <= register & 0xFFFF <= 0xC040
    )


def run(folder: Path, names: list[Path] | None = None) -> Tally:
    tally, restores = Tally(), Restores(folder)
    for path in names if names is not None else sorted(folder.glob("*.json*")):
        if path.name.startswith("index"):
            continue
        recording = Recording(path)
        for series in recording.series():
            tally.check(recording.name, series)
        for series in restores.series(recording):
            tally.check(recording.name, series)
    return tally


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="*", help="pattern of file names")
    parser.add_argument("--show", type=int, default=20, help="how many disagreements to print")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    options = parser.parse_args(arguments)
    tally = run(options.folder, sorted(options.folder.glob(f"{options.only}.json*")))
    if options.json:
        print(json.dumps({f"{k} {g}": dict(c) for (k, g), c in sorted(tally.results.items())}, indent=1))
    else:
        report(tally, options.show)
    return 1 if tally.disagreed else 0


def report(tally: Tally, show: int) -> None:
    print(f"{'kernel':<22}{'group':<26}{'compared':>10}" + "".join(f"{c:>16}" for c in COLUMNS))
    for (release, kind), counts in sorted(tally.results.items()):
        print(f"{release:<22}{kind:<26}{counts.total():>10}" + "".join(f"{counts[c]:>16}" for c in COLUMNS))
    total = tally.total
    print(f"{'all':<48}{total.total():>10}" + "".join(f"{total[c]:>16}" for c in COLUMNS))
    print(f"unknown: {100 * total[UNKNOWN] / max(1, total.total()):.3f} %")
    for (needs, register), count in tally.needs.most_common(40):
        print(f"  {count:>8}  {register}  {needs}")
    for line in tally.wrong[:show]:
        print(line)


if __name__ == "__main__":
    sys.exit(main())
