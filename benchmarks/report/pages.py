"""The report: the pages of a data set, their figures and tables, and the index of all reports."""

from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from benchmarks.records import store
from benchmarks.report import explore, gap_plots, plots
from benchmarks.report.comparison import sections
from benchmarks.report.method import method_page
from benchmarks.report.overview import overview
from benchmarks.report.page import write_folder
from benchmarks.report.recipe_tables import recipe_page
from benchmarks.report.speed_tables import speed_page
from benchmarks.report.summary import GROUP, Results, load_results
from benchmarks.report.tables import escape
from benchmarks.report.weak_points import Trials, trials_by_family
from benchmarks.system.files import write_atomically
from benchmarks.training.messages import nearest

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def build_report(
    results_dir: str | Path = "results",
    reports_dir: str | Path = "reports",
    dataset: str | None = None,
    question: str | None = None,
    html: bool = False,
) -> list[Path]:
    """Regenerate the reports of all data sets that have records, or of one, and the index.

    Writes `reports_dir`/<dataset>/, from the records under `results_dir` alone: README.md,
    recipes/<recipe>.md, speed.md, method.md, all runs as results.csv, tables (LaTeX and CSV) and
    figures. `question`: the model that the front page asks about; `html`: index.html too, the
    page to explore. Gives the paths of the front pages, and of these.

    Raises:
        ValueError: if there are no records, or none of the model that is asked about.
    """
    results_dir, reports_dir = Path(results_dir), Path(reports_dir)
    names = [dataset] if dataset else store.datasets(results_dir)
    if not names:
        raise ValueError(f"no records under {results_dir}; train something first")
    trials = trials_by_family(results_dir)
    if html:
        explore.start_library()
    pages = []
    found = {name: load_results(results_dir, name) for name in names}
    _refuse_nothing(found, results_dir, question)
    for name, results in found.items():
        asked = question if question in set(results.runs.model) else None
        pages.append(write_report(results, reports_dir / name, trials, asked))
        if html:
            pages.append(explore.write_explorer(results, reports_dir / name))
        write_index(reports_dir)
    return pages


def _refuse_nothing(found: dict[str, Results], results_dir: Path, question: str | None) -> None:
    """Refuse a data set without records, and a model that none of them has."""
    for name, results in found.items():
        if results.runs.empty and not results.runs.attrs["problems"]:
            raise ValueError(
                f"no records of data set {name!r} under {results_dir}; train something first"
                f"{nearest(name, store.datasets(results_dir))}"
            )
    there = set(chain.from_iterable(results.runs.model for results in found.values()))
    if question is not None and question not in there:
        raise ValueError(
            f"no run of model {question!r} on {', '.join(found)}; there are "
            f"{', '.join(sorted(there))}"
        )


def write_report(
    results: Results, folder: Path, trials: Trials, question: str | None = None
) -> Path:
    """Write the report of a data set; gives its front page."""
    forest, figures = _draw(results, folder / "figures")
    pages = {
        "README.md": overview(results, forest, question, trials),
        "speed.md": speed_page(results),
        "method.md": method_page(results),
    }
    absent = [name for name in results.paper_rows if name not in set(results.summary.model)]
    for _, group in results.summary.groupby(GROUP):
        name = group.slug.iloc[0]
        of_group = {question: file for (slug, question), file in figures.items() if slug == name}
        pages[f"recipes/{name}.md"] = recipe_page(results, group, absent, of_group)
    csv = results.runs.drop(columns="test_wrong").to_csv(index=False, lineterminator="\n")
    write_atomically(folder / "results.csv", csv)
    files = [file for file in (forest, *figures.values()) if file]
    write_folder(folder, pages, [folder / file for file in files])
    return folder / "README.md"


def _draw(results: Results, folder: Path) -> tuple[str | None, dict[tuple[str, str], str]]:
    """Draw what there is data for: the forest plot, and by (recipe's slug, question) the others.

    Files are named from the report's folder, as SVG.
    """
    ended = results.summary[results.summary["mean"].notna()]
    groups = [group for _, group in ended.groupby(GROUP)]
    draw_group = partial(_draw_group, results, folder)
    if len(groups) < MANY:
        return _draw_forest(results, folder), _merged(map(draw_group, groups))
    # A figure takes half a second: processes share them.
    with ProcessPoolExecutor(2) as pool:
        forest = pool.submit(_draw_forest, results, folder)
        drawn = pool.map(draw_group, groups)
        return forest.result(), _merged(drawn)


def _merged(parts: Iterable[dict]) -> dict:
    return dict(chain.from_iterable(part.items() for part in parts))


MANY = 3
"""From how many recipes on processes pay."""


def _draw_forest(results: Results, folder: Path) -> str | None:
    found = sections(results)
    if not found:
        return None
    with plots.style():
        published, task = results.published_gaps, results.task
        plots.save(plots.draw_forest(found, results.runs, published, task), folder, "forest")
    return "figures/forest.svg"


def _draw_group(results: Results, folder: Path, group: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Draw the figures of a recipe; gives their files by (slug, question)."""
    slug, figures = group.slug.iloc[0], {}
    with plots.style():
        for question, name, figure in _figures_of(results, group):
            plots.save(figure, folder, f"{slug}-{name}")
            figures[slug, question] = f"figures/{slug}-{name}.svg"
    return figures


def _figures_of(results: Results, group: pd.DataFrame) -> list[tuple[str, str, "Figure"]]:
    """(question, name, figure) of a recipe."""
    label, task, figures = group.label.iloc[0], results.task, []
    if len(group) > 2:
        title = f"{task.which} does each model end with? ({label})"
        figures.append((title, "errors", plots.draw_errors(group, results.runs, title, task)))
    key = group.iloc[0][GROUP].astype("string")
    epochs = results.epochs[(results.epochs[GROUP] == key).all(axis=1)]
    gaps = gap_plots.gaps_by_epoch(epochs, group, results.differences)
    if len(gaps):
        title = f"Does the gap to the plain network close with training? ({label})"
        published = results.published_gaps
        shown = {name: gap for name, gap in published.items() if name in set(gaps.model)}
        figures.append((title, "gaps", gap_plots.draw_gaps(gaps, shown, title, task)))
    if plots.many_sizes(group):
        title = f"{task.which} do how many parameters reach? ({label})"
        drawn = plots.draw_front(group, results.differences, title, task)
        figures.append((title, "front", drawn))
    return figures


def write_index(reports_dir: Path) -> None:
    """`reports/README.md`: the data sets with a page, but for digits, which is a demonstration.

    Each with what its page begins with.
    """
    pages = {page.parent.name: page for page in sorted(reports_dir.glob("*/README.md"))}
    pages.pop("digits", None)
    if pages:
        lines = "\n".join(
            f"- [{escape(name)}]({name}/README.md){_beginning(page)}"
            for name, page in pages.items()
        )
        text = f"# Reports\n\nGenerated by `python run_bench.py report`.\n\n{lines}\n"
        write_atomically(reports_dir / "README.md", text)


def _beginning(page: Path) -> str:
    """The paragraph after a page's heading, its `opening`; "" where there is none."""
    _, *others = page.read_text(encoding="utf-8").split("\n\n")
    return f": {others[0].strip()}" if others else ""
