"""Sets of things that all fit each other, heaviest first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["FEW", "cliques", "weight_of"]

FEW = 24
SEEDS = 16


def weight_of(numbers: Iterable[int], weights: Sequence[int]) -> int:
    """Add up the weights of these numbers."""
    return sum(weights[number] for number in numbers)


def cliques(fits: npt.NDArray[np.bool_], weights: Sequence[int]) -> list[list[int]]:
    """List sets that fit each other, heaviest first: all greatest ones where there are few things."""
    neighbours = [set(np.flatnonzero(row).tolist()) - {at} for at, row in enumerate(fits)]
    found: list[list[int]] = []
    if len(weights) <= FEW:
        _expand(neighbours, [], set(range(len(weights))), set(), found)
    else:
        degree = [weights[at] + weight_of(near, weights) for at, near in enumerate(neighbours)]
        for seed in sorted(range(len(weights)), key=lambda at: (-degree[at], at))[:SEEDS]:
            clique, rest = [seed], set(neighbours[seed])
            while rest:
                clique.append(max(rest, key=lambda at: (degree[at], -at)))
                rest &= neighbours[clique[-1]]
            found.append(sorted(clique))
    return sorted(found, key=lambda clique: (-weight_of(clique, weights), clique))


def _expand(
    neighbours: Sequence[set[int]], clique: list[int], rest: set[int], done: set[int], found: list[list[int]]
) -> None:
    """Bron and Kerbosch's search for the greatest cliques, with a pivot."""
    if not rest and not done:
        found.append(sorted(clique))
        return
    pivot = max(rest | done, key=lambda at: len(neighbours[at] & rest))
    for at in sorted(rest - neighbours[pivot]):
        _expand(neighbours, [*clique, at], rest & neighbours[at], done & neighbours[at], found)
        rest = rest - {at}
        done = done | {at}
