"""Surveys: VMs that were counted where they were read, so that an audit needs no row for each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Survey"]

_Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Survey:
    """VMs that share what is saved of them, as far as a host can tell, and their home are one row.

    Attributes
    ----------
    rows : array of int64
        The row of the fleet that speaks for each: its first VM.
    homes : array of int64
        The host row that they run on; -1 where not known.
    vms : array of int64
        How many there are.
    unmatched_homes : mapping of str to int
        As `Fleet.unmatched_homes` of all these VMs.
    named : callable
        Gives the VMs of some rows of this survey as pairs of such a row and a name, in the order of the sources. They are
        looked for where the VMs were read.
    """

    rows: _Ints
    homes: _Ints
    vms: _Ints
    unmatched_homes: Mapping[str, int]
    named: Callable[[_Ints], list[tuple[int, str]]]
