"""The best next upgrades: which hosts to bring to another capture of the fleet."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kvmfw.analysis.frame import Frame, Ints
from kvmfw.analysis.security import Protection, Security, compare_security

__all__ = ["Upgrade", "best_upgrades"]


@dataclass(frozen=True, slots=True)
class Upgrade:
    """All hosts of one capture become hosts of another.

    Attributes
    ----------
    capture, becomes : str
        The captures' names.
    hosts : int
        How many hosts change.
    freed, newly_stranded : int
        VMs that find a target again, and VMs that find none any more, against the step before.
    stranded : int
        VMs that are stranded after it.
    security : Security
        How the hosts protect after it, beside what they were.
    reasons : tuple of str
        Why, where it is not the same.
    """

    capture: str
    becomes: str
    hosts: int
    freed: int
    newly_stranded: int
    stranded: int
    security: Security
    reasons: tuple[str, ...]


def best_upgrades(
    frame: Frame,
    columns: Mapping[str, Sequence[str]],
    *,
    steps: int = 5,
    protection: Mapping[str, Protection] | None = None,
    weaker: bool = False,
) -> list[Upgrade]:
    """Choose upgrades one after another: each time the one after which fewest VMs are stranded.

    Hosts can only become what another host with the same CPU, the same or a newer kernel and no weaker security
    is. VMs keep what they have saved.

    Parameters
    ----------
    frame : Frame
        The fleet.
    columns : mapping of str to sequence of str
        ``capture``, ``cpu`` and ``kernel`` of each host, by row.
    steps : int
        How many upgrades to choose at most.
    protection : mapping of str to Protection, optional
        How the hosts of each capture protect; where it is not given, security is unknown.
    weaker : bool
        Whether hosts may become what protects less.
    """
    names, of = np.unique(np.array(columns["capture"])[frame.host_rows], return_inverse=True)
    count = np.bincount(of, minlength=len(names))
    first = np.array([np.flatnonzero(of == number)[0] for number in range(len(names))], dtype=np.int64)
    class_of = frame.host_class[frame.host_rows[first]]
    rows = frame.host_rows[first].tolist()
    cpu_of = [columns["cpu"][row] for row in rows]
    kernel_of = [_release(columns["kernel"][row]) for row in rows]
    protects = [(protection or {}).get(name, Protection()) for name in names.tolist()]
    vm_class, home, weight = _groups(frame, of)
    state = class_of.copy()
    # What the hosts of each capture are by now: an earlier step may have changed them.
    become = list(range(len(names)))
    plan: list[Upgrade] = []
    for _ in range(steps):
        before = _stranded(frame, state, count, vm_class, home)
        best: tuple[tuple[int, int, str, str], Upgrade, int, int] | None = None
        for old in range(len(names)):
            for new in range(len(names)):
                if cpu_of[old] != cpu_of[new] or kernel_of[become[old]] > kernel_of[new]:
                    continue
                if state[old] == class_of[new]:
                    continue
                compared = compare_security(protects[become[old]], protects[new])
                if compared.security is Security.WEAKER and not weaker:
                    continue
                trial = state.copy()
                trial[old] = class_of[new]
                after = _stranded(frame, trial, count, vm_class, home)
                made = Upgrade(
                    str(names[old]),
                    str(names[new]),
                    int(count[old]),
                    int(weight[before & ~after].sum()),
                    int(weight[after & ~before].sum()),
                    int(weight[after].sum()),
                    compared.security,
                    compared.reasons,
                )
                rank = made.stranded, made.newly_stranded, made.capture, made.becomes
                if best is None or rank < best[0]:
                    best = rank, made, old, new
        if best is None or best[1].stranded >= int(weight[before].sum()):
            break
        plan.append(best[1])
        _, _, old, new = best
        state[old], become[old] = class_of[new], new
    return plan


def _release(kernel: str) -> tuple[int, ...]:
    """Read the leading numbers of a kernel release: 6.12.117+deb13 is (6, 12, 117)."""
    found = re.match(r"\d+(?:\.\d+)*", kernel)
    return tuple(int(part) for part in found.group().split(".")) if found else ()


def _groups(frame: Frame, of: npt.NDArray[np.intp]) -> tuple[Ints, Ints, Ints]:
    """Group kept VMs by class and capture of their home."""
    number = np.full(len(frame.host_class), -1, dtype=np.int64)
    number[frame.host_rows] = of
    homes = frame.homes[frame.vm_rows]
    capture = np.where(homes >= 0, number[np.maximum(homes, 0)], -1)
    width = int(of.max(initial=0)) + 2
    counts = np.bincount(frame.vm_class[frame.vm_rows] * width + capture + 1)
    used = np.flatnonzero(counts)
    return used // width, used % width - 1, counts[used].astype(np.int64)


def _stranded(
    frame: Frame, state: Ints, count: npt.NDArray[np.intp], vm_class: Ints, home: Ints
) -> npt.NDArray[np.bool_]:
    """Tell which groups no other host takes when captures have these host classes."""
    takes = frame.taken[:, state]
    targets = (takes @ count)[vm_class]
    own = takes[vm_class, np.maximum(home, 0)] & (home >= 0)
    return np.asarray(targets - own == 0)
