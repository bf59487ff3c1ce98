"""One-way traps: groups of hosts that VMs can enter and never leave, from the graph of host classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kvmfw.analysis.extras import csgraph
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


def circles(frame: Frame) -> tuple[int, npt.NDArray[np.int32]]:
    """Find the circles of the class graph: classes between which VMs can go round (strongly connected).

    Returns
    -------
    tuple of int and array of int32, shape (host classes,)
        How many there are, and the circle of each class.
    """
    graph = frame.flows > 0
    count, labels = csgraph().connected_components(graph, directed=True, connection="strong")
    return int(count), labels


def traps(frame: Frame) -> list[Trap]:
    """Find the one-way traps, most residents and entrants first."""
    count, labels = circles(frame)
    found: list[Trap] = []
    for number in range(count):
        inside = np.asarray(labels == number, dtype=np.bool_)
        if not frame.host_weight[inside].any() or not frame.residents[inside].any():
            continue
        if frame.flows[np.ix_(inside, ~inside)].any():
            continue
        entrants = _entrants(frame, inside)
        if entrants:
            hosts = int(frame.host_weight[inside].sum())
            classes = tuple(np.flatnonzero(inside & (frame.host_weight > 0)).tolist())
            found.append(Trap(classes, hosts, entrants, int(frame.residents[inside].sum())))
    return sorted(found, key=lambda trap: (-trap.residents, -trap.entrants, trap.classes))


def _entrants(frame: Frame, inside: npt.NDArray[np.bool_]) -> int:
    home = frame.group_home_class
    outside = (home < 0) | ~inside[np.maximum(home, 0)]
    present = inside & (frame.host_weight > 0)
    enters = np.asarray(frame.taken[:, present].any(axis=1))[frame.group_vm_class]
    weight: Ints = frame.group_weight
    return int(weight[outside & enters].sum())


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
