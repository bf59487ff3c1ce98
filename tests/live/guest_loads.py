"""Saves and loads VMs with QEMU on a KVM: the part of `make live MODE=loads` that runs inside the emulated machine.

A job is {"name", "words", "stream"?}: without a stream the VM runs a moment and is saved, with one it is loaded. Streams go
through a socket, as every QEMU can, so that no shell is needed.
"""

import base64
import contextlib
import gzip
import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

# One instruction that jumps to itself.
LOOP = b"\x00\x00\x00\x14"
LIMIT = 240
SOCKET = "/tmp/stream"


class EndedError(Exception):
    """QEMU ended."""


class Vm:
    """A QEMU with its monitor."""

    def __init__(self, words: "list[str]", program: "list[str]") -> None:
        Path("/tmp/loop").write_bytes(LOOP)
        self._said = Path("/tmp/said")
        loop = ["-device", "loader,file=/tmp/loop,addr=0x40200000,cpu-num=0,force-raw=on"]
        quiet = ["-nodefaults", "-display", "none", "-S", "-qmp", "stdio"]
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                [*program, *words, "-m", "16", "-smp", "1", *quiet, *loop],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
            )

    def ask(self, command: str, **arguments: Any) -> Any:
        """What the monitor returns; `EndedError` where QEMU ends instead."""
        assert self._process.stdin is not None
        text = json.dumps({"execute": command, "arguments": arguments})
        try:
            self._process.stdin.write(text.encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise EndedError from error
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            said = json.loads(line)
            if "error" in said:
                raise RuntimeError(said["error"]["desc"])
            if "return" in said:
                return said["return"]
        raise EndedError

    def wait_for(self, command: str, done: "tuple[str, ...]") -> str:
        """The status that a command ends with."""
        start = time.monotonic()
        while time.monotonic() - start < LIMIT:
            status = str(self.ask(command).get("status"))
            if status in done:
                return status
            time.sleep(0.1)
        return "no end"

    def end(self) -> "dict[str, Any]":
        """Its exit code, and what it said."""
        with contextlib.suppress(EndedError, RuntimeError):
            self.ask("quit")
        try:
            code = self._process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        return {"exit": code, "said": self._said.read_text(errors="replace")}


def save(words: "list[str]", program: "list[str]") -> "dict[str, Any]":
    """Run a VM a moment and save it."""
    vm, body = Vm(words, program), b""
    try:
        vm.ask("qmp_capabilities")
        vm.ask("cont")
        time.sleep(1)
        vm.ask("stop")
        Path(SOCKET).unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(SOCKET)
            listener.listen()
            listener.settimeout(LIMIT)
            vm.ask("migrate", uri=f"unix:{SOCKET}")
            with listener.accept()[0] as stream:
                while part := stream.recv(1 << 20):
                    body += part
        outcome = vm.wait_for("query-migrate", ("completed", "failed"))
    except EndedError:
        outcome = "not started"
    stream_text = base64.b64encode(gzip.compress(body, 9)).decode()
    return {"outcome": outcome, "stream": stream_text, **vm.end()}


def load(words: "list[str]", program: "list[str]", stream: bytes) -> "dict[str, Any]":
    """Load a saved VM, and let it go on."""
    Path(SOCKET).unlink(missing_ok=True)
    vm, outcome = Vm([*words, "-incoming", f"unix:{SOCKET}"], program), "not started"
    try:
        vm.ask("qmp_capabilities")
        outcome = "failed"
        with socket.socket(socket.AF_UNIX) as sender:
            sender.connect(SOCKET)
            with contextlib.suppress(OSError):
                sender.sendall(stream)
        outcome = vm.wait_for("query-migrate", ("completed", "failed"))
        if outcome == "completed":
            vm.ask("cont")
            time.sleep(0.5)
            outcome += f", {vm.ask('query-status')['status']}"
    except EndedError:
        pass
    return {"outcome": outcome, **vm.end()}


def main(argv: "list[str]") -> int:
    jobs, _, output = argv
    plan = json.loads(Path(jobs).read_text())
    said = {}
    for job in plan["jobs"]:
        started = time.monotonic()
        if "stream" in job:
            stream = gzip.decompress(Path("/jobs", job["stream"]).read_bytes())
            found = load(job["words"], plan["program"], stream)
        else:
            found = save(job["words"], plan["program"])
        said[job["name"]] = {**found, "seconds": round(time.monotonic() - started, 1)}
    Path(output).write_text(json.dumps(said))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
