"""The emulated hosts of a live run: which there are, their captures and their saved register sets."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import guest
from .machine import Boot, BootError, Emulator

Json = dict[str, Any]


# Options under which recordings have shorter names.
SHORT = {
    "kvm-arm.mode=nested": "nested",
    "kvm-arm.mode=nvhe": "kvm-nvhe",
    "kvm-arm.mode=protected": "kvm-protected",
}


@dataclass(frozen=True)
class Host:
    """One kernel on one CPU model with some boot options, and options of the machine."""

    kernel: str
    cpu: str
    options: str
    machine: str = ""

    @property
    def name(self) -> str:
        """As the recordings are named: kernel__cpu__options."""
        cpu = self.cpu.replace("=", "").replace(",", "+")
        options = SHORT.get(self.options, self.options) or "default"
        parts = [options, *self.machine.split(",")] if self.machine else [options]
        return f"{self.kernel}__{cpu}__{'.'.join(parts).replace('=', '-').replace(' ', '.')}"


def check(host: Host, boot: Boot) -> None:
    """See that the probe did what it should: also that a user without rights is told so in one sentence."""
    codes = {name: output.exit for name, output in boot.outputs.items()}
    told = "kvmfw probe: /dev/kvm may not be opened by this user" in boot.console
    if codes != {"probe": 0, "save": 0, "nobody": 1} or not told or boot.outputs["nobody"].body:
        raise BootError(f"{host.name}: exit codes {codes}\n{boot.console[-2000:]}")


class Results:
    """The folder in which a run keeps what its hosts said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def capture_path(self, host: Host) -> Path:
        """Where a host's capture is."""
        return self.folder / f"{host.name}.capture.json"

    def sets_path(self, host: Host) -> Path:
        """Where the register sets are that were saved on a host."""
        return self.folder / f"{host.name}.sets.jsonl"

    def answers_path(self, host: Host, vmm: str) -> Path:
        """Where the answers are of the sets written on a host under a policy."""
        return self.folder / f"{host.name}.answers-{vmm}.json"

    def sets(self, host: Host) -> list[Json]:
        """The register sets that were saved on a host."""
        return [json.loads(line) for line in self.sets_path(host).read_text().splitlines()]

    def write_hosts(self, hosts: list[Host]) -> None:
        """Keep which hosts there are."""
        (self.folder / "hosts.json").write_text(json.dumps([asdict(host) for host in hosts], indent=1))

    def hosts(self) -> list[Host]:
        """The hosts of the run that is kept here."""
        return [Host(**one) for one in json.loads((self.folder / "hosts.json").read_text())]

    def restore(self, host: Host, sets: dict[str, list[Json]]) -> dict[str, list[Json]]:
        """The answers of the run that is kept here, by policy."""
        paths = {vmm: self.answers_path(host, vmm) for vmm in sets}
        answers = {
            vmm: json.loads(path.read_text())["sets"] if sets[vmm] else [] for vmm, path in paths.items()
        }
        for vmm, reports in answers.items():
            if [one["id"] for one in reports] != [one["id"] for one in sets[vmm]]:
                raise BootError(f"{self.answers_path(host, vmm)} is of other register sets")
        return answers


class Hosts(Results):
    """Boots hosts and keeps what they print."""

    def __init__(self, emulator: Emulator, cache: Path, folder: Path, say: Callable[[str], None]) -> None:
        super().__init__(folder)
        self._emulator = emulator
        self._base = guest.base_image(cache, say)
        self._images: dict[str, Path] = {}
        self._say = say
        # The probe's own limit is for hosts where something hangs; here the emulator's ends a boot.
        self._limit = ["--time-limit", str(emulator.timeout)]

    def know(self, kernel: str, image: Path) -> None:
        """Tell where a kernel's Image is."""
        self._images[kernel] = image

    def record(self, host: Host, reuse: bool) -> None:
        """Capture the host and save register sets on it (first boot)."""
        if reuse and self.capture_path(host).exists() and self.sets_path(host).exists():
            self._say(f"{host.name}: recorded before")
            return
        named = ["--name", host.name, *self._limit]
        jobs: list[Json] = [
            {"name": "probe", "argv": ["probe", *named]},
            {"name": "save", "argv": ["save", *named]},
            {"name": "nobody", "argv": ["probe", "--quick"], "nobody": True},
        ]
        boot = self._emulator.boot(self._images[host.kernel], host.cpu, host.options, self._image(jobs, {}))
        check(host, boot)
        self.capture_path(host).write_bytes(boot.outputs["probe"].body)
        self.sets_path(host).write_bytes(boot.outputs["save"].body)
        seconds = boot.outputs["probe"].seconds
        self._say(f"{host.name}: captured in {seconds:.1f} s, boot and all {boot.seconds:.1f} s")

    def restore(self, host: Host, sets: dict[str, list[Json]]) -> dict[str, list[Json]]:
        """Really write register sets under each policy (second boot): answers per policy and set."""
        asked = {vmm: chosen for vmm, chosen in sets.items() if chosen}
        files = {
            f"{vmm}.jsonl": "".join(json.dumps(one, separators=(",", ":")) + "\n" for one in chosen).encode()
            for vmm, chosen in asked.items()
        }
        jobs: list[Json] = [
            {"name": vmm, "argv": ["validate", "--on-host", f"/jobs/{vmm}.jsonl", "--vmm", vmm, *self._limit]}
            for vmm in asked
        ]
        image = self._image(jobs, files)
        boot = self._emulator.boot(self._images[host.kernel], host.cpu, host.options, image)
        answers: dict[str, list[Json]] = {vmm: [] for vmm in sets}
        for vmm in asked:
            output = boot.outputs[vmm]
            if output.exit not in (0, 2):
                raise BootError(f"{host.name}: validate exited with {output.exit}\n{boot.console[-2000:]}")
            answers[vmm] = output.json()["sets"]
            self.answers_path(host, vmm).write_bytes(output.body)
        count = sum(len(chosen) for chosen in asked.values())
        self._say(f"{host.name}: {count} register sets written in {boot.seconds:.1f} s")
        return answers

    def run(self, host: Host, jobs: list[Json], files: dict[str, bytes], more: bytes = b"") -> Boot:
        """Boot the host once for some jobs; what more the initramfs holds comes with them."""
        image = self._image(jobs, files) + more
        return self._emulator.boot(self._images[host.kernel], host.cpu, host.options, image)

    def _image(self, jobs: list[Json], files: dict[str, bytes]) -> bytes:
        return self._base + guest.job_image(jobs, files)
