"""The page of the studies: what was tried to settle a recipe, and what came out."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from benchmarks.records.frame import RUN_KEY, load_runs
from benchmarks.report import marks
from benchmarks.report.known_data import task_of
from benchmarks.report.summary import summarize
from benchmarks.report.tables import Column, code, escape, markdown
from benchmarks.system.files import write_atomically
from benchmarks.system.words import counted
from benchmarks.tasks import TASKS, Task
from benchmarks.training import recipes
from benchmarks.training.studies import Study, StudyError, find, load

BEGIN = "<!-- What follows is generated from results/studies/ by `python run_bench.py study`. -->"


def columns(task: Task) -> list[Column]:
    """Those of a study's table."""
    sampling = Column(f"sampling error, {task.difference}", "sampling", task.number)
    mean = f"validation {task.metric}"
    return [
        Column("model", "model", name=True),
        Column("data set", "dataset"),
        Column("changed of the study's base", "changed"),
        Column(mean, "mean", task.number, task.unit, std="std", n="n"),
        *([sampling] if task.share else []),
        Column("status", "statuses", marks="mark"),
    ]


def trials_of(runs: pd.DataFrame, study: str) -> pd.DataFrame:
    """A row a trial of a study: `summarize` of its validation errors, only seeds pooled.

    The order is that of the page: by data set and model, the lowest error first; those of which a
    seed diverged last, for the mean of the others says too little.
    """
    trials = summarize(runs[runs.study == study], error="val_error")
    order = ["dataset", "model", "unstable", "mean", "recipe"]
    trials = trials.assign(unstable=trials.diverged > 0).sort_values(order)
    return trials.reset_index(drop=True)


def table(study: Study, trials: pd.DataFrame, resolved: dict[str, dict]) -> pd.DataFrame:
    """The trials with `changed`: what each recipe (`resolved`, by hash) changes of the base."""
    base, texts = study.base.as_dict(), []
    for recipe_hash in trials.recipe_hash:
        changed = recipes.differences(resolved[recipe_hash], base)
        texts.append(", ".join(f"{key} {value}" for key, value in changed.items()) or "nothing")
    return trials.assign(
        changed=pd.Series(texts, dtype="string", index=trials.index),
        mark=marks.signs(trials, "†").astype("string"),
    )


def tuned(results_dir: Path, file: Path, made: Iterable[Path]) -> tuple[pd.DataFrame, dict]:
    """The trials of a study among the records `made`, the best first, and what that one changes.

    Others may be there, of the model's code or the data as they were. The columns are those of
    `table`; the changes have keys joined by dots, and are of the first trial that ended well (empty
    if none did).
    """
    study = load(file)
    runs = load_runs(results_dir, studies=True)
    places = [path.relative_to(results_dir).as_posix() for path in made]
    resolved = runs.attrs["recipes"]
    trials = table(study, trials_of(runs[runs.path.isin(places)], study.name), resolved)
    ended = trials.dropna(subset=["mean"])
    if ended.empty:
        return trials, {}
    best = resolved[ended.recipe_hash.iloc[0]]
    return trials, recipes.differences(best, study.base.as_dict())


def edge(tried: pd.DataFrame, best: str, resolved: dict[str, dict]) -> str:
    """What to say where the best trial has the lowest or the highest learning rate of those tried.

    `tried`: the trials of one model, with `recipe_hash` and the `block` of it that was used;
    `best`: the hash of one. Empty where fewer than three rates were tried.
    """
    blocks = tried.dropna(subset="block").set_index("recipe_hash").block
    rates = {recipe: resolved[recipe][block]["learning_rate"] for recipe, block in blocks.items()}
    ends = min(rates.values(), default=None), max(rates.values(), default=None)
    if len(set(rates.values())) < 3 or rates.get(best) not in ends:
        return ""
    which = "lowest" if rates[best] == ends[0] else "highest"
    return f", with the {which} learning rate of the {len(set(rates.values()))} that were tried"


def chosen(trials: pd.DataFrame, resolved: dict[str, dict]) -> str:
    """A line for each data set, model and number of epochs, over all studies.

    It says how many trials there were and which had the lowest validation error. `trials` has the
    columns of `trials_of` and `study`; `resolved` has their recipes, by hash.
    """
    lines = []
    for (dataset, model, epochs), tried in trials.groupby(["dataset", "model", "epochs"]):
        told = "none ended well"
        ended = tried.dropna(subset=["mean"]).sort_values(["unstable", "mean", "study", "recipe"])
        if len(ended):
            best = ended.iloc[0]
            task = TASKS[best.task]
            told = (
                f"the lowest validation {task.metric} is {task.shown(best['mean'])} "
                f"({best.study}, {code(best.recipe)})"
            ) + edge(tried, best.recipe_hash, resolved)
        what = f"{code(model)} on {code(dataset)}, trials of {counted(epochs, 'epoch')}"
        lines.append(f"- {what}: {len(tried)}; {told}.")
    return "\n".join(lines)


def head(page: Path) -> str:
    """What stands in a page up to the mark, and the mark; a title where there is no page yet.

    Raises:
        StudyError: if the page has no mark.
    """
    if not page.exists():
        return f"# Recipe studies\n\n{BEGIN}"
    text = page.read_text(encoding="utf-8")
    if BEGIN not in text:
        raise StudyError(f"{page} has no line {BEGIN!r}")
    return text[: text.index(BEGIN)] + BEGIN


def write_page(results_dir: Path, page: Path) -> None:
    """Replace what follows the mark in the page by the tables of all studies; see `head`."""
    runs = load_runs(results_dir, studies=True)
    studies = [load(path) for path in find(results_dir)]
    by_study = {study: trials_of(runs, study.name) for study in studies}
    everything = [trials.assign(study=study.name) for study, trials in by_study.items()]
    parts = [head(page)]
    if everything:
        parts.append(chosen(pd.concat(everything), runs.attrs["recipes"]))
    for study, trials in by_study.items():
        parts += [f"## {study.name}", study.about.strip(), _counts(study, trials)]
        if len(trials):
            rows = table(study, trials, runs.attrs["recipes"])
            parts.append(markdown(rows, columns(task_of(trials))))
            parts += marks.notes(trials, "†")
    parts += [f"- {escape(problem)}" for problem in runs.attrs["problems"]]
    write_atomically(page, "\n\n".join(part for part in parts if part) + "\n")


def _counts(study: Study, trials: pd.DataFrame) -> str:
    counts = trials.groupby(["dataset", "model"])[RUN_KEY[0]].size()
    told = [f"{code(model)} on {code(dataset)} {n}" for (dataset, model), n in counts.items()]
    return f"Trials: {', '.join(told) or 'none yet'}. Seeds {list(study.seeds)}."
