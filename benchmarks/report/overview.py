"""The front page of a data set: what was run, the comparison table, one figure, the answers, and
what is missing."""

import pandas as pd

from benchmarks.report import columns, marks
from benchmarks.report.answers import add_answer_table, answer_line, answer_rows
from benchmarks.report.comparison import comparison
from benchmarks.report.page import Page
from benchmarks.report.paper import gap_lines, still_open
from benchmarks.report.summary import GROUP, MIN_SEEDS, Results, device_hours
from benchmarks.report.tables import Column, code, codes, escape, filled, show
from benchmarks.report.weak_points import Trials
from benchmarks.system.words import amount, counted
from benchmarks.tasks import Task


def comparison_columns(task: Task) -> list[Column]:
    """Those of the comparison table."""
    return [
        Column("about", "size_text"),
        columns.MODEL,
        columns.PARAMETERS,
        columns.flops(task),
        Column("recipe", "label"),
        Column("seeds", "n", "d"),
        columns.mean(task),
        columns.above_pair(task),
        Column("in the paper", "published_gap", task.signed),
        columns.published(task),
        Column(task.speed, "images_per_s", ",.0f"),
        Column("hours a run", "hours", ".2f"),
    ]


def overview(results: Results, forest: str | None, question: str | None, trials: Trials) -> Page:
    """The page. `forest`: the figure's file, if it was drawn.

    `question`: a model to ask about in place of the hypernetworks. `trials`: of `trials_by_family`.
    """
    page = Page()
    page.add(f"# {escape(results.dataset)}", opening(results))
    add_comparison(page, results)
    if forest:
        note = f"{FOREST_NOTE} {PAPERS_NOTE}" if results.published_gaps else FOREST_NOTE
        page.add(f"![How far is each model from its plain network?]({forest})", note)
    add_answers(page, results, trials, question)
    missing = [*still_open(results), *_untrained_pairs(results), *_failures(results)]
    page.add("## What is missing", "\n".join(f"- {line}" for line in missing) or "Nothing.")
    page.add("## More", _links(results))
    return page


def add_answers(page: Page, results: Results, trials: Trials, question: str | None) -> None:
    """A table to see them at a glance, then each in a sentence, with what weakens it."""
    rows = answer_rows(results, question)
    lines = gap_lines(results) + [answer_line(row, results, trials) for row in rows]
    page.add("## Answers")
    add_answer_table(page, results.task, rows)
    page.add("\n".join(f"- {line}" for line in lines) or "None was measured.")


FOREST_NOTE = (
    "A row is a model and recipe: its mean over the seeds it shares with the plain network, each "
    f"seed as a tick, and the 95 % t-interval of {MIN_SEEDS} seeds or more. Pale: shorter recipes."
)
PAPERS_NOTE = "Hollow: the paper's, after its own training."


def opening(results: Results) -> str:
    """Which data, how many runs, what training, which hardware, how many hours."""
    ended, note = results.runs[results.runs.status == "ok"], results.data.note
    if ended.empty:
        return f"{note} No run has ended well."
    epochs = ended.epochs.dropna()
    length = " to ".join(dict.fromkeys([amount(epochs.min()), amount(epochs.max())]))
    devices = " and ".join(escape(name) for name in sorted(ended.device.dropna().unique()))
    precisions = ", ".join(sorted(ended.precision.dropna().unique()))
    hours = device_hours(ended)
    models = len(ended[["model", "plugin_sha256"]].drop_duplicates())
    return (
        f"{note} {counted(len(ended), 'run')} of {counted(models, 'model')}, "
        f"{length} epochs each, on {devices} ({precisions}): {hours:,.1f} hours of training."
    )


def add_comparison(page: Page, results: Results) -> None:
    """A row a model, of its longest recipe (`longest`)."""
    rows = comparison(results)
    if rows.empty:
        return
    shown = rows.assign(
        marks=marks.signs(rows, marks.ROW),
        size_text=_size_texts(rows["size"]),
        published_gap=rows.model.map(results.published_gaps),
    )
    if not results.comparable:
        shown["published_error"] = pd.NA
    kept = filled(shown, comparison_columns(results.task))
    extra = ["size", "seeds", "across", "images_half", "recipe_hash", "data_sha256", *_facts(rows)]
    page.table("comparison", shown, kept, extra)
    page.add(_legend(results, rows, kept))


def _facts(rows: pd.DataFrame) -> list[str]:
    return [name for name in ("pair", "plugin_sha256", "epochs", "steps", "device") if name in rows]


def _size_texts(sizes: pd.Series) -> pd.Series:
    """The size where a new one begins, rounded to two digits."""
    texts = [show(size) if pd.isna(size) else _rounded(size) for size in sizes]
    previous = [None, *texts[:-1]]
    return pd.Series(
        [text if text != before else "" for text, before in zip(texts, previous, strict=True)],
        index=sizes.index,
    )


def _rounded(count: float) -> str:
    if count < 1e6:
        return f"{count / 1e3:.0f} k" if count >= 1e3 else f"{count:.0f}"
    return f"{count / 1e6:.1f} M"


def _legend(results: Results, rows: pd.DataFrame, kept: list[Column]) -> str:
    task = results.task
    lines = [
        f"Test {task.metric} of the last epoch, mean ± standard deviation over seeds, of each "
        f"model's longest recipe that its pair has too. {task.difference.capitalize()}: over the "
        "seeds that both have, with the 95 % t-interval of three or more."
    ]
    if any(column.value == "published_error" for column in kept):
        lines.append(f"Published {task.metrics} are of the paper's own training.")
    if any(column.value == "hours" for column in kept):
        lines.append(
            "Hours: the median epoch times the epochs on "
            f"{escape(rows[rows.hours.notna()].iloc[0].timed_on)}, of the fastest seed that did "
            "not move to another device or code; other models may have shared it. Seconds of other "
            "devices, or beside other seeds, are left out."
        )
    if any(column.value == "images_per_s" for column in kept):
        lines.append(_speed_note(results))
    lines += marks.notes(rows)
    lines += [
        f"FLOPs of {code(row['model'])} are not counted: {escape(row['uncounted'])}."
        for row in rows[rows.uncounted.notna()].to_dict("records")
    ]
    return " ".join(lines)


def _speed_note(results: Results) -> str:
    """Which device the speeds are of; bold where no run of the table is of it."""
    speed = results.compared.iloc[0]
    where = f"on {escape(speed.device)} ({speed.precision}, compile {speed.compile})"
    trained = results.runs[results.runs.status == "ok"].device.dropna().unique()
    other = "" if speed.device in trained else ", **on which none of these runs was trained**"
    return f"{results.task.speed.capitalize()}: training steps {where}{other}."


def _untrained_pairs(results: Results) -> list[str]:
    """The plain networks that models are to be compared with and that have no run."""
    ended = results.summary[results.summary["mean"].notna()]
    alone = ended[ended.pair.notna() & ~ended.pair.isin(ended.model)]
    alone = alone[~alone.pair.isin(results.paper_rows)].drop_duplicates("model")
    of = alone.groupby("pair").model.agg(list)
    lines = [f"Runs of {code(pair)}, the pair of {codes(models)}." for pair, models in of.items()]
    apart = _without_common_recipe(ended).groupby("pair").model.agg(list)
    return lines + [
        f"Runs of {code(pair)} and of {codes(models)} with one recipe: answers compare no others."
        for pair, models in apart.items()
    ]


def _without_common_recipe(ended: pd.DataFrame) -> pd.DataFrame:
    """The models that have a pair with runs, but none of the same recipe and data; one row each."""
    shared = ["dataset", "data_sha256", "recipe_hash"]
    both = ended[ended.pair.isin(ended.model)].drop_duplicates([*shared, "model", "pair"])
    rivals = ended[[*shared, "model"]].drop_duplicates().rename(columns={"model": "pair"})
    met = both.merge(rivals.assign(met=True), on=[*shared, "pair"], how="left")
    met = met.assign(met=met.met.notna()).groupby(["model", "pair"], as_index=False).met.any()
    return met[~met.met]


def _failures(results: Results) -> list[str]:
    runs = results.runs
    failed = runs[runs.status != "ok"]
    lines = []
    if len(failed):
        counts = [
            f"{len(runs)} {status} ({codes(runs.model.unique())})"
            for status, runs in failed.groupby("status")
        ]
        lines.append(f"Runs that did not end well: {', '.join(counts)} ([method.md](method.md)).")
    problems = [*runs.attrs["problems"], *results.speeds.attrs["problems"]]
    if problems:
        lines.append(f"Files that are not records: {len(problems)} ([method.md](method.md)).")
    return lines


def _links(results: Results) -> str:
    pages = results.summary.drop_duplicates(GROUP)
    recipes = ", ".join(
        f"[{escape(row.label)}](recipes/{row.slug}.md)" for row in pages.itertuples()
    )
    name = results.dataset
    return (
        f"Recipes: {recipes}. [Speed](speed.md). [How it was measured](method.md). "
        "All runs: [results.csv](results.csv). Tables as LaTeX and CSV: [tables/](tables).\n\n"
        f"    python run_bench.py report --dataset {name}         # regenerate all this\n"
        f"    python run_bench.py report --dataset {name} --html  # a page to sort and filter"
    )
