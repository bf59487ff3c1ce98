"""Law: whatever is wrong with a file, it is an `InputError` or it is read, and counts add up."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from kvmfw import readers
from kvmfw.errors import InputError
from kvmfw.ingest import ingest
from tests.support.samples import SAMPLES

SCRAPS = [b"", b"\xff" * 8, bytes(8), b"[]", b"{}", b"null", b"-1", b"1e99", b'""', b"\n", b",", b"0x"]


@cache
def sample(form: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return SAMPLES[form](Path(folder)).read_bytes()


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, bytes]:
    form = draw(st.sampled_from(sorted(SAMPLES)))
    raw = bytearray(sample(form))
    # Most of a stream is memory: what is read stands near its end.
    first = len(raw) - 60_000 if form == "qemu-stream" else 0
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(max(first, 0), len(raw)))
        gone = draw(st.integers(0, 40))
        raw[at : at + gone] = draw(st.one_of(st.sampled_from(SCRAPS), st.binary(max_size=20)))
    return form, bytes(raw)


@given(damaged())
def test_damaged_files_are_read_or_raise_input_errors(found: tuple[str, bytes]) -> None:
    form, raw = found
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(raw)
        with suppress(InputError):
            if form in ("get-reg-list", "qemu-props"):
                readers.read_facts(path)
                return
            taken = ingest([path], Path(folder) / "fleet", on_error="collect")
            assert taken.rows == taken.used + taken.rejected
            list(readers.register_sets(path))
