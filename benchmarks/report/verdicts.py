"""What follows from the rows of one recipe: Pareto fronts, and whether a model is better than its
rivals.

A verdict is yes or no where the 95 % t-interval of the paired difference in test error excludes 0,
else undecided, and not measured without a rival. The rival is the one with the lowest validation
error of those with seeds enough for an interval, so that the test set chooses nothing.
"""

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from benchmarks.records.frame import RUN_KEY
from benchmarks.report.summary import (
    DIFFERENCE,
    GROUP,
    MIN_SEEDS,
    OTHER,
    ROW,
    family,
    with_differences,
)
from benchmarks.report.tables import codes
from benchmarks.tasks import Task

SAME_SIZE = 1.03
"""How much larger a rival of the same size may be: budgets are met within 3 %."""

AXES = {"params": ("P", False), "flops_per_image": ("F", False), "images_per_s": ("T", True)}
"""What error is traded for: the mark of its front, and whether more is better."""


def fronts(summary: pd.DataFrame, differences: pd.DataFrame) -> pd.Series:
    """The fronts that each row of `summary` is on, as letters of `AXES`, by its index.

    In brackets where other rows dominate, but none by more than the interval of the paired
    difference.
    """
    marks = pd.Series("", index=summary.index)
    for _, group in summary.groupby(GROUP):
        for axis, (letter, _) in AXES.items():
            front = pareto(group, axis, differences)
            marks[front[front == "front"].index] += f" {letter}"
            marks[front[front == "perhaps"].index] += f" ({letter})"
    return marks.str.strip()


def pareto(group: pd.DataFrame, axis: str, differences: pd.DataFrame) -> pd.Series:
    """Whether each row whose cost and error are known is on the front: front, perhaps or beyond.

    On the front: no other row is at least as cheap and as low in mean test error, and better in
    one. Perhaps: others are, but by no paired difference whose interval is wholly above 0. There is
    no front of fewer than two rows.
    """
    known = group.loc[group["mean"].notna() & (group[axis] > 0), [*RUN_KEY, "mean", axis]]
    if len(known) < 2:
        return pd.Series(dtype="string")
    more_is_better = AXES[axis][1]
    pairs = known.merge(known, on=GROUP, suffixes=("", "_other"))
    cost, other = pairs[axis], pairs[f"{axis}_other"]
    if more_is_better:
        cost, other = other, cost
    no_worse = (other <= cost) & (pairs.mean_other <= pairs["mean"])
    better = (other < cost) | (pairs.mean_other < pairs["mean"])
    pairs["dominated"] = no_worse & better
    pairs = with_differences(pairs, differences)
    beyond = pairs.dominated & (pairs.difference_low > 0).fillna(False)
    by_row = pairs.assign(beyond=beyond).groupby(ROW)[["dominated", "beyond"]].any()
    flags = known[ROW].merge(by_row, left_on=ROW, right_index=True, how="left")
    places = np.select([~flags.dominated, ~flags.beyond], ["front", "perhaps"], "beyond")
    return pd.Series(places, index=known.index)


def _undecided(pairs: pd.DataFrame) -> pd.Series:
    """Whether the difference has no interval, or 0 in it."""
    apart = (pairs.difference_low > 0) | (pairs.difference_high < 0)
    return ~apart.fillna(False).astype(bool)


def _at_most(pairs: pd.DataFrame, column: str, times: float = 1.0) -> pd.Series:
    return (pairs[f"{column}_other"] <= times * pairs[column]).fillna(False)


def _its_pair(pairs: pd.DataFrame) -> pd.Series:
    return (pairs.model_other == pairs.pair).fillna(False)


def _plain_of_its_parameters(pairs: pd.DataFrame) -> pd.Series:
    return pairs.pair_other.isna() & _at_most(pairs, "params", SAME_SIZE)


def _plain_of_its_flops(pairs: pd.DataFrame) -> pd.Series:
    return pairs.pair_other.isna() & _at_most(pairs, "flops_per_image", SAME_SIZE)


def _other_source(pairs: pd.DataFrame) -> pd.Series:
    """Another kernel source on the same backbone, of at most its parameters (within 3 %)."""
    same_backbone = (pairs.pair_other == pairs.pair).fillna(False)
    other = pairs.family_other != pairs.family
    return same_backbone & other & _at_most(pairs, "params", SAME_SIZE)


QUESTIONS: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "its plain pair": _its_pair,
    "the best plain network of at most its parameters (within 3 %)": _plain_of_its_parameters,
    "the best plain network of at most its FLOPs per {item} (within 3 %)": _plain_of_its_flops,
    "the best other kernel source on its backbone, of at most its parameters (within 3 %)": (
        _other_source
    ),
}
"""Which rows are rivals of a model, by what is asked; `{item}` is the task's."""


def question_text(question: str, task: Task) -> str:
    """One of `QUESTIONS` in the words of a task."""
    return question.format(item=task.item)


def answer_rule(task: Task) -> str:
    """What the answers yes and no mean, as the beginning of a sentence or all of it."""
    return (
        f"Yes or no where the 95 % t-interval of the difference in test {task.metric}, paired over "
        "seeds, excludes 0"
    )


COMPARED = ["pair", "family", "params", "flops_per_image", "val_mean"]
"""What `QUESTIONS` and the choice of a rival look at."""


def _asked(summary: pd.DataFrame, models: Iterable[str] | None) -> pd.DataFrame:
    """The rows of `summary` (with their `family`) that are asked about, with their `order`."""
    if models is None:
        chosen = summary.pair.notna() & summary.frozen.isna()
    else:
        chosen = summary.model.isin(list(models))
    asked = summary[chosen & summary["mean"].notna()]
    return asked.assign(order=range(len(asked)))


def _with_others(
    asked: pd.DataFrame, summary: pd.DataFrame, differences: pd.DataFrame
) -> pd.DataFrame:
    """Each row that is asked about with every other of its group that has a validation error.

    Columns: `RUN_KEY`, `OTHER`; `COMPARED` of both; `DIFFERENCE`.
    """
    columns = [*RUN_KEY, *COMPARED]
    others = summary.loc[summary.val_mean.notna(), columns]
    pairs = asked[columns].merge(others, on=GROUP, suffixes=("", "_other"))
    pairs = pairs[(pairs[ROW].to_numpy() != pairs[OTHER].to_numpy()).any(axis=1)]
    return with_differences(pairs, differences)


def _with_rivals(found: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
    """Rows that name a rival (`OTHER`) or none, with its columns of `summary` (`_other`)."""
    of_group = {f"{key}_other": key for key in GROUP}
    rivals = summary.add_suffix("_other").rename(columns=of_group)
    found = found.merge(rivals, on=[*GROUP, *OTHER], how="left")
    return found.assign(answer=_answers(found)).drop(columns="order")


def smallest_as_good(
    summary: pd.DataFrame, differences: pd.DataFrame, models: Iterable[str] | None = None
) -> pd.DataFrame:
    """Each model with the smallest plain network that was trained and is not measurably worse.

    Worse: the interval of the paired difference is wholly below 0. A network without one says
    nothing.

    Columns: those of `summary`, also with the suffix `_other`; `DIFFERENCE`; `answer`. `models` as
    for `verdicts`; those without such a network are left out.
    """
    summary = summary.assign(family=family(summary))
    asked = _asked(summary, models)
    pairs = _with_others(asked, summary, differences)
    as_good = pairs[pairs.pair_other.isna() & (pairs.difference_high >= 0).fillna(False)]
    smallest = as_good.sort_values(["params_other", *OTHER]).drop_duplicates(RUN_KEY)
    found = asked.merge(smallest[[*RUN_KEY, *OTHER, *DIFFERENCE]], on=RUN_KEY)
    return _with_rivals(found, summary)


def verdicts(
    summary: pd.DataFrame, differences: pd.DataFrame, models: Iterable[str] | None = None
) -> pd.DataFrame:
    """A row for each model and question, in the order of `summary` and `QUESTIONS`.

    Asked about are `models`; if none are named, those that have a plain pair, but for controls
    (models with a frozen part).

    Columns: those of `summary`; `question`; the rival's with the suffix `_other` (missing without
    one); `rivals` (how many there were); `passed_over` (a text: those of fewer seeds with a lower
    validation error); `DIFFERENCE`; `answer`: yes, no, undecided or not measured.
    """
    summary = summary.assign(family=family(summary))
    asked = _asked(summary, models)
    pairs = _with_others(asked, summary, differences)
    answers = [
        asked.merge(_best(pairs[is_rival(pairs)]), on=RUN_KEY, how="left").assign(question=question)
        for question, is_rival in QUESTIONS.items()
    ]
    found = pd.concat(answers, ignore_index=True).sort_values("order", kind="stable")
    found["rivals"] = found.rivals.fillna(0).astype(int)
    found["across"] = found.across.astype("boolean").fillna(False).astype(bool)
    return _with_rivals(found, summary)


def _best(rivals: pd.DataFrame) -> pd.DataFrame:
    """Of each row its rival with the lowest validation error, of those with most shared seeds.

    More than `MIN_SEEDS` seeds count as that many. Columns: `RUN_KEY`, `OTHER`, `DIFFERENCE`,
    `rivals` and `passed_over`.
    """
    rivals = rivals.assign(enough=rivals.seeds.fillna(0).clip(upper=MIN_SEEDS))
    rivals = rivals.sort_values(
        ["enough", "val_mean_other", *OTHER], ascending=[False, True, True, True]
    )
    by_row = rivals.groupby(RUN_KEY)
    best = rivals.assign(rivals=by_row.val_mean_other.transform("size")).drop_duplicates(RUN_KEY)
    lower = rivals.val_mean_other < by_row.val_mean_other.transform("first")
    passed = rivals[lower].groupby(RUN_KEY).model_other.agg(codes).rename("passed_over")
    best = best[[*RUN_KEY, *OTHER, *DIFFERENCE, "rivals"]]
    return best.merge(passed.reset_index(), on=RUN_KEY, how="left")


def _answers(found: pd.DataFrame) -> np.ndarray:
    """Whether each model is better than its rival: yes, no, undecided or not measured."""
    conditions = [
        found.model_other.isna(),
        _undecided(found),
        (found.difference < 0).fillna(False),
    ]
    conditions = [condition.to_numpy(dtype=bool) for condition in conditions]
    return np.select(conditions, ["not measured", "undecided", "yes"], "no")
