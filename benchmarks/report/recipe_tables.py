"""The page of one recipe: its models, its figures, the verdicts, the pairs, every seed."""

import pandas as pd

from benchmarks.records.frame import RUN_KEY
from benchmarks.records.speeds import CONDITION
from benchmarks.report import columns as shared
from benchmarks.report import marks
from benchmarks.report.comparison import with_item_sampling
from benchmarks.report.gap_plots import LONG
from benchmarks.report.page import Page
from benchmarks.report.summary import Results, against_pair, with_speed_ratio
from benchmarks.report.tables import BLANK, Column, code, escape, known
from benchmarks.report.verdicts import answer_rule, fronts, question_text, verdicts
from benchmarks.system.words import amount
from benchmarks.tasks import Task
from benchmarks.training import recipes

FIGURES_NOTE = "Lines are 95 % t-intervals over three seeds or more, ticks single seeds."
GAPS_NOTE = f"Of {LONG} epochs or more, the gaps of the last third are drawn."
FRONT_NOTE = "The dotted line among the sizes is the Pareto front of the means."
MODEL = shared.MODEL
SEEDS = Column("shared seeds", "seeds", "d")
STEPS = Column("steps", "steps", ",.0f")
OPTIMIZER = Column("optimizer", "optimizer_text")


def recipe_page(
    results: Results, group: pd.DataFrame, absent: list[str], figures: dict[str, str]
) -> Page:
    """The page of a recipe: its table, its figures, the verdicts, the pairs and the seeds.

    `absent`: models that have published numbers only. `figures`: files by their question.
    """
    page, first = Page(), group.iloc[0]
    epochs = _epochs_text(group, ", {} epochs")
    page.add(f"# {escape(results.dataset)}: recipe {code(first.recipe)}{epochs}")
    data = f" Data `{first.data_sha256[:16]}`." if first.other_data else ""
    page.add(f"Recipe hash `{first.recipe_hash}`{_description(first)}.{data}")
    rows, columns = main_table(results, group, absent)
    page.table(f"{first.slug}-models", rows, columns, ["macs_per_image", "generator_macs"])
    page.add(legend(results, group))
    for question, file in figures.items():
        page.add(f"![{question}](../{file})")
    if figures:
        page.add(_figures_note(figures))
    verdict_section(page, results, group)
    pair_section(page, results, group)
    seed_section(page, results, group)
    return page


def _figures_note(figures: dict[str, str]) -> str:
    """What is drawn how, in the figures that there are."""
    notes = {"-gaps.svg": GAPS_NOTE, "-front.svg": FRONT_NOTE}
    drawn = [
        note for end, note in notes.items() if any(file.endswith(end) for file in figures.values())
    ]
    return " ".join([FIGURES_NOTE, *drawn])


def _epochs_text(group: pd.DataFrame, text: str) -> str:
    """`text` with the numbers of epochs; "" where none are known."""
    epochs = sorted(group.epochs.dropna().unique())
    return text.format(" or ".join(dict.fromkeys(map(amount, epochs)))) if epochs else ""


def _description(first: pd.Series) -> str:
    """What a built-in recipe is, if these runs are of it as it is today."""
    built_in = recipes.recorded(first.recipe)
    if built_in is None or built_in.hash != first.recipe_hash:
        return ""
    return f": {escape(recipes.description(first.recipe))}"


def main_table(
    results: Results, group: pd.DataFrame, absent: list[str]
) -> tuple[pd.DataFrame, list[Column]]:
    """Published and measured side by side, a row a model."""
    published = results.published.rename(
        columns={"test_error": "published_error", "params": "published_params"}
    )
    published = published[["registry_name", "published_error", "published_params"]]
    rows = group.assign(
        marks=marks.signs(group, marks.ROW),
        fronts=fronts(group, results.differences).replace("", BLANK),
    )
    without = pd.DataFrame({"model": absent, "marks": "", "n": 0, "statuses": "not yet measured"})
    without = without.astype({"model": "string", "n": "Int64"})
    if absent:
        rows = pd.concat([rows, without], ignore_index=True)
    rows = rows.merge(published, left_on="model", right_on="registry_name", how="left")
    columns = _main_columns(results)
    if not rows.generator_flops.fillna(0).any():
        columns = [column for column in columns if column.value != "generator_flops"]
    return rows, columns


def _main_columns(results: Results) -> list[Column]:
    """Those of the table of a recipe; what is published of other data has none."""
    task = results.task
    columns = [
        MODEL,
        shared.mean(task, n="n"),
        Column("fronts", "fronts"),
        shared.published(task, of=results.data.published),
        shared.PARAMETERS,
        Column("published parameters", "published_params", ","),
        shared.flops(task),
        Column("generator FLOPs/pass", "generator_flops", ","),
        Column(f"{task.speed}, training", "images_per_s", ",.0f"),
        OPTIMIZER,
        STEPS,
        Column("runs", "statuses"),
    ]
    if results.published.empty:
        columns = [column for column in columns if not column.value.startswith("published_")]
    return columns


def verdict_section(page: Page, results: Results, group: pd.DataFrame) -> None:
    """Is each model with a plain pair better than its rivals? A row a question."""
    task = results.task
    found = verdicts(group, results.differences)
    found = found[found.model_other.notna()]
    if found.empty:
        return
    questions = [question_text(question, task) for question in found.question]
    found = found.assign(
        marks=marks.signs(found, marks.CODE),
        marks_other=marks.signs(found, marks.PAIR),
        question=questions,
    )
    meanings = marks.notes(found, marks.PAIR)
    page.add(
        "## Is it better than its rivals?",
        f"{answer_rule(task)}. The rival is the one with the lowest validation {task.metric} of "
        "those with three shared seeds, or with most. "
        f"{' '.join(['Answers are of this budget of training alone.', *meanings])}",
    )
    columns = [*shared.answer(task), SEEDS]
    page.table(f"{group.iloc[0].slug}-answers", found, columns, ["across", "rivals"])


def pair_section(page: Page, results: Results, group: pd.DataFrame) -> None:
    """Each model against its plain pair: same backbone, stored kernels."""
    pairs = with_speed_ratio(against_pair(group, results.differences), results.compared)
    if pairs.empty:
        return
    task = results.task
    pairs = with_item_sampling(pairs, results.runs).assign(marks=marks.signs(pairs, marks.PAIR))
    condition = "it is blank where it was not measured under that condition or its A/A run failed."
    half = (
        f", and half the 95 % interval from the sampling of the test {task.items} alone, paired "
        f"over {task.items}"
    )
    page.add(
        "## Against the plain pair",
        f"{task.metric.capitalize()} minus the pair's over the seeds that both have [95 % "
        f"t-interval]{half if task.share else ''}. The rest are ratios, model / plain. That of "
        f"{task.speed} comes from interleaved windows, both with the optimizer of the plain "
        "network [bootstrap 95 % interval]; "
        f"{' '.join([condition, *marks.notes(pairs, marks.PAIR)])}",
    )
    page.table(f"{group.iloc[0].slug}-pairs", pairs, _pair_columns(task), ["across"])


def _pair_columns(task: Task) -> list[Column]:
    sampling = Column(f"± from the test {task.items}", "images_half", task.number)
    speed = Column(
        f"{task.speed}, training, interleaved",
        "speed_ratio",
        ".3f",
        low="speed_ratio_low",
        high="speed_ratio_high",
    )
    return [
        MODEL,
        Column("plain pair", "pair", name=True),
        shared.difference(task),
        SEEDS,
        *([sampling] if task.share else []),
        Column("parameters", "params_ratio", ".3f"),
        Column(task.flops, "flops_ratio", ".3f"),
        speed,
    ]


def seed_section(page: Page, results: Results, group: pd.DataFrame) -> None:
    """Every seed of every model, what they say together, and the test set's own sampling error."""
    task = results.task
    ended = results.runs[results.runs.status == "ok"].sort_values("seed")
    texts = ended.seed.astype("string") + ": " + ended.test_error.map(task.shown)
    by_seed = texts.groupby([ended[key] for key in RUN_KEY]).agg(", ".join).rename("by_seed")
    rows = group.merge(by_seed.reset_index(), on=RUN_KEY, how="left").assign(marks="")
    sampling = " and sampling error (one standard deviation)" if task.share else ""
    page.add(
        "## Every seed",
        f"Standard deviation over seeds (n - 1){sampling} in {task.difference}.",
    )
    test, form, unit = f"test {task.metric}", task.number, task.unit
    columns = [
        MODEL,
        Column("n", "n", "d"),
        Column(f"{test} [95 % t-interval]", "mean", form, unit, low="low", high="high"),
        Column("standard deviation", "std", task.number),
        Column("sampling error of the test set", "sampling", task.number),
        Column(f"validation {task.metric}", "val_mean", form, unit),
        Column(f"{test} by seed", "by_seed"),
    ]
    if not task.share:
        columns = [column for column in columns if column.value != "sampling"]
    page.table(f"{group.iloc[0].slug}-seeds", rows, columns)


def condition_text(speeds: pd.DataFrame) -> str:
    """The one condition of some speeds, in words."""
    values = {key: known(value) for key, value in speeds.iloc[0][CONDITION].items()}
    text = (
        f"measured on {values['device']}, {values['threads']} threads, batch "
        f"{values['batch_size']}, {values['precision']}, compile {values['compile']}, "
        f"torch {values['torch']}"
    )
    return f"{text}, deterministic" if speeds.iloc[0].deterministic else text


def legend(results: Results, group: pd.DataFrame) -> str:
    """What the blanks and marks of this recipe's tables mean."""
    task = results.task
    lines = [
        f"Test {task.metrics} are of the last epoch, mean ± standard deviation (n - 1) over seeds "
        f"where there are several. FLOPs are 2 x MACs (multiply-adds of {task.counted}products); "
        f"{task.generator}.",
        "Fronts: P, F and T mark a row that by the means no other dominates in "
        f"{task.metric} and parameters, FLOPs per {task.item} or training throughput, among the "
        "rows where both are known and if there are two; in brackets where others do, but none "
        "beyond the 95 % interval of the paired difference, or by fewer than three seeds.",
    ]
    if len(results.compared):
        lines.append(f"{task.speed.capitalize()}: {condition_text(results.compared)}.")
    if reasons := _reasons(results, group):
        lines.append(f"{BLANK} means, for {'; for '.join(reasons)}.")
    lines += marks.notes(group, marks.ROW)
    if group.diverged.any():
        lines.append("Diverged runs are counted, and are not in the mean.")
    uncounted = group[group.uncounted.notna()]
    lines += [
        f"The MACs of {code(row['model'])} are not counted: {escape(row['uncounted'])}."
        for row in uncounted.to_dict("records")
    ]
    return " ".join(lines)


def _reasons(results: Results, group: pd.DataFrame) -> list[str]:
    """Why there are blanks in the tables of a recipe."""
    reasons = []
    if group["mean"].isna().any():
        reasons.append(f"test {results.task.metrics}: no run ended well")
    if group.images_per_s.isna().any():
        untimed = "not timed that way, with that optimizer"
        why = untimed if len(results.compared) else "no speed was recorded"
        reasons.append(f"{results.task.speed}: {why}")
    if len(results.published):
        reasons.append("published numbers: none are known here, or the data set is another")
    return reasons
