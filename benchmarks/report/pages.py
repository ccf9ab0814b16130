"""The report: records + published numbers -> tables, figures and a page a data set. A pure function of the files it reads."""

from pathlib import Path

from benchmarks.records import store
from benchmarks.records.fields import at, number
from benchmarks.report import plots
from benchmarks.report.paper import CIFAR10, paper_sections
from benchmarks.report.recipe_tables import recipe_name, recipe_sections, slug, summary_section
from benchmarks.report.speed_tables import load_measured, speed_section
from benchmarks.report.summary import PAPER_ORDER, Group, choose_speeds, summarize
from benchmarks.report.tables import Name, Part, Table, block_text, code, escape, show
from benchmarks.system.files import write_atomically
from benchmarks.training.recipes import KINDS

NOTES = {
    "digits": "The handwritten digits that scikit-learn bundles, up-sampled to 32x32: a demonstration that everything works, "
    "not a measure of the models.",
    "cifar10-jpeg": "CIFAR-10 re-encoded as JPEG, quality 75. Errors run higher than on CIFAR-10 and compare only with other "
    "`cifar10-jpeg` results; published errors are of CIFAR-10 itself. The files are not published with this suite: the records "
    "hold their fingerprints, and `--dataset cifar10 --download` gives the table of CIFAR-10 itself.",
    "svhn": "Street View House Numbers, cropped digits: trained on `train` alone. Much published work adds the 531,131 images of "
    "`extra`; such errors do not compare.",
}

TITLES = {
    "stored": "stored kernels",
    "generated": "generated kernels",
    "scaled": "those of scaled gradients",
}

TABLES_NOTE = "Every table is also there as LaTeX (booktabs) and CSV, in [`tables/`](tables)."


def write_report(results_dir: Path, reports_dir: Path, dataset: str) -> Path:
    """Regenerate the page of a data set, its figures and the index; gives the page's path.

    Raises:
        ValueError: if there are no files of records of it.
    """
    found, problems = store.load_all(results_dir, dataset)
    if not found and not problems:
        raise ValueError(
            f"no records of data set {dataset!r} under {results_dir}; train something first"
        )
    published_rows = (
        store.load_published(results_dir) if (results_dir / "published.csv").exists() else {}
    )
    published = published_rows if dataset in CIFAR10 else {}
    groups = summarize(found)
    models = [row.model for group in groups for row in group.rows]
    measured = load_measured(results_dir, problems)
    folder = reports_dir / dataset
    sections: list[Part] = [
        f"# {escape(dataset)}\n\n{NOTES.get(dataset, f'Image classification on `{dataset}`.')}"
    ]
    absent = [name for name in published if name in PAPER_ORDER and name not in models]
    sections += summary_section(groups)
    drawn = set()
    speeds = choose_speeds(measured.speeds, models, measured.pairs)
    for index, group in enumerate(groups):
        shown = {name: row for name, row in published.items() if group.row(name)}
        figures = plots.write_figures(group, speeds, shown, folder / "figures", f"{slug(group)}")
        drawn |= {name for name in figures.values() if name}
        sections += recipe_sections(group, speeds, published, figures, absent if index == 0 else [])
    sections += paper_sections(dataset, groups, published, measured.speeds)
    sections += failures_section(groups, problems)
    sections += speed_section(measured, models)
    sections += [*([method_section(found, published)] if found else []), TABLES_NOTE]
    remove_stale(folder / "figures", (".svg", ".png"), drawn)
    write_page(folder, sections)
    write_index(reports_dir)
    return folder / "README.md"


def write_page(folder: Path, sections: list[Part]) -> None:
    """The page, and each of its tables as LaTeX and CSV."""
    tables = [part for part in sections if isinstance(part, Table)]
    for table in tables:
        write_atomically(folder / "tables" / f"{table.name}.tex", table.latex())
        write_atomically(folder / "tables" / f"{table.name}.csv", table.csv())
    remove_stale(folder / "tables", (".tex", ".csv"), {table.name for table in tables})
    text = "\n\n".join(
        part.markdown() if isinstance(part, Table) else part for part in sections if part
    )
    write_atomically(folder / "README.md", text + "\n")


def remove_stale(folder: Path, suffixes: tuple[str, ...], written: set[str]) -> None:
    """Drop files of recipes that have no records any more: the page must depend on the records alone."""
    for path in sorted(path for suffix in suffixes for path in folder.glob(f"*{suffix}")):
        if path.stem not in written:
            path.unlink()


def reason_of(record: dict) -> object:
    """Why a run has no error; a run that claims to be well and has none is told apart."""
    wrong = "the test error is no percentage" if record.get("status") == "ok" else "unknown"
    return record.get("reason") or wrong


def failures_section(groups: list[Group], problems: list[str]) -> list[Part]:
    rows = [
        [Name(row.model), recipe_name(group, groups), r.get("seed"), r.get("status"), reason_of(r)]
        for group in groups
        for row in group.rows
        for r in row.records
        if r not in row.good
    ]
    parts: list[Part] = (
        [Table("failures", ["model", "recipe", "seed", "status", "reason"], rows, left=5)]
        if rows
        else []
    )
    parts += ["\n".join(f"- {escape(problem)}" for problem in problems)] if problems else []
    return ["## Runs that did not end well", *parts] if parts else []


def method_section(found: list[dict], published: dict) -> str:
    """How it was measured, in words, from the records."""
    first = found[0]
    split = [
        number(at(first, "dataset_fingerprint", part)) for part in ("train", "validation", "test")
    ]
    lines = []
    if all(split):
        lines.append(
            "Data: {:,.0f} training, {:,.0f} validation and {:,.0f} test images (split seed {}). ".format(
                *split, escape(at(first, "dataset_fingerprint", "split_seed"))
            )
            + "The test set is read once a run, after the last epoch; nothing is chosen on it."
        )
    lines.append(
        f"Fingerprint of the data (sha256): {_values(found, 'dataset_fingerprint', 'sha256')}."
    )
    if len({str(at(r, "dataset_fingerprint", "sha256")) for r in found}) > 1:
        lines.append(
            "**The data differ between runs** (more than one fingerprint): their errors do not compare."
        )
    recipes = {
        str(at(r, "recipe", "hash")): at(r, "recipe")
        for r in found
        if isinstance(at(r, "recipe"), dict)
    }
    lines += [
        recipe_text(recipe)
        for _, recipe in sorted(
            recipes.items(), key=lambda item: (str(item[1].get("name")), item[0])
        )
    ]
    for title, path in (
        ("Device", "device"),
        ("Threads", "threads"),
        ("Precision", "precision"),
        ("Compilation", "compile"),
        ("torch", "torch"),
        ("Memory format", "memory_format"),
    ):
        lines.append(f"{title}: {_values(found, 'environment', path)}.")
    fallbacks = sorted({str(f) for r in found for f in _list(at(r, "environment", "fallbacks"))})
    if fallbacks:
        lines.append(f"Fall-backs: {escape('; '.join(fallbacks))}.")
    lines.append(f"Commits: {_values(found, 'code', 'commit')}.")
    lines.append(
        "MACs count convolutions and matrix products; batch norm, biases, pooling, padding and additions are left out."
    )
    text = "## How it was measured\n\n" + "\n".join(f"- {line}" for line in lines)
    sources = [
        f"- {code(name)}: {escape(row['source'])} (selection: {escape(row['selection'])})"
        for name, row in published.items()
        if name in {r.get("model") for r in found} or name in PAPER_ORDER
    ]
    return text + ("\n\nPublished numbers:\n\n" + "\n".join(sources) if sources else "")


def _list(value: object) -> list:
    return value if isinstance(value, list) else []


def _values(found: list[dict], *path: str) -> str:
    values = sorted({str(at(r, *path)) for r in found})
    return ", ".join("unknown" if value == "None" else escape(value) for value in values)


def recipe_text(recipe: dict) -> str:
    """One recipe in a sentence, its optimizer blocks and the rules of their parts."""
    blocks = []
    for kind in KINDS:
        block = recipe.get(kind)
        if isinstance(block, dict):
            blocks.append(
                f"{TITLES[kind]}: {block_text(block)} "
                f"({escape(block.get('schedule'))}, warm-up {show(block.get('warmup'), '.0%')}), L2 {show(block.get('l2'), 'g')}"
            )
    return (
        f"Recipe {code(recipe.get('name'))}: batch {show(recipe.get('batch_size'))}, crop padding "
        f"{show(recipe.get('crop_padding'))}; {'; '.join(blocks)}."
    )


def write_index(reports_dir: Path) -> None:
    """`reports/README.md`: the data sets with a report. The digits' report is a demonstration and stays unlisted."""
    names = sorted(
        p.parent.name for p in reports_dir.glob("*/README.md") if p.parent.name != "digits"
    )
    if names:
        lines = "\n".join(f"- [{escape(name)}]({name}/README.md)" for name in names)
        write_atomically(
            reports_dir / "README.md",
            f"# Reports\n\nGenerated by `python run_bench.py report`.\n\n{lines}\n",
        )
