"""The report's figures. Each answers the question that is its title."""

import io
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from benchmarks.records.frame import RUN_KEY
from benchmarks.report.comparison import Section, seed_ticks, sizes
from benchmarks.report.looks import COLOURS, LOOKS
from benchmarks.report.summary import family
from benchmarks.report.verdicts import pareto
from benchmarks.system.files import write_atomically
from benchmarks.system.words import counted
from benchmarks.tasks import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 8.4  # inches; a page shows it at 806 pixels, 9 points as 9 points
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e5e5e5",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "svg.hashsalt": "parameter-efficiency",
    "figure.dpi": 120,
}
_MORE = list(product(COLOURS, "<>ph*d"))
PALE = 0.35
"""Opacity of what is shown beside the longest recipe."""
LONGEST_NAME = 36
MAX_ROWS = 34
"""Rows of a forest plot; the shorter recipes are left out first."""


def look(name: str) -> tuple[str, str]:
    """Colour and marker of a family; one that is not in LOOKS always gets the same of the rest."""
    if name in LOOKS:
        return LOOKS[name].colour, LOOKS[name].marker
    return _MORE[zlib.crc32(name.encode()) % len(_MORE)]


@contextmanager
def style() -> Iterator[None]:
    """The suite's own look: no setting of the user's changes a figure."""
    backend = os.environ.pop("MPLBACKEND", None)  # an unknown one makes the import fail
    import matplotlib

    if backend is not None:
        os.environ["MPLBACKEND"] = backend
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def draw_forest(
    sections: list[Section], runs: pd.DataFrame, published: dict[str, float], task: Task
) -> "Figure":
    """The distance to the plain network: a row a model and recipe, its interval, a tick a seed.

    `published`: the paper's distances by model, hollow in the row of its longest recipe.
    """
    rows = sum(len(section.rows) for section in sections)
    sections = _fitting(sections)
    counts = [len(section.rows) for section in sections]
    figure, all_axes = new_figure(1.0 + sum(0.24 * n + 0.5 for n in counts), counts)
    figure.suptitle("How far is each model from its plain network?", fontsize=12)
    all_ticks = [seed_ticks(section, runs) for section in sections]
    low, high = _range(sections, all_ticks, task.room)
    for section, ticks, axes in zip(sections, all_ticks, all_axes, strict=True):
        _draw_section(axes, section, ticks, (low, high), task.digits - 1)
        axes.set_xlim(low, high)
        for place, row in enumerate(section.rows.to_dict("records")):
            if row["longest"] and row["model"] in published:
                style: dict[str, Any] = {
                    "markerfacecolor": "none",
                    "color": "#666666",
                    "markersize": 8,
                }
                axes.plot(published[row["model"]], place, "D", zorder=3, **style)
        if axes is not all_axes[-1]:
            axes.tick_params(labelbottom=False)
    gap = task.gap.format("test")
    left = rows - sum(counts)
    more = f" ({counted(left, 'row')} left out)" if left else ""
    all_axes[-1].set_xlabel(f"{gap} above the plain network, on the same seeds{more}")
    return figure


def _fitting(sections: list[Section]) -> list[Section]:
    """The sections with at most MAX_ROWS rows in all: the longest recipes, then the first ones."""
    shown = sections
    if sum(len(section.rows) for section in sections) > MAX_ROWS:
        shown = [
            Section(
                s.plain, s.plain_params, s.params, s.rows[s.rows.longest].reset_index(drop=True)
            )
            for s in sections
        ]
    while sum(len(section.rows) for section in shown) > MAX_ROWS and len(shown) > 1:
        shown = shown[:-1]
    return shown


def _range(sections: list[Section], ticks: list[pd.DataFrame], least: float) -> tuple[float, float]:
    """The limits of x: of the means that are not far out, with their seeds and intervals.

    What is further out ends in an arrow at the edge. `least`: what is never far.
    """
    rows = pd.concat([section.rows for section in sections])
    means = pd.concat([rows.difference.astype(float), pd.Series([0.0])])
    middle = means.median()
    far = 6 * max(least, (means - middle).abs().median())
    near = means[(means - middle).abs() <= far]
    room = max(0.6 * least, 0.25 * (near.max() - near.min()))
    shown = rows[(rows.difference.astype(float) - middle).abs() <= far]
    seeds = pd.concat(ticks).merge(shown[RUN_KEY], on=RUN_KEY)
    ends = [shown.difference_low, shown.difference_high, seeds.difference]
    return _reaching((near.min() - room, near.max() + room), ends)


def _reaching(limits: tuple[float, float], ends: list[pd.Series]) -> tuple[float, float]:
    """The limits, wider where seeds or intervals end outside, by twice the width on each side."""
    low, high = limits
    width = high - low
    values = pd.concat(ends).astype(float).dropna().clip(low - 2 * width, high + 2 * width)
    room = 0.02 * width
    return min([low, *(values - room)]), max([high, *(values + room)])


def _draw_interval(
    axes: "Axes",
    place: int,
    interval: tuple[float, float],
    limits: tuple[float, float],
    line: dict[str, Any],
) -> None:
    """A line, with an arrow where it goes on beyond the limits."""
    axes.plot(interval, [place] * 2, linewidth=1.6, **line)
    inside = 0.012 * (limits[1] - limits[0])
    if interval[0] < limits[0]:
        axes.plot(limits[0] + inside, place, "<", markersize=6, **line)
    if interval[1] > limits[1]:
        axes.plot(limits[1] - inside, place, ">", markersize=6, **line)


def _draw_section(
    axes: "Axes",
    section: Section,
    ticks: pd.DataFrame,
    limits: tuple[float, float],
    digits: int,
) -> None:
    axes.set_title(
        f"about {_rounded(section.params)} parameters, against {shortened(section.plain)} "
        f"({section.plain_params:,})",
        fontsize=10,
        parse_math=False,
    )
    axes.axvline(0, color="#888888", linewidth=1)
    axes.grid(axis="y", visible=False)
    labels = []
    for place, row in enumerate(section.rows.to_dict("records")):
        colour, marker = look(row["family"])
        opacity = 1.0 if row["longest"] else PALE
        key = pd.Series({name: row[name] for name in RUN_KEY})
        own = ticks[(ticks[RUN_KEY] == key).all(axis=1)].difference.astype(float)
        axes.plot(own, [place] * len(own), "|", color=colour, alpha=opacity, markersize=9)
        mean, low, high = (row[f"difference{end}"] for end in ("", "_low", "_high"))
        if not pd.isna(low):
            line: dict[str, Any] = {"color": colour, "alpha": opacity}
            _draw_interval(axes, place, (low, high), limits, line)
        inside = min(max(mean, limits[0]), limits[1])
        axes.plot(inside, place, marker, color=colour, alpha=opacity, markersize=6, clip_on=False)
        if inside != mean:
            far = f"{mean:+.{digits}f}"
            text = f"{far} →  " if mean > inside else f"  ← {far}"
            axes.annotate(
                text, (inside, place), va="center", ha="right" if mean > inside else "left"
            )
        names = f"{shortened(row['model'])}  {shortened(row['label'])}"
        labels.append(f"{names}  n = {row['seeds']}")
    axes.set_yticks(range(len(labels)), labels, parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(labels) - 0.4, -0.6)


def shortened(name: str) -> str:
    """A name with its middle left out, if it would leave no room for the figure."""
    if len(name) <= LONGEST_NAME:
        return name
    end = LONGEST_NAME // 2 - 1
    return f"{name[:end]}…{name[-end:]}"


def _rounded(count: int) -> str:
    digits = max(0, len(str(count)) - 2)
    return f"{round(count, -digits):,}"


def draw_front(rows: pd.DataFrame, differences: pd.DataFrame, title: str, task: Task) -> "Figure":
    """The test metric against parameters, with the front: which other row is no dearer and better.

    `rows`: of `longest`, of one recipe.
    """
    figure, (axes,) = new_figure(5.2, [1])
    axes.set_title(title, parse_math=False)
    rows = rows.assign(family=family(rows))
    for row in rows.to_dict("records"):
        colour, marker = look(row["family"])
        if not pd.isna(row["low"]):
            axes.plot([row["params"]] * 2, [row["low"], row["high"]], color=colour, linewidth=1.2)
        axes.plot(row["params"], row["mean"], marker, color=colour)
    front = rows[pareto(rows, "params", differences).reindex(rows.index) == "front"]
    front = front.sort_values("params")
    line: dict[str, Any] = {"color": "#444444", "linestyle": ":", "linewidth": 1, "zorder": 0}
    axes.step(front.params.astype(float), front["mean"].astype(float), where="post", **line)
    axes.set_xscale("log")
    axes.margins(x=0.12, y=0.15)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("trainable parameters")
    axes.set_ylabel(f"test {task.axis}")
    colours = [look(name)[0] for name in rows.family]
    names = rows.model.map(shortened)
    place_labels(figure, axes, zip(names, rows.params, rows["mean"], colours, strict=True))
    return figure


def place_labels(
    figure: "Figure", axes: "Axes", entries: Iterable[tuple[str, float, float, str]]
) -> None:
    """Write (text, x, y, colour) beside their points, where they cover nothing."""
    import textalloc

    figure.draw_without_rendering()  # settles the layout: boxes are where they will be
    figure.set_layout_engine("none")
    texts, xs, ys, colours = zip(*entries, strict=True)
    lines = [np.asarray(line.get_xydata(), float) for line in axes.get_lines()]
    textalloc.allocate(
        axes,
        [float(x) for x in xs],
        [float(y) for y in ys],
        list(texts),
        x_scatter=[float(x) for x in xs],
        y_scatter=[float(y) for y in ys],
        x_lines=[line[:, 0] for line in lines if len(line) > 1],
        y_lines=[line[:, 1] for line in lines if len(line) > 1],
        textsize=9,
        textcolor=list(colours),
        linecolor="#666666",  # darker than the grid, which they may lie on
        linewidth=0.8,
        max_distance=0.4,
        min_distance=0.01,
        nbr_candidates=400,
        avoid_label_lines_overlap=True,
        avoid_crossing_label_lines=True,
        parse_math=False,
    )


def draw_errors(rows: pd.DataFrame, runs: pd.DataFrame, title: str, task: Task) -> "Figure":
    """The test metric of one recipe, sorted: the mean, its interval, every seed as a tick."""
    rows = rows[rows["mean"].notna()].sort_values("mean").assign(family=family(rows))
    figure, (axes,) = new_figure(0.9 + 0.25 * len(rows), [1])
    axes.set_title(title, parse_math=False)
    axes.grid(axis="y", visible=False)
    ended = runs[runs.status == "ok"]
    limits = _limits_of_errors(rows, ended, task)
    labels = []
    for place, row in enumerate(rows.to_dict("records")):
        colour, marker = look(row["family"])
        key = pd.Series({name: row[name] for name in RUN_KEY})
        seeds = ended[(ended[RUN_KEY] == key).all(axis=1)].test_error.astype(float)
        axes.plot(seeds, [place] * len(seeds), "|", color=colour, markersize=9)
        if not pd.isna(row["low"]):
            _draw_interval(axes, place, (row["low"], row["high"]), limits, {"color": colour})
        axes.plot(row["mean"], place, marker, color=colour, markersize=6)
        count = "" if pd.isna(row["params"]) else f"  {row['params']:,}"
        labels.append(f"{shortened(row['model'])}{count}")
    axes.set_xlim(*limits)
    axes.set_yticks(range(len(labels)), labels, parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_xlabel(f"test {task.axis}")
    return figure


def _limits_of_errors(rows: pd.DataFrame, ended: pd.DataFrame, task: Task) -> tuple[float, float]:
    """Of the means, every seed, and the intervals unless they are long."""
    means = rows["mean"].astype(float)
    spread = means.max() - means.min()
    room = max(0.5 * task.room, 0.6 * spread if len(rows) > 1 else task.room)
    seeds = ended.merge(rows[RUN_KEY], on=RUN_KEY).test_error.astype(float)
    low = min(means.min() - room, seeds.min() - 0.1 * room)
    high = max(means.max() + room, seeds.max() + 0.1 * room)
    low, high = _reaching((low, high), [rows.low, rows.high])
    return max(0.0, low), min(100.0 if task.share else float("inf"), high)


def new_figure(height: float, rows: list[int]) -> "tuple[Figure, list[Axes]]":
    """A figure of the suite's width and axes one above the other; `rows`: how many each has."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    ratios = [count + 0.7 for count in rows]
    axes = figure.subplots(len(rows), 1, squeeze=False, height_ratios=ratios)
    return figure, list(axes[:, 0])


def save(figure: "Figure", folder: Path, name: str) -> Path:
    """Write a figure as SVG, the same bytes for the same numbers; gives the file."""
    from matplotlib.transforms import Bbox

    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:  # the solver's last digits differ from process to process
        axes.set_position(Bbox(axes.get_position().get_points().round(6)))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    path = folder / f"{name}.svg"
    write_atomically(path, buffer.getvalue())
    return path


def many_sizes(rows: pd.DataFrame) -> bool:
    """Whether there are five sizes, so that a front says something."""
    return sizes(rows.params).nunique() >= 5
