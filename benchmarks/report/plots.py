"""The report's figures. The numbers that are drawn come from `points` and `curves`, as plain values."""

import io
import statistics
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from benchmarks.records.fields import number
from benchmarks.report.summary import Group, Speeds
from benchmarks.report.verdicts import AXES, cost, pareto
from benchmarks.system.files import write_atomically

_COLOURS = ("#1b6ca8", "#c8511b", "#3b8f4a", "#7d4ba0", "#a8323e", "#5c5c5c", "#b08a00", "#1d8a8a")
_STYLES = (("-", "o"), ("--", "s"), (":", "^"))
"""Of lines and of points, one after the other as the colours are used up."""
_FIGURE = {"figsize": (8.4, 5.6), "dpi": 120}


def looks(group: Group) -> dict[str, tuple[str, str, str]]:
    """Colour, line style and marker of each model, by its place in the table: the same in every figure of a recipe."""
    return {
        row.model: (
            _COLOURS[place % len(_COLOURS)],
            *_STYLES[place // len(_COLOURS) % len(_STYLES)],
        )
        for place, row in enumerate(group.rows)
    }


def points(group: Group, speeds: Speeds, axis: str) -> list[dict]:
    """One point a model: x on the axis, mean error in percent, its t-interval over seeds, and whether it is on the front."""
    front = pareto(group, axis, speeds).members
    return [
        {
            "model": row.model,
            "pair": row.pair,
            "x": cost(row, axis, speeds),
            "error": row.mean,
            "low": row.estimate.low,
            "high": row.estimate.high,
            "front": row.model in front,
        }
        for row in group.rows
        if row.mean is not None and cost(row, axis, speeds)
    ]


def published_points(published: dict[str, dict], axis: str) -> list[dict]:
    """The published numbers of the paper's kind of models: hollow markers."""
    key = {"parameters": "params", "macs": "macs"}.get(axis)
    chosen = [row for row in published.values() if key and row.get(key)]
    return [{"model": row["model"], "x": row[key], "error": row["test_error"]} for row in chosen]


def curves(group: Group) -> dict[str, list[list[tuple[int, float]]]]:
    """Validation error in percent by epoch, a list of runs for each model."""
    found = {}
    for row in group.rows:
        runs = []
        for record in row.good:
            history = record.get("history")
            entries = (
                [e for e in history if isinstance(e, dict)] if isinstance(history, list) else []
            )
            complete = [
                e
                for e in entries
                if number(e.get("epoch")) and number(e.get("val_error")) is not None
            ]
            runs.append([(e["epoch"], e["val_error"]) for e in complete])
        if any(runs):
            found[row.model] = [run for run in runs if run]
    return found


def mean_curve(runs: list[list[tuple[int, float]]]) -> list[tuple[int, float]]:
    """The mean over the runs of one model, at the epochs that every run has."""
    by_epoch = [dict(run) for run in runs]
    shared = sorted(set.intersection(*(set(run) for run in by_epoch)))
    return [(epoch, statistics.fmean(run[epoch] for run in by_epoch)) for epoch in shared]


def draw_points(
    found: list[dict], shown: dict, published: list[dict], axis: str, title: str
) -> "Figure":  # noqa: F821
    """Error against one axis (log but for throughput), intervals, pairs joined, the front stepped, labels apart.

    `shown`: how each model looks, from `looks`.
    """
    figure, axes = _figure(title)
    joined = []
    for point in found:
        colour, _, marker = shown[point["model"]]
        if point["low"] is not None:
            joined.append(((point["x"], point["low"]), (point["x"], point["high"])))
        bars = (
            None
            if point["low"] is None
            else [[point["error"] - point["low"]], [point["high"] - point["error"]]]
        )
        axes.errorbar(
            point["x"],
            point["error"],
            yerr=bars,
            marker=marker,
            color=colour,
            capsize=3,
            linewidth=1,
        )
        other = next((p for p in found if p["model"] == point["pair"]), None)
        if other:
            joined.append(((point["x"], point["error"]), (other["x"], other["error"])))
            axes.plot(*zip(*joined[-1], strict=True), color="#bbbbbb", linewidth=0.8, zorder=0)
    for point in published:
        axes.plot(
            point["x"],
            point["error"],
            marker="D",
            markerfacecolor="none",
            color="#777777",
            linestyle="none",
        )
    xs = [p["x"] for p in [*found, *published]]
    joined += draw_front(
        axes, [(p["x"], p["error"]) for p in found if p["front"]], AXES[axis].more_is_better
    )
    if axis == "throughput":
        axes.set_xlim(0, max(xs) * 1.4)
        axes.xaxis.set_major_formatter("{x:,.0f}")
    else:
        room = max(1.8, (max(xs) / min(xs)) ** 0.25)
        axes.set_xscale("log")
        axes.set_xlim(min(xs) / room, max(xs) * room)
    axes.margins(y=0.25)
    axes.set_ylim(bottom=max(0, axes.get_ylim()[0]))
    axes.set_xlabel(AXES[axis].label)
    axes.set_ylabel("test error (%)")
    entries = [(p["model"], p["x"], p["error"], shown[p["model"]][0]) for p in found]
    entries += [(f"{p['model']} (published)", p["x"], p["error"], "#777777") for p in published]
    place_labels(figure, axes, entries, joined)
    return figure


def draw_front(axes, members: list[tuple[float, float]], more_is_better: bool) -> list[tuple]:
    """The Pareto front as steps: what error can be had at each cost. Gives the ends of its lines."""
    if not members:
        return []
    members, corners = sorted(members), []
    for (x, error), (next_x, next_error) in pairwise(members):
        corners += [(x, error), (x, next_error) if more_is_better else (next_x, error)]
    corners.append(members[-1])
    axes.plot(*zip(*corners, strict=True), color="#444444", linestyle=":", linewidth=1, zorder=0)
    return list(pairwise(corners))


def draw_curves(
    found: dict[str, list[list[tuple[int, float]]]], shown: dict, title: str
) -> "Figure":  # noqa: F821
    """Validation error by epoch: each model as `looks` has it, its mean over seeds strong, each seed light."""
    figure, axes = _figure(title)
    for model, runs in found.items():
        colour, style, _ = shown[model]
        for run in runs if len(runs) > 1 else []:
            axes.plot(
                *zip(*run, strict=True), color=colour, linestyle=style, linewidth=0.8, alpha=0.3
            )
        strong = {"color": colour, "linestyle": style, "linewidth": 1.6, "marker": "."}
        axes.plot(*zip(*mean_curve(runs), strict=True), label=model or "(no name)", **strong)
    axes.set_xlabel("epoch")
    axes.set_ylabel("validation error (%)")
    axes.xaxis.get_major_locator().set_params(integer=True)
    for text in axes.legend(frameon=False, fontsize=8).get_texts():
        text.set_parse_math(False)
    return figure


def _figure(title: str):
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "parameter-efficiency"
    from matplotlib.figure import Figure

    figure = Figure(**_FIGURE, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, fontsize=10, parse_math=False)
    axes.grid(True, which="major", color="#e5e5e5", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def place_labels(
    figure, axes, entries: list[tuple[str, float, float, str]], joined: list[tuple] = ()
) -> list:
    """Write each label at the first of its candidate places where it meets no other label, no marker and no joining line.

    Where there is none: inside the frame before all, then off labels and markers.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # settles the layout, so that boxes are where they will be
    figure.set_layout_engine("none")
    renderer, frame = canvas.get_renderer(), axes.get_window_extent()
    markers = [_around(axes.transData.transform((x, y)), 5) for _, x, y, _ in entries]
    lines = [axes.transData.transform(ends) for ends in joined]
    taken, labels = [], []
    for index, (text, x, y, colour) in sorted(
        enumerate(entries), key=lambda e: (e[1][2], e[1][1], e[1][0])
    ):
        place = axes.transData.transform((x, y))
        others = [
            m for m in markers if not m.overlaps(markers[index])
        ]  # from a cluster every leader crosses its neighbours
        style = {
            "textcoords": "offset points",
            "fontsize": 7,
            "color": colour,
            "parse_math": False,
            "va": "center",
        }
        label = axes.annotate(text, (x, y), xytext=(0, 0), **style)
        best = None
        for dx, dy in _candidates():
            label.set_position((dx, dy))
            label.set_horizontalalignment("left" if dx >= 0 else "right")
            box = label._get_layout(renderer) and _text_box(label, renderer)
            edge = (box.x0 if dx >= 0 else box.x1, (box.y0 + box.y1) / 2)
            inside = (
                box.x0 >= frame.x0
                and box.x1 <= frame.x1
                and box.y0 >= frame.y0
                and box.y1 <= frame.y1
            )
            hidden = any(box.overlaps(other) for other in [*taken, *markers])
            crossed = any(_crosses(*line, [box]) for line in lines) or _crosses(
                place, edge, [*taken, *others]
            )
            cost = (not inside, hidden, crossed)
            if best is None or cost < best[0]:
                best = cost, dx, dy, box
            if not any(cost):
                break
        label.remove()
        _, dx, dy, box = best
        side = "left" if dx >= 0 else "right"
        leader = {
            "arrowstyle": "-",
            "color": "#bbbbbb",
            "linewidth": 0.5,
            "relpos": (0.0 if side == "left" else 1.0, 0.5),
        }
        taken.append(box)
        labels.append(
            axes.annotate(text, (x, y), xytext=(dx, dy), ha=side, arrowprops=leader, **style)
        )
    return labels


def _candidates() -> list[tuple[float, float]]:
    """Offsets in points, near ones first, right before left."""
    places = [
        (side * reach, height)
        for reach in (7, 20, 45, 80, 120)
        for height in range(-150, 151, 10)
        for side in (1, -1)
    ]
    return sorted(places, key=lambda p: (p[0] ** 2 + 2 * p[1] ** 2, -p[0]))


def _crosses(start, end, boxes: list) -> bool:
    """Whether a line from `start` to `end` passes through one of the boxes."""
    from matplotlib.path import Path as Line

    line = Line([start, end])
    return any(line.intersects_bbox(box, filled=False) for box in boxes)


def _around(place, radius: float):
    from matplotlib.transforms import Bbox

    return Bbox([[place[0] - radius, place[1] - radius], [place[0] + radius, place[1] + radius]])


def _text_box(label, renderer):
    """The label's own box; that of an annotation includes its leader line."""
    from matplotlib.text import Text

    label.update_positions(renderer)
    return Text.get_window_extent(label, renderer)


def save(figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as SVG and PNG, the same bytes for the same numbers."""
    paths = []
    for kind, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, metadata=metadata)
        paths.append(folder / f"{name}.{kind}")
        write_atomically(paths[-1], buffer.getvalue())
    return paths


def write_figures(
    group: Group, speeds: Speeds, published: dict[str, dict], folder: Path, stem: str
) -> dict[str, str | None]:
    """Draw what there is data for: figure name by kind, None where there is nothing to draw."""
    written: dict[str, str | None] = {}
    title: Callable[[str], str] = lambda text: f"{text} ({group.recipe}, {group.hash[:8]})"  # noqa: E731
    shown = looks(group)
    for axis in AXES:
        found, printed = points(group, speeds, axis), published_points(published, axis)
        name = f"{stem}-error-{axis}"
        drawn = found and len(found) + len(printed) > 1  # one point shows nothing
        written[axis] = name if drawn else None
        if drawn:
            figure = draw_points(
                found, shown, printed, axis, title(f"Test error against {AXES[axis].label}")
            )
            save(figure, folder, name)
    found = curves(group)
    written["curves"] = f"{stem}-curves" if found else None
    if found:
        save(
            draw_curves(found, shown, title("Validation error by epoch")), folder, f"{stem}-curves"
        )
    return written
