"""What was measured of the paper's rows against its table, and what is still open."""

import pandas as pd

from benchmarks.report.comparison import longest
from benchmarks.report.summary import GROUP, MIN_SEEDS, Results, with_differences
from benchmarks.report.tables import code, codes, escape
from benchmarks.report.weak_points import crossing, weakened, without_interval
from benchmarks.tasks import Task
from benchmarks.training.recipes import RECIPES

PAPER = RECIPES["paper"]
"""The paper's own schedules; a run of as many steps may be compared with its errors."""
PAPER_TEXT = RECIPES["text_paper"]
"""The paper's own of text."""


def gaps(results: Results) -> pd.DataFrame:
    """A row for each pair of the paper and recipe that was trained: hyper minus plain.

    Columns: those of the pair's summaries (`_plain`, `_hyper`), `difference` and its interval,
    `published_gap`.
    """
    rows = results.paper_rows
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
            published_gap=results.published_gaps[hyper],
        )
        found.append(both)
    pairs = with_differences(pd.concat(found, ignore_index=True), results.differences)
    return pairs.sort_values(["place", *GROUP]).reset_index(drop=True)


def gap_lines(results: Results) -> list[str]:
    """A line for each pair of the paper: its gap after the longest training of both.

    Of training with seeds enough for an interval, if there is any: as the answers below choose.
    """
    if not results.paper_rows:
        return []
    found = gaps(results)
    found = found[found.difference.notna()]
    found = found.assign(enough=found.seeds.clip(upper=MIN_SEEDS))
    order = ["enough", "steps_hyper", "seeds"]
    chosen = found.sort_values(order, ascending=False, kind="stable")
    chosen = chosen.drop_duplicates(["model", "data_sha256"]).sort_values(["place", "data_sha256"])
    return [
        f"{gap_text(row, results.task)}{_weak(row, results)}" for row in chosen.to_dict("records")
    ]


def gap_text(row: dict, task: Task) -> str:
    """How a measured gap compares with the published one, in the words of the verdicts."""
    gap, low, high, printed = (
        row[key] for key in ("difference", "difference_low", "difference_high", "published_gap")
    )
    head = f"Is the gap of {code(row['model'])} to its plain network the paper's?"
    measured, published = f"{gap:{task.signed}} {task.difference}", f"{printed:{task.signed}}"
    label = escape(row["label"])
    if pd.isna(low):
        return f"{head} **Undecided**: {measured} ({label}), {published} in the paper."
    interval = f"[{low:{task.signed}}, {high:{task.signed}}]"
    told = f"{measured} {interval} ({label}), {published}"
    answer = "**It may be**" if low <= printed <= high else "**No**"
    size = "" if low <= printed <= high else f", {'wider' if gap > printed else 'narrower'}"
    return f"{head} {answer}: {told} in the paper{size}."


def _weak(row: dict, results: Results) -> str:
    """What weakens the comparison with the published gap; "" if nothing."""
    weak = []
    if pd.isna(row["difference_low"]):
        weak.append(without_interval(row))
    if row["across"]:
        weak.append(crossing(row, results))
    published = {"plain": PAPER.stored.steps, "hyper": PAPER.generated.steps}
    for name, steps in published.items():
        own = row[f"steps_{name}"]
        if steps is not None and not pd.isna(own) and own < steps:
            weak.append(f"{own:,} steps ({name}), {steps:,} in the paper")
    return weakened(weak)


def still_open(results: Results) -> list[str]:
    """What a reader would still want measured, from what has no record."""
    ended = results.summary[results.summary["mean"].notna()]
    by_table = _open_rows(results, ended) if results.paper_rows else _shorter(results, ended)
    speeds = _untimed(results) if results.paper_rows else []
    return [*by_table, *_few_seeds(results, ended), *speeds]


def _open_rows(results: Results, ended: pd.DataFrame) -> list[str]:
    """Of the paper's table: rows without a run, and the length of the others."""
    rows, lines = results.paper_rows, []
    ended = ended[ended.model.isin(rows)]
    missing = [name for name in rows if name not in set(ended.model)]
    if missing:
        lines.append(f"Rows of the paper without a run: {codes(missing)}.")
    plain, hyper = PAPER.stored.steps, PAPER.generated.steps
    wanted = ended.pair.isna().map({True: plain, False: hyper})
    as_long = set(ended.model[ended.steps.fillna(0) >= wanted])
    if not as_long.issuperset(rows):
        lines.append(
            f"Runs as long as the paper's (recipe `{PAPER.name}`: {plain:,} steps of the plain "
            f"networks, {hyper:,} of the hypernetworks)."
        )
    return lines


def _shorter(results: Results, ended: pd.DataFrame) -> list[str]:
    """Where single rows have published numbers: those that were trained for fewer epochs."""
    longest = ended.groupby("model").epochs.max().reindex(results.published.registry_name.unique())
    short = longest.index[(longest < PAPER_TEXT.epochs).fillna(False)].tolist()
    if not short:
        return []
    recipe = f"recipe `{PAPER_TEXT.name}`, {PAPER_TEXT.epochs} epochs"
    return [f"Runs as long as the paper's ({recipe}) of {codes(short)}."]


def _few_seeds(results: Results, ended: pd.DataFrame) -> list[str]:
    """Of the recipes that the comparison shows."""
    shown = longest(ended, results.differences).groupby("model").n.min()
    order = [*results.paper_rows, *shown.index.difference(results.paper_rows)]
    seeds = shown.reindex(order).dropna()
    few = [f"{code(name)} ({n})" for name, n in seeds.items() if n < MIN_SEEDS]
    return [f"{MIN_SEEDS} seeds of {', '.join(few)}."] if few else []


def _untimed(results: Results) -> list[str]:
    speeds = results.speeds
    on_gpu = speeds[(speeds.kind == "speed") & (speeds.device_type == "cuda")]
    untimed = [name for name in results.paper_rows if name not in set(on_gpu.model)]
    return [f"Speed on a GPU of {codes(untimed)}."] if untimed else []
