"""Child processes that a test forks."""

from __future__ import annotations

import os
import time

import pytest


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
