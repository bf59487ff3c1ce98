"""One-way traps: groups of hosts that VMs can enter and never leave, from the graph of host classes."""

from __future__ import annotations

from dataclasses import dataclass

from kvmfw.analysis.frame import Frame, Ints

__all__ = ["PASSAGES", "Passage", "Trap", "circles", "passages", "traps"]


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


PASSAGES = 10_000


def circles(frame: Frame) -> tuple[int, Ints]:
    """Find the circles of the class graph: classes between which VMs can go round (strongly connected).

    Returns
    -------
    tuple of int and array of int64, shape (host classes,)
        How many there are, and the circle of each class.
    """
    labels = frame.circles[0]
    return int(labels.max(initial=-1)) + 1, labels


def traps(frame: Frame) -> list[Trap]:
    """Find the one-way traps, most residents and entrants first."""
    return [Trap(tuple(classes), *counts) for classes, *counts in frame.circles[1]]


def passages(frame: Frame, *, most: int = PASSAGES) -> tuple[list[Passage], int]:
    """Find the moves between two classes that cannot be undone, most VMs first.

    Returns
    -------
    list of Passage
        Those with most VMs, at most `most`: classes have as many pairs as their number squared.
    int
        How many there are in all.
    """
    found, count = frame.takers.passages(frame.groups, most, frame.tell)
    return [Passage(*one) for one in found], count
