"""PID 1 of an emulated machine: runs the jobs of the probe and the fuzzer and prints their output on the console.

Runs inside the guest only.  Each job is {"name": ..., "argv": [...]}, and "program" where it is not the
probe's; its output goes to the host as gzip in base64 lines between two marks.
"""

import base64
import ctypes
import fcntl
import gzip
import importlib
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

REBOOT_POWER_OFF = 0x4321FEDC
# With an argument other than 0 it waits until all is sent (include/uapi/asm-generic/ioctls.h).
TCSBRK = 0x5409


def emit(name: str, code: Any, seconds: float, body: bytes) -> None:
    text = base64.b64encode(gzip.compress(body, 6)).decode()
    lines = [text[at : at + 120] for at in range(0, len(text), 120)]
    head = json.dumps({"name": name, "exit": code, "seconds": round(seconds, 2), "lines": len(lines)})
    for line in ["@KVMFW " + head] + ["@K " + line for line in lines] + ["@KVMFW-END " + name]:
        os.write(1, line.encode() + b"\n")


def as_nobody(program: Any, argv: "list[str]") -> int:
    """Exit code of a program in a process of a user without rights."""
    child = os.fork()
    if child == 0:
        os.setgid(65534)
        os.setuid(65534)
        os._exit(program.main(argv))
    return os.waitpid(child, 0)[1] >> 8


def run(job: "dict[str, Any]") -> None:
    program = importlib.import_module(job.get("program", "kvmfw_probe"))
    output = Path("/tmp/output")
    if output.exists():
        output.unlink()
    started = time.monotonic()
    code: Any
    argv = [*job["argv"], "--output", str(output)]
    try:
        code = as_nobody(program, argv) if job.get("nobody") else program.main(argv)
    except SystemExit as error:
        code = error.code
    except BaseException:
        traceback.print_exc()
        code = -1
    seconds = time.monotonic() - started
    emit(job["name"], code, seconds, output.read_bytes() if output.exists() else b"")


def main() -> None:
    sys.path.insert(0, "/")
    sys.dont_write_bytecode = True
    libc = ctypes.CDLL(None)
    for kind, place in ((b"devtmpfs", b"/dev"), (b"proc", b"/proc"), (b"sysfs", b"/sys")):
        libc.mount(kind, place, kind, 0, None)
    # Only the jobs speak on the console: kernel messages would tear their lines.
    libc.klogctl(8, None, 1)
    try:
        importlib.import_module("kvmfw_probe")
        for job in json.loads(Path("/jobs/jobs.json").read_text()):
            run(job)
        os.write(1, b"@KVMFW-DONE\n")
    except BaseException:
        traceback.print_exc()
    # A slow machine was switched off before its console had sent all.
    fcntl.ioctl(1, TCSBRK, 1)
    os.sync()
    libc.reboot(REBOOT_POWER_OFF)


# Never anywhere else: it ends with switching the machine off.
if __name__ == "__main__" and os.getpid() == 1:
    main()
