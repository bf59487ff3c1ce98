"""The probe on another host: its source goes through ssh's standard input, so nothing is left there."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kvmfw.probe
from kvmfw.collect.inventory import Place
from kvmfw.documents import parsed_json
from kvmfw.errors import FormatError, InputError
from kvmfw.sets import Host

__all__ = ["Remote", "UnreachableError", "read_capture"]

_GRACE = 15
"""Seconds that ssh has beyond the probe's own limit, to connect and to bring the capture back."""
_LARGEST = 64 << 20


class UnreachableError(InputError):
    """A host from which no capture came.

    Attributes
    ----------
    problem : str
        Why.
    file : str
        The host.
    """


@dataclass(frozen=True, slots=True)
class Remote:
    """How hosts are reached.

    Attributes
    ----------
    ssh : sequence of str
        The command, such as ``["ssh", "-F", "config"]``; the system's own ssh with its config and agent.
    python : str
        The interpreter there, 3.6 or newer.
    """

    ssh: Sequence[str] = ("ssh",)
    python: str = "python3"

    def probe(self, place: Place, *, quick: bool, limit: float) -> Mapping[str, Any]:
        """Probe a host; give its capture document.

        Raises
        ------
        UnreachableError
            When no capture came back within the limit (seconds), or what came is none.
        """
        words = [self.python, "-", "--time-limit", f"{limit:g}", *(["--quick"] if quick else [])]
        options = ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={min(_GRACE, 10)}"]
        command = [*self.ssh, *options, "--", place.destination, *words]
        try:
            with Path(kvmfw.probe.__file__).open("rb") as source:
                done = subprocess.run(
                    command, stdin=source, capture_output=True, timeout=limit + _GRACE, check=False
                )
        except subprocess.TimeoutExpired:
            raise UnreachableError(f"no answer within {limit + _GRACE:g} seconds", file=place.host) from None
        except OSError as error:
            raise UnreachableError(
                f"`{command[0]}` does not start: {error.strerror}", file=place.host
            ) from None
        if done.returncode:
            raise UnreachableError(
                _last_line(done.stderr) or f"ssh ended with {done.returncode}", file=place.host
            )
        return self._read(done.stdout, place)

    def _read(self, text: bytes, place: Place) -> Mapping[str, Any]:
        if len(text) > _LARGEST:
            raise UnreachableError("it sent more than any capture has", file=place.host)
        try:
            return read_capture(text)
        except FormatError as error:
            raise UnreachableError(f"what came back is no capture: {error}", file=place.host) from None


def read_capture(text: bytes) -> Mapping[str, Any]:
    """Read what a probe printed.

    Raises
    ------
    FormatError
        When it is no capture.
    """
    Host.from_json(text)
    document: Mapping[str, Any] = parsed_json(text)
    return document


def _last_line(text: bytes) -> str:
    lines = text.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:300] if lines else ""
