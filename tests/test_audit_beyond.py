"""An audit of which workers read the VMs is the audit of one machine, in whatever order they hand back what they counted."""

from __future__ import annotations

import json
import os
import pickle
import random
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kvmfw import RegisterSet
from kvmfw.analysis import Frame, OpenedFleet, Report, examine, make_frame, open_fleet, policy_refusals
from kvmfw.analysis.opened import capture_documents
from kvmfw.analysis.survey import Survey
from kvmfw.distributed import auditing
from kvmfw.distributed.auditing import survey_fleet
from kvmfw.distributed.engines import Run, engine
from kvmfw.distributed.names import Span, apart, hashes_of, span_of
from kvmfw.distributed.tally import Tally, tally
from kvmfw.errors import ArgumentError, FormatError, InputError, MissingError, RowError
from kvmfw.fleet import Fleet
from kvmfw.readers.vcpu import words_of
from kvmfw.report.html import html_report
from tests.support.command import EXAMPLES, run
from tests.support.slow_audit import RandomFleet, random_fleet

SEEDS = range(12)
Sets = Sequence[RegisterSet]
T = TypeVar("T")
U = TypeVar("U")


def shuffled(seed: int) -> Run:
    """Make an engine that hands back in any order, over a pickle as from another process, and begins some tasks twice."""
    chance = random.Random(seed)

    def run_all(function: Callable[[T], U], items: Sequence[T]) -> Iterator[tuple[int, U]]:
        numbers = list(range(len(items)))
        chance.shuffle(numbers)
        for at in numbers:
            called = pickle.loads(pickle.dumps(function))
            if chance.random() < 0.3:
                called(items[at])
            yield at, pickle.loads(pickle.dumps(called(items[at])))

    return run_all


def tally_or_die(marker: Path, file: str) -> Tally:
    """Count a file; the first worker of all dies of it."""
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return tally(file)


# --- fleets on disk -------------------------------------------------------------------------------


def as_lines(vms: Sets, path: Path) -> None:
    path.with_suffix(".jsonl").write_text("".join(json.dumps(vm.to_document()) + "\n" for vm in vms))


def nested(vms: Sets) -> pa.Table:
    return pa.table(
        {
            "vm": [vm.name for vm in vms],
            "vcpu": [words_of(vm.features, vm.vgic, vm.enabled) for vm in vms],
            "host": pa.array([vm.host for vm in vms], pa.string()),
            "register": pa.array([list(vm.to_mapping()) for vm in vms], pa.list_(pa.uint64())),
            "value": pa.array([list(vm.to_mapping().values()) for vm in vms], pa.list_(pa.uint64())),
        }
    )


def as_nested(vms: Sets, path: Path) -> None:
    pq.write_table(nested(vms), path.with_suffix(".parquet"), row_group_size=2)


def as_rows(vms: Sets, path: Path) -> None:
    table = nested(vms)
    rows = np.repeat(np.arange(len(vms)), [len(vm) for vm in vms])
    columns = {name: table.column(name).take(pa.array(rows)) for name in ("vm", "vcpu", "host")}
    columns |= {name: table.column(name).combine_chunks().flatten() for name in ("register", "value")}
    rows_of = pa.table(columns)
    with pa.ipc.new_file(str(path.with_suffix(".arrow")), rows_of.schema) as writer:
        writer.write_table(rows_of, max_chunksize=7)


def as_vcpus(vms: Sets, path: Path) -> None:
    """Give each VM a second vCPU, which may be of another kind."""
    table = nested([vm for one in vms for vm in (one, one)])
    numbers = np.arange(len(table))
    shorter = [
        row[1:] if at % 6 == 1 and len(row) > 3 else row
        for at, row in enumerate(table.column("register").to_pylist())
    ]
    values = [
        row[len(row) - len(own) :]
        for row, own in zip(table.column("value").to_pylist(), shorter, strict=True)
    ]
    table = table.set_column(3, "register", pa.array(shorter, pa.list_(pa.uint64())))
    table = table.set_column(4, "value", pa.array(values, pa.list_(pa.uint64())))
    pq.write_table(table.append_column("vcpu_index", pa.array(numbers % 2)), path.with_suffix(".parquet"))


FORMS = (as_lines, as_nested, as_rows, as_vcpus)


def written(made: RandomFleet, folder: Path, seed: int) -> Path:
    """Write a fleet folder of which the VMs are in some files of several formats; some run on hosts that it has not."""
    chance = random.Random(seed)
    (folder / "captures").mkdir(parents=True)
    for document in made.captures:
        (folder / "captures" / f"{document['host']['name']}.json").write_text(json.dumps(document))
    rows = [
        f"{host.name},{host._native.name},{capacity},{zone}"
        for host, capacity, zone in zip(made.hosts, made.capacity, made.zone, strict=True)
    ]
    (folder / "hosts.csv").write_text("\n".join(["host,capture,capacity,zone", *rows]) + "\n")
    (folder / "vms").mkdir()
    vms = list(made.vms)
    chance.shuffle(vms)
    vms = [moved(vm, "elsewhere") if chance.random() < 0.1 else vm for vm in vms]
    number = 0
    while vms:
        size = chance.randint(1, 12)
        chance.choice(FORMS)(vms[:size], folder / "vms" / f"{number:02}")
        vms, number = vms[size:], number + 1
    return folder


def moved(vm: RegisterSet, host: str, name: str | None = None) -> RegisterSet:
    return RegisterSet.from_mapping(
        vm.to_mapping(),
        features=vm.features,
        vgic=vm.vgic,
        enabled=vm.enabled,
        name=name or vm.name,
        host=host,
    )


def audited(opened: OpenedFleet, survey: Survey | None, **options: Any) -> tuple[Frame, Report]:
    where = options.pop("where", None)
    taken = options.pop("taken", {})
    frame = make_frame(opened.fleet, columns=opened.columns, where=where, survey=survey, **taken)
    return frame, examine(frame, columns=opened.columns, **options)


# --- laws -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_what_workers_count_is_audited_as_one_machine_audits_it(seed: int, tmp_path: Path) -> None:
    folder = written(random_fleet(seed), tmp_path / "fleet", seed)
    options: dict[str, Any] = {
        "few": 1 + seed % 4,
        "group_by": [None, "zone"][seed % 2],
        "taken": {"change": seed % 3 > 0, "unknown": seed % 5 == 0},
    }
    one = open_fleet(folder)
    many, survey = survey_fleet(folder, shuffled(seed))
    options["documents"] = capture_documents(folder)
    (frame, whole), (counted, joined) = audited(one, None, **options), audited(many, survey, **options)
    assert joined.to_dict() == whole.to_dict()
    assert html_report(joined, (), title="fleet") == html_report(whole, (), title="fleet")
    assert counted.fleet.vm_names == [frame.fleet.vm_names[row] for row in frame.first_rows()[0].tolist()]
    assert counted.unmatched_homes == frame.unmatched_homes


@pytest.mark.parametrize("seed", SEEDS)
def test_a_filter_keeps_the_same_vms(seed: int, tmp_path: Path) -> None:
    folder = written(random_fleet(seed), tmp_path / "fleet", seed)
    one = open_fleet(folder)
    if not set(one.columns["zone"]) >= {"a"}:
        return
    many, survey = survey_fleet(folder, shuffled(seed))
    options = {"where": {"zone": "a"}, "few": 3}
    assert audited(many, survey, **options)[1].to_dict() == audited(one, None, **options)[1].to_dict()


@pytest.mark.parametrize("seed", SEEDS)
def test_what_only_a_vmm_refuses_is_the_same(seed: int, tmp_path: Path) -> None:
    folder = written(random_fleet(seed), tmp_path / "fleet", seed)
    one = open_fleet(folder, vmm="qemu-10.1")
    many, survey = survey_fleet(folder, shuffled(seed), vmm="qemu-10.1")
    found = [
        policy_refusals(make_frame(opened.fleet, survey=counted), Fleet(opened.vms, opened.hosts))
        for opened, counted in ((one, None), (many, survey))
    ]
    assert found[0] == found[1]


def test_the_laws_above_hold_of_fleets_that_have_something_to_tell(tmp_path: Path) -> None:
    tables: dict[str, int] = {}
    forms: set[str] = set()
    for seed in SEEDS:
        folder = written(random_fleet(seed), tmp_path / str(seed), seed)
        forms |= {path.suffix for path in (folder / "vms").iterdir()}
        _, report = audited(*survey_fleet(folder, engine("local")), few=3, group_by="zone")
        for name, rows in report.tables.items():
            tables[name] = tables.get(name, 0) + len(rows)
    assert forms == {".jsonl", ".parquet", ".arrow"}
    wanted = (
        "stranded",
        "few_targets",
        "traps",
        "passages",
        "blockers",
        "plan",
        "drain",
        "drain_groups",
        "unknowns",
    )
    assert {name: tables[name] for name in wanted if not tables[name]} == {}


def test_the_command_prints_the_same_document() -> None:
    audit = ("audit", EXAMPLES, "--format", "json")
    found = [json.loads(run(*audit, *more).stdout) for more in ((), ("--engine", "local"))]
    for document in found:
        del document["made"], document["command"]
    assert found[0] == found[1]


# --- names ----------------------------------------------------------------------------------------


def small(tmp_path: Path, *files: Sequence[RegisterSet]) -> Path:
    folder = written(random_fleet(0), tmp_path / "fleet", 0)
    for path in (folder / "vms").iterdir():
        path.unlink()
    for number, vms in enumerate(files):
        as_nested(vms, folder / "vms" / f"{number}")
    return folder


@pytest.mark.parametrize("shares", [1 << 25, 3])
def test_a_vm_that_occurs_in_two_files_is_refused(
    shares: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditing, "_HASHES", shares)
    vms = random_fleet(3).vms
    folder = small(tmp_path, vms, [moved(vms[2], "h0")])
    with pytest.raises(InputError, match=f"the VM `{vms[2].name}` occurs twice") as caught:
        survey_fleet(folder, engine("local"))
    assert caught.value.file is not None
    assert caught.value.file.endswith("1.parquet")


def test_a_vm_that_occurs_twice_in_one_file_is_refused(tmp_path: Path) -> None:
    vms = random_fleet(3).vms
    with pytest.raises(InputError, match=f"the VM `{vms[0].name}` occurs twice"):
        survey_fleet(small(tmp_path, [*vms, vms[0]]), engine("local"))


def test_names_that_do_not_ascend_are_compared_by_their_hashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(auditing, "_compare_names", lambda *given: asked.append(given[-1]))
    vms = [moved(random_fleet(3).vms[0], "h0", name) for name in ("a", "c", "b", "d")]
    survey_fleet(small(tmp_path / "x", vms[:1], vms[1:2]), engine("local"))
    assert asked == []
    survey_fleet(small(tmp_path / "y", vms[:2], vms[2:]), engine("local"))
    assert asked == [4]


def test_spans_tell_whether_files_can_share_a_name() -> None:
    spans = [
        span_of(pa.array(names, pa.string()))
        for names in (["a", "c"], ["d"], [], ["e", "g"], ["f"], ["h", "g"])
    ]
    assert Span.join(spans[:3]) == Span("a", "d", True)
    assert apart(spans[:4])
    assert not apart(spans[:5])
    assert not Span.join(spans[3:5]).ascends
    assert not apart(spans[5:])


def test_hashes_of_names_do_not_depend_on_where_they_stand() -> None:
    names = [f"vm-{number}" for number in range(20_000)] + ["", "x", "xx", "x" * 300, "vm-\0", "vm-\0\0"]
    every = hashes_of(pa.array(names))
    assert len(np.unique(every)) == len(names)
    parts = [hashes_of(pa.array(names[start : start + 777])) for start in range(0, len(names), 777)]
    assert np.array_equal(np.concatenate(parts), every)
    assert len(hashes_of(pa.array([], pa.string()))) == 0


# --- what cannot be used --------------------------------------------------------------------------


def test_what_a_worker_cannot_use_is_told_as_one_machine_tells_it(tmp_path: Path) -> None:
    vms = random_fleet(1).vms
    folder = small(tmp_path, vms)
    table = nested(vms).set_column(1, "vcpu", pa.array(["psci_0_2,unheard"] * len(vms)))
    pq.write_table(table, folder / "vms" / "0.parquet")
    with pytest.raises(RowError) as wanted:
        Fleet(folder / "vms", [])
    with pytest.raises(RowError) as caught:
        survey_fleet(folder, shuffled(0))
    assert str(caught.value) == str(wanted.value)
    assert "unheard" in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        RowError("a", 3, ((4, "b"),), file="f"),
        FormatError("a", "place", file="f"),
        MissingError("a", 7),
        InputError("a"),
    ],
)
def test_errors_come_back_from_other_processes_as_they_were(error: InputError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_a_fleet_on_disk_and_an_engine_that_there_is_not_are_told(tmp_path: Path) -> None:
    run("ingest", EXAMPLES / "captures", EXAMPLES / "vms.jsonl", "-o", tmp_path / "stored")
    found = run("audit", tmp_path / "stored", "--engine", "local")
    assert (found.exit_code, "is read on one machine" in found.stderr) == (1, True)
    with pytest.raises(ArgumentError, match="is no engine; expected local, ray, spark"):
        engine("dask")
