"""Placement by class: 20,000 VMs of six sizes on 1,000 hosts, by each solver; placed and checked before it is timed."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

import kvmfw
from benches.fleets import Shape, Synthetic
from kvmfw.planners.placement import Placement, place
from kvmfw.planners.solvers import SOLVERS

SIZES = np.array([[1, 2], [2, 4], [4, 8], [4, 16], [8, 32], [16, 64]])


@cache
def fleet() -> kvmfw.Fleet:
    return Synthetic.make(Shape("placement", 20_000, 1_000, 500, 60)).fleet()


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.benchmark(group="placement of 20,000 VMs on 1,000 hosts")
def test_placement(benchmark: Any, solver: Any) -> None:
    sizes = SIZES[np.random.default_rng(3).integers(0, len(SIZES), fleet().shape[0])]
    room = np.tile([[160, 640]], (fleet().shape[1], 1))

    def placed() -> Placement:
        return place(fleet(), sizes=sizes, room=room, unknown="refuse", change="accept", solver=solver)

    found = placed()
    assert found.placed >= 0.99 * found.bound
    benchmark.pedantic(placed, rounds=3)
