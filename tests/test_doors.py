"""Doors at which no test had knocked: a wrong one refuses in a sentence, a rare one judges like all others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import kvmfw
from kvmfw import readers
from kvmfw.analysis.security import Protection, compare_security
from kvmfw.errors import ArgumentError, FormatError, InputError, RowError
from kvmfw.ingest import ingest
from kvmfw.planners.rollout.planning import Ask, plan_rollout
from kvmfw.readers.stored import StoredVms
from kvmfw.testing import capture_document, tiny_host, tiny_set
from tests.support.samples import WA1, WA3, long_table, write_table

TREAT: dict[str, Any] = {"unknown": "refuse", "change": "accept"}


@pytest.mark.parametrize(
    ("numbers", "error", "sentence"),
    [
        (np.array([0.0]), ArgumentError, "capture numbers are float64; expected a one-dimensional array of"),
        (np.array([[0]]), ArgumentError, "capture numbers are int64; expected a one-dimensional array of"),
        (np.array([0, 1]), RowError, "capture number 1 is out of range; there are 1"),
        (np.array([-1]), RowError, "capture number -1 is out of range; there are 1"),
    ],
)
def test_hosts_by_number_name_captures_that_there_are(
    numbers: Any, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        kvmfw.Fleet([tiny_set()], ([tiny_host()], numbers))


def test_a_file_of_vms_holds_no_host(tmp_path: Path) -> None:
    (tmp_path / "vm.json").write_text(json.dumps(tiny_set().to_document()))
    with pytest.raises(FormatError, match="holds no host; expected a capture"):
        kvmfw.Fleet([tiny_set()], tmp_path / "vm.json")
    with pytest.raises(InputError, match="there is no such file or folder"):
        kvmfw.Fleet([tiny_set()], tmp_path / "nowhere")
    with pytest.raises(InputError, match="there is no such folder; expected a fleet folder"):
        kvmfw.Fleet.load(tmp_path / "nowhere")


def test_rows_are_integers_of_one_width() -> None:
    fleet = kvmfw.Fleet([tiny_set()], [tiny_host()])
    rows = np.zeros(1, dtype=np.int64)
    for wrong in (np.zeros(1), rows[:, None], np.zeros(1, dtype=np.int16)):
        with pytest.raises(ArgumentError, match=r"one dtype: int64, uint32, int32 or uint64"):
            fleet.snapshot()._native.pairs(wrong, rows, np.zeros(1, dtype=np.uint8), None)


def test_a_rollout_is_asked_for_with_numbers_that_can_be() -> None:
    fleet = kvmfw.Fleet([tiny_set()], [tiny_host()])
    for ask in (Ask({}, at_once=0, **TREAT), Ask({}, keep_cost=0, **TREAT)):
        with pytest.raises(ArgumentError, match="`at_once` and `keep_cost` are at least 1"):
            plan_rollout(fleet, ask)
    with pytest.raises(ArgumentError, match="`capacity` has 2 numbers; expected 1"):
        plan_rollout(fleet, Ask({}, capacity=[1, 2], **TREAT))
    assert plan_rollout(fleet, Ask({}, **TREAT)).steps == ()


def test_vms_of_a_fleet_on_disk_are_a_sequence(tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text(json.dumps(capture_document({WA1: 2, WA3: 1}, name="h")))
    sets = [tiny_set(workaround_3=level, name=f"vm-{level}") for level in (0, 1)]
    lines = "".join(json.dumps(one.to_document()) + "\n" for one in sets)
    (tmp_path / "vms.jsonl").write_text(lines)
    ingest([tmp_path], tmp_path / "fleet")
    stored = StoredVms(tmp_path / "fleet")
    assert [one.name for one in stored[::-1]] == ["vm-1", "vm-0"]
    # A fleet that others wrote tells no words of vCPUs: the registers do.
    sets_path = next((tmp_path / "fleet").rglob("sets/*.parquet"))
    pq.write_table(pq.read_table(sets_path).drop_columns(["vcpu"]), sets_path)
    bare = StoredVms(tmp_path / "fleet")
    assert bare[0].to_document()["registers"] == stored[0].to_document()["registers"]
    vms_path = next((tmp_path / "fleet").rglob("vms/*.parquet"))
    pq.write_table(pq.read_table(vms_path).slice(0, 0), vms_path)
    with pytest.raises(InputError, match="no VM"):
        kvmfw.Fleet.load(tmp_path / "fleet")


def test_a_manifest_of_something_else_is_told(tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text(json.dumps(capture_document({WA1: 2}, name="h")))
    (tmp_path / "vm.json").write_text(json.dumps(tiny_set().to_document()))
    ingest([tmp_path], tmp_path / "fleet")
    manifest = next((tmp_path / "fleet").rglob("fleet.json"))
    manifest.write_text('["kvmfw-fleet"]')
    with pytest.raises(FormatError, match="expected `kvmfw-fleet`"):
        kvmfw.Fleet.load(tmp_path / "fleet")
    opened = kvmfw.Fleet([tiny_set()], [tiny_host()])
    opened.save(tmp_path / "saved")
    saved = next((tmp_path / "saved").rglob("fleet.json"))
    manifest.write_bytes(saved.read_bytes())
    with pytest.raises(FormatError, match=r"this is a fleet that was saved; `kvmfw.Fleet.open` opens it"):
        kvmfw.Fleet.load(tmp_path / "fleet")


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [
        ("Mitigation: CSV2, BHB", "Mitigation: CSV2, but not BHB", "weaker"),
        ("Vulnerable", "Mitigation: PTI", "stronger"),
        ("Mitigation: A", "Mitigation: A, B", "stronger"),
        ("Mitigation: A, B", "Mitigation: A", "weaker"),
        ("Mitigation: A", "Mitigation: B", "unknown"),
        ("Not affected", "Not affected", "same"),
        ("Something new", "Vulnerable", "unknown"),
        (None, "Mitigation: PTI", "stronger"),
        ("Mitigation: PTI", None, "weaker"),
        (None, "Not affected", "same"),
        (None, "Vulnerable", "unknown"),
    ],
)
def test_texts_of_vulnerabilities_are_weighed(before: str | None, after: str | None, word: str) -> None:
    one, other = (Protection("", {"spectre_v2": text}) for text in (before, after))
    assert compare_security(one, other).security.value == word


@pytest.mark.parametrize("kind", ["parquet", "arrow", "csv"])
def test_a_name_of_a_column_that_is_no_text_is_told(kind: str, tmp_path: Path) -> None:
    table = long_table()
    path = write_table(tmp_path, kind, table.append_column("zoneofit", pa.array(["a"] * len(table))))
    path.write_bytes(path.read_bytes().replace(b"zoneofit", b"zone\xffxit"))
    for road in (readers.register_sets, lambda path: [kvmfw.Fleet(path, [tiny_host()])]):
        with pytest.raises(FormatError, match=f"{path.name}: the name of a column is not UTF-8"):
            list(road(path))
    taken = ingest([path], tmp_path / "fleet", on_error="collect")
    assert (taken.used, taken.rejected) == (0, 1)
