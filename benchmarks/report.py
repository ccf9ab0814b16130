"""The report: records + published numbers -> tables, figures and a page a data set. A pure function of the files it reads."""

from pathlib import Path

from benchmarks import plots, records
from benchmarks.files import write_atomically
from benchmarks.markdown import BLANK, code, escape, ratio, show, table
from benchmarks.speed_tables import condition_text, load_measured, speed_section
from benchmarks.summary import (
    PAPER_ORDER,
    Group,
    Row,
    Speeds,
    at,
    choose_speeds,
    number,
    paired_difference,
    sampling_error,
    summarize,
)

CIFAR10 = ("cifar10", "cifar10-jpeg")
NOTES = {
    "digits": "The handwritten digits that scikit-learn bundles, up-sampled to 32x32: a demonstration that everything works, "
    "not a measure of the models.",
    "cifar10-jpeg": "CIFAR-10 re-encoded as JPEG, quality 75. Errors run higher than on CIFAR-10 and compare only with other "
    "`cifar10-jpeg` results; published errors are of CIFAR-10 itself.",
    "svhn": "Street View House Numbers, cropped digits: trained on `train` alone. Much published work adds the 531,131 images of "
    "`extra`; such errors do not compare.",
}


def write_report(results_dir: Path, reports_dir: Path, dataset: str) -> Path:
    """Regenerate the page of a data set, its figures and the index; gives the page's path.

    Raises:
        ValueError: if there are no records of it.
    """
    found, problems = records.load_all(results_dir, dataset)
    if not found:
        raise ValueError(f"no records of data set {dataset!r} under {results_dir}; train something first")
    published_rows = records.load_published(results_dir) if (results_dir / "published.csv").exists() else {}
    published = published_rows if dataset in CIFAR10 else {}
    groups = summarize(found)
    models = [row.model for group in groups for row in group.rows]
    measured = load_measured(results_dir, problems)
    folder = reports_dir / dataset
    sections = [f"# {escape(dataset)}\n\n{NOTES.get(dataset, f'Image classification on `{dataset}`.')}"]
    absent = [name for name in published if name in PAPER_ORDER and name not in models]
    drawn = set()
    for index, group in enumerate(groups):
        speeds = choose_speeds(measured.speeds, models)
        shown = {name: row for name, row in published.items() if name in PAPER_ORDER or group.row(name)}
        figures = plots.write_figures(group, speeds, shown, folder / "figures", f"{_slug(group)}")
        drawn |= {name for name in figures.values() if name}
        sections += recipe_sections(group, speeds, published, figures, absent if index == 0 else [])
    sections.append(unmeasured_section(dataset, groups))
    sections.append(failures_section(groups, problems))
    sections.append(speed_section(measured, models))
    sections.append(method_section(found, published))
    text = "\n\n".join(section for section in sections if section) + "\n"
    write_atomically(folder / "README.md", text)
    remove_stale(folder / "figures", drawn)
    write_index(reports_dir)
    return folder / "README.md"


def remove_stale(folder: Path, drawn: set[str]) -> None:
    """Drop figures of recipes that have no records any more: the page must depend on the records alone."""
    for path in sorted([*folder.glob("*.svg"), *folder.glob("*.png")]):
        if path.stem not in drawn:
            path.unlink()


def _slug(group: Group) -> str:
    return f"{group.recipe}-{group.hash[:8]}" if records.NAME.fullmatch(group.recipe) else group.hash[:8]


def recipe_sections(group: Group, speeds: Speeds, published: dict, figures: dict, absent: list[str]) -> list[str]:
    """The sections of one recipe: its table, the pairs, the seeds, the figures."""
    epochs = sorted({e for row in group.rows if (e := trained_epochs(row))})
    span = f", {' or '.join(f'{e:,.0f}' for e in epochs)} epochs" if epochs else ""
    title = f"## Recipe {code(group.recipe)}{span}\n\nRecipe hash `{escape(group.hash)}`."
    parts = [title, main_table(group, speeds, published, absent), pair_table(group, speeds)]
    parts += [seed_table(group), legend(group, speeds)]
    captions = {"parameters": "Error against parameters", "macs": "Error against MACs", "throughput": "Error against throughput",
                "curves": "Learning curves"}  # fmt: skip
    missing = [captions[kind].lower() for kind, name in figures.items() if name is None]
    for kind, name in figures.items():
        if name:
            parts.append(f"![{captions[kind]}](figures/{name}.svg)")
    if missing:
        parts.append(f"Not drawn, for want of measurements: {', '.join(missing)}.")
    return parts


def trained_epochs(row: Row) -> float | None:
    """Epochs of a row's runs; a recipe may count in steps, and old records say only `epochs`."""
    return number(row.first("recipe", "trained_epochs")) or number(row.first("recipe", "epochs"))


def main_table(group: Group, speeds: Speeds, published: dict, absent: list[str]) -> str:
    """Published and measured side by side, a row a model; `absent` models have published numbers only."""
    headers = ["model", "test error", "published error (CIFAR-10)", "parameters", "published parameters", "MACs/image",
               "generator MACs/pass", "images/s, training", "optimizer", "steps", "runs"]  # fmt: skip
    rows = []
    for row in [*group.rows, *(Row(name, None) for name in absent)]:
        printed = published.get(row.model, {})
        rows.append([
            code(row.model) + (" †" if row.dirty else "") + (" ‡" if row.resumed_changed else ""),
            error_text(row),
            show(printed.get("test_error"), ".2f", " %"),
            show(row.first("params")),
            show(printed.get("params")),
            show(row.first("macs_per_image")),
            show(row.first("generator_macs")),
            show(speeds.training(row.model)),
            optimizer_text(row),
            show(row.first("recipe", "steps")),
            ", ".join(f"{n} {escape(status)}" for status, n in sorted(row.statuses().items())) or "not yet measured",
        ])  # fmt: skip
    return table(headers, rows)


def error_text(row: Row) -> str:
    """Mean and standard deviation over seeds."""
    if row.mean is None:
        return BLANK
    spread = "" if row.deviation is None else f" ± {row.deviation:.2f}"
    return f"{row.mean:.2f}{spread} % (n = {len(row.errors)})"


def optimizer_text(row: Row) -> str:
    block = row.first("recipe", str(row.first("recipe", "block")))
    if not isinstance(block, dict):
        return BLANK
    return f"{escape(block.get('optimizer'))}, {show(block.get('learning_rate'), 'g')}, L2 {show(block.get('l2'), 'g')}"


def pair_table(group: Group, speeds: Speeds) -> str:
    """Each model against its plain pair: same backbone, stored kernels."""
    rows = []
    for row in group.rows:
        pair = group.row(row.pair)
        if pair is None:
            continue
        difference = paired_difference(row, pair)
        spread = "" if difference is None or difference[1] is None else f" ± {difference[1]:.2f}"
        rows.append([
            code(row.model),
            code(pair.model),
            BLANK if difference is None else f"{difference[0]:+.2f}{spread} ({difference[2]})",
            ratio(row.first("params"), pair.first("params")),
            ratio(row.first("macs_per_image"), pair.first("macs_per_image")),
            ratio(speeds.training(row.model), speeds.training(pair.model)),
        ])  # fmt: skip
    headers = ["model", "plain pair", "error difference, points (seeds)", "parameters", "MACs/image", "images/s, training"]
    return f"### Against the plain pair\n\nRatios, model / plain.\n\n{table(headers, rows, left=2)}" if rows else ""


def seed_table(group: Group) -> str:
    """Every seed of every model, and the test set's own sampling error."""
    rows = []
    for row in group.rows:
        images = number(row.first("dataset_fingerprint", "test"))
        sampling = sampling_error(row.mean, images) if row.mean is not None else None
        seeds = ", ".join(f"{escape(seed)}: {error:.2f} %" for seed, error in row.errors.items()) or BLANK
        rows.append([code(row.model), str(len(row.errors)), seeds, show(sampling, ".2f", " points")])
    headers = ["model", "n", "test error by seed", "sampling error of the test set"]
    return f"### Every seed\n\n{table(headers, rows, left=1)}"


def legend(group: Group, speeds: Speeds) -> str:
    """What the blanks and marks of this recipe's tables mean."""
    lines = [
        "Test errors are of the last epoch, mean ± standard deviation (n - 1) over seeds where there are several. "
        "One MAC is one multiply-add (FLOPs = 2 x MACs); a generator's are per forward pass, whatever the batch size."
    ]
    if speeds.condition:
        lines.append(f"Images/s: {condition_text(speeds.condition)}.")
    reasons = []
    if any(row.mean is None for row in group.rows):
        reasons.append("an error: no run ended well")
    if any(speeds.training(row.model) is None for row in group.rows):
        reasons.append("images/s: not timed that way" if speeds.condition else "images/s: no speed was recorded")
    reasons.append("published numbers: none are known here, or the data set is another")
    lines.append(f"{BLANK} means, for {'; for '.join(reasons)}.")
    if any(row.dirty for row in group.rows):
        lines.append("† made from a tree with uncommitted changes, or of unknown origin.")
    if any(row.resumed_changed for row in group.rows):
        lines.append("‡ went on from a checkpoint of other code, torch or recipe.")
    if any(row.statuses().get("diverged") for row in group.rows):
        lines.append("Diverged runs are counted, and are not in the mean.")
    return " ".join(lines)


def unmeasured_section(dataset: str, groups: list[Group]) -> str:
    """Which rows of the paper's table have no run on this data set."""
    if dataset not in CIFAR10:
        return ""
    measured = {row.model for group in groups for row in group.rows if row.mean is not None}
    missing = [name for name in PAPER_ORDER if name not in measured]
    if not missing:
        return ""
    return f"## Not yet measured\n\nRows of the paper's table without a run here: {', '.join(map(code, missing))}."


def reason_of(record: dict) -> object:
    """Why a run has no error; a run that claims to be well and has none is told apart."""
    wrong = "the test error is no percentage" if record.get("status") == "ok" else "unknown"
    return record.get("reason") or wrong


def failures_section(groups: list[Group], problems: list[str]) -> str:
    rows = [
        [code(row.model), escape(group.recipe), escape(r.get("seed")), escape(r.get("status")), escape(reason_of(r))]
        for group in groups
        for row in group.rows
        for r in row.records
        if r not in row.good
    ]
    parts = [table(["model", "recipe", "seed", "status", "reason"], rows, left=5)] if rows else []
    parts += [f"- {escape(problem)}" for problem in problems]
    return "\n\n".join(["## Runs that did not end well", *parts]) if parts else ""


def method_section(found: list[dict], published: dict) -> str:
    """How it was measured, in words, from the records."""
    first = found[0]
    split = [number(at(first, "dataset_fingerprint", part)) for part in ("train", "validation", "test")]
    lines = []
    if all(split):
        lines.append("Data: {:,.0f} training, {:,.0f} validation and {:,.0f} test images (split seed {}). ".format(
            *split, escape(at(first, "dataset_fingerprint", "split_seed")))
            + "The test set is read once a run, after the last epoch; nothing is chosen on it.")  # fmt: skip
    if len({str(at(r, "dataset_fingerprint", "sha256")) for r in found}) > 1:
        lines.append("**The data differ between runs** (more than one fingerprint): their errors do not compare.")
    recipes = {str(at(r, "recipe", "hash")): at(r, "recipe") for r in found if isinstance(at(r, "recipe"), dict)}
    lines += [recipe_text(recipe) for _, recipe in sorted(recipes.items(), key=lambda item: (str(item[1].get("name")), item[0]))]
    for title, path in (("Device", "device"), ("Threads", "threads"), ("Precision", "precision"), ("Compilation", "compile"),
                        ("torch", "torch"), ("Memory format", "memory_format")):  # fmt: skip
        lines.append(f"{title}: {_values(found, 'environment', path)}.")
    fallbacks = sorted({str(f) for r in found for f in _list(at(r, "environment", "fallbacks"))})
    if fallbacks:
        lines.append(f"Fall-backs: {escape('; '.join(fallbacks))}.")
    lines.append(f"Commits: {_values(found, 'code', 'commit')}.")
    lines.append("MACs count convolutions and matrix products; batch norm, biases, pooling, padding and additions are left out.")
    text = "## How it was measured\n\n" + "\n".join(f"- {line}" for line in lines)
    sources = [f"- {code(name)}: {escape(row['source'])} (selection: {escape(row['selection'])})"
               for name, row in published.items() if name in {r.get("model") for r in found} or name in PAPER_ORDER]  # fmt: skip
    return text + ("\n\nPublished numbers:\n\n" + "\n".join(sources) if sources else "")


def _list(value: object) -> list:
    return value if isinstance(value, list) else []


def _values(found: list[dict], *path: str) -> str:
    values = sorted({str(at(r, *path)) for r in found})
    return ", ".join("unknown" if value == "None" else escape(value) for value in values)


def recipe_text(recipe: dict) -> str:
    """One recipe in a sentence, both optimizer blocks."""
    blocks = []
    for kind in ("stored", "generated"):
        block = recipe.get(kind)
        if isinstance(block, dict):
            blocks.append(
                f"{kind} kernels: {escape(block.get('optimizer'))}, learning rate {show(block.get('learning_rate'), 'g')} "
                f"({escape(block.get('schedule'))}, warm-up {show(block.get('warmup'), '.0%')}), L2 {show(block.get('l2'), 'g')}"
            )
    return (f"Recipe {code(recipe.get('name'))}: batch {show(recipe.get('batch_size'))}, crop padding "
            f"{show(recipe.get('crop_padding'))}; {'; '.join(blocks)}.")  # fmt: skip


def write_index(reports_dir: Path) -> None:
    """`reports/README.md`: the data sets with a report. The digits' report is a demonstration and stays unlisted."""
    names = sorted(p.parent.name for p in reports_dir.glob("*/README.md") if p.parent.name != "digits")
    if names:
        lines = "\n".join(f"- [{escape(name)}]({name}/README.md)" for name in names)
        write_atomically(reports_dir / "README.md", f"# Reports\n\nGenerated by `python run_bench.py report`.\n\n{lines}\n")
