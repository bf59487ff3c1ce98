"""Compare the engine with real kernels.

python -m tests.agreement --recordings FOLDER [--qemu FOLDER] [--vmm FOLDER] [--vectors FOLDER] [--out FILE]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests import sections
from tests.agreement import document, dumps, field, kvm, qemu, vectors, vmm
from tests.oracle.crossed import Restores
from tests.oracle.recordings import Recording

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


def main() -> int:
    """Compare, print, write, and exit with 1 when anything disagrees."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recordings", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--qemu", type=Path, metavar="FOLDER", help="real loads of QEMU")
    parser.add_argument("--vmm", type=Path, metavar="FOLDER", help="real loads of other VMMs")
    parser.add_argument(
        "--vectors",
        type=Path,
        metavar="FOLDER",
        help="fw-vectors.json and the like (default: beside the recordings)",
    )
    parser.add_argument("--out", type=Path, metavar="FILE")
    options = parser.parse_args()
    if not kvm.recordings(options.recordings):
        print(f"{options.recordings}: there are no recordings (*.json, *.json.gz)", file=sys.stderr)
        return 1
    measured, derived, unusable = compare(options.recordings)
    text = [document.INTRODUCTION]
    text += document.kvm_section(
        "Measured evidence", "The engine judges by the capture made of the recording.", measured
    )
    text += document.kvm_section(
        "Derived evidence",
        "The answers are hidden: the engine has the lists, fresh values, writable masks, features, the release and"
        " the sysfs vulnerabilities.",
        derived,
    )
    if unusable:
        text += ["## Recordings that could not be used", "", *(f"* {line}" for line in unusable), ""]
    failed = measured.disagreed + derived.disagreed + len(unusable)
    folder = options.vectors or options.recordings.resolve().parent
    if (folder / "fw-vectors.json").exists():
        results = {"firmware": vectors.firmware(folder), "identification": vectors.identification(folder)}
        text += document.vector_section(results)
        failed += sum(len(wrong) for _, wrong in results.values())
    if options.qemu and (options.qemu / "outcomes.json").exists():
        captured = [path for path in (options.recordings, COMMITTED, BESIDE / "realkvm") if path.exists()]
        others = [path for path in (BESIDE / "realqemu",) if (path / "outcomes.json").exists()]
        loads = qemu.check(options.qemu, captured, others)
        text += document.qemu_section(loads)
        failed += len(loads.wrong)
    if options.vmm and (options.vmm / "outcomes.json.gz").exists():
        restores = vmm.check(options.vmm)
        text += document.vmm_section(restores)
        failed += len(restores.wrong)
    for cases in field.folders(field.CASES):
        failed += len(field.check(cases).wrong)
    if (folder / "host-dumps.json").exists():
        text += dumps.section(folder / "host-dumps.json")
    text += document.register_section(derived)
    if options.out:
        written = "\n".join(text).rstrip() + "\n"
        # What `make live` wrote there stays.
        old = options.out.read_text() if options.out.exists() else ""
        for section in filter(None, [sections.of(old, name) for name in (sections.LIVE, sections.FUZZ)]):
            written = sections.replaced(written, section)
        options.out.write_text(written)
    print("\n".join(line for line in text if line.startswith(("## ", "**", "* "))))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
