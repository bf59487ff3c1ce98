"""Law: whatever is wrong with a file, it is an `InputError` or it is read, and counts add up."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from kvmfw import readers
from tests.support.damaged import take_in, told
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
        take_in(path, form, Path(folder) / "fleet")


def test_whole_files_are_read(tmp_path: Path) -> None:
    """What the fuzzer of readers begins with is not refused, so that it looks behind the door."""
    path = tmp_path / "file"
    for form in SAMPLES:
        path.write_bytes(sample(form))
        assert told(path) or readers.detect(path) == form, form
    path.write_bytes(b"no register")
    assert not told(path)
