"""The report: the page of a data set, its tables and figures, and the index of all pages."""

from pathlib import Path

import pandas as pd

from benchmarks.records import store
from benchmarks.report import explore, plots
from benchmarks.report.page import Page, remove_others
from benchmarks.report.paper import paper_section
from benchmarks.report.recipe_tables import answers_section, recipe_section
from benchmarks.report.speed_tables import speed_section
from benchmarks.report.summary import GROUP, Results, load_results
from benchmarks.report.tables import Column, code, escape, known, rates_text
from benchmarks.report.verdicts import AXES
from benchmarks.system.files import write_atomically
from benchmarks.training.recipes import KINDS

NOTES = {
    "digits": "The handwritten digits that scikit-learn bundles, up-sampled to 32x32: a "
    "demonstration that everything works, not a measure of the models.",
    "cifar10-9980": "CIFAR-10 itself, lossless: all training images, and 9,980 of the 10,000 test "
    "images (20 are left out). Published errors, of all 10,000, may stand beside its errors.",
    "cifar10-jpeg": "CIFAR-10 re-encoded as JPEG, quality 75. Errors run higher than on CIFAR-10 "
    "and compare only with other `cifar10-jpeg` results; published errors are of CIFAR-10 itself. "
    "The files are not published with this suite: the records hold their fingerprints, and "
    "`--dataset cifar10 --download` gives the table of CIFAR-10 itself.",
    "svhn": "Street View House Numbers, cropped digits: trained on `train` alone. Much published "
    "work adds the 531,131 images of `extra`; such errors do not compare.",
}

TITLES = {
    "stored": "stored kernels",
    "generated": "generated kernels",
    "scaled": "those of scaled gradients",
}

FIGURES_NOTE = (
    "Bars are 95 % t-intervals over seeds, where there are several; grey lines join pairs, the "
    "dotted line is the Pareto front of the means, hollow diamonds are published numbers of these "
    "models (CIFAR-10 itself)."
)


def build_report(
    results_dir: str | Path = "results",
    reports_dir: str | Path = "reports",
    dataset: str | None = None,
    html: bool = False,
) -> list[Path]:
    """Regenerate the pages of all data sets that have records, or of one, and the index.

    Writes `reports_dir`/<dataset>/README.md with its tables (Markdown, LaTeX, CSV) and figures,
    from the records under `results_dir` alone; `html`: index.html too, the page to explore. Gives
    the paths of the pages.

    Raises:
        ValueError: if there are no records.
    """
    results_dir, reports_dir = Path(results_dir), Path(reports_dir)
    names = [dataset] if dataset else store.datasets(results_dir)
    if not names:
        raise ValueError(f"no records under {results_dir}; train something first")
    pages = []
    for name in names:
        pages += _build_pages(results_dir, reports_dir, name, html)
        write_index(reports_dir)
    return pages


def _build_pages(results_dir: Path, reports_dir: Path, dataset: str, html: bool) -> list[Path]:
    results = load_results(results_dir, dataset)
    if results.runs.empty and not results.runs.attrs["problems"]:
        raise ValueError(
            f"no records of data set {dataset!r} under {results_dir}; train something first"
        )
    if html:
        explore.start_library()
    folder, page = reports_dir / dataset, Page()
    note = NOTES.get(dataset, f"Image classification on `{dataset}`.")
    page.add(f"# {escape(dataset)}", note)
    answers_section(page, results)
    absent = [name for name in results.paper_rows if name not in set(results.summary.model)]
    drawn: set[str] = set()
    for _, group in results.summary.groupby(GROUP):
        recipe_section(page, results, group, absent)
        absent = []  # they stand in the first table
        figures = plots.write_figures(results, group, folder / "figures")
        for name in figures.values():
            if name:
                drawn |= {f"{name}.svg", f"{name}.png"}
        figures_section(page, figures)
    remove_others(folder / "figures", drawn)
    paper_section(page, results)
    failures_section(page, results)
    speed_section(page, results)
    method_section(page, results)
    page.add("Every table is also there as LaTeX (booktabs) and CSV, in [`tables/`](tables).")
    written = [page.write(folder)]
    return [*written, explore.write_explorer(results, folder)] if html else written


def figures_section(page: Page, figures: dict[str, str | None]) -> None:
    """The figures of a recipe, and what could not be drawn."""
    captions = {axis: f"Error against {label}" for axis, (_, label, _) in AXES.items()}
    captions["curves"] = "Learning curves"
    drawn = {kind: name for kind, name in figures.items() if name}
    for kind, name in drawn.items():
        page.add(f"![{captions[kind]}](figures/{name}.svg)")
    missing = [captions[kind].lower() for kind in figures if kind not in drawn]
    if missing:
        page.add(f"Not drawn, for lack of measurements: {', '.join(missing)}.")
    if drawn:
        page.add(FIGURES_NOTE)


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
    lines = []
    for split, _ in runs.groupby(
        ["train_images", "validation_images", "test_images", "split_seed"]
    ):
        lines.append(
            "Data: {:,} training, {:,} validation and {:,} test images (split seed {}). The test "
            "set is read once a run, after the last epoch; nothing is chosen on it.".format(*split)
        )
    lines.append(f"Fingerprint of the data (sha256): {_values(runs.data_sha256)}.")
    if runs.data_sha256.nunique() > 1:
        lines.append("**The data differ between runs** (more than one fingerprint).")
    recipes = runs.attrs["recipes"].values()
    by_name = sorted(recipes, key=lambda recipe: (recipe["name"], recipe["hash"]))
    lines += [recipe_text(recipe) for recipe in by_name]
    titles = {
        "Device": runs.device,
        "Threads": runs.threads,
        "Precision": runs.precision,
        "Compilation": runs.compile,
        "torch": runs.torch,
        "Memory format": runs.memory_format,
        "Fall-backs": runs.fallbacks[runs.fallbacks != ""],
        "Commits": runs.commit,
    }
    lines += [f"{title}: {_values(values)}." for title, values in titles.items() if len(values)]
    lines.append(
        "FLOPs are 2 x MACs of convolutions and matrix products; batch norm, biases, pooling, "
        "padding and additions are left out."
    )
    page.add("## How it was measured", "\n".join(f"- {line}" for line in lines))
    shown = results.published
    shown = shown[shown.registry_name.isin([*runs.model, *results.paper_rows])]
    sources = [
        f"- {code(row.registry_name)}: {escape(row.source)} (selection: {escape(row.selection)})"
        for row in shown.itertuples()
    ]
    if sources:
        page.add("Published numbers:", "\n".join(sources))


def _values(values: pd.Series) -> str:
    return ", ".join(sorted({known(value) for value in values}))


def recipe_text(recipe: dict) -> str:
    """One recipe, as JSON has it, in a sentence: its optimizer blocks and the rules of parts."""
    blocks = []
    for kind in KINDS:
        block = recipe.get(kind)
        if block:
            warmup = block.get("warmup")
            warm = "" if warmup is None else f", warm-up {warmup:.0%}"
            schedule = f"({block['schedule']}{warm})"
            blocks.append(f"{TITLES[kind]}: {rates_text(block)} {schedule}, L2 {block['l2']:g}")
    head = f"batch {recipe['batch_size']}, crop padding {recipe['crop_padding']}"
    return f"Recipe {code(recipe['name'])}: {head}; {'; '.join(blocks)}."


def write_index(reports_dir: Path) -> None:
    """`reports/README.md`: the data sets with a page, but for digits, which is a demonstration."""
    names = sorted(page.parent.name for page in reports_dir.glob("*/README.md"))
    names = [name for name in names if name != "digits"]
    if names:
        lines = "\n".join(f"- [{escape(name)}]({name}/README.md)" for name in names)
        text = f"# Reports\n\nGenerated by `python run_bench.py report`.\n\n{lines}\n"
        write_atomically(reports_dir / "README.md", text)
