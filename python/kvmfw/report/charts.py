"""Charts as inline SVG: the heat map of classes, the graph of one-way moves, the bars of blockers.

They need no script and print well. Drawing a few rectangles, lines and texts takes a plotting library longer than the
whole audit does.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from kvmfw.analysis import Report, circles
from kvmfw.analysis.frame import Ints
from kvmfw.quoting import printable
from kvmfw.report.shown import Classes
from kvmfw.verdict import Outcome

__all__ = ["COLOURS", "blocker_bars", "heat_map", "trap_graph"]

COLOURS = ("#8fd0b0", "#f1d36b", "#b9b3d3", "#a4303f")
"""ACCEPT, CHANGE, UNKNOWN, REFUSE: they differ in lightness too, for every kind of sight and for print."""

WIDTH = 960
LETTER, LINE = 6.2, 13.0
LABELLED = 45
MOST_NODES = 40
WORDS_OF_BARS = "pairs of a VM and another host, most first; dark: nothing else stands in the way; the table is by VMs freed"


def _escaped(text: str) -> str:
    return escape(printable(text))


def _svg(height: float, parts: Iterable[str], title: str, words: str = "") -> str:
    """Give a drawing with its title; `words` says what it shows, for who does not see it."""
    said = f' role="img" aria-label="{_escaped(f"{title}. {words}")}"' if words else ""
    head = f'<svg viewBox="0 0 {WIDTH} {height:.0f}" xmlns="http://www.w3.org/2000/svg"{said}>'
    return f"{head}<title>{_escaped(title)}</title>{''.join(parts)}</svg>"


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{_escaped(text)}</text>'


def _rect(x: float, y: float, width: float, height: float, kind: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" class="{kind}"/>'


def heat_map(report: Report, shown: Classes) -> tuple[str, dict[str, float]]:
    """Draw the outcome of every pair of classes.

    Returns
    -------
    tuple of str and dict
        The SVG, and where the cells are: left, top, width and height as shares of the whole.
    """
    vms, hosts = shown.vms.tolist(), shown.hosts.tolist()
    labels = {row["class"]: _short(row) for row in report.tables["host_classes"]}
    columns = _labels([f"{one}: {labels[one]}" for one in hosts], hosts)
    rows = _labels([f"{one}  ({int(report.frame.class_vms[one]):,})" for one in vms], None)
    left, top = 16 + _longest(rows), 10 + _longest(columns)
    width, height = WIDTH - left - 8.0, min(max(len(vms) * 13.0, 90.0), 620.0)
    across, down = width / len(hosts), height / len(vms)
    parts = [
        f'<image id="cells" role="img" aria-label="{_words(shown.cells)}"'
        f' x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" preserveAspectRatio="none"'
        f' style="image-rendering:pixelated" href="data:image/png;base64,{_png(shown.cells)}"/>'
    ]
    for at, label in columns:
        x = left + (at + 0.5) * across + 3
        parts.append(
            f'<text transform="translate({x:.1f} {top - 5:.1f}) rotate(-90)">{_escaped(label)}</text>'
        )
    parts += [_text(left - 5, top + (at + 0.5) * down + 3.5, label, "end") for at, label in rows]
    parts.append(
        _text(left, top + height + 14, "host classes from left to right, VM classes (VMs) from top to bottom")
    )
    whole = top + height + 22
    place = {"left": left / WIDTH, "top": top / whole, "width": width / WIDTH, "height": height / whole}
    return _svg(whole, parts, "Outcomes of VM classes on host classes"), {
        key: round(value, 6) for key, value in place.items()
    }


def _words(cells: npt.NDArray[np.uint8]) -> str:
    """Say what the picture shows."""
    counts = np.bincount(cells.reshape(-1), minlength=4).tolist()
    told = ", ".join(f"{count:,} {outcome.name}" for outcome, count in zip(Outcome, counts, strict=True))
    return f"{len(cells):,} VM classes (rows) on {cells.shape[1]:,} host classes (columns): {told}"


def _labels(labels: Sequence[str], numbers: Sequence[int] | None) -> list[tuple[int, str]]:
    """Give the labels to write, with their places: where there are many only some, and their numbers where they are long."""
    if len(labels) <= LABELLED:
        return list(enumerate(labels))
    short = labels if numbers is None else [str(number) for number in numbers]
    return [(at, short[at]) for at in range(0, len(labels), -(-len(labels) // 40))]


def _longest(labels: Sequence[tuple[int, str]]) -> float:
    return LETTER * max(len(label) for _, label in labels)


def _png(cells: npt.NDArray[np.uint8]) -> str:
    """Give cells as a picture with a palette, in base64: the one copy of them, which the page's script reads."""
    height, width = cells.shape
    rows = np.zeros((height, width + 1), dtype=np.uint8)  # each begins with the number of its filter: none
    rows[:, 1:] = cells
    palette = b"".join(bytes.fromhex(colour[1:]) for colour in COLOURS)
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", palette),
        (b"IDAT", zlib.compress(rows.tobytes())),
        (b"IEND", b""),
    )
    whole = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    return base64.b64encode(whole).decode("ascii")


def _short(row: dict[str, Any]) -> str:
    """Name a host class in a few letters: its kernel and CPU, or its first host."""
    words = [*row.get("kernel", [])[:1], *row.get("cpu", [])[:1]] or [row["first"]]
    return _cut(" ".join(words), 36)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def blocker_bars(report: Report, *, top: int = 15) -> str:
    """Draw the blockers with most pairs: all of their pairs, and those on which each stands alone."""
    rows = sorted(report.tables["blockers"], key=lambda row: (-row["pairs"], row["unit"]))[:top]
    if not rows:
        return ""
    left = 12 + LETTER * max(len(row["unit"]) for row in rows)
    scale = (WIDTH - left - 190) / rows[0]["pairs"]
    parts = []
    for number, row in enumerate(rows):
        y, end = 6 + 20.0 * number, left + row["pairs"] * scale
        parts += [
            _text(left - 6, y + 11, row["unit"], "end"),
            _rect(left, y, end - left, 15, "UNKNOWN"),
            _rect(left, y, row["sole_pairs"] * scale, 15, "REFUSE"),
            _text(end + 6, y + 11, f"{row['pairs']:,} ({row['sole_pairs']:,} alone)"),
        ]
    y = 6 + 20.0 * len(rows)
    parts.append(_text(left, y + 12, WORDS_OF_BARS))
    told = "; ".join(f"{row['unit']}: {row['pairs']:,} pairs, {row['sole_pairs']:,} alone" for row in rows)
    return _svg(y + 20, parts, "Registers that stand in the way of most pairs", told)


def trap_graph(report: Report) -> tuple[str, int]:
    """Draw the circles of host classes and the moves between them, from left to right.

    Returns
    -------
    tuple of str and int
        The SVG, and how many circles were left out because there are too many.
    """
    frame = report.frame
    count, labels = circles(frame)
    residents = np.bincount(labels, frame.residents, minlength=count)
    hosts = np.bincount(labels, frame.host_weight, minlength=count)
    linked = frame.circles[2]
    alone = ~linked.any(axis=0) & ~linked.any(axis=1)
    kept = np.flatnonzero((hosts > 0) & ~alone)
    kept = kept[np.lexsort((kept, -hosts[kept], -residents[kept]))][:MOST_NODES]
    left_out = int(((hosts > 0) & ~alone).sum()) - len(kept)
    if not len(kept):
        return "", left_out
    linked = linked[np.ix_(kept, kept)]
    layer = _layers(linked)
    trapped = {one for trap in report.tables["traps"] for one in trap["classes"]}
    names = {row["class"]: row["first"] for row in report.tables["host_classes"]}
    members = [np.flatnonzero((labels == one) & (frame.host_weight > 0)).tolist() for one in kept.tolist()]
    tallest = int(np.bincount(layer).max())
    height = max(170.0, 68.0 * tallest + 20)
    places = _places(layer, residents[kept], height)
    sizes, nodes = [], []
    for (x, y), classes, number in zip(places.tolist(), members, kept.tolist(), strict=True):
        vms = int(residents[number])
        lines = [*_circle(classes, names), f"{vms:,} VM{'' if vms == 1 else 's'}"]
        size = LETTER * max(map(len, lines)) / 2 + 8, LINE * len(lines) / 2 + 5
        is_trap = bool(trapped & set(classes))
        kind, ink = ("REFUSE", "middle light") if is_trap else ("ACCEPT", "middle dark")
        nodes.append(_rect(x - size[0], y - size[1], 2 * size[0], 2 * size[1], kind))
        first = y - LINE * (len(lines) - 1) / 2 + 4
        nodes += [_text(x, first + LINE * at, line, ink) for at, line in enumerate(lines)]
        sizes.append(size)
    arrows = [
        _arrow(places[source], sizes[source], places[target], sizes[target])
        for source, target in np.argwhere(_reduced(linked)).tolist()
    ]
    head = '<defs><marker id="head" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
    head += '<path d="M0 0L8 4L0 8z" class="arrow"/></marker></defs>'
    told = (
        f"{len(kept):,} circles, {len(arrows):,} arrows; the table below has the moves that cannot be undone"
    )
    return _svg(
        height, [head, *arrows, *nodes], "Where VMs can go, by circles of host classes", told
    ), left_out


def _layers(linked: Any) -> Ints:
    """Give each node the length of the longest way to it; the graph has no circles."""
    layer = np.zeros(len(linked), dtype=np.int64)
    for _ in range(len(linked)):
        source, target = np.nonzero(linked)
        deeper = layer.copy()
        np.maximum.at(deeper, target, layer[source] + 1)
        if (deeper == layer).all():
            break
        layer = deeper
    return layer


def _reduced(linked: Any) -> Any:
    """Leave out links that a longer way replaces: moves go on through it."""
    reach = linked.copy()
    for middle in range(len(reach)):
        reach |= reach[:, [middle]] & reach[[middle], :]
    return linked & ~((linked.astype(np.int64) @ reach.astype(np.int64)) > 0)


def _places(layer: Ints, residents: Any, height: float) -> npt.NDArray[np.float64]:
    """Give each node its middle: layers from left to right, most residents on top."""
    places = np.zeros((len(layer), 2))
    layers = int(layer.max()) + 1
    for number in range(layers):
        members = np.flatnonzero(layer == number)
        members = members[np.argsort(-residents[members], kind="stable")]
        places[members, 0] = WIDTH * (number + 0.5) / layers
        places[members, 1] = height * (np.arange(len(members)) + 0.5) / len(members)
    return places


def _circle(classes: Sequence[int], names: dict[int, str]) -> list[str]:
    """Name a circle: its classes, and the first host of the first."""
    numbers = ", ".join(map(str, classes[:4])) + (f" +{len(classes) - 4}" if len(classes) > 4 else "")
    return [f"{'class' if len(classes) == 1 else 'classes'} {numbers}", _cut(names[classes[0]], 22)]


def _arrow(source: Any, size: tuple[float, float], target: Any, other: tuple[float, float]) -> str:
    """Draw an arrow from the edge of one node to the edge of another."""
    way = target - source
    start, end = source + way * _inside(way, size), target - way * _inside(way, other)
    ends = f'x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}"'
    return f'<line {ends} class="arrow" marker-end="url(#head)"/>'


def _inside(way: Any, size: tuple[float, float]) -> float:
    """Tell which share of a way from its middle lies inside of a node, with a little space around it."""
    shares = [(half + 3) / abs(float(step)) for step, half in zip(way, size, strict=True) if step]
    return min([0.45, *shares])
