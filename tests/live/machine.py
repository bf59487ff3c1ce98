"""Boots one kernel in an emulated arm64 machine with EL2 and collects what its jobs printed."""

from __future__ import annotations

import base64
import gzip
import json
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# The kernel's own page table isolation, which a randomised kernel address brings along on many CPU
# models, makes every system call several times slower in emulation; no answer of KVM depends on it.
ALWAYS = "console=ttyAMA0 panic=-1 quiet nokaslr"


# An emulator ends with this process, however that ends.
TIED = ["setpriv", "--pdeathsig", "KILL", "nice", "-n", "5"]


def stop_when_told() -> None:
    """Let SIGTERM and SIGHUP end this process as an interrupt does: what it started is ended first."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)


class BootError(Exception):
    """The emulated machine did not do its jobs; the message ends with its last words."""


@dataclass
class Output:
    """What one job printed."""

    exit: int
    seconds: float
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Boot:
    """One boot: how long it took and every job's output by name."""

    seconds: float
    outputs: dict[str, Output] = field(default_factory=dict)
    console: str = ""


def parse_console(text: str) -> dict[str, Output]:
    """Outputs by job name; BootError where one is torn."""
    outputs: dict[str, Output] = {}
    head: dict[str, Any] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("@KVMFW "):
            head, lines = json.loads(line[7:]), []
        elif line.startswith("@K "):
            lines.append(line[3:])
        elif line.startswith("@KVMFW-END "):
            if len(lines) != head["lines"]:
                raise BootError(f"job {head['name']}: {len(lines)} of {head['lines']} lines arrived")
            body = gzip.decompress(base64.b64decode("".join(lines)))
            outputs[head["name"]] = Output(head["exit"], head["seconds"], body)
    return outputs


@dataclass
class Emulator:
    """The QEMU that is used, as command words."""

    command: list[str]
    timeout: float = 900
    machine_options: str = ""
    memory: int = 1024

    def version(self) -> str:
        answer = subprocess.run([*self.command, "--version"], capture_output=True, text=True, check=True)
        return answer.stdout.split("version ", 1)[1].split()[0]

    def boot(self, kernel: Path, cpu: str, options: str, image: bytes) -> Boot:
        """Run the jobs of an initramfs under a kernel."""
        with tempfile.TemporaryDirectory(prefix="kvmfw-live-") as folder:
            initrd, log = Path(folder, "initrd"), Path(folder, "console")
            initrd.write_bytes(image)
            machine = ",".join(filter(None, ["virt,virtualization=on,gic-version=3", self.machine_options]))
            words = [*self.command, "-M", machine, "-cpu", cpu]
            words += [
                "-smp",
                "1",
                "-m",
                str(self.memory),
                "-nic",
                "none",
                "-display",
                "none",
                "-monitor",
                "none",
                "-no-reboot",
            ]
            words += ["-serial", f"file:{log}", "-kernel", str(kernel), "-initrd", str(initrd)]
            words += ["-append", f"{ALWAYS} {options}".strip()]
            started = time.monotonic()
            said = self._run(words)
            seconds = time.monotonic() - started
            text = log.read_text(errors="replace") if log.exists() else ""
        if "@KVMFW-DONE" not in text:
            last = "\n".join(line for line in text.splitlines()[-15:] if not line.startswith("@K "))
            raise BootError(
                f"{kernel.name} on {cpu} ({options or 'no options'}) did not finish: {said}\n{last}"
            )
        return Boot(seconds, parse_console(text), text)

    def _run(self, words: list[str]) -> str:
        try:
            answer = subprocess.run(
                [*TIED, *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=self.timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"no end after {self.timeout:g} s"
        return answer.stdout.decode(errors="replace").strip()
