"""The page on how it was measured: protocol, fingerprints, recipes, machines, sources, failures."""

import pandas as pd

from benchmarks.report.page import Page
from benchmarks.report.summary import Results
from benchmarks.report.tables import Column, code, escape, known, rates_text
from benchmarks.tasks import Task
from benchmarks.training.recipes import KINDS


def method_page(results: Results) -> Page:
    """How it was measured, in words, from the records, and what failed."""
    page = Page()
    page.add(f"# {escape(results.dataset)}: how it was measured")
    method_section(page, results)
    failures_section(page, results)
    return page


def failures_section(page: Page, results: Results) -> None:
    """Runs that did not end well, and files that are no records."""
    failed = results.runs[results.runs.status != "ok"]
    problems = [*results.runs.attrs["problems"], *results.speeds.attrs["problems"]]
    if failed.empty and not problems:
        return
    page.add("## Runs that did not end well")
    columns = [
        Column("model", "model", name=True),
        Column("recipe", "recipe"),
        Column("seed", "seed", "d"),
        Column("status", "status"),
        Column("reason", "reason"),
    ]
    page.table("failures", failed, columns, ["recipe_hash"])
    page.add("\n".join(f"- {escape(problem)}" for problem in problems))


def method_section(page: Page, results: Results) -> None:
    """How it was measured, in words, from the records."""
    runs = results.runs
    if runs.empty:
        return
    lines = _splits(results)
    lines.append(f"Fingerprint of the data (sha256): {_values(runs.data_sha256)}.")
    if runs.data_sha256.nunique() > 1:
        lines.append("**The data differ between runs** (more than one fingerprint).")
    recipes = [runs.attrs["recipes"][key] for key in runs.recipe_hash.unique()]
    by_name = sorted(recipes, key=lambda recipe: (recipe["name"], recipe["hash"]))
    lines += [recipe_text(recipe, results.task) for recipe in by_name]
    titles = {
        "Device": runs.device,
        "Threads": runs.threads,
        "Precision": runs.precision,
        "Compilation": runs.compile,
        "torch": runs.torch,
        **({"Memory format": runs.memory_format} if results.task.layouts else {}),
        "Fall-backs": runs.fallbacks[runs.fallbacks != ""],
        "Commits": runs.commit,
    }
    lines += [f"{title}: {_values(values)}." for title, values in titles.items() if len(values)]
    lines.append(
        "Intervals of differences are 95 % t-intervals over the seeds that both rows have, paired "
        "by seed, and are not corrected for the number of questions asked."
    )
    lines.append(
        "The settings that studies tried are counted over all data but digits, for a kind of model "
        "and the block of the recipe that it is trained with, whatever came of them."
    )
    task = results.task
    lines.append(
        f"FLOPs are 2 x MACs of {task.counted}matrix products; {task.uncounted} are left out."
    )
    page.add("\n".join(f"- {line}" for line in lines))
    shown = results.published
    shown = shown[shown.registry_name.isin([*runs.model, *results.paper_rows])]
    sources = [
        f"- {code(row.registry_name)}: {escape(row.source)} (selection: {escape(row.selection)})"
        for row in shown.itertuples()
    ]
    if sources:
        page.add("Published numbers:", "\n".join(sources))


def _splits(results: Results) -> list[str]:
    """A line for each way in which the data were split."""
    columns = ["train_images", "validation_images", "test_images", "split_seed"]
    splits = results.runs[columns].drop_duplicates().sort_values(columns)
    lines = []
    for train, validation, test, seed in splits.itertuples(index=False):
        how = "split in order or as given" if pd.isna(seed) else f"split seed {seed}"
        lines.append(
            f"Data: {train:,} training, {validation:,} validation and {test:,} test "
            f"{results.task.items} ({how}). The test set is read once a run, after the last epoch; "
            "nothing is chosen on it."
        )
    return lines


def _values(values: pd.Series) -> str:
    return ", ".join(sorted({known(value) for value in values}))


def recipe_text(recipe: dict, task: Task) -> str:
    """One recipe, as JSON has it, in a sentence: its optimizer blocks and the rules of parts."""
    titles = {
        "stored": task.stored,
        "generated": task.generated,
        "scaled": "those of scaled gradients",
    }
    blocks = []
    for kind in KINDS:
        block = recipe.get(kind)
        if block:
            warmup = block.get("warmup")
            warm = "" if warmup is None else f", warm-up {warmup:.0%}"
            schedule = f"({block['schedule']}{warm})"
            blocks.append(f"{titles[kind]}: {rates_text(block)} {schedule}, L2 {block['l2']:g}")
    head = ", ".join([f"batch {recipe['batch_size']}", *_reading(recipe)])
    return f"Recipe {code(recipe['name'])}: {head}; {'; '.join(blocks)}."


def _reading(recipe: dict) -> list[str]:
    """How the items of a step are drawn, and what holds for them."""
    told = []
    if recipe.get("crop_padding") is not None:
        told.append(f"crop padding {recipe['crop_padding']}")
    if sequences := recipe.get("sequences"):
        told += [
            f"sequences of {sequences['length']}",
            f"dropout keeps {sequences['keep']:g}",
            f"gradients clipped at {sequences['clip']:g}",
        ]
    return told
