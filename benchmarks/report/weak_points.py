"""What weakens an answer: few seeds, other settings, unequal size, cost or tuning."""

from pathlib import Path

import pandas as pd

from benchmarks.records.frame import load_runs
from benchmarks.report.summary import GROUP, MIN_SEEDS, SETTING, Results, family
from benchmarks.report.tables import escape
from benchmarks.report.verdicts import SAME_SIZE
from benchmarks.system.words import counted
from benchmarks.tasks import Task

Trials = dict[tuple[str, str, str], int]
"""How many settings studies have tried, by task, family of models and block of the recipe."""


def trials_by_family(results_dir: Path) -> Trials:
    """How many settings studies have tried for each family of models, on any data of a task.

    Only those count that tried the block of a recipe which a model is trained with; those on
    digits, which is a demonstration, do not.
    """
    trials = load_runs(results_dir, studies=True)
    trials = trials[trials.dataset != "digits"]
    if trials.empty:
        return {}
    trials = trials.assign(family=family(trials))
    return trials.groupby(["task", "family", "block"]).recipe_hash.nunique().to_dict()


def weak_points(row: dict, results: Results, trials: Trials) -> list[str]:
    """What weakens an answer, whichever was the question: few seeds or test items, other
    settings, runs that are not clean, a validation split that says something else, or tuning that
    was unequal or found better.
    """
    weak = []
    validation = row["val_difference"]
    if pd.isna(row["difference_low"]):
        weak.append(without_interval(row))
    elif not row["difference_low"] <= validation <= row["difference_high"]:
        difference = f"{validation:{results.task.signed}}"
        weak.append(f"{difference} on the validation split, outside the interval")
    weak += few_test_items(row, results.task)
    if row["across"]:
        weak.append(crossing(row, results))
    weak += blemishes(row)
    task = results.task.name
    keys = [(task, row[f"family{end}"], row[f"block{end}"]) for end in ("", "_other")]
    own, other = (trials.get(key, 0) for key in keys)
    if own != other:
        weak.append(f"studies tried {own} settings for its kind, {other} for the rival's")
    return weak + better_trials(row)


def few_test_items(row: dict, task: Task) -> list[str]:
    """That a decided difference is less than the sampling error of the test items."""
    half = row["images_half"]
    if pd.isna(half) or row["answer"] not in ("yes", "no") or abs(row["difference"]) >= half:
        return []
    sampled = f"the sampling error of {row['test_images']:,} test {task.items}"
    return [f"within ±{half:{task.number}} {task.difference}, {sampled}"]


def blemishes(row: dict) -> list[str]:
    """What the table marks of either row, and the seeds that its mean lacks."""
    found = []
    for end, whose in (("", "its"), ("_other", "the rival's")):
        if row[f"diverged{end}"] > 0:
            found.append(f"{row[f'diverged{end}']} of {whose} seeds diverged")
        if row[f"dirty{end}"]:
            found.append(f"{whose} runs were made with uncommitted changes")
        if row[f"resumed_changed{end}"] and not row["across"]:
            found.append(f"{whose} runs moved to another device, code or settings")
    return found


def better_trials(row: dict) -> list[str]:
    """That trials of as many epochs found better settings for the model or for its rival."""
    own, other = (row[f"trial_gain{end}"] for end in ("", "_other"))
    gains = [] if pd.isna(own) else [f"its validation error by {own:.2f} points"]
    if not pd.isna(other) and gains:
        gains.append(f"the rival's by {other:.2f}")
    elif not pd.isna(other):
        gains.append(f"the rival's validation error by {other:.2f} points")
    return [f"in trials other settings of the recipe lowered {', '.join(gains)}"] if gains else []


def without_interval(row: dict) -> str:
    """Why a difference has no interval."""
    if row["seeds"] < MIN_SEEDS:
        return f"{counted(row['seeds'], 'seed')}, no interval"
    return "the same difference for every seed, no interval"


def larger(row: dict) -> list[str]:
    """In what the model is larger than its rival."""
    found = []
    for column, what in (("params", "parameters"), ("flops_per_image", "FLOPs")):
        own, other = row[column], row[f"{column}_other"]
        if not pd.isna(own) and not pd.isna(other) and own > SAME_SIZE * other:
            found.append(f"{own / other:.2f} times the rival's {what}")
    return found


def passed_over(row: dict, task: Task) -> list[str]:
    """Rivals that the validation error would have chosen, had they seeds enough."""
    if pd.isna(row["passed_over"]):
        return []
    names = row["passed_over"]
    return [f"too few shared seeds with {names}, which has a lower validation {task.metric}"]


def weakened(weak: list[str]) -> str:
    """The end of an answer."""
    return f" Weakened by: {'; '.join(weak)}." if weak else ""


def crossing(row: dict, results: Results) -> str:
    """Which seeds of a pair differ in settings and how, and the difference without them."""
    ended = results.runs[results.runs.status == "ok"]
    group = pd.Series({key: row[key] for key in GROUP})
    ended = ended[(ended[GROUP] == group).all(axis=1)]
    sides = [
        ended[
            (ended.model == row[f"model{end}"])
            & (ended.plugin_sha256 == row[f"plugin_sha256{end}"])
        ]
        for end in ("", "_other")
    ]
    both = sides[0].merge(sides[1], on="seed", suffixes=("", "_other"))
    told, same = [], []
    for pair in both.to_dict("records"):
        differing = [
            f"{'torch ' if key == 'torch' else ''}{pair[key]} against {pair[f'{key}_other']}"
            for key in SETTING
            if str(pair[key]) != str(pair[f"{key}_other"])
        ]
        if differing:
            told.append(f"seed {pair['seed']}{_moved(pair)} {', '.join(differing)}")
        else:
            same.append(pair["test_error"] - pair["test_error_other"])
    signed = results.task.signed
    without = f" (without: {sum(same) / len(same):{signed}})" if same else ""
    return escape("; ".join(told)) + without


def _moved(pair: dict) -> str:
    """At which of its steps a run of a pair went on elsewhere: its settings are the last ones."""
    steps = []
    for end in ("", "_other"):
        at, of = pair[f"resumed_at{end}"], pair[f"steps{end}"]
        if not pd.isna(at):
            steps.append(f"{at:,}" if pd.isna(of) else f"{at:,} of {of:,}")
    return f" (resumed at step {' and '.join(steps)})" if steps else ""
