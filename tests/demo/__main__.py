"""The whole path, timed: hosts behind a local sshd -> captures -> an inventory of VMs -> an audit with its report.

python -m tests.demo [--hosts N] [--vms N] [--folder FOLDER]

Hosts are of the kinds in examples/captures, on a KVM that answers as they say; three are dead and one hangs. VMs are domains of
libvirt. Needs openssh-server and openssh-client.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from kvmfw.cli import main as kvmfw
from tests.demo.hosts import ROOT, fake_hosts

KINDS = 12
DEAD, HANGING = 3, 1
MINUTES, SECONDS = 5 * 60, 10
DOMAIN = (ROOT / "tests" / "data" / "inventory" / "n1-612-a" / "web-1.xml").read_text()
WITHOUT_PMU = "    <feature policy='disable' name='pmu'/>\n"


def run(*words: object) -> tuple[int, str, float, float]:
    """Run a verb; give its exit code, what it printed, how long it took, and how long this process worked on it."""
    start, worked = time.monotonic(), time.process_time()
    found = CliRunner().invoke(kvmfw, [str(word) for word in words])
    return found.exit_code, found.output, time.monotonic() - start, time.process_time() - worked


def write_domains(folder: Path, hosts: list[str], vms: int) -> None:
    """Write a domain for each VM in the folder of its host; on Neoverse N1 every third has no PMU."""
    for at in range(vms):
        host = hosts[at % len(hosts)]
        text = DOMAIN.replace("<name>web-1<", f"<name>vm-{at:05}<")
        if "n1" not in host or at % 3:
            text = text.replace(WITHOUT_PMU, "")
        place = folder / host
        place.mkdir(parents=True, exist_ok=True)
        (place / f"vm-{at:05}.xml").write_text(text)


def check(what: str, is_so: bool, say: Callable[[str], None]) -> bool:
    """Say whether something is as it should be."""
    say(f"{'ok' if is_so else 'NOT SO':8}{what}")
    return is_so


def demo(folder: Path, hosts: int, vms: int, say: Callable[[str], None] = print) -> bool:
    """Go the whole path; tell whether all of it was as it should be."""
    kinds = sorted((ROOT / "examples" / "captures").glob("*.json"))[-KINDS:]
    alive = {
        f"{kinds[at % KINDS].stem.split('__')[1]}-{at:03}": kinds[at % KINDS]
        for at in range(hosts - DEAD - HANGING)
    }
    fleet, audited = folder / "fleet", folder / "audited"
    with fake_hosts(folder / "sshd", alive, DEAD, HANGING) as reached:
        words = [
            "--ssh",
            reached.ssh,
            "--python",
            reached.python,
            "--jobs",
            16,
            "--quick-limit",
            30,
            "--limit",
            240,
        ]
        code, text, collecting, _ = run("collect", reached.inventory, "-o", fleet, "--format", "json", *words)
    told: dict[str, Any] = json.loads(text)
    with (fleet / "hosts.csv").open() as lines:
        mapped = list(csv.DictReader(lines))
    failed = {one["host"]: one["why"] for one in told["failures"]}
    say(f"collect: {len(mapped)} of {hosts} hosts, {len(told['probed'])} full probes, {collecting:.1f} s")
    for host, why in failed.items():
        say(f"         {host}: {why}")
    fine = [
        check(f"{len(alive)} hosts mapped to {KINDS} captures", len(mapped) == len(alive), say),
        check(
            f"{KINDS} full probes",
            len(told["probed"]) == KINDS == len({row["capture"] for row in mapped}),
            say,
        ),
        check(
            f"{DEAD} dead hosts and {HANGING} hanging one told, exit code 2",
            len(failed) == DEAD + HANGING and code == 2,
            say,
        ),
        check(f"less than {MINUTES} s", collecting < MINUTES, say),
    ]
    write_domains(folder / "domains", [row["host"] for row in mapped], vms)
    code, text, taking, worked = run("ingest", fleet, folder / "domains", "-o", audited, "--born-here")
    say(f"ingest: {taking:.1f} s, {worked:.1f} s of CPU: {text.splitlines()[0].partition(': ')[2]}")
    report = folder / "report.html"
    fine.append(check("all VMs taken in", code == 0, say))
    code, text, auditing, more = run(
        "audit", audited, "--vmm", "qemu-10.0", "--html", report, "--format", "json"
    )
    counts = {one["word"]: one["count"] for one in json.loads(text[text.index("{") :])["not_judged"]}
    say(f"audit: {auditing:.1f} s, {more:.1f} s of CPU, {report.stat().st_size >> 10} KiB of HTML")
    return all(
        [
            *fine,
            check(
                f"{vms} VMs judged, said to be derived",
                counts.get("born") == counts.get("born_here") == vms,
                say,
            ),
            # Of the CPU: how long it takes besides depends on who else works on the machine.
            check(f"less than {SECONDS} s of CPU more", worked + more < SECONDS, say),
        ]
    )


def main() -> int:
    """Run the demonstration; exit with 1 when something is not as it should be."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hosts", type=int, default=200)
    parser.add_argument("--vms", type=int, default=2000)
    parser.add_argument("--folder", type=Path, help="where all of it stays (default: nowhere)")
    options = parser.parse_args()
    if options.folder:
        return 0 if demo(options.folder.resolve(), options.hosts, options.vms) else 1
    with tempfile.TemporaryDirectory() as folder:
        return 0 if demo(Path(folder), options.hosts, options.vms) else 1


if __name__ == "__main__":
    sys.exit(main())
