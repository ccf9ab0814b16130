"""The sections of one recipe in a report: its models, the verdicts, the pairs, every seed; and the answers of all recipes."""

from benchmarks.records import store
from benchmarks.records.fields import number
from benchmarks.report.speed_tables import condition_text, interval_cell
from benchmarks.report.summary import (
    Estimate,
    Group,
    Row,
    Speeds,
    paired_across,
    paired_difference,
    sampling_error,
)
from benchmarks.report.tables import (
    BLANK,
    Interval,
    Name,
    Number,
    Part,
    Spread,
    Table,
    block_text,
    code,
    escape,
    ratio,
    show,
)
from benchmarks.report.verdicts import AXES, Verdict, pareto, verdicts
from benchmarks.training import recipes

FIGURES_NOTE = (
    "Bars are 95 % t-intervals over seeds, where there are several; grey lines join pairs, the dotted line is the Pareto front of "
    "the means, hollow diamonds are published numbers of these models (CIFAR-10 itself)."
)


ACROSS = "a seed of the two was run on another device, precision or torch version"


def slug(group: Group) -> str:
    return (
        f"{group.recipe}-{group.hash[:8]}" if store.NAME.fullmatch(group.recipe) else group.hash[:8]
    )


def recipe_name(group: Group, groups: list[Group]) -> str:
    """A recipe's name, and where several hashes have it, the hash."""
    return (
        group.recipe
        if sum(g.recipe == group.recipe for g in groups) == 1
        else f"{group.recipe} ({group.hash[:8]})"
    )


def difference_cells(found: Estimate | None) -> list[Number]:
    """A paired difference with its interval, and of how many seeds it is."""
    return [
        Interval(found and found.mean, "+.2f", "", found and found.low, found and found.high),
        Number(found and found.n),
    ]


def summary_section(groups: list[Group]) -> list[Part]:
    """The answers so far, the longest trained first: every verdict that has a rival."""
    rows = []
    for group in sorted(
        groups,
        key=lambda group: (
            -max((number(r.first("recipe", "steps")) or 0 for r in group.rows), default=0)
        ),
    ):
        for verdict in verdicts(group):
            if (rival := verdict.rival) is None:
                continue
            rows.append(
                [
                    Name(verdict.row.model),
                    Name(rival.model, " §" if paired_across(verdict.row, rival) else ""),
                    verdict.question,
                    verdict.answer,
                    *difference_cells(verdict.difference),
                    recipe_name(group, groups),
                    Number(verdict.row.first("recipe", "steps")),
                    optimizer_text(verdict.row),
                ]
            )
    headers = [
        "model",
        "against",
        "which is",
        "better?",
        "error difference, points",
        "shared seeds",
        "recipe",
        "steps",
        "optimizer",
    ]
    note = (
        "Whether a hypernetwork is better than its rivals, where both were trained: yes or no where the 95 % t-interval of the "
        "difference in test error excludes 0. Each recipe's section says more, and what was not measured."
    )
    across = f" § {ACROSS}." if any(row[1].mark for row in rows) else ""
    return (
        ["## Is the hypernetwork better?", note + across, Table("answers", headers, rows, left=4)]
        if rows
        else []
    )


def recipe_sections(
    group: Group, speeds: Speeds, published: dict, figures: dict, absent: list[str]
) -> list[Part]:
    """The sections of one recipe: its table, verdicts, the pairs, the seeds, the figures."""
    epochs = sorted({e for row in group.rows if (e := trained_epochs(row))})
    span = f", {' or '.join(f'{e:,.0f}' for e in epochs)} epochs" if epochs else ""
    parts: list[Part] = [
        f"## Recipe {code(group.recipe)}{span}",
        f"Recipe hash `{escape(group.hash)}`{description(group)}.",
    ]
    parts += [
        main_table(group, speeds, published, absent),
        legend(group, speeds),
        *verdict_section(group),
    ]
    parts += [*pair_section(group, speeds), *seed_section(group)]
    captions = {axis: f"Error against {AXES[axis].title}" for axis in AXES} | {
        "curves": "Learning curves"
    }
    missing = [captions[kind].lower() for kind, name in figures.items() if name is None]
    parts += [f"![{captions[kind]}](figures/{name}.svg)" for kind, name in figures.items() if name]
    if missing:
        parts.append(f"Not drawn, for want of measurements: {', '.join(missing)}.")
    if len(missing) < len(figures):
        parts.append(FIGURES_NOTE)
    return parts


def description(group: Group) -> str:
    """What a built-in recipe is, if these runs are of it as it is today."""
    built_in = recipes.built_in(group.recipe)
    return (
        f": {escape(recipes.description(group.recipe))}"
        if built_in and built_in.hash == group.hash
        else ""
    )


def trained_epochs(row: Row) -> float | None:
    """Epochs of a row's runs; a recipe may count in steps, and old records say only `epochs`."""
    return number(row.first("recipe", "trained_epochs")) or number(row.first("recipe", "epochs"))


def main_table(group: Group, speeds: Speeds, published: dict, absent: list[str]) -> Table:
    """Published and measured side by side, a row a model; `absent` models have published numbers only."""
    headers = [
        "model",
        "test error",
        "fronts",
        "published error (CIFAR-10)",
        "parameters",
        "published parameters",
        "MACs/image",
        "generator MACs/pass",
        "images/s, training",
        "optimizer",
        "steps",
        "runs",
    ]
    marks, rows = front_marks(group, speeds), []
    for row in [*group.rows, *(Row(name, None) for name in absent)]:
        printed = published.get(row.model, {})
        rows.append(
            [
                Name(row.model, marks_of(row)),
                error_cell(row),
                marks.get(row.model, BLANK),
                Number(printed.get("test_error"), ".2f", " %"),
                Number(row.first("params")),
                Number(printed.get("params")),
                Number(row.first("macs_per_image")),
                Number(row.first("generator_macs")),
                Number(speeds.training(row)),
                optimizer_text(row),
                Number(row.first("recipe", "steps")),
                ", ".join(f"{n} {status}" for status, n in sorted(row.statuses().items()))
                or "not yet measured",
            ]
        )
    return Table(f"{slug(group)}-models", headers, rows)


def marks_of(row: Row) -> str:
    """The marks behind a model's name, which the legend explains."""
    return "".join(
        f" {mark}"
        for mark, meant in (("†", row.dirty), ("‡", row.resumed_changed), ("§", row.mixed))
        if meant
    )


def error_cell(row: Row) -> Spread:
    """Mean and standard deviation over seeds."""
    found = row.estimate
    return Spread(found and found.mean, ".2f", " %", found and found.deviation, len(row.errors))


def front_marks(group: Group, speeds: Speeds) -> dict[str, str]:
    """By model, the letters of the fronts that it is on, in brackets where only the seeds' spread keeps it there."""
    marks: dict[str, list[str]] = {}
    for name, axis in AXES.items():
        front = pareto(group, name, speeds)
        for model in front.members:
            marks.setdefault(model, []).append(axis.key)
        for model in front.perhaps:
            marks.setdefault(model, []).append(f"({axis.key})")
    return {model: " ".join(letters) for model, letters in marks.items()}


def optimizer_text(row: Row) -> str:
    block = row.first("recipe", row.kind)
    if not isinstance(block, dict):
        return BLANK
    return f"{'scaled ' if row.kind == 'scaled' else ''}{block_text(block)}, L2 {show(block.get('l2'), 'g')}"


def verdict_section(group: Group) -> list[Part]:
    """Is the hypernetwork worth it? A sentence a question."""
    found = verdicts(group)
    if not found:
        return []
    epochs = sorted({e for row in group.rows if (e := trained_epochs(row))})
    budget = f"After {' or '.join(f'{e:,.0f}' for e in epochs)} epochs: a" if epochs else "A"
    note = (
        f"{budget}nswers are of this budget of training alone. Yes or no where the 95 % t-interval of the difference in test "
        "error, paired over seeds, excludes 0 (the test set's own sampling is not in it); the rival is the one with the lowest "
        "validation error."
    )
    return [
        "### Is the hypernetwork better?",
        note,
        "\n".join(f"- {verdict_text(v)}" for v in found),
    ]


def verdict_text(verdict: Verdict) -> str:
    asked = f"Is {code(verdict.row.model)} ({show(verdict.row.first('params'))} parameters) better than {verdict.question}?"
    if verdict.rival is None:
        return f"{asked} **Not measured**: none was trained with this recipe."
    rival = f"{code(verdict.rival.model)} ({show(verdict.rival.first('params'))} parameters; {_of(verdict.rivals)})"
    if verdict.difference is None:
        return f"{asked} **Undecided**: it shares no seed with {rival}."
    across = f" {ACROSS.capitalize()}." if paired_across(verdict.row, verdict.rival) else ""
    return f"{asked} **{verdict.answer.capitalize()}**: {difference_text(verdict.difference)} against {rival}.{across}"


def _of(rivals: int) -> str:
    return "the only one" if rivals == 1 else f"lowest validation error of {rivals}"


def difference_text(difference: Estimate) -> str:
    if difference.low is None:
        return f"{difference.mean:+.2f} points in test error, of one seed, which gives no interval,"
    return f"{difference.mean:+.2f} points in test error [{difference.low:+.2f}, {difference.high:+.2f}] over {difference.n} seeds"


def pair_section(group: Group, speeds: Speeds) -> list[Part]:
    """Each model against its plain pair: same backbone, stored kernels."""
    rows = []
    for row in group.rows:
        pair = group.row(row.pair)
        if pair is None:
            continue
        rows.append(
            [
                Name(row.model, " §" if paired_across(row, pair) else ""),
                Name(pair.model),
                *difference_cells(paired_difference(row, pair)),
                ratio(row.first("params"), pair.first("params")),
                ratio(row.first("macs_per_image"), pair.first("macs_per_image")),
                interval_cell(speeds.ratio(row, pair)),
            ]
        )
    headers = [
        "model",
        "plain pair",
        "error difference, points",
        "shared seeds",
        "parameters",
        "MACs/image",
        "images/s, training, in turns",
    ]
    table = Table(f"{slug(group)}-pairs", headers, rows, left=2)
    across = (
        f" § {ACROSS}."
        if any(paired_across(row, pair) for row in group.rows if (pair := group.row(row.pair)))
        else ""
    )
    note = (
        "Error minus the pair's over the seeds that both have [95 % t-interval]; the rest are ratios, model / plain: that of "
        "images/s from windows that alternate, both with the plain network's optimizer [bootstrap 95 % interval]; blank where it "
        f"was not measured under that condition or its null run failed.{across}"
    )
    return ["### Against the plain pair", note, table] if rows else []


def seed_section(group: Group) -> list[Part]:
    """Every seed of every model, what they say together, and the test set's own sampling error."""
    rows = []
    for row in group.rows:
        found, images = row.estimate, number(row.first("dataset_fingerprint", "test"))
        sampling = sampling_error(found.mean, images) if found else None
        seeds = ", ".join(f"{seed}: {error:.2f} %" for seed, error in row.errors.items()) or BLANK
        rows.append(
            [
                Name(row.model),
                Number(len(row.errors)),
                Interval(
                    found and found.mean, ".2f", " %", found and found.low, found and found.high
                ),
                Number(found and found.deviation, ".2f"),
                Number(sampling, ".2f"),
                Number(row.validation, ".2f", " %"),
                seeds,
            ]
        )
    headers = [
        "model",
        "n",
        "test error [95 % t-interval]",
        "standard deviation",
        "sampling error of the test set",
        "validation error",
        "test error by seed",
    ]
    note = "Standard deviation over seeds (n - 1) and sampling error (one standard deviation) in points."
    return ["### Every seed", note, Table(f"{slug(group)}-seeds", headers, rows)]


def legend(group: Group, speeds: Speeds) -> str:
    """What the blanks and marks of this recipe's tables mean."""
    lines = [
        "Test errors are of the last epoch, mean ± standard deviation (n - 1) over seeds where there are several. "
        "One MAC is one multiply-add (FLOPs = 2 x MACs); a generator's are per forward pass, whatever the batch size."
    ]
    lines.append(
        "Fronts: P, M and T mark a row that by the means no other dominates in error and parameters, MACs per image or training "
        "throughput, among the rows where both are known and if there are two; in brackets where others do, but none beyond the "
        "95 % interval of the paired difference."
    )
    if speeds.condition:
        lines.append(f"Images/s: {condition_text(speeds.condition)}.")
    reasons = []
    if any(row.mean is None for row in group.rows):
        reasons.append("an error: no run ended well")
    if any(speeds.training(row) is None for row in group.rows):
        why = (
            "not timed that way, with that optimizer"
            if speeds.condition
            else "no speed was recorded"
        )
        reasons.append(f"images/s: {why}")
    reasons.append("published numbers: none are known here, or the data set is another")
    lines.append(f"{BLANK} means, for {'; for '.join(reasons)}.")
    if any(row.dirty for row in group.rows):
        lines.append("† made from a tree with uncommitted changes, or of unknown origin.")
    if any(row.resumed_changed for row in group.rows):
        lines.append("‡ went on from a checkpoint of other code, torch, recipe, data or settings.")
    if any(row.mixed for row in group.rows):
        lines.append("§ its seeds differ in device, precision or torch version.")
    if any(row.statuses().get("diverged") for row in group.rows):
        lines.append("Diverged runs are counted, and are not in the mean.")
    return " ".join(lines)
