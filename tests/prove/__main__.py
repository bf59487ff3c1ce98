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
from tests.prove import firmware, identification, ledger, others, table
from tests.prove.claim import Claim
from tests.prove.machine import Code, Machine, NotRunError
from tests.prove.proof import Proof, Terms, UndecidedError

for noisy in ("angr", "claripy"):
    logging.getLogger(noisy).setLevel(logging.CRITICAL)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.prove")
    parser.add_argument("images", nargs="*", type=Path, help="default: all that `make live` has fetched")
    parser.add_argument(
        "--kept", type=Path, default=Path("build/proofs"), help="folder of what was proved before"
    )
    parser.add_argument("--out", type=Path, default=Path("docs/proofs.md"))
    parser.add_argument(
        "--table",
        type=Path,
        default=Path("rust/kvmfw-core/src/rules/proved.txt"),
        help="what the core is told",
    )
    given = parser.parse_args()
    images = given.images or sorted((archive.cache_folder() / "kernels").glob("[0-9]*"))
    if not images:
        print("there is no kernel image; name some, or let `make live` fetch them", file=sys.stderr)
        return 1
    given.kept.mkdir(parents=True, exist_ok=True)
    kernels = [one for image in images if image.is_file() for one in _proved(image, given.kept)]
    given.out.write_text(ledger.text(kernels))
    given.table.write_text(table.text(kernels))
    print(ledger.summary(kernels))
    return 2 if any(row["result"] == "counterexample" for kernel in kernels for row in kernel["rows"]) else 0


def _proved(image: Path, kept: Path) -> Iterator[dict[str, Any]]:
    with image.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    before = kept / f"{image.name}.json"
    known: dict[str, Any] = json.loads(before.read_text()) if before.exists() else {"image": ""}
    try:
        kernel, code = read_kernel(image), Code.read(image)
    except FormatError as error:
        print(error, file=sys.stderr)
        return
    line = kernel.numbers[:2]
    claims = [
        *firmware.claims(kernel.release, line, kernel.firmware or firmware.EVERYWHERE),
        *identification.claims(kernel),
        *others.claims(kernel),
    ]
    same = known["rows"] if known["image"] == digest else []
    # What was not proved may be by now: the claim is the same, and what runs the code has changed.
    asked = {
        (row["register"], row["state"], row.get("claim")): row for row in same if row["result"] == "proved"
    }
    names = [(register_name(claim.register), claim.state, _digest(claim)) for claim in claims]
    machine = None
    found: dict[str, Any] = {"image": digest, "name": image.name}
    found |= {"release": kernel.release, "build": kernel.build, "rows": []}
    found["mebibytes"] = known.get("mebibytes", 0)
    for name, claim in zip(names, claims, strict=True):
        row = asked.get(name)
        if row is None:
            machine = machine or Machine(code)
            row = _row(machine, claim, name)
            found["mebibytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        digests = [] if claim.told is None else [f"{digest:016x}" for digest in claim.told.digests]
        told = {"id": f"{claim.register:016x}", "kind": _kind(claim.register), "formulas": digests}
        found["rows"].append(row | told)
        if name not in asked:
            before.write_text(json.dumps(found, indent=1) + "\n")
    if machine is not None:
        print(ledger.line(found), flush=True)
    yield found


def _kind(register: int) -> str:
    if identification.is_identification(register):
        return ledger.IDENTIFICATION
    return ledger.OTHERS if others.is_one(register) else ledger.FIRMWARE


def _digest(claim: Claim) -> str:
    told = "" if claim.told is None else f"{claim.told.takes} {claim.told.refuses}"
    return hashlib.sha256(f"{told} {claim.given}".encode()).hexdigest()[:16]


def _row(machine: Machine, claim: Claim, name: tuple[str, str, str]) -> dict[str, Any]:
    row: dict[str, Any] = dict(zip(("register", "state", "claim"), name, strict=True))
    start = time.process_time()
    try:
        row |= _result(machine, claim)
    except (NotRunError, UndecidedError) as error:
        row |= {"result": "not proved", "why": str(error)}
    return row | {"seconds": round(time.process_time() - start, 2)}


def _result(machine: Machine, claim: Claim) -> dict[str, Any]:
    told = claim.told
    if told is None:
        return {"result": "not proved", "why": claim.unable}
    proof, terms = Proof(claim.run(machine), claim.given), Terms.of(told)
    if (found := proof.uncovered()) is not None:
        return {"result": "not proved", "why": f"no way through the code was found for {_words(found)}"}
    if (found := proof.counterexample(terms)) is not None:
        return {"result": "counterexample", "value": _words(found), "taken": proof.takes(found)}
    controls = [(bend, proof.catches(terms, bend)) for bend in claim.bends()]
    for bend, caught in controls:
        if caught is False:
            return {"result": "not proved", "why": f"a rule that is wrong where {bend} passes as well"}
    asked = sum(caught is True for _, caught in controls)
    if not asked:
        return {"result": "not proved", "why": "the rule says UNKNOWN of every value that was looked at"}
    silent = proof.silent(terms)
    partly = {} if silent is None else {"silent": _words(silent)}
    return {"result": "proved", "ends": proof.ends, "controls": asked} | partly


def _words(found: dict[str, int]) -> str:
    return ", ".join(f"{name} {word:#x}" for name, word in found.items())


if __name__ == "__main__":
    raise SystemExit(main())
