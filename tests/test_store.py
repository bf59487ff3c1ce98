"""Fleets on disk: normalised, whole or not there, and the same as the sources they were made of."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from kvmfw import Fleet, Host, RegisterSet, readers
from kvmfw.cli import main
from kvmfw.errors import FormatError, InputError
from kvmfw.ingest import ingest
from kvmfw.readers.stored import StoredVms
from kvmfw.testing import capture_document, tiny_set
from tests.support.samples import REGISTERS, TWO_VCPUS, WA1, WA3, long_table, write_table

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stored") / "fleet"
    sources = [EXAMPLES / name for name in ("captures", "hosts.csv", "vms.jsonl")]
    ingest(sources, folder)
    return folder


def tiny_fleet(folder: Path, *, level: int = 1, name: str = "a") -> list[Path]:
    folder.mkdir(exist_ok=True)
    (folder / "host.json").write_text(json.dumps(capture_document({WA1: 2, WA3: level}, name="h")))
    (folder / "vm.json").write_text(json.dumps(tiny_set(workaround_3=level, name=name).to_document()))
    return [folder]


def test_fleet_on_disk_gives_the_audit_of_its_sources(fleet: Path) -> None:
    stored, plain = Fleet.load(fleet), Fleet.load(EXAMPLES)
    assert (
        stored.audit(unknown="refuse", change="accept").to_dict()
        == plain.audit(unknown="refuse", change="accept").to_dict()
    )
    assert stored.vm_names == plain.vm_names
    np.testing.assert_array_equal(stored.vm_homes, plain.vm_homes)


def test_sets_come_back_as_they_were(fleet: Path) -> None:
    stored = {vm.name: vm for vm in StoredVms(fleet)}
    for vm in readers.register_sets(EXAMPLES / "vms.jsonl"):
        assert stored[vm.name].to_document() == vm.to_document()


def test_verbs_open_it_in_place_of_a_folder_of_documents(fleet: Path) -> None:
    shown = [
        CliRunner().invoke(main, ["audit", str(folder), "--format", "json", "--fail-on", "none"])
        for folder in (fleet, EXAMPLES)
    ]
    assert [one.exit_code for one in shown] == [0, 0]
    found, wanted = (json.loads(one.stdout) for one in shown)
    for key in ("totals", "stranded", "traps", "blockers"):
        assert found[key] == wanted[key]


def test_equal_content_is_kept_once(fleet: Path) -> None:
    rows = {name: pq.read_table(fleet / name).num_rows for name in ("vms", "sets", "hosts", "captures")}
    manifest = json.loads((fleet / "fleet.json").read_text())
    assert manifest["tables"] == rows
    assert rows["sets"] < rows["vms"]
    assert rows["captures"] < rows["hosts"]


def test_ingesting_again_updates(tmp_path: Path) -> None:
    out = tmp_path / "fleet"
    first = ingest(tiny_fleet(tmp_path / "one"), out)
    assert (first.vms, first.hosts, first.generation) == (1, 1, 1)
    second = ingest(tiny_fleet(tmp_path / "two", level=2, name="b"), out)
    assert (second.vms, second.sets, second.hosts, second.captures, second.generation) == (2, 2, 1, 1, 2)
    fleet = Fleet.load(out)
    counts = dict(zip(fleet.vm_names, fleet.counts().tolist(), strict=True))
    assert counts == {"a": [0, 1, 0, 0], "b": [1, 0, 0, 0]}
    third = ingest(tiny_fleet(tmp_path / "three", level=2), out, update=False)
    assert (third.vms, third.sets, third.generation) == (1, 1, 3)


def test_same_sources_give_the_same_tables(tmp_path: Path) -> None:
    for name in ("a", "b"):
        ingest([EXAMPLES / "captures", EXAMPLES / "vms.jsonl"], tmp_path / name)
    for table in ("vms", "sets", "hosts", "captures"):
        assert pq.read_table(tmp_path / "a" / table).equals(pq.read_table(tmp_path / "b" / table))


def test_vcpus_are_kept_and_alike_ones_are_judged_once(tmp_path: Path) -> None:
    columns = {
        "vm": ["a"] * 6,
        "vcpu_index": pa.array([0, 0, 1, 1, 2, 2], pa.uint16()),
        "register": pa.array([WA1, WA3] * 3, pa.uint64()),
        "value": pa.array([2, 1, 2, 2, 2, 1], pa.uint64()),
    }
    write_table(tmp_path, "parquet", pa.table(columns))
    (tmp_path / "host.json").write_text(json.dumps(capture_document({WA1: 2, WA3: 1}, name="h")))
    ingest([tmp_path, TWO_VCPUS], tmp_path / "fleet")
    fleet = Fleet.load(tmp_path / "fleet")
    assert sorted(fleet.vm_names) == ["a/vcpu0", "a/vcpu1", "tcg-2-vcpus-qemu-7.2"]
    assert pq.read_table(tmp_path / "fleet" / "vms").num_rows == 5
    rows = {name: row for row, name in enumerate(fleet.vm_names)}
    assert fleet.counts()[rows["a/vcpu1"]].tolist() == [0, 0, 0, 1]


def test_registers_wider_than_8_bytes_come_back_whole(tmp_path: Path) -> None:
    wide = tiny_set(name="w").to_document()
    wide["registers"] = {"0x606000000015ffff": "0x10000000000000001", "0x6030000000140003": "0x1"}
    (tmp_path / "w.json").write_text(json.dumps(wide))
    ingest([tmp_path / "w.json"], tmp_path / "fleet")
    assert StoredVms(tmp_path / "fleet")[0][0x606000000015FFFF] == 1 << 64 | 1


def test_fleet_without_manifest_is_read_whoever_wrote_it(tmp_path: Path) -> None:
    ingest(tiny_fleet(tmp_path / "one"), tmp_path / "fleet")
    (tmp_path / "fleet" / "fleet.json").unlink()
    assert Fleet.load(tmp_path / "fleet").shape == (1, 1)


def _bad_version(folder: Path) -> None:
    (folder / "fleet.json").write_text('{"format": "kvmfw-fleet", "version": 9}')


def _no_table(folder: Path) -> None:
    (folder / "vms" / "part-00000.parquet").unlink()


def _cut_table(folder: Path) -> None:
    path = folder / "sets" / "part-00000.parquet"
    path.write_bytes(path.read_bytes()[:100])


def _no_column(folder: Path) -> None:
    path = folder / "sets" / "part-00000.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["value"]), path)


def _no_set(folder: Path) -> None:
    path = folder / "vms" / "part-00000.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(2, "set", pa.array(["gone"] * table.num_rows)), path)


def _bad_json(folder: Path) -> None:
    (folder / "fleet.json").write_text('{"format": ')


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_bad_version, "version 9 is not known"),
        (_no_table, "no table `vms`"),
        (_cut_table, "damaged or cut off"),
        (_no_column, "no column `value`"),
        (_no_set, "names the set `gone`"),
        (_bad_json, "not JSON"),
    ],
)
def test_damaged_fleets_give_clear_errors(damage: Any, words: str, tmp_path: Path) -> None:
    ingest(tiny_fleet(tmp_path / "one"), tmp_path / "fleet")
    damage(tmp_path / "fleet")
    with pytest.raises(FormatError, match=words):
        Fleet.load(tmp_path / "fleet")


def test_error_leaves_the_old_fleet_whole(tmp_path: Path) -> None:
    out = tmp_path / "fleet"
    ingest(tiny_fleet(tmp_path / "one"), out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    bad = tiny_fleet(tmp_path / "two")
    (tmp_path / "two" / "z.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(InputError, match=r"z\.parquet"):
        ingest(bad, out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fleet", "one", "two"]


def test_something_else_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "fleet").mkdir()
    (tmp_path / "fleet" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="not a fleet on disk"):
        ingest(tiny_fleet(tmp_path / "one"), tmp_path / "fleet")


def test_output_inside_a_source_is_passed_over(tmp_path: Path) -> None:
    sources = tiny_fleet(tmp_path / "one")
    out = tmp_path / "one" / "fleet"
    assert ingest(sources, out).rows == ingest(sources, out).rows == 2
    with pytest.raises(InputError, match="fleet on disk already"):
        ingest([out], tmp_path / "other")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_intake_leaves_the_old_fleet_whole(number: signal.Signals, tmp_path: Path) -> None:
    out = tmp_path / "fleet"
    ingest(tiny_fleet(tmp_path / "one"), out)
    write_table(tmp_path, "parquet", long_table(60_000))
    command = [sys.executable, "-m", "kvmfw", "ingest", str(tmp_path / "sample.parquet"), "-o", str(out)]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while (
        not list(out.glob("generations/.draft-*/sets"))
        and time.monotonic() < deadline
        and running.poll() is None
    ):
        time.sleep(0.005)
    os.kill(running.pid, number)
    _, said = running.communicate(timeout=30)
    assert running.returncode != 0
    assert json.loads((out / "fleet.json").read_text())["generation"] == 1
    assert Fleet.load(out).shape == (1, 1)
    if number == signal.SIGINT:
        assert "interrupted" in said
        assert "Traceback" not in said
        assert not list(out.glob("generations/.draft-*"))


def test_verb_says_what_became_of_every_row(tmp_path: Path) -> None:
    source = tmp_path / "vms.csv"
    source.write_text(f"vm,register,value\na,{WA1},1\nb,{WA1},zz\n")
    arguments = ["ingest", str(source), "-o", str(tmp_path / "fleet")]
    refused = CliRunner().invoke(main, arguments)
    assert refused.exit_code == 1
    assert refused.stderr.count("\n") == 1
    shown = CliRunner().invoke(
        main, [*arguments, "--on-error", "collect", "--rejects", str(tmp_path / "r.csv")]
    )
    assert shown.exit_code == 2, shown.stderr
    assert "2 rows = 1 used + 1 rejected" in shown.stdout
    assert "row 1" in shown.stderr
    assert (
        (tmp_path / "r.csv")
        .read_text()
        .splitlines()[1]
        .startswith(f"{source},1,the register id or the value")
    )
    data = CliRunner().invoke(
        main, [*arguments, "--on-error", "collect", "--format", "json", "--fail-on", "none"]
    )
    assert data.exit_code == 0
    assert json.loads(data.stdout)["rejected"] == 1


def test_registers_of_samples_have_no_order(tmp_path: Path) -> None:
    table = long_table(1).take(pa.array(list(range(len(REGISTERS)))[::-1]))
    ingest([write_table(tmp_path, "parquet", table)], tmp_path / "fleet")
    assert StoredVms(tmp_path / "fleet")[0].to_mapping() == dict(sorted(REGISTERS.items()))


def test_verb_says_what_was_left_out_and_which_homes_are_not_known(tmp_path: Path) -> None:
    table = (
        long_table(3)
        .append_column("hypervisor", pa.array(["h1"] * 9))
        .append_column("region", pa.array(["x"] * 9))
    )
    write_table(tmp_path, "parquet", table)
    for name in ("h1.example", "h2.example"):
        (tmp_path / f"{name}.json").write_text(json.dumps(capture_document({WA1: 2, WA3: 1}, name=name)))
    arguments = ["ingest", str(tmp_path), "-o", str(tmp_path / "fleet")]
    plain = CliRunner().invoke(main, arguments)
    assert "columns left out: hypervisor, region" in plain.stderr
    assert "of 3 vCPUs no column `vcpu` says how they are made" in plain.stderr
    assert "3 of 3 VMs have no known home: they name no host" in plain.stderr
    named = CliRunner().invoke(main, [*arguments, "--column", "host=hypervisor"])
    assert "columns left out: region" in named.stderr
    assert "no host is called `h1` (3 VMs); the nearest is `h1.example`" in named.stderr
    data = CliRunner().invoke(main, [*arguments, "--column", "host=hypervisor", "--format", "json"])
    homes = json.loads(data.stdout)["homes"]
    assert (homes["vms"], homes["unnamed"], homes["astray"]) == (3, 0, 3)
    assert homes["strangers"] == [{"host": "h1", "vms": 3, "nearest": "h1.example"}]
    for wrong, words in (
        ("host=nothing", "no table has a column `nothing`"),
        ("home=x", "`home` is no column"),
    ):
        refused = CliRunner().invoke(main, [*arguments, "--column", wrong])
        assert (refused.exit_code, words in refused.stderr) == (1, True), refused.stderr


# --- sharing --------------------------------------------------------------------------------------


def differing(count: int = 9) -> list[RegisterSet]:
    """Give VMs that differ in a register nobody looks at, every third in one that somebody does, one by a list of its own."""
    counter = 0x603000000013DF1A
    return [
        RegisterSet.from_mapping(
            {WA1: 2, WA3: at % 3 // 2, **({counter: at} if at != 4 else {})}, name=f"vm{at}", host="h"
        )
        for at in range(count)
    ]


def shared(folder: Path, vms: list[RegisterSet]) -> Path:
    (folder / "host.json").write_text(json.dumps(capture_document({WA1: 2, WA3: 1}, name="h")))
    (folder / "vms.jsonl").write_text("".join(json.dumps(vm.to_document()) + "\n" for vm in vms))
    ingest([folder / "host.json", folder / "vms.jsonl"], folder / "fleet")
    return folder / "fleet"


def answers(folder: Path) -> list[Any]:
    fleet = Fleet.load(folder)
    return [list(fleet.vm_names), fleet.vm_classes.tolist(), fleet.vm_homes.tolist(), fleet.counts().tolist()]


def test_vms_that_no_host_can_tell_apart_share_a_set_and_come_back_as_they_were(tmp_path: Path) -> None:
    vms = differing()
    folder = shared(tmp_path, vms)
    assert pq.read_table(folder / "sets").num_rows == 3
    assert [vm.to_document() for vm in StoredVms(folder)] == [vm.to_document() for vm in vms]
    plain = Fleet(vms, [Host.load(tmp_path / "host.json")])
    assert answers(folder)[1:] == [
        plain.vm_classes.tolist(),
        plain.vm_homes.tolist(),
        plain.counts().tolist(),
    ]


def test_of_a_fleet_that_another_core_wrote_all_that_is_saved_is_looked_at(tmp_path: Path) -> None:
    """A later core may tell apart what that one did not: here, as if it had taken a level for one that nobody looks at."""
    folder = shared(tmp_path, differing())
    path = folder / "vms" / "part-00000.parquet"
    table = pq.read_table(path)
    for name, word in (("register", WA3), ("value", 1)):
        lists = [*table.column(name).to_pylist()[:-2], [word], []]
        at = table.column_names.index(name)
        table = table.set_column(at, name, pa.array(lists, pa.list_(pa.uint64())))
    pq.write_table(table, path)
    trusted = answers(folder)
    manifest = json.loads((folder / "fleet.json").read_text())
    (folder / "fleet.json").write_text(json.dumps(manifest | {"source": "another"}))
    whole = answers(folder)
    assert [at for at in range(9) if trusted[1][at] != whole[1][at]] == [7]
    direct = Fleet(list(StoredVms(folder)), [Host.load(tmp_path / "host.json")])
    assert whole[1] == direct.vm_classes.tolist()


def test_what_two_cores_wrote_is_of_no_one_core(tmp_path: Path) -> None:
    folder = shared(tmp_path, differing())
    manifest = json.loads((folder / "fleet.json").read_text())
    (folder / "fleet.json").write_text(json.dumps(manifest | {"source": "another"}))
    ingest(tiny_fleet(tmp_path / "one", name="z"), folder)
    assert json.loads((folder / "fleet.json").read_text())["source"] is None
    names = [vm.name for vm in differing()]
    assert sorted(Fleet.load(folder).vm_names) == sorted([*names, "z"])


def test_a_second_intake_of_the_same_changes_nothing(tmp_path: Path) -> None:
    vms = differing()
    folder = shared(tmp_path, vms)
    before = answers(folder)
    ingest([tmp_path / "vms.jsonl"], folder)
    assert answers(folder) == before
    assert [vm.to_document() for vm in StoredVms(folder)] == [vm.to_document() for vm in vms]


def test_more_sets_than_are_remembered_stand_by_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kvmfw.sharing._MOST_SHARED", 1)
    vms = differing()
    folder = shared(tmp_path, vms)
    assert pq.read_table(folder / "sets").num_rows > 3
    assert [vm.to_document() for vm in StoredVms(folder)] == [vm.to_document() for vm in vms]
    assert answers(folder)[0] == [vm.name for vm in vms]
