"""Whether models are worth it: the answers as a table, and in sentences with what weakens them."""

import pandas as pd

from benchmarks.records.frame import RUN_KEY
from benchmarks.report import columns, marks
from benchmarks.report.comparison import longest, with_item_sampling
from benchmarks.report.page import Page
from benchmarks.report.summary import MIN_SEEDS, OTHER, ROW, Results, family
from benchmarks.report.tables import Column, code, escape, show
from benchmarks.report.verdicts import (
    QUESTIONS,
    answer_rule,
    question_text,
    smallest_as_good,
    verdicts,
)
from benchmarks.report.weak_points import Trials, larger, passed_over, weak_points, weakened
from benchmarks.tasks import Task

SMALLEST = "the smallest plain network that is not measurably worse"
"""The question of `smallest_as_good`; the others are `QUESTIONS`."""


def answer_rows(results: Results, question: str | None = None) -> list[dict]:
    """A row of `verdicts` a question and model, those of `smallest_as_good` last.

    Of a model its recipe with seeds enough for an interval answers, then the longest one. Of the
    hypernetworks, those answer that have most of both. `question`: a model to ask about instead.
    """
    models = [question] if question else _asked(longest(results.summary, results.differences))
    found = verdicts(results.summary, results.differences, models)
    found = found[found.model_other.notna() & found.difference.notna()]
    found = with_item_sampling(found, results.runs)
    rows, said = [], set()
    for asked in QUESTIONS:
        candidates = _strongest(found[found.question == asked])
        if not question:
            candidates = candidates[_equal_to_first(candidates[STRENGTH])]
        for row in candidates.to_dict("records"):
            rival = tuple(row[key] for key in [*RUN_KEY, *OTHER])
            if rival not in said:
                said.add(rival)
                rows.append(row)
    smallest = smallest_as_good(results.summary, results.differences, models)
    smallest = with_item_sampling(smallest, results.runs)
    return rows + _strongest(smallest).assign(question=SMALLEST).to_dict("records")


def add_answer_table(page: Page, task: Task, rows: list[dict]) -> None:
    """Add the answers at a glance; nothing without any."""
    frame = pd.DataFrame(rows)
    if frame.empty:
        return
    frame = frame.assign(
        question=[question_text(question, task) for question in frame.question],
        marks=marks.signs(frame, marks.CODE),
        marks_other=marks.signs(frame, marks.PAIR),
        params_ratio=frame.params / frame.params_other,
        flops_ratio=frame.flops_per_image / frame.flops_per_image_other,
    )
    shown = [
        *columns.answer(task),
        Column("parameters / rival's", "params_ratio", ".2f"),
        Column("FLOPs / rival's", "flops_ratio", ".2f"),
    ]
    rule = f"Is a model better than its rival? {answer_rule(task)}; lower is better."
    ratios = "Parameters and FLOPs are those of the model divided by the rival's."
    page.add(" ".join([rule, ratios, *marks.notes(frame, marks.PAIR + marks.CODE)]))
    page.table("answers", frame, shown, ["label", "seeds", "across", "recipe_hash", "data_sha256"])


def answer_line(row: dict, results: Results, trials: Trials) -> str:
    """One of `answer_rows` in a sentence, with what weakens it."""
    weak = weak_points(row, results, trials)
    if row["question"] == SMALLEST:
        return f"{saving_text(row, results.task)}{weakened(weak)}"
    weak = [*larger(row), *passed_over(row, results.task), *weak]
    return f"{answer_text(row, results.task)}{weakened(weak)}"


STRENGTH = ["enough", "steps"]
"""What makes an answer strong: seeds, as far as an interval needs them, and training."""


def _strongest(found: pd.DataFrame) -> pd.DataFrame:
    """Of each model and kind of data the strongest answer, the strongest of all first."""
    found = found.assign(enough=found.seeds.clip(upper=MIN_SEEDS), steps=found.steps.fillna(0))
    order = [*STRENGTH, "seeds", "params"]
    found = found.sort_values(order, ascending=False, kind="stable")
    return found.drop_duplicates(["data_sha256", *ROW])


def _equal_to_first(rows: pd.DataFrame) -> pd.Series:
    return (rows == rows.iloc[0]).all(axis=1) if len(rows) else rows.any(axis=1)


def saving_text(row: dict, task: Task) -> str:
    """What the smallest plain network that is not measurably worse costs beside the model."""
    rival = f"{code(row['model_other'])} ({show(row['params_other'])} parameters)"
    size = row["params_other"] / row["params"]
    flops = ""
    if not pd.isna(row["flops_per_image"]) and not pd.isna(row["flops_per_image_other"]):
        flops = f" and {row['flops_per_image_other'] / row['flops_per_image']:.2f} times its FLOPs"
    return (
        f"Which smallest plain network is not measurably worse than {code(row['model'])} "
        f"({show(row['params'])} parameters, {_trained(row)})? {rival}, with {size:.2f} "
        f"times its parameters{flops}: {_difference(row, task)} for {code(row['model'])}."
    )


def _trained(row: dict) -> str:
    """The recipe, and the code where there are several."""
    return escape(row["label"]) + (
        f", code {row['plugin_sha256'][:8]}" if row["other_code"] else ""
    )


def _asked(rows: pd.DataFrame) -> list[str] | None:
    """The hypernetworks, if there are any; else every model with a pair."""
    hypernetworks = rows.model[(family(rows) == "hyper") & rows.frozen.isna()]
    return hypernetworks.tolist() or None


def answer_text(row: dict, task: Task) -> str:
    """One verdict in a sentence."""
    answer = {"yes": "**Yes**", "no": "**No**"}.get(row["answer"], "**Undecided**")
    told = _difference(row, task)
    rival = f"{code(row['model_other'])} ({show(row['params_other'])} parameters)"
    if " best " in row["question"]:
        rival += f", the best of {row['rivals']}" if row["rivals"] > 1 else ", the only one trained"
    what = f"{code(row['model'])} ({show(row['params'])} parameters, {_trained(row)})"
    question = question_text(row["question"], task)
    return f"Is {what} better than {question}? {answer}: {told} against {rival}."


def _difference(row: dict, task: Task) -> str:
    """A paired difference, with its interval where there are seeds enough."""
    told = f"{row['difference']:{task.signed}} {task.difference}"
    if pd.isna(row["difference_low"]):
        return told
    low, high = (f"{row[f'difference_{end}']:{task.signed}}" for end in ("low", "high"))
    return f"{told} [{low}, {high}]"
