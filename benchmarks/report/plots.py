"""The report's figures: test error against cost with the Pareto front, and learning curves."""

import io
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from benchmarks.records.frame import RUN_KEY
from benchmarks.report.recipe_tables import slug
from benchmarks.report.summary import GROUP, Results
from benchmarks.report.verdicts import AXES, pareto
from benchmarks.system.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = ("#1b6ca8", "#c8511b", "#3b8f4a", "#7d4ba0", "#a8323e", "#5c5c5c", "#b08a00", "#1d8a8a")
_STYLES = (("-", "o"), ("--", "s"), (":", "^"))
"""Of lines and of points, one after the other as the colours are used up."""
_GREY = "#777777"
PUBLISHED = {"params": "params", "flops_per_image": "macs"}
"""Which published column belongs to an axis."""


def looks(group: pd.DataFrame) -> pd.DataFrame:
    """Columns `colour`, `style` and `marker` of each row: the same in every figure of a recipe."""
    places = range(len(group))
    styles = [_STYLES[place // len(_COLOURS) % len(_STYLES)] for place in places]
    return group.assign(
        colour=[_COLOURS[place % len(_COLOURS)] for place in places],
        style=[style for style, _ in styles],
        marker=[marker for _, marker in styles],
    )


def points(group: pd.DataFrame, differences: pd.DataFrame, axis: str) -> pd.DataFrame:
    """The rows of `looks` whose error and cost are known, with `x` and `front`."""
    rows = group[group["mean"].notna() & (group[axis] > 0)]
    front = pareto(group, axis, differences).reindex(rows.index)
    return rows.assign(x=rows[axis].astype(float), front=front == "front")


def published_points(results: Results, group: pd.DataFrame, axis: str) -> pd.DataFrame:
    """Published errors of the models of a group, with `x`; FLOPs are 2 x MACs."""
    rows = results.published[results.published.registry_name.isin(group.model)]
    if axis not in PUBLISHED:
        return rows.iloc[:0].assign(x=0.0)
    values = rows[PUBLISHED[axis]] * (2 if axis == "flops_per_image" else 1)
    return rows.assign(x=values.astype("Float64")).dropna(subset=["x"])


def draw_points(rows: pd.DataFrame, published: pd.DataFrame, axis: str, title: str) -> "Figure":
    """Error against one cost: intervals, pairs joined, the front stepped, labels apart."""
    _, label, more_is_better = AXES[axis]
    figure, axes = _figure(title)
    for row in rows.itertuples():
        known = not pd.isna(row.low)
        bars = [[row.mean - row.low], [row.high - row.mean]] if known else None
        style = {"marker": row.marker, "color": row.colour, "capsize": 3, "linewidth": 1}
        axes.errorbar(row.x, row.mean, yerr=bars, **style)
    pairs = rows.merge(rows, left_on="pair", right_on="model", suffixes=("", "_other"))
    for pair in pairs.itertuples():
        ends = [pair.x, pair.x_other], [pair.mean, pair.mean_other]
        axes.plot(*ends, color="#bbbbbb", linewidth=0.8, zorder=0)
    axes.plot(published.x, published.test_error, "D", color=_GREY, markerfacecolor="none")
    front = rows[rows.front].sort_values("x")
    draw_front(axes, list(zip(front.x, front["mean"], strict=True)), more_is_better)
    xs = pd.concat([rows.x, published.x]).astype(float)
    if more_is_better:
        axes.set_xlim(0, xs.max() * 1.4)
        axes.xaxis.set_major_formatter("{x:,.0f}")
    else:
        room = max(1.8, (xs.max() / xs.min()) ** 0.25)
        axes.set_xscale("log")
        axes.set_xlim(xs.min() / room, xs.max() * room)
    axes.margins(y=0.25)
    axes.set_ylim(bottom=max(0, axes.get_ylim()[0]))
    axes.set_xlabel(label)
    axes.set_ylabel("test error (%)")
    entries = list(zip(rows.model, rows.x, rows["mean"], rows.colour, strict=True))
    names = published.model + " (published)"
    greys = [_GREY] * len(published)
    entries += list(zip(names, published.x, published.test_error, greys, strict=True))
    place_labels(figure, axes, entries)
    return figure


def draw_front(axes: "Axes", front: list[tuple[float, float]], more_is_better: bool) -> None:
    """The Pareto front as steps: which error can be had at each cost. `front`: by rising x."""
    if not front:
        return
    corners = []
    for (x, error), (next_x, next_error) in pairwise(front):
        corners += [(x, error), (x, next_error) if more_is_better else (next_x, error)]
    corners.append(front[-1])
    xs, errors = zip(*corners, strict=True)
    axes.plot(xs, errors, color="#444444", linestyle=":", linewidth=1, zorder=0)


def place_labels(
    figure: "Figure", axes: "Axes", entries: Iterable[tuple[str, float, float, str]]
) -> None:
    """Write (text, x, y, colour) beside their points, where they cover nothing."""
    import numpy as np
    import textalloc
    from matplotlib.collections import LineCollection

    figure.draw_without_rendering()  # settles the layout: boxes are where they will be
    figure.set_layout_engine("none")
    texts, xs, ys, colours = zip(*entries, strict=True)
    lines = [np.asarray(line.get_xydata(), float) for line in axes.get_lines()]
    for bars in axes.collections:
        if isinstance(bars, LineCollection):
            lines += [np.asarray(segment, float) for segment in bars.get_segments()]
    lines = [line for line in lines if len(line) > 1]
    places_x, places_y = [float(x) for x in xs], [float(y) for y in ys]
    textalloc.allocate(
        axes,
        places_x,
        places_y,
        list(texts),
        x_scatter=places_x,
        y_scatter=places_y,
        x_lines=[line[:, 0] for line in lines],
        y_lines=[line[:, 1] for line in lines],
        textsize=8,
        textcolor=list(colours),
        linecolor="#bbbbbb",
        linewidth=0.5,
        max_distance=0.3,
        avoid_label_lines_overlap=True,
        avoid_crossing_label_lines=True,
        parse_math=False,
    )


def draw_curves(epochs: pd.DataFrame, rows: pd.DataFrame, title: str) -> "Figure":
    """Validation error by epoch: of each model the mean over seeds strong, each seed light.

    `epochs`: of `load_epochs`; `rows`: of `looks`.
    """
    from matplotlib.ticker import MaxNLocator

    figure, axes = _figure(title)
    for row in rows.itertuples():
        key = pd.Series({name: getattr(row, name) for name in RUN_KEY})
        own = epochs[(epochs[RUN_KEY] == key).all(axis=1)]
        by_seed = own.pivot(index="epoch", columns="seed", values="val_error").astype(float)
        if by_seed.empty:
            continue
        line = {"color": row.colour, "linestyle": row.style}
        if by_seed.shape[1] > 1:
            axes.plot(by_seed.index, by_seed, linewidth=0.8, alpha=0.3, **line)
        mean = by_seed.dropna().mean(axis=1)
        axes.plot(mean.index, mean, linewidth=1.6, marker=".", label=row.model, **line)
    axes.set_xlabel("epoch")
    axes.set_ylabel("validation error (%)")
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    for text in axes.legend(frameon=False, fontsize=8).get_texts():
        text.set_parse_math(False)
    return figure


def _figure(title: str) -> "tuple[Figure, Axes]":
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "parameter-efficiency"
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 5.6), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, fontsize=10, parse_math=False)
    axes.grid(True, which="major", color="#e5e5e5", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def save(figure: "Figure", folder: Path, name: str) -> None:
    """Write a figure as SVG and PNG, the same bytes for the same numbers."""
    for kind, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, metadata=metadata)
        write_atomically(folder / f"{name}.{kind}", buffer.getvalue())


def write_figures(results: Results, group: pd.DataFrame, folder: Path) -> dict[str, str | None]:
    """Draw what there is data for: figure name by kind, None where there is nothing to draw."""
    first = group.iloc[0]
    rows, title = looks(group), f"({first.recipe}, {first.recipe_hash[:8]})"
    written: dict[str, str | None] = {}
    for axis, (_, label, _) in AXES.items():
        known = points(rows, results.differences, axis)
        published = published_points(results, group, axis)
        drawn = len(known) > 0 and len(known) + len(published) > 1  # one point shows nothing
        written[axis] = f"{slug(group)}-error-{axis}" if drawn else None
        if drawn:
            figure = draw_points(known, published, axis, f"Test error against {label} {title}")
            save(figure, folder, f"{slug(group)}-error-{axis}")
    key = first[GROUP].astype("string")
    epochs = results.epochs[(results.epochs[GROUP] == key).all(axis=1)]
    written["curves"] = f"{slug(group)}-curves" if len(epochs) else None
    if len(epochs):
        figure = draw_curves(epochs, rows, f"Validation error by epoch {title}")
        save(figure, folder, f"{slug(group)}-curves")
    return written
