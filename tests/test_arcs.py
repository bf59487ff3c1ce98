"""Fleets for solvers and for databases: what they show is what pairs are told one by one, of one generation."""

from __future__ import annotations

import random
from typing import Any, Literal

import numpy as np
import pytest

import kvmfw
from tests.support.fleets import fleet_of, random_fleet

TREATS: tuple[Literal["accept", "refuse"], ...] = ("accept", "refuse")


def changed(seed: int) -> tuple[kvmfw.Fleet, Any]:
    """A random fleet from which some have left, so that class numbers have gaps; with all its outcomes."""
    fleet = fleet_of(*random_fleet(seed))
    chance = random.Random(seed)
    fleet.remove_vms([row for row in range(fleet.shape[0]) if chance.random() < 0.4])
    vms, hosts = fleet.shape
    pairs = np.repeat(np.arange(vms), hosts), np.tile(np.arange(hosts), vms)
    return fleet, fleet.validate_pairs(*pairs).reshape(vms, hosts)


@pytest.mark.parametrize("seed", range(12))
def test_arcs_are_the_pairs_that_are_taken(seed: int) -> None:
    fleet, outcomes = changed(seed)
    for unknown in TREATS:
        for change in TREATS:
            taken = (
                (outcomes == 0)
                | ((outcomes == 1) & (change == "accept"))
                | ((outcomes == 2) & (unknown == "accept"))
            )
            arcs = fleet.arcs(unknown=unknown, change=change)
            assert arcs.generation == fleet.generation
            starts, hosts = arcs.expand()
            for vm in range(len(outcomes)):
                mine = hosts[int(starts[vm]) : int(starts[vm + 1])]
                np.testing.assert_array_equal(mine, np.flatnonzero(taken[vm]))
                at = int(np.flatnonzero(arcs.vm_classes == fleet.vm_classes[vm])[0])
                part = slice(int(arcs.starts[at]), int(arcs.starts[at + 1]))
                classes = arcs.host_classes[arcs.targets[part]]
                assert (np.diff(arcs.outcomes[part].astype(int)) >= 0).all(), "the preferred ones come first"
                told = dict(zip(classes.tolist(), arcs.outcomes[part].tolist(), strict=True))
                for host, number in enumerate(fleet.host_classes.tolist()):
                    assert told.get(number) == (outcomes[vm, host] if taken[vm, host] else None)


@pytest.mark.parametrize("seed", range(12))
def test_members_of_arcs_are_all_rows_once(seed: int) -> None:
    fleet, _ = changed(seed)
    arcs = fleet.arcs(unknown="refuse", change="accept")
    for (starts, rows), classes, numbers, counts in (
        (arcs.vm_members, fleet.vm_classes, arcs.vm_classes, arcs.vms),
        (arcs.host_members, fleet.host_classes, arcs.host_classes, arcs.hosts),
    ):
        assert sorted(rows.tolist()) == list(range(len(classes)))
        np.testing.assert_array_equal(np.diff(starts), counts.astype(np.int64))
        for at, number in enumerate(numbers.tolist()):
            assert set(classes[rows[starts[at] : starts[at + 1]]].tolist()) == {number}


@pytest.mark.parametrize("seed", range(12))
def test_joined_tables_are_the_outcomes_of_all_pairs(seed: int) -> None:
    fleet, outcomes = changed(seed)
    tables = fleet.tables()
    cells = {(row["vm_class"], row["host_class"]): row["outcome"] for row in tables.cells.to_pylist()}
    assert len(cells) == tables.cells.num_rows
    vms, hosts = tables.vms.to_pylist(), tables.hosts.to_pylist()
    assert [row["vm_name"] for row in vms] == list(fleet.vm_names)
    assert [row["host_name"] for row in hosts] == list(fleet.host_names)
    assert [-1 if row["home"] is None else row["home"] for row in vms] == fleet.vm_homes.tolist()
    for vm in vms:
        assert fleet.vm_row(fleet.vm(vm["vm"])) == vm["vm"]
        for host in hosts:
            assert cells[vm["vm_class"], host["host_class"]] == outcomes[vm["vm"], host["host"]]
