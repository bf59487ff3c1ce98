"""`python -m tests.prove [IMAGE...]` proves rules against the code of kernel images and writes the ledger.

One kernel at a time; what was proved of an image is kept in a folder and not asked again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kvmfw.errors import FormatError
from kvmfw.kernels import read_kernel
from kvmfw.registers import register_name
from tests.live import archive
from tests.prove import ledger
from tests.prove.firmware import EVERYWHERE, Claim, claims
from tests.prove.machine import Code, NotRunError, ends_of
from tests.prove.proof import boundaries, flipped, prove

logging.getLogger("angr").setLevel(logging.CRITICAL)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.prove")
    parser.add_argument("images", nargs="*", type=Path, help="default: all that `make live` has fetched")
    parser.add_argument(
        "--kept", type=Path, default=Path("build/proofs"), help="folder of what was proved before"
    )
    parser.add_argument("--out", type=Path, default=Path("docs/proofs.md"))
    given = parser.parse_args()
    images = given.images or sorted((archive.cache_folder() / "kernels").glob("[0-9]*"))
    if not images:
        print("there is no kernel image; name some, or let `make live` fetch them", file=sys.stderr)
        return 1
    given.kept.mkdir(parents=True, exist_ok=True)
    kernels = [one for image in images if image.is_file() for one in _proved(image, given.kept)]
    given.out.write_text(ledger.text(kernels))
    print(ledger.summary(kernels))
    return 2 if any(row["result"] == "counterexample" for kernel in kernels for row in kernel["rows"]) else 0


def _proved(image: Path, kept: Path) -> Iterator[dict[str, Any]]:
    with image.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    before = kept / f"{image.name}.json"
    if before.exists() and (known := json.loads(before.read_text()))["image"] == digest:
        yield known
        return
    start = time.monotonic()
    try:
        kernel, code = read_kernel(image), Code.read(image)
    except FormatError as error:
        print(error, file=sys.stderr)
        return
    rows = [_row(code, claim) for claim in claims(kernel.release, kernel.firmware or EVERYWHERE)]
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    found = {
        "image": digest,
        "name": image.name,
        "release": kernel.release,
        "build": kernel.build,
        "rows": rows,
        "seconds": round(time.monotonic() - start, 1),
        "mebibytes": most,
    }
    before.write_text(json.dumps(found, indent=1) + "\n")
    print(ledger.line(found), flush=True)
    yield found


def _row(code: Code, claim: Claim) -> dict[str, Any]:
    row: dict[str, Any] = {"register": register_name(claim.register), "state": claim.state}
    if claim.formula is None:
        return row | {"result": "not proved", "why": "the core has no rule for it"}
    try:
        ends = ends_of(code, claim.call)
    except NotRunError as error:
        return row | {"result": "not proved", "why": str(error)}
    proof = prove(ends, claim.formula)
    if proof.uncovered is not None or not proof.ends:
        return row | {
            "result": "not proved",
            "why": f"no way through the code was found for {proof.uncovered:#x}",
        }
    if proof.counterexample is not None:
        word = {"value": f"{proof.counterexample:#x}", "taken": proof.taken}
        return row | {"result": "counterexample"} | word
    bent = [word for word in boundaries(claim.formula) if prove(ends, flipped(claim.formula, word)).holds]
    if bent:
        return row | {"result": "not proved", "why": f"a rule that is wrong at {bent[0]:#x} passes as well"}
    return row | {"result": "proved", "ends": proof.ends, "controls": len(boundaries(claim.formula))}


if __name__ == "__main__":
    raise SystemExit(main())
