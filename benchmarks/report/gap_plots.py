"""The figure of gaps: does the distance to the plain pair close with training?"""

from typing import TYPE_CHECKING, Any

import pandas as pd

from benchmarks.records.frame import RUN_KEY
from benchmarks.report.marks import CODE, signs
from benchmarks.report.plots import look, new_figure, shortened
from benchmarks.report.summary import GROUP, OTHER, ROW, against_pair, family
from benchmarks.tasks import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_CURVES = 4
LONG = 10
"""Epochs from which on a figure of gaps has the last third alone."""
SHADES = (0.0, -0.55, 0.5, -0.3)
"""Of the curves of one family: towards black where negative, towards white where positive."""


def gaps_by_epoch(
    epochs: pd.DataFrame, summary: pd.DataFrame, differences: pd.DataFrame
) -> pd.DataFrame:
    """The validation error above the plain pair, by epoch: the mean over the seeds of both.

    Columns: `model` (with its code, where there are several), `label`, `family`, `epoch`, `gap`,
    `n` (seeds). Pairs whose members take different numbers of steps in an epoch, and runs of one
    epoch, are left out.
    """
    pairs = against_pair(summary, differences)
    pairs = pairs.assign(family=family(pairs), code=signs(pairs, CODE))
    own = epochs.merge(pairs[[*RUN_KEY, *OTHER, "label", "family", "code"]], on=RUN_KEY)
    at = [*GROUP, "seed", "epoch", "step"]
    plain = epochs[[*at, *ROW, "val_error"]]
    both = own.merge(plain, left_on=[*at, *OTHER], right_on=[*at, *ROW], suffixes=("", "_plain"))
    both["model"] = (both.model + " " + both.code).str.strip()
    both["gap"] = both.val_error - both.val_error_plain
    keys = ["model", "label", "family", "epoch"]
    found = both.groupby(keys, as_index=False).agg(gap=("gap", "mean"), n=("seed", "nunique"))
    seeds = found.groupby(["model", "label"]).n.transform("max")
    lengths = found.groupby(["model", "label"]).epoch.transform("max")
    return found[(found.n == seeds) & (lengths > 1)].reset_index(drop=True)


def draw_gaps(gaps: pd.DataFrame, published: dict[str, float], title: str, task: Task) -> "Figure":
    """The distance to the plain pair by epoch, of at most MAX_CURVES models.

    Of `LONG` epochs or more the last third is drawn: before it, the rates are too high for the
    validation error to say much. The paper's models come first, then those that end best; a dashed
    line is the paper's final gap.
    """
    from matplotlib.ticker import MaxNLocator

    figure, (axes,) = new_figure(4.0, [1])
    axes.set_title(title, parse_math=False)
    axes.axhline(0, color="#888888", linewidth=1)
    last = gaps.groupby("model").epoch.transform("max")
    gaps = gaps[(last < LONG) | (3 * gaps.epoch > 2 * last)]
    final = gaps.groupby("model").gap.last().sort_values()
    order = sorted(final.index, key=lambda model: (model not in published, final[model]))
    seen: list[str] = []
    for model in order[:MAX_CURVES]:
        curve = gaps[gaps.model == model]
        name = curve.family.iloc[0]
        colour, marker = look(name)
        earlier = seen.count(name)  # of its family, whose marker it shares
        shade = _shade(colour, SHADES[earlier % len(SHADES)])
        face, dashes = (shade, "--") if earlier % 2 == 0 else ("white", ":")
        seen.append(name)
        line: dict[str, Any] = {"color": shade, "linewidth": 1.4}
        dots: dict[str, Any] = {"marker": marker, "markersize": 5, "markerfacecolor": face}
        solid = "-" if earlier < 2 else "-."
        axes.plot(curve.epoch, curve.gap, solid, label=shortened(model), **dots, **line)
        if model in published:
            ends = [curve.epoch.iloc[0], curve.epoch.iloc[-1]]
            label = f"its gap in the paper: {published[model]:{task.signed}}"
            axes.plot(ends, [published[model]] * 2, dashes, label=label, **line)
    if len(order) > MAX_CURVES:
        axes.plot([], [], " ", label=f"{len(order) - MAX_CURVES} more are left out")
    shown = gaps[gaps.model.isin(order[:MAX_CURVES])].gap
    low, high = shown.quantile(0.02), shown.quantile(0.98)
    room = task.room
    axes.set_ylim(min(0.0, low) - 0.5 * room, max(high, 2.0 * room) * 1.15 + 0.3 * room)
    axes.set_xlabel("epoch")
    axes.set_ylabel(f"{task.gap.format('validation')} above the pair")
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    legend = axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=9)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def _shade(colour: str, part: float) -> tuple[float, float, float]:
    from matplotlib.colors import to_rgb

    red, green, blue = (
        value + part * (1 - value) if part > 0 else value * (1 + part) for value in to_rgb(colour)
    )
    return red, green, blue
