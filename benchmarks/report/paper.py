"""The section of a report that compares what was measured with the paper's table, and says what is
still open."""

from dataclasses import replace

import pandas as pd

from benchmarks.report.page import Page
from benchmarks.report.recipe_tables import DIFFERENCE, SEEDS
from benchmarks.report.summary import GROUP, Results, with_differences
from benchmarks.report.tables import Column, code, codes, escape
from benchmarks.training.recipes import RECIPES

FULL = {"fast": 3, "paper": 1}
"""The recipes that train to the end, to be compared with the paper's errors, and the seeds wanted
of each."""


def paper_section(page: Page, results: Results) -> None:
    """What the records say of the paper's rows, pair by pair; only of CIFAR-10."""
    if not results.paper_rows:
        return
    page.add("## Against the paper's table")
    found = gaps(results)
    if len(found):
        page.add(_note(results.dataset))
        page.table("paper-gaps", found, gap_columns(), ["recipe_hash", "data_sha256"])
        page.add("\n".join(f"- {gap_text(row)}" for row in found.to_dict("records")))
    still = "\n".join(f"- {line}" for line in still_open(results))
    page.add(f"Still open:\n\n{still}" if still else "Nothing is open.")


def gaps(results: Results) -> pd.DataFrame:
    """A row for each pair of the paper and recipe that was trained: hyper minus plain, in points.

    Columns: those of the pair's summaries (`_plain`, `_hyper`), `difference` and its interval,
    `published_gap`.
    """
    rows = results.paper_rows
    errors = results.published.set_index("registry_name").test_error
    trained = results.summary[results.summary["mean"].notna()]
    found = []
    for place, (plain, hyper) in enumerate(zip(rows[::2], rows[1::2], strict=True)):
        both = pd.merge(
            trained[trained.model == plain],
            trained[trained.model == hyper],
            on=GROUP,
            how="outer",
            suffixes=("_plain", "_hyper"),
        )
        both = both.assign(
            place=place,
            model=hyper,
            model_other=plain,
            plugin_sha256=both.plugin_sha256_hyper.fillna(""),
            plugin_sha256_other=both.plugin_sha256_plain.fillna(""),
            label=both.label_hyper.fillna(both.label_plain),
            published_gap=errors[hyper] - errors[plain],
        )
        found.append(both)
    pairs = with_differences(pd.concat(found, ignore_index=True), results.differences)
    return pairs.sort_values(["place", *GROUP]).reset_index(drop=True)


def gap_columns() -> list[Column]:
    """The gaps beside the published ones."""
    return [
        Column("pair of", "model", name=True),
        Column("recipe", "label"),
        Column("plain, test error", "mean_plain", ".2f", " %", "std_plain", "n_plain"),
        Column("hyper, test error", "mean_hyper", ".2f", " %", "std_hyper", "n_hyper"),
        replace(DIFFERENCE, heading="gap [95 % t-interval]"),
        SEEDS,
        Column("published gap (CIFAR-10)", "published_gap", "+.2f"),
        Column("plain, steps", "steps_plain", ",.0f"),
        Column("hyper, steps", "steps_hyper", ",.0f"),
        Column("hyper, optimizer", "optimizer_text_hyper"),
    ]


def _note(dataset: str) -> str:
    if dataset != "cifar10-jpeg":
        return (
            "Errors in percent, of the last epoch; gaps are hyper minus plain, in points, paired "
            "over the seeds that both have."
        )
    return (
        "The images are not the paper's, so that errors do not compare with its own. Gaps (hyper "
        "minus plain, in points, paired over the seeds that both have) compare as far as training "
        f"does: the paper's rows had {_length('paper')}, and their hypernetworks Adam. Wider or "
        "narrower is a gap whose interval excludes the paper's, else it is undecided."
    )


def gap_text(row: dict) -> str:
    """How a measured gap compares with the published one, in the words of the verdicts."""
    head = f"{code(row['model'])}, recipe {escape(row['label'])}:"
    gap, low, high, printed = (
        row[key] for key in ("difference", "difference_low", "difference_high", "published_gap")
    )
    if pd.isna(gap):
        return f"{head} no seed of both members has ended well, so that there is no gap yet."
    text = f"{head} {gap:+.2f} points against {printed:+.2f} in the paper"
    if pd.isna(low):
        return f"{text}, of one seed: **undecided**."
    if low <= printed <= high:
        return f"{text}, which the interval includes: **undecided**."
    return f"{text}: **{'wider' if gap > printed else 'narrower'}**."


def still_open(results: Results) -> list[str]:
    """What a reader of the paper's table would still want measured, from what has no record."""
    rows, summary = results.paper_rows, results.summary
    lines = []
    if results.dataset == "cifar10-jpeg":
        lines.append("CIFAR-10 itself: no error here compares with a published one.")
    trained = set(summary.model[summary["mean"].notna()])
    missing = [name for name in rows if name not in trained]
    if missing:
        lines.append(f"Rows without a run that ended well: {codes(missing)}.")
    lines += [_recipe_line(recipe, wanted, summary, rows) for recipe, wanted in FULL.items()]
    on_gpu = results.speeds[
        (results.speeds.kind == "speed") & (results.speeds.device_type == "cuda")
    ]
    missing = [name for name in rows if name not in set(on_gpu.model)]
    if missing:
        lines.append(f"Rows that were never timed on a GPU: {codes(missing)}.")
    return [line for line in lines if line]


def _recipe_line(recipe: str, wanted: int, summary: pd.DataFrame, rows: list[str]) -> str:
    """Which rows want seeds of a recipe that trains to the end; of two hashes the fuller counts."""
    seeds = summary[summary.recipe == recipe].groupby("model").n.max()
    counts = seeds.reindex(rows).fillna(0).astype(int)
    if not counts.any():
        return f"Recipe {code(recipe)} ({_length(recipe)}): no run that ended well."
    wanting = [f"{code(name)} {n}" for name, n in counts.items() if n < wanted]
    if not wanting:
        return ""
    return f"Recipe {code(recipe)}: fewer seeds than {wanted} of {', '.join(wanting)}."


def _length(recipe: str) -> str:
    blocks = [RECIPES[recipe].block(kind).steps for kind in ("stored", "generated")]
    if None in blocks:
        return f"{RECIPES[recipe].epochs} epochs"
    return "{:,} and {:,} steps".format(*blocks)
