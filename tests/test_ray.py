"""Ray on a local cluster gives what one fleet on one machine gives, also when a worker dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kvmfw.analysis import open_fleet
from kvmfw.distributed import auditing
from kvmfw.distributed.auditing import survey_fleet
from kvmfw.distributed.engines import engine
from kvmfw.errors import FormatError, InputError
from tests.support.samples import SAMPLES
from tests.support.slow_audit import random_fleet
from tests.test_arrow import EXAMPLES, flat, nested_examples, single_machine
from tests.test_audit_beyond import audited, tally_or_die, written

ray = pytest.importorskip("ray", reason="the extra kvmfw[ray] is not installed")
adapter = pytest.importorskip("kvmfw.distributed.ray", reason="the extra kvmfw[ray] is not installed")
pytestmark = [pytest.mark.ray, pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, object_store_memory=200 << 20)
    yield
    ray.shutdown()


def outcomes(dataset: Any) -> pa.Table:
    return pa.concat_tables(ray.get(dataset.to_arrow_refs()))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    table, _ = nested_examples()
    for number, batch in enumerate(table.to_batches(max_chunksize=30)):
        pq.write_table(pa.Table.from_batches([batch]), tmp_path / f"{number}.parquet")
    return tmp_path


@pytest.mark.usefixtures("cluster")
def test_files_give_what_one_fleet_gives(files: Path) -> None:
    found = outcomes(adapter.validate([files], EXAMPLES / "captures"))
    assert flat(found) == single_machine(nested_examples()[1])


def die_once(marker: Path, table: pa.Table) -> pa.Table:
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return table


@pytest.mark.usefixtures("cluster")
def test_nothing_is_lost_when_a_worker_dies(files: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    marker = tmp_path_factory.mktemp("died") / "marker"
    vms = ray.data.read_parquet(str(files)).map_batches(partial(die_once, marker), batch_format="pyarrow")
    found = outcomes(adapter.validate_dataset(vms, EXAMPLES / "captures"))
    assert marker.exists()
    assert flat(found) == single_machine(nested_examples()[1])


@pytest.mark.usefixtures("cluster")
def test_an_audit_by_workers_is_that_of_one_machine_and_loses_nothing_when_one_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = written(random_fleet(3), tmp_path / "fleet", 3)
    marker = tmp_path / "marker"
    monkeypatch.setattr(auditing, "tally", partial(tally_or_die, marker))
    found = audited(*survey_fleet(folder, engine("ray")), few=3)[1]
    assert marker.exists()
    assert found.to_dict() == audited(open_fleet(folder), None, few=3)[1].to_dict()
    assert found.tables["stranded"]


@pytest.mark.usefixtures("cluster")
def test_what_a_worker_cannot_use_is_raised_here(tmp_path: Path) -> None:
    folder = written(random_fleet(3), tmp_path / "fleet", 3)
    (folder / "vms" / "99.parquet").write_text("no table")
    with pytest.raises(FormatError, match=r"99\.parquet"):
        survey_fleet(folder, engine("ray"))


@pytest.mark.usefixtures("cluster")
def test_documents_are_no_tables(tmp_path: Path) -> None:
    SAMPLES["register-set"](tmp_path)
    with pytest.raises(InputError, match="is no table"):
        adapter.validate([tmp_path], EXAMPLES / "captures")
