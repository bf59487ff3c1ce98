"""Fleets say what the direct judge says, pair by pair, whichever way they take."""

from __future__ import annotations

from dataclasses import asdict
from typing import Literal

import numpy as np
import pyarrow as pa
import pytest
from benches.fleets import Shape, Synthetic

from kvmfw.analysis import examine, make_frame, take_census, unit_outcomes
from tests.support.batches import gathered_up_to
from tests.support.fleets import (
    WAYS,
    check,
    direct,
    fleet_of,
    long_table,
    narrow,
    nested_table,
    random_fleet,
)
from tests.support.units import unit_of


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seed", range(6))
def test_fleets_and_the_direct_judge_agree(way: str, seed: int) -> None:
    sets, hosts, host_of = random_fleet(seed)
    outcomes, _ = direct(sets, hosts, host_of)
    assert len(np.unique(outcomes)) > 1
    check(fleet_of(sets, hosts, host_of, way=way), outcomes)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("hosts", [1023, 1024, 1025, 2500])
def test_fleets_of_many_hosts_agree(way: str, hosts: int) -> None:
    """Bit rows go by strips of 1,024 hosts, bytes of 8."""
    sets, kinds, _ = random_fleet(11, vms=12, hosts=9)
    host_of = [number * 7 % len(kinds) for number in range(hosts)]
    outcomes, _ = direct(sets, kinds, host_of)
    check(fleet_of(sets, kinds, host_of, way=way), outcomes)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "options", [{"scheme": "signed4"}, {"scheme": "equal"}, {"vmm": "qemu-10.2"}, {"vmm": "crosvm"}]
)
def test_schemes_and_policies_agree(way: str, options: dict[str, str]) -> None:
    sets, hosts, host_of = random_fleet(7, vms=20, hosts=6)
    outcomes, _ = direct(sets, hosts, host_of, **options)
    check(fleet_of(sets, hosts, host_of, way=way, **options), outcomes)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seed", range(3))
def test_the_first_unit_that_decides_is_told(way: str, seed: int) -> None:
    sets, hosts, host_of = random_fleet(seed, vms=20)
    outcomes, verdicts = direct(sets, hosts, host_of)
    fleet = fleet_of(sets, hosts, host_of, way=way)
    rows, columns = (axis.ravel() for axis in np.indices(outcomes.shape))
    units = np.empty(rows.size, dtype=np.uint16)
    fleet.validate_pairs(rows, columns, units=units)
    for vm, host, unit in zip(rows, columns, units, strict=True):
        verdict = verdicts[vm][host_of[host]]
        decisive = [unit_of(fleet, one) for one in verdict.findings if one.outcome == verdict.outcome]
        assert unit == min(decisive, default=65535), verdict.findings


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seed", range(3))
def test_fleets_whose_hosts_were_asked_value_by_value_agree(way: str, seed: int) -> None:
    """Special values of a split unit have rows of their own, of which what is left of the unit says nothing."""
    made = Synthetic.make(Shape("hostile", 50, 6), seed=seed)
    kinds, host_of = made.hosts[0], made.hosts[1].tolist()
    sets = [made.set_of(vm) for vm in range(50)]
    outcomes, _ = direct(sets, kinds, host_of)
    fleet, plain = (fleet_of(sets, kinds, host_of, way=one) for one in (way, "table"))
    check(fleet, outcomes)
    audits = [one.audit(unknown="refuse", change="accept").to_dict() for one in (fleet, plain)]
    assert audits[0] == audits[1]
    frames = [make_frame(one) for one in (fleet, plain)]
    for found in (take_census, unit_outcomes):
        of_way, wanted = (asdict(found(frame)) for frame in frames)
        assert of_way.keys() == wanted.keys()
        assert all(np.array_equal(of_way[name], wanted[name]) for name in wanted)
    of_way, wanted = (examine(frame).to_dict() for frame in frames)
    assert of_way == wanted


@pytest.mark.parametrize("way", WAYS)
def test_audits_count_what_all_pairs_say(way: str) -> None:
    sets, hosts, host_of = random_fleet(3)
    outcomes, _ = direct(sets, hosts, host_of)
    audit = fleet_of(sets, hosts, host_of, way=way).audit(unknown="refuse", change="accept")
    wanted = {
        name: int((outcomes == at).sum()) for at, name in enumerate(("ACCEPT", "CHANGE", "UNKNOWN", "REFUSE"))
    }
    assert audit.to_dict()["totals"] == wanted
    assert (
        audit.to_dict() == fleet_of(sets, hosts, host_of).audit(unknown="refuse", change="accept").to_dict()
    )


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_class_numbers_do_not_depend_on_threads(threads: int) -> None:
    sets, hosts, host_of = random_fleet(1)
    sets = narrow(sets)
    rng = np.random.default_rng(0)
    chosen = [sets[at] for at in rng.integers(0, len(sets), 9000)]
    table = nested_table(chosen).drop_columns(["vm"]).append_column("vm", pa.array(np.arange(9000)))
    one, many = (fleet_of(table, hosts, host_of, threads=count) for count in (1, threads))
    np.testing.assert_array_equal(one.vm_classes, many.vm_classes)
    vm, host = rng.integers(0, 9000, 200_000), rng.integers(0, len(host_of), 200_000)
    assert one.validate_pairs(vm, host).tobytes() == many.validate_pairs(vm, host).tobytes()
    assert (
        one.validate_matrix(unknown="refuse", change="accept").tobytes()
        == many.validate_matrix(unknown="refuse", change="accept").tobytes()
    )
    axes: tuple[Literal["vm", "host"], ...] = ("vm", "host")
    for axis in axes:
        assert one.counts(axis).tobytes() == many.counts(axis).tobytes()


@pytest.mark.parametrize("seed", range(3))
def test_every_form_of_input_gives_the_same_fleet(seed: int) -> None:
    sets, hosts, host_of = random_fleet(seed)
    sets = narrow(sets)
    outcomes, _ = direct(sets, hosts, host_of)
    long = long_table(sets)
    codes = long.set_column(0, "vm", long["vm"].combine_chunks().dictionary_encode())
    numbers = long.set_column(0, "vm", pa.array([int(str(name)[2:]) for name in long["vm"]], pa.int64()))
    scattered = numbers.set_column(0, "vm", pa.array(numbers["vm"].to_numpy() * 7919 % 10007, pa.uint16()))
    chunked = pa.concat_tables([long.slice(0, 13), long.slice(13)])
    forms = [
        sets,
        long,
        long_table(sets, shuffled=True),
        nested_table(sets),
        codes,
        numbers,
        scattered,
        chunked,
    ]
    forms += [
        pa.RecordBatchReader.from_batches(long.schema, table.to_batches(max_chunksize=size))
        for table, size in ((long, 7), (long, 100), (numbers, 1))
        if table.schema == long.schema
    ]
    forms.append(
        pa.RecordBatchReader.from_batches(
            nested_table(sets).schema, nested_table(sets).to_batches(max_chunksize=3)
        )
    )
    for form in forms:
        # Batch by batch; a test of their sizes has them together.
        with gathered_up_to(0):
            fleet = fleet_of(form, hosts, host_of)
        assert fleet.shape == outcomes.shape
        check(fleet, outcomes)
    assert list(fleet_of(long, hosts, host_of).vm_names) == [vm.name for vm in sets]
    assert fleet_of(long_table(sets, shuffled=True), hosts, host_of).vm_names == [vm.name for vm in sets]
