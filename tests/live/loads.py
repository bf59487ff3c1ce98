"""Real loads by QEMU between hosts that differ in what stands beside registers, each predicted before it is made.

    python -m tests.live.loads                                  # what `make live MODE=loads` does
    python -m tests.live.loads --hosts 6.12 7.3:gic-version=2   # fewer: kernel[@CPU model][:machine options]

First boot of every host: the probe captures it, and an unmodified QEMU saves one VM of each kind that it can make there. Then the
engine predicts what becomes of every VM on every other host. Second boot: QEMU loads them. Exit 0: every outcome is as predicted;
2: some are not, or too many were not predicted; 1: it, or one of the hosts, could not be run.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import sections

from . import archive, guest, mode
from .hosts import Host, Hosts
from .machine import BootError, Emulator
from .mode import lose, say
from .predict import Engine

Json = dict[str, Any]
ARRIVED = "completed, running"
CPU = "neoverse-n1"
HOSTS = [
    *("6.1", "6.12", "7.3", "7.3-16k", "6.12:gic-version=2", "7.3:gic-version=2"),
    *("6.12@neoverse-n1,cntfrq=25000000", "7.3@cortex-a76"),
]
# Debian's suite -> the release of its QEMU, as policies are named.
QEMUS = {"bookworm": "qemu-7.2", "trixie": "qemu-10.0", "trixie-backports": "qemu-11.1"}
# How VMs are made; a VM is loaded by the words by which it was made, as those who move VMs do it.
VMS = {
    "GICv3, ITS": ["-M", "virt,accel=kvm,gic-version=3", "-cpu", "host"],
    "GICv3, no ITS": ["-M", "virt,accel=kvm,gic-version=3,its=off", "-cpu", "host"],
    "GICv3, no steal time": ["-M", "virt,accel=kvm,gic-version=3", "-cpu", "host,kvm-steal-time=off"],
    "GIC of the host": ["-M", "virt,accel=kvm,gic-version=max", "-cpu", "host,pmu=off"],
    "32 bits of addresses": ["-M", "virt,accel=kvm,gic-version=3,highmem=off", "-cpu", "host"],
    "36 bits of addresses": [
        *("-M", "virt,accel=kvm,gic-version=3,highmem-mmio=off,highmem-ecam=off,highmem-redists=off"),
        *("-cpu", "host", "-m", "slots=1,maxmem=33G"),
    ],
    "42 bits of addresses": [
        *("-M", "virt,accel=kvm,gic-version=3", "-cpu", "host", "-m", "slots=1,maxmem=2T"),
    ],
    "GICv2": ["-M", "virt,accel=kvm,gic-version=2", "-cpu", "host"],
}
INTRODUCTION = """Written by `make live MODE=loads`; [live.md](live.md) tells how. An unmodified QEMU of Debian saved VMs on one
host and loaded them on another: kernels, pages, interrupt controllers, counters and the bits of guest addresses differ
between hosts (neoverse-n1 has 48, cortex-a76 40), and so does what the VMs have beside
registers. Each outcome was predicted before the load was made, from the stream and the target's
capture.
"""


@dataclass(frozen=True)
class Saved:
    """A VM as QEMU saved it."""

    kind: str
    home: Host
    stream: Path


@dataclass
class Load:
    """One load: what was predicted, why, and what became of it."""

    vm: Saved
    target: Host
    predicted: str
    why: list[str]
    outcome: str = "not made"
    said: str = ""

    @property
    def result(self) -> str:
        """agreed, wrong, or not predicted."""
        if self.predicted == "unknown":
            return "not predicted"
        arrived = self.outcome == ARRIVED
        return "agreed" if arrived == (self.predicted != "refused") else "wrong"


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = mode.common_parser(__doc__, keep="live-loads")
    parser.add_argument("--hosts", nargs="+", default=HOSTS, help="kernels, with @CPU and :machine options")
    parser.add_argument("--vms", nargs="+", choices=VMS, default=[*VMS], help="kinds of VMs to save and load")
    parser.add_argument("--suite", choices=QEMUS, default="trixie", help="whose QEMU loads")
    return parser.parse_args(argv)


class Machines:
    """Hosts that a QEMU runs on."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.folder: Path = arguments.keep
        self.vmm = QEMUS[arguments.suite]
        self._kinds: list[str] = arguments.vms
        cache = archive.cache_folder()
        tree = archive.qemu_tree(cache, arguments.suite, "arm64", say)
        self._image, self._program = guest.qemu_image(tree)
        command = mode.find_qemu(arguments.qemu, cache)
        kernels = archive.Kernels(cache, say)
        self._of: dict[Host, Hosts] = {}
        for text in arguments.hosts:
            named, _, machine = text.partition(":")
            release, _, cpu = named.partition("@")
            image = kernels.image(release)
            emulator = Emulator(command, arguments.timeout, machine, memory=2048)
            hosts = Hosts(emulator, cache, self.folder, say)
            hosts.know(image.name, image)
            self._of[Host(image.name, cpu or CPU, "", machine)] = hosts

    @property
    def hosts(self) -> list[Host]:
        return list(self._of)

    def capture(self, host: Host) -> Path:
        return self._of[host].capture_path(host)

    def record(self, host: Host) -> list[Saved]:
        """Capture a host, and save a VM of each kind that QEMU makes there."""
        hosts = self._of[host]
        hosts.record(host, reuse=True)
        jobs = [{"name": kind, "words": words} for kind, words in VMS.items() if kind in self._kinds]
        saved = []
        for kind, found in self._ask(host, jobs, {}).items():
            if found["outcome"] != "completed":
                say(f"{host.name}: no VM with {kind}: {found['said'].strip() or found['outcome']}")
                continue
            stream = self.folder / f"{host.name}.{kind.replace(', ', '.').replace(' ', '-')}.stream"
            stream.write_bytes(gzip.decompress(base64.b64decode(found["stream"])))
            saved.append(Saved(kind, host, stream))
        return saved

    def load(self, host: Host, loads: list[Load]) -> None:
        """Really load VMs on a host."""
        files, jobs = {}, []
        for number, one in enumerate(loads):
            files[f"{number}.stream"] = gzip.compress(one.vm.stream.read_bytes(), 6)
            jobs.append({"name": str(number), "words": VMS[one.vm.kind], "stream": f"{number}.stream"})
        for name, found in self._ask(host, jobs, files).items():
            loads[int(name)].outcome, loads[int(name)].said = found["outcome"], found["said"].strip()

    def _ask(self, host: Host, jobs: list[Json], files: dict[str, bytes]) -> Json:
        plan = json.dumps({"program": self._program, "jobs": jobs}).encode()
        job: Json = {"name": "loads", "program": "kvmfw_loads", "argv": ["/jobs/plan.json"]}
        boot = self._of[host].run(host, [job], {"plan.json": plan, **files}, self._image)
        output = boot.outputs["loads"]
        if output.exit != 0:
            raise BootError(f"{host.name}: loading exited with {output.exit}\n{boot.console[-2000:]}")
        say(f"{host.name}: {len(jobs)} VMs in {boot.seconds:.0f} s")
        found: Json = output.json()
        return found


def run(arguments: argparse.Namespace) -> int:
    machines, engine = Machines(arguments), Engine()
    lost: dict[str, str] = {}
    saved: list[Saved] = []
    known: list[Host] = []
    for host in machines.hosts:
        try:
            saved += machines.record(host)
            known.append(host)
        except BootError as error:
            lose(lost, host, error)
    loads = [
        Load(vm, host, *engine.load(vm.stream, machines.capture(host), machines.vmm))
        for host in known
        for vm in saved
        if vm.home != host
    ]
    for host in known:
        try:
            machines.load(host, [load for load in loads if load.target == host])
        except BootError as error:
            lose(lost, host, error)
    loads = [load for load in loads if load.outcome != "not made"]
    lines = report(loads, machines.vmm, lost)
    print("\n".join(lines))
    if arguments.log:
        sections.keep(arguments.log, sections.LOADS, "\n".join([INTRODUCTION, *lines]))
    results = Counter(load.result for load in loads)
    good = results["agreed"] and not results["wrong"] and not results["not predicted"]
    return 2 if not good else 1 if lost else 0


def report(loads: list[Load], vmm: str, lost: dict[str, str]) -> list[str]:
    """What became of the loads: first what was not looked at, then by what differs."""
    results = Counter(load.result for load in loads)
    lines = [f"- Not asked: {name}: {why}" for name, why in sorted(lost.items())]
    lines += [
        f"{len(loads)} loads by {vmm}: {results['agreed']} as predicted, {results['wrong']} otherwise, "
        f"{results['not predicted']} not predicted.",
        "",
        "| VM | home | target | what became of it | predicted | first finding of that kind |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for load in loads:
        why = load.why[0].replace("|", "\\|") if load.why else ""
        where = f"{load.vm.kind} | {load.vm.home.name} | {load.target.name}"
        lines.append(f"| {where} | {load.outcome} | {load.predicted} | {why} |")
    lines += ["", "What QEMU said where a load was not made, or did not arrive:", ""]
    missed = [load for load in loads if load.outcome != ARRIVED]
    said = Counter(line for load in missed for line in load.said.splitlines())
    lines += [f"- {count} x `{line}`" for line, count in said.most_common()]
    wrong = [load for load in loads if load.result != "agreed"]
    lines += [
        f"- **{load.result}**: {load.vm.kind} of {load.vm.home.name} on {load.target.name}: {load.outcome}; {load.said}"
        for load in wrong
    ]
    return lines


def main(argv: list[str] | None = None) -> int:
    arguments = parse(argv)
    return mode.ended("loads", lambda: run(arguments))


if __name__ == "__main__":
    raise SystemExit(main())
