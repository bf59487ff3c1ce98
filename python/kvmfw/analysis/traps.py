"""One-way traps: groups of hosts that VMs can enter and never leave, from the graph of host classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kvmfw.analysis.frame import Frame, Ints

__all__ = ["Passage", "Trap", "circles", "passages", "traps"]


@dataclass(frozen=True, slots=True)
class Trap:
    """Host classes among which VMs may move, that can be entered but not left.

    Attributes
    ----------
    classes : tuple of int
        The host classes.
    hosts : int
        How many hosts they have.
    entrants : int
        VMs of other hosts that one of them takes.
    residents : int
        VMs that run there; no host elsewhere takes any of them.
    """

    classes: tuple[int, ...]
    hosts: int
    entrants: int
    residents: int


@dataclass(frozen=True, slots=True)
class Passage:
    """A move between two host classes that cannot be undone: VMs started at its end cannot come back.

    Attributes
    ----------
    source, target : int
        Host classes.
    vms : int
        VMs of the source that the target takes.
    residents : int
        VMs that run on the target; the source takes none of them.
    """

    source: int
    target: int
    vms: int
    residents: int


def _circles(frame: Frame) -> tuple[Ints, list[Trap]]:
    circle_of, found = frame.fleet._native.circles(
        frame.group_vm_class.astype(np.uint32),
        np.ascontiguousarray(frame.group_home_class, dtype=np.int64),
        frame.group_weight.astype(np.uint64),
        frame.host_weight.astype(np.uint64),
        frame.change,
        frame.unknown,
    )
    traps = [Trap(tuple(classes), *counts) for classes, *counts in found]
    return circle_of.astype(np.int64), traps


def circles(frame: Frame) -> tuple[int, Ints]:
    """Find the circles of the class graph: classes between which VMs can go round (strongly connected).

    Returns
    -------
    tuple of int and array of int64, shape (host classes,)
        How many there are, and the circle of each class.
    """
    labels = _circles(frame)[0]
    return int(labels.max(initial=-1)) + 1, labels


def traps(frame: Frame) -> list[Trap]:
    """Find the one-way traps, most residents and entrants first."""
    return _circles(frame)[1]


def passages(frame: Frame) -> list[Passage]:
    """Find the moves between two classes that cannot be undone, most VMs first."""
    forward = frame.flows > 0
    living = np.asarray(frame.residents > 0, dtype=np.bool_)
    one_way = forward & ~forward.T & living[None, :]
    found = [
        Passage(int(source), int(target), int(frame.flows[source, target]), int(frame.residents[target]))
        for source, target in np.argwhere(one_way)
    ]
    return sorted(found, key=lambda one: (-one.vms, -one.residents, one.source, one.target))
