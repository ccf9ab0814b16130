"""The README's table: the rows of the paper, published and measured, between two marks."""

from pathlib import Path

import pandas as pd

from benchmarks.records.frame import load_published, load_runs
from benchmarks.report.page import Page
from benchmarks.report.pages import NOTES
from benchmarks.report.summary import GROUP, paper_rows, summarize
from benchmarks.report.tables import Column, code
from benchmarks.system.files import write_atomically

BEGIN = "<!-- The table is written by `python run_bench.py report --readme README.md`. -->"
END = "<!-- End of the table. -->"
DATASETS = ("cifar10", "cifar10-9980", "cifar10-jpeg")
"""Whose errors are shown: of the first that has any."""


class PageError(ValueError):
    """A page without the marks; the message is one line for the user."""


def measured(results_dir: Path, rows: list[str]) -> pd.DataFrame:
    """The summary of the paper's rows on the first data set that has any.

    With the recipe that has most of them; of equals the longest, then the first by name.
    """
    for dataset in DATASETS:
        summary = summarize(load_runs(results_dir, dataset), rows)
        ended = summary[summary["mean"].notna() & summary.model.isin(rows)]
        ended = ended[ended.plugin_sha256 == ""]
        if ended.empty:
            continue
        groups = ended.groupby(GROUP).agg(rows=("model", "size"), steps=("steps", "max"))
        groups = groups.sort_values(["rows", "steps"], ascending=False, kind="stable")
        return ended.set_index(GROUP).loc[[groups.index[0]]].reset_index()
    return summarize(load_runs(results_dir, DATASETS[0])).iloc[:0]


def note(chosen: pd.DataFrame) -> str:
    """How long the measured rows were trained, and what the data set is."""
    if chosen.empty:
        return ""
    dataset = chosen.dataset.iloc[0]
    steps = " or ".join(f"{count:,}" for count in sorted(chosen.steps.dropna().unique()))
    told = f"Measured after {steps or 'an unknown number of'} steps on {code(dataset)}"
    return f"{told}: {NOTES[dataset]}" if dataset in NOTES else f"{told}."


def table(results_dir: Path, counts: list[dict]) -> Page:
    """A page with the table and its note.

    `counts`: of the paper's rows, as `list --json` has them (parameters and MACs are exact).
    """
    published = load_published()
    rows = paper_rows(published)
    chosen = measured(results_dir, rows)
    columns = [
        Column("model", "model", name=True),
        Column("published error", "published_error", ".2f", " %"),
        Column(f"measured error ({_where(chosen)})", "mean", ".2f", " %", std="std", n="n"),
        Column("parameters", "params", ","),
        Column("published parameters", "published_millions", ".3f", " M"),
        Column("FLOPs per image", "flops_per_image", ","),
        Column("generator FLOPs per pass", "generator_flops", ","),
    ]
    frame = pd.DataFrame(counts).set_index("model").loc[rows].reset_index()
    frame = frame[["model", "params", "flops_per_image", "generator_flops"]]
    printed = published.rename(columns={"test_error": "published_error"})
    printed["published_millions"] = printed.params / 1e6
    printed = printed[["registry_name", "published_error", "published_millions"]]
    frame = frame.merge(printed, left_on="model", right_on="registry_name")
    errors = chosen[["model", "mean", "std", "n"]]
    frame = frame.merge(errors, on="model", how="left", validate="one_to_one")
    page = Page()
    page.table("paper", frame, columns)
    page.add("FLOPs are 2 x MACs; those of a generator are per forward pass.", note(chosen))
    return page


def _where(chosen: pd.DataFrame) -> str:
    if chosen.empty:
        return "not yet"
    return f"{chosen.dataset.iloc[0]}, recipe {chosen.recipe.iloc[0]}"


def write(results_dir: Path, page: Path, counts: list[dict]) -> None:
    """Replace what stands between the marks of a page by the table and its note.

    Raises:
        PageError: if the page has no such marks.
    """
    text = page.read_text(encoding="utf-8")
    if not 0 <= text.find(BEGIN) < text.find(END):
        raise PageError(f"{page} has no lines {BEGIN!r} and {END!r}")
    before, after = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    write_atomically(page, f"{before}\n\n{table(results_dir, counts).text}\n{after}")
