"""A service in a process of its own."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

__all__ = ["Running", "running"]


@dataclass
class Running:
    """A service that answers."""

    process: subprocess.Popen[str]
    port: int
    flight: int
    headers: dict[str, str] = field(default_factory=dict)

    def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        **query: str,
    ) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        words = {"Content-Type": "application/json"} | self.headers | (headers or {})
        try:
            connection.request(method, f"{path}?{urlencode(query)}" if query else path, body, words)
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        is_json = "json" in (response.getheader("content-type") or "")
        return response.status, json.loads(text) if is_json and text else text

    def get(self, path: str, **query: str) -> tuple[int, Any]:
        return self.call("GET", path, None, None, **query)

    def post(self, path: str, document: object) -> tuple[int, Any]:
        return self.call("POST", path, json.dumps(document).encode())

    def stop(self) -> str:
        """Stop it as a service manager does; give what it said."""
        self.process.send_signal(signal.SIGTERM)
        _, said = self.process.communicate(timeout=30)
        assert self.process.returncode in (0, -signal.SIGTERM), said
        return said


@contextmanager
def running(fleet: Path, *options: object) -> Iterator[Running]:
    """Start a service at free ports."""
    words = ("serve", fleet, "--port", 0, "--flight", 0, *options)
    process = subprocess.Popen(
        [sys.executable, "-m", "kvmfw", *map(str, words)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stderr is not None
    try:
        found: list[int] = []
        while len(found) < 2:
            line = process.stderr.readline()
            assert line, "it did not start"
            found += [int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", line)]
        yield Running(process, found[1], found[0])
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stderr.close()
