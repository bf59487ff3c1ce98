"""Child processes that a test forks."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

MEMORY = 10 << 30


def in_child(work: Callable[[], Any], seconds: float) -> Any:
    """Give what a child's work gives, as JSON has it.

    Raises
    ------
    TimeoutError
        When it takes longer; `ChildProcessError` when the child ends before.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setpgid(0, 0)
            silence = os.open(os.devnull, os.O_RDWR)
            for file in range(3):
                os.dup2(silence, file)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            with os.fdopen(writing, "w") as out:
                out.write(json.dumps(work()) + "\n")
        finally:
            os._exit(0)
    os.close(writing)
    try:
        text, end = b"", time.monotonic() + seconds
        # What a child leaves behind has the pipe too, so its end may never come.
        while not text.endswith(b"\n"):
            if not select.select([reading], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError
            part = os.read(reading, 1 << 16)
            if not part:
                raise ChildProcessError
            text += part
    finally:
        os.close(reading)
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError):
                kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return json.loads(text)


def ends_well(child: int, waits_for: str) -> None:
    """Wait until a child ends with 0; fail the test where it hangs."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    pytest.fail(f"the child waits for {waits_for}")
