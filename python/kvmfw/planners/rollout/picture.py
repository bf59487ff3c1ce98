"""A rollout as a picture: a line for each capture, a column for each step; how far its hosts are, and where VMs start anew."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kvmfw.planners.rollout.steps import Rollout

__all__ = ["html_picture", "terminal_picture"]

_BLOCKS = " ▁▂▃▄▅▆▇█"
_MOST_COLUMNS = 60
_WIDTH, _HEIGHT, _LABEL = 16, 22, 320


@dataclass(frozen=True)
class _Line:
    """The hosts of one capture that become another: the share upgraded after each step, and VMs started anew in it."""

    title: str
    shares: list[float]
    anew: list[int]


def _lines(plan: Rollout, captures: Sequence[str], after: Mapping[int, str]) -> list[_Line]:
    groups: dict[tuple[str, str], list[int]] = {}
    for row, becomes in after.items():
        groups.setdefault((captures[row], becomes), []).append(row)
    lines = []
    for (before, becomes), rows in sorted(groups.items()):
        left, shares, anew = set(rows), [], []
        for step in plan.steps:
            mine = left.intersection(step.hosts)
            left -= mine
            shares.append(1 - len(left) / len(rows))
            anew.append(len(step.restarts) if mine else 0)
        lines.append(_Line(f"{before} -> {becomes} ({len(rows):,})", shares, anew))
    return lines


def terminal_picture(plan: Rollout, captures: Sequence[str], after: Mapping[int, str]) -> str:
    """Draw it with blocks; of many steps some are shown."""
    every = -(-len(plan.steps) // _MOST_COLUMNS) or 1
    told = []
    for line in _lines(plan, captures, after):
        cells = "".join(_BLOCKS[round(share * 8)] for share in line.shares[every - 1 :: every])
        told.append(f"|{cells}| {line.title}" + (f", {sum(line.anew):,} VMs anew" if any(line.anew) else ""))
    return "\n".join(told)


def html_picture(plan: Rollout, captures: Sequence[str], after: Mapping[int, str]) -> str:
    """Draw it as a page with an SVG, which needs neither scripts nor a network."""
    lines, steps = _lines(plan, captures, after), max(len(plan.steps), 1)
    width, height = _LABEL + steps * _WIDTH + 20, (len(lines) + 1) * _HEIGHT + 20
    drawn = [f'<text x="{_LABEL + at * _WIDTH + 2}" y="14">{at + 1}</text>' for at in range(0, steps, 5)]
    for number, line in enumerate(lines):
        top = (number + 1) * _HEIGHT
        title = html.escape(line.title)
        drawn.append(f'<text x="0" y="{top + 14}">{title}</text>')
        for at, (share, anew) in enumerate(zip(line.shares, line.anew, strict=True)):
            left, full = _LABEL + at * _WIDTH, _HEIGHT - 6
            words = f"step {at + 1}: {share:.0%} upgraded" + (f", {anew:,} VMs start anew" if anew else "")
            drawn.append(
                f'<g><title>{title}, {words}</title><rect class="old" x="{left}" y="{top}" width="{_WIDTH - 2}"'
                f' height="{full}"/><rect class="{"anew" if anew else "new"}" x="{left}"'
                f' y="{top + full * (1 - share):.1f}" width="{_WIDTH - 2}" height="{full * share:.1f}"/></g>'
            )
    said = (
        f"{plan.upgraded:,} hosts upgraded in {len(plan.steps):,} steps, {plan.moves:,} moves,"
        f" {len(plan.restarts):,} VMs started anew, {len(plan.kept):,} hosts kept back"
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Rollout</title><style>body{font:13px sans-serif}"
        "svg{font:11px sans-serif}.old{fill:#d5d9e0}.new{fill:#2f7d4f}.anew{fill:#b8442c}text{fill:currentColor}"
        "@media(prefers-color-scheme:dark){body{background:#16181c;color:#e6e6e6}.old{fill:#3a3f48}}</style>"
        f"<h1>Rollout</h1><p>{said}. Each column is a step: green is upgraded, red where VMs start anew.</p>"
        f'<svg role="img" aria-label="{said}" width="{width}" height="{height}">{"".join(drawn)}</svg></html>\n'
    )
