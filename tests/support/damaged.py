"""Whatever stands in a file, it is read or refused in a sentence."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from kvmfw import readers
from kvmfw.errors import InputError
from kvmfw.ingest import ingest
from kvmfw.readers.formats import host_of

__all__ = ["FACTS", "take_in", "told"]

FACTS = ("get-reg-list", "qemu-props")
"""Formats of facts about a host."""


def told(path: Path) -> bool:
    """Read facts about a host, a host, or register sets; whether a file has one of them."""
    found = False
    with suppress(InputError):
        found = host_of(path, readers.detect(path)) is not None
    with suppress(InputError):
        readers.read_facts(path)
        found = True
    with suppress(InputError):
        list(readers.register_sets(path))
        found = True
    return found


def take_in(path: Path, form: str, fleet: Path) -> int:
    """Read a file of a format, and take it into a fleet on disk: how many VMs or hosts it names; counts add up."""
    with suppress(InputError):
        if form in FACTS:
            readers.read_facts(path)
            return 1
        taken = ingest([path], fleet, on_error="collect")
        assert taken.rows == taken.used + taken.rejected
        list(readers.register_sets(path))
        return taken.rows
    return 0
