"""What weakens an answer: few seeds, other settings, unequal size, cost or tuning."""

from pathlib import Path

import pandas as pd

from benchmarks.records.frame import load_runs
from benchmarks.report.summary import GROUP, MIN_SEEDS, SETTING, Results, family
from benchmarks.report.tables import escape
from benchmarks.report.verdicts import SAME_SIZE
from benchmarks.system.words import counted

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
    """What weakens an answer, whichever was the question: few seeds, other settings, a
    validation split that says something else, or tuning.
    """
    weak = []
    if row["seeds"] < MIN_SEEDS:
        weak.append(f"{counted(row['seeds'], 'seed')}, no interval")
    elif not row["difference_low"] <= _on_validation(row) <= row["difference_high"]:
        difference = f"{_on_validation(row):{results.task.signed}}"
        weak.append(f"{difference} on the validation split, outside the interval")
    if row["across"]:
        weak.append(crossing(row, results))
    task = results.task.name
    keys = [(task, row[f"family{end}"], row[f"block{end}"]) for end in ("", "_other")]
    own, other = (trials.get(key, 0) for key in keys)
    if own != other:
        weak.append(f"{own} tuning trials of its kind, {other} of the rival's")
    return weak


def _on_validation(row: dict) -> float:
    return row["val_mean"] - row["val_mean_other"]


def larger(row: dict) -> list[str]:
    """In what the model is larger than its rival."""
    found = []
    for column, what in (("params", "parameters"), ("flops_per_image", "FLOPs")):
        ratio = row[column] / row[f"{column}_other"]
        if not pd.isna(ratio) and ratio > SAME_SIZE:
            found.append(f"{ratio:.2f} times the rival's {what}")
    return found


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
            resumed = (
                " (resumed)" if pair["resumed_changed"] or pair["resumed_changed_other"] else ""
            )
            told.append(f"seed {pair['seed']}{resumed} {', '.join(differing)}")
        else:
            same.append(pair["test_error"] - pair["test_error_other"])
    signed = results.task.signed
    without = f" (without: {sum(same) / len(same):{signed}})" if same else ""
    return escape("; ".join(told)) + without
