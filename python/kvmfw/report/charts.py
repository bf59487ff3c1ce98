"""Charts as inline SVG: the heat map of classes, the graph of one-way moves, the bars of blockers."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from kvmfw.analysis import Report, circles
from kvmfw.analysis.extras import need
from kvmfw.analysis.frame import Ints
from kvmfw.report.shown import Classes

__all__ = ["COLOURS", "blocker_bars", "heat_map", "trap_graph"]

COLOURS = ("#8fd0b0", "#f1d36b", "#b9b3d3", "#a4303f")
"""ACCEPT, CHANGE, UNKNOWN, REFUSE: they differ in lightness too, for every kind of sight and for print."""

LABELLED = 45
MOST_NODES = 40


@contextmanager
def _figure(width: float, height: float) -> Iterator[tuple[Any, Any]]:
    """Open a figure with one set of axes, drawn without a window and the same way each time."""
    matplotlib = need("matplotlib")
    figure_module = need("matplotlib.figure")
    settings = {
        "svg.fonttype": "none",
        "svg.hashsalt": "kvmfw",
        "font.family": "sans-serif",
        "font.size": 8,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with matplotlib.rc_context(settings):
        figure = figure_module.Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.subplots()


def _svg(figure: Any, name: str) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    # Ids are the document's own: two charts must not share them.
    return (
        text.replace('id="', f'id="{name}-')
        .replace("url(#", f"url(#{name}-")
        .replace('href="#', f'href="#{name}-')
    )


def heat_map(report: Report, shown: Classes) -> tuple[str, dict[str, float]]:
    """Draw the outcome of every pair of classes.

    Returns
    -------
    tuple of str and dict
        The SVG, and where the cells are: left, top, width and height as shares of the whole.
    """
    vms, hosts = shown.vms, shown.hosts
    labels = {row["class"]: _short(row) for row in report.tables["host_classes"]}
    few = len(hosts) <= LABELLED
    height = min(3.2 if few else 1.4, 3.2) + min(max(len(vms) * 0.17, 1.5), 8)
    with _figure(9.6, height) as (figure, axes):
        colours = need("matplotlib.colors").ListedColormap(COLOURS)
        axes.imshow(shown.cells, cmap=colours, vmin=-0.5, vmax=3.5, aspect="auto", interpolation="none")
        _ticks(axes.xaxis, [f"{one}: {labels[one]}" for one in hosts.tolist()], hosts)
        axes.tick_params(axis="x", labelrotation=90, top=True, labeltop=True, bottom=False, labelbottom=False)
        weight = report.frame.class_vms
        _ticks(axes.yaxis, [f"{one}  ({int(weight[one]):,})" for one in vms.tolist()], vms)
        axes.set_ylabel("VM class (VMs)")
        axes.set_xlabel("host class")
        axes.xaxis.set_label_position("bottom")
        if len(vms) <= 100 and len(hosts) <= 100:
            axes.set_xticks(np.arange(len(hosts) + 1) - 0.5, minor=True)
            axes.set_yticks(np.arange(len(vms) + 1) - 0.5, minor=True)
            axes.grid(which="minor", color="white", linewidth=0.8)
            axes.tick_params(which="minor", length=0)
        svg = _svg(figure, "heat")
        box = axes.get_position()
    place = {"left": box.x0, "top": 1 - box.y1, "width": box.width, "height": box.height}
    return svg, {key: round(float(value), 6) for key, value in place.items()}


def _short(row: dict[str, Any]) -> str:
    """Name a host class in a few letters: its kernel and CPU, or its first host."""
    words = [*row.get("kernel", [])[:1], *row.get("cpu", [])[:1]] or [row["first"]]
    text = " ".join(words)
    return text if len(text) <= 36 else f"{text[:35]}…"


def _ticks(axis: Any, labels: Sequence[str], numbers: Ints) -> None:
    step = 1 if len(labels) <= LABELLED else -(-len(labels) // 40)
    places = np.arange(0, len(labels), step)
    names = labels if step == 1 else [str(number) for number in numbers.tolist()]
    axis.set_ticks(places, [names[place] for place in places.tolist()])


def blocker_bars(report: Report, *, top: int = 15) -> str:
    """Draw the blockers with most pairs: all of their pairs, and those on which each stands alone."""
    rows = sorted(report.tables["blockers"], key=lambda row: (-row["pairs"], row["unit"]))[:top]
    if not rows:
        return ""
    places = np.arange(len(rows))
    with _figure(8, 0.8 + 0.26 * len(rows)) as (figure, axes):
        axes.barh(places, [row["pairs"] for row in rows], color=COLOURS[2], label="with others")
        axes.barh(places, [row["sole_pairs"] for row in rows], color=COLOURS[3], label="alone")
        axes.set_yticks(places, [row["unit"] for row in rows])
        axes.invert_yaxis()
        axes.set_xlabel("pairs of a VM and another host")
        axes.xaxis.set_major_locator(need("matplotlib.ticker").MaxNLocator(6, integer=True))
        axes.xaxis.set_major_formatter(need("matplotlib.ticker").StrMethodFormatter("{x:,.0f}"))
        axes.legend(frameon=False, loc="lower right")
        return _svg(figure, "bars")


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
    places = _places(layer, residents[kept])
    trapped = {one for trap in report.tables["traps"] for one in trap["classes"]}
    names = {row["class"]: row["first"] for row in report.tables["host_classes"]}
    classes = [np.flatnonzero((labels == one) & (frame.host_weight > 0)).tolist() for one in kept.tolist()]
    tallest = int(np.bincount(layer).max())
    with _figure(9.6, max(2.4, 0.9 * tallest + 0.6)) as (figure, axes):
        nodes = [
            _node(
                axes,
                place,
                _circle(members, names),
                int(residents[number]),
                trap=bool(trapped & set(members)),
            )
            for place, members, number in zip(places, classes, kept.tolist(), strict=True)
        ]
        axes.set_xlim(-0.6, max(float(places[:, 0].max()), 1) + 0.6)
        axes.set_ylim(places[:, 1].min() - 0.7, places[:, 1].max() + 0.7)
        axes.axis("off")
        # Nodes know how large they are once they were drawn; arrows end at their edges.
        figure.draw_without_rendering()
        for source, target in np.argwhere(_reduced(linked)).tolist():
            _arrow(axes, nodes[source], nodes[target])
        return _svg(figure, "graph"), left_out


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


def _places(layer: Ints, residents: Any) -> Any:
    places = np.zeros((len(layer), 2))
    for number in range(int(layer.max()) + 1):
        members = np.flatnonzero(layer == number)
        members = members[np.argsort(-residents[members], kind="stable")]
        places[members, 0] = number
        places[members, 1] = (len(members) - 1) / 2 - np.arange(len(members))
    return places


def _circle(classes: Sequence[int], names: dict[int, str]) -> str:
    """Name a circle: its classes, and the first host of the first."""
    numbers = ", ".join(map(str, classes[:4])) + (f" +{len(classes) - 4}" if len(classes) > 4 else "")
    first = names[classes[0]]
    first = first if len(first) <= 22 else f"{first[:21]}…"
    return f"{'class' if len(classes) == 1 else 'classes'} {numbers}\n{first}"


def _node(axes: Any, place: Any, text: str, residents: int, *, trap: bool) -> Any:
    return axes.annotate(
        f"{text}\n{residents:,} VM{'' if residents == 1 else 's'}",
        place,
        ha="center",
        va="center",
        color="white" if trap else "black",
        bbox={"boxstyle": "round,pad=0.5", "fc": COLOURS[3 if trap else 0], "ec": "none"},
        zorder=3,
    )


def _arrow(axes: Any, source: Any, target: Any) -> None:
    style = {"arrowstyle": "-|>", "color": "#888888", "lw": 0.9, "shrinkA": 3, "shrinkB": 3}
    ends = {"patchA": source.get_bbox_patch(), "patchB": target.get_bbox_patch()}
    axes.annotate(
        "",
        target.xy,
        source.xy,
        arrowprops=style | ends | {"connectionstyle": "arc3,rad=0.06"},
        zorder=1,
    )
