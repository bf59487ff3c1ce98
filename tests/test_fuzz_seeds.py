"""Seeds of the fuzz targets: documents that are taken, else a target would see no more than refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

import kvmfw

SEEDS = Path(__file__).parents[1] / "fuzz" / "seeds"
READ = {"sets": kvmfw.RegisterSet.from_json, "captures": kvmfw.Host.from_json}


@pytest.mark.parametrize("target", READ)
def test_every_document_that_fuzzing_begins_with_is_taken(target: str) -> None:
    seeds = sorted((SEEDS / target).glob("*.json"))
    assert seeds
    for seed in seeds:
        # Behind a byte that no document has stands how it is asked.
        READ[target](seed.read_bytes().partition(b"\0")[0])
