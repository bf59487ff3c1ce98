"""Any bytes as a file: read, or refused in a sentence. Begins with a sample of each format; see `make fuzz-readers`."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

MOST = 1 << 16


def main() -> None:
    """Fuzz; the first argument is the folder of inputs that are kept."""
    import atheris  # noqa: PLC0415

    with atheris.instrument_imports(include=["kvmfw"]):
        from tests.support.damaged import take_in, told  # noqa: PLC0415
        from tests.support.samples import SAMPLES  # noqa: PLC0415

    corpus = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        path, fleet = Path(folder) / "file", Path(folder) / "fleet"
        for form, write in SAMPLES.items():
            sample = write(Path(folder))
            with atheris.instrument_imports(include=["kvmfw"]):
                # Readers are imported when they are first asked for.
                told(sample)
                take_in(sample, form, fleet)
            # Most of a stream is memory: what is read stands near its end.
            if sample.stat().st_size <= MOST:
                (corpus / form).write_bytes(sample.read_bytes())

        def once(raw: bytes) -> None:
            path.write_bytes(raw)
            if not told(path):
                # Inventories are taken in alone.
                take_in(path, "", fleet)
                shutil.rmtree(fleet, ignore_errors=True)

        atheris.Setup(sys.argv, once)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
