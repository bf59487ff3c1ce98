"""Compare the engine with real kernels.

python -m tests.agreement --recordings FOLDER [--qemu FOLDER] [--vmm FOLDER] [--field FOLDER] [--truth FOLDER]
                          [--vectors FOLDER] [--out FILE] [--schemes FILE]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.agreement import document, dumps, field, kvm, qemu, schemes, truth, vectors, vmm
from tests.oracle.crossed import Restores
from tests.oracle.recordings import Recording
from tests.support import sections

# What else may tell about the hosts of a load: the project's own recordings, and those beside the checkout.
COMMITTED = Path(__file__).parents[1] / "realkvm" / "recordings"
BESIDE = Path(__file__).parents[3] / "shared" / "data"


def compare(folder: Path) -> tuple[kvm.Tally, kvm.Tally, list[str]]:
    """Ask everything of a folder of recordings again: with the answers, and with the answers hidden.

    The third item lists recordings that could not be used; the others go on.
    """
    measured, derived, restores = kvm.Tally(), kvm.Tally(), Restores(folder)
    unusable: list[str] = []
    paths = kvm.recordings(folder)
    for number, path in enumerate(paths, start=1):
        try:
            recording = Recording(path)
            kvm.check(recording, restores, derive_only=False, tally=measured)
            kvm.check(recording, restores, derive_only=True, tally=derived)
        except (ValueError, KeyError, OSError, EOFError) as error:
            unusable.append(f"{path.name} cannot be used: {type(error).__name__}: {error}")
        if sys.stderr.isatty():
            print(f"\r{number} of {len(paths)} recordings", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return measured, derived, unusable


class Report:
    """The document as it grows, and how much of it went wrong."""

    def __init__(self) -> None:
        self.lines: list[str] = [document.INTRODUCTION]
        self.failed = 0

    def add(self, lines: list[str], failed: int) -> None:
        self.lines += lines
        self.failed += failed

    def write(self, out: Path) -> None:
        """Write the document; what `make live` wrote there stays."""
        written = "\n".join(self.lines).rstrip() + "\n"
        old = out.read_text() if out.exists() else ""
        for section in filter(None, [sections.of(old, name) for name in sections.OF_OTHERS]):
            written = sections.replaced(written, section)
        out.write_text(written)


def kernels(folder: Path, report: Report) -> kvm.Tally:
    """Answers of real kernels to single writes and restores; the derived ones, for the table of registers."""
    measured, derived, unusable = compare(folder)
    report.add(
        document.kvm_section(
            "Measured evidence", "The engine judges by the capture made of the recording.", measured
        ),
        measured.disagreed,
    )
    report.add(
        document.kvm_section(
            "Derived evidence",
            "The answers are hidden: the engine has the lists, fresh values, writable masks, features, the release and"
            " the sysfs vulnerabilities.",
            derived,
        ),
        derived.disagreed,
    )
    if unusable:
        lines = ["## Recordings that could not be used", "", *(f"* {line}" for line in unusable), ""]
        report.add(lines, len(unusable))
    return derived


def virtual_machine_monitors(options: argparse.Namespace, report: Report) -> None:
    """Real loads by QEMU, Firecracker and cloud-hypervisor."""
    if options.qemu and (options.qemu / "outcomes.json").exists():
        captured = [path for path in (options.recordings, COMMITTED, BESIDE / "realkvm") if path.exists()]
        others = [path for path in (BESIDE / "realqemu",) if (path / "outcomes.json").exists()]
        loads = qemu.check(options.qemu, captured, others)
        report.add(document.qemu_section(loads), len(loads.wrong))
    if options.vmm and (options.vmm / "outcomes.json.gz").exists():
        restores = vmm.check(options.vmm)
        report.add(document.vmm_section(restores), len(restores.wrong))


def retold(options: argparse.Namespace, report: Report) -> None:
    """Failures from the field, and single writes on which the engine was wrong once."""
    cases = {folder.name: field.check(folder) for folder in field.folders(options.field)}
    report.add(document.field_section(cases), sum(len(tally.wrong) for tally in cases.values()))
    if options.truth and options.truth.exists():
        writes = truth.check_all(options.truth, options.recordings)
        report.add(document.truth_section(writes), sum(tally.total["wrong"] for tally in writes.values()))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recordings", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--qemu", type=Path, metavar="FOLDER", help="real loads of QEMU")
    parser.add_argument("--vmm", type=Path, metavar="FOLDER", help="real loads of other VMMs")
    parser.add_argument(
        "--field",
        type=Path,
        default=field.CASES,
        metavar="FOLDER",
        help="failures that others met (default: those of the project)",
    )
    parser.add_argument("--truth", type=Path, metavar="FOLDER", help="single writes with the kernel's answer")
    parser.add_argument(
        "--vectors",
        type=Path,
        metavar="FOLDER",
        help="fw-vectors.json and the like (default: beside the recordings)",
    )
    parser.add_argument("--out", type=Path, metavar="FILE")
    parser.add_argument("--schemes", type=Path, metavar="FILE", help="where to say who should judge")
    return parser.parse_args()


def main() -> int:
    """Compare, print, write, and exit with 1 when anything disagrees."""
    options = parse()
    if not kvm.recordings(options.recordings):
        print(f"{options.recordings}: there are no recordings (*.json, *.json.gz)", file=sys.stderr)
        return 1
    report = Report()
    derived = kernels(options.recordings, report)
    folder = options.vectors or options.recordings.resolve().parent
    if (folder / "fw-vectors.json").exists():
        results = {"firmware": vectors.firmware(folder), "identification": vectors.identification(folder)}
        report.add(document.vector_section(results), sum(len(wrong) for _, wrong in results.values()))
    virtual_machine_monitors(options, report)
    retold(options, report)
    if (folder / "host-dumps.json").exists():
        report.add(dumps.section(folder / "host-dumps.json"), 0)
    report.add(document.register_section(derived), 0)
    if options.out:
        report.write(options.out)
    if options.schemes:
        options.schemes.write_text(schemes.document(options.recordings))
    print("\n".join(line for line in report.lines if line.startswith(("## ", "**", "* "))))
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
