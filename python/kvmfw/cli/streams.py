"""What is said beside results, and a reader of standard output that may leave early."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from kvmfw.quoting import printable

__all__ = ["leaving_reader", "note"]


def note(text: str) -> None:
    """Say something on stderr that is not a result, in one line."""
    click.echo(printable(text), err=True)


class _Patient:
    """Standard output whose reader may leave (`| head`): what it does not read is dropped.

    The verb goes on, so that its files are written and its exit code says what it found.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._dropping():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._dropping():
            self._stream.flush()

    @contextlib.contextmanager
    def _dropping(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            # What is still in the buffers goes there too.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextlib.contextmanager
def leaving_reader() -> Iterator[None]:
    """Let the reader of standard output leave before everything is printed, or not be there: that is no error."""
    stream: Any = sys.stdout
    if stream is None:  # it was closed before kvmfw started
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
            yield
        return
    patient = _Patient(stream)
    sys.stdout = patient
    try:
        yield
        patient.flush()
    finally:
        sys.stdout = stream
