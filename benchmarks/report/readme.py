"""The README's figure and tables: the rows of the paper, measured and published; and text."""

from pathlib import Path

import pandas as pd

from benchmarks.records import store
from benchmarks.records.frame import load_published, load_runs
from benchmarks.report import columns
from benchmarks.report.comparison import comparison, sections
from benchmarks.report.known_data import CIFAR10, known_data
from benchmarks.report.overview import FOREST_NOTE, PAPERS_NOTE, answers, mark_notes, opening
from benchmarks.report.page import Page
from benchmarks.report.recipe_tables import row_marks
from benchmarks.report.summary import Results, load_results, paper_rows, published_gaps
from benchmarks.report.tables import Column
from benchmarks.report.weak_points import trials_by_family
from benchmarks.system.files import write_atomically
from benchmarks.tasks import IMAGES, TEXT

BEGIN = "<!-- Figure and table are written by `python run_bench.py report --readme README.md`. -->"
END = "<!-- End of the table. -->"
TEXT_BEGIN = "<!-- The table of text is written by the same command. -->"
SHOWN = ("itself", "other")
"""On which data errors are shown (`KnownData.form`), the first that has any of the rows."""


class PageError(ValueError):
    """A page without the marks; the message is one line for the user."""


def measured(results_dir: Path, rows: list[str]) -> tuple[Results, pd.DataFrame] | None:
    """The first data set that has a run of the paper's rows, and its comparison of them."""
    for dataset in _cifar10_first(results_dir):
        results = load_results(results_dir, dataset)
        found = comparison(results)
        found = found[found.model.isin(rows) & (found.plugin_sha256 == "")]
        if len(found):
            return results, found.drop_duplicates("model")
    return None


def _cifar10_first(results_dir: Path) -> list[str]:
    """The data sets of CIFAR-10's images, by what they hold: no folder's name decides."""
    places = []
    for dataset in store.datasets(results_dir):
        data = known_data(dataset, load_runs(results_dir, dataset))
        if data.published == CIFAR10.published:
            places.append((SHOWN.index(data.form), dataset))
    return [dataset for _, dataset in sorted(places)]


def table(results_dir: Path, counts: list[dict]) -> Page:
    """A page with the figure, the table and its note.

    `counts`: of the paper's rows, as `list --json` has them (parameters and MACs are exact).

    Raises:
        PageError: if no row was measured.
    """
    published = load_published().dropna(subset=["registry_name"])
    published = published[published.data == CIFAR10.published]
    rows = paper_rows(published)
    found = measured(results_dir, rows)
    if found is None:
        raise PageError(f"{results_dir} has no run of the paper's rows on CIFAR-10: no table")
    results, measured_rows = found
    frame = pd.DataFrame(counts).set_index("model").loc[rows].reset_index()
    frame = frame[["model", "params", "flops_per_image"]]
    errors = published.set_index("registry_name").test_error
    frame["published_gap"] = frame.model.map(published_gaps(published))
    frame["published_error"] = frame.model.map(errors)
    names = [column.value for column in MEASURED]
    names += ["std", "difference_low", "difference_high", "across_mark", "marks"]
    measured_rows = measured_rows.assign(marks=row_marks(measured_rows))
    frame = frame.merge(measured_rows[["model", *names]], on="model", how="left")
    for marks in ("across_mark", "marks"):
        frame[marks] = frame[marks].fillna("")
    page = Page()
    if sections(results):
        folder = f"reports/{results.dataset}"
        figure = f"[![{QUESTION}]({folder}/figures/forest.svg)]({folder}/README.md)"
        page.add(figure, f"{FOREST_NOTE} {PAPERS_NOTE}")
    page.table("paper", frame, [*COUNTED, *MEASURED, *PUBLISHED])
    page.add(" ".join([opening(results), *mark_notes(measured_rows)]))
    lines = answers(results, trials_by_family(results_dir))
    page.add("\n".join(f"- {line}" for line in lines))
    return page


def text_table(results_dir: Path) -> Page:
    """A page with the table of all texts: of each model the longest recipe; empty without any."""
    rows, page = [], Page()
    for dataset in store.datasets(results_dir):
        if set(load_runs(results_dir, dataset).task) == {TEXT.name}:
            found = comparison(load_results(results_dir, dataset))
            rows.append(found.assign(marks=row_marks(found)))
    if rows:
        frame = pd.concat(rows, ignore_index=True)
        frame["text"] = frame.dataset.where(frame.dataset != frame.dataset.shift(fill_value=""), "")
        page.table("text", frame, OF_TEXT)
        page.add(" ".join([TEXT_NOTE, *mark_notes(frame)]))
    return page


QUESTION = "How far is each model from its plain network?"
COUNTED = [columns.MODEL, columns.PARAMETERS, columns.flops(IMAGES)]
MEASURED = [
    columns.mean(IMAGES),
    columns.above_pair(IMAGES),
    Column("seeds", "n", "d"),
    Column("recipe", "label"),
]
PUBLISHED = [
    Column(f"{IMAGES.difference} in the paper", "published_gap", IMAGES.signed),
    Column(
        f"{IMAGES.metric} in the paper ({CIFAR10.published})",
        "published_error",
        IMAGES.number,
        IMAGES.unit,
    ),
]


TEXT_NOTE = (
    f"{TEXT.metric.capitalize()} of the test split, mean ± standard deviation over seeds; "
    f"{TEXT.difference} over the seeds that both have, with the 95 % t-interval of three or more."
)
OF_TEXT = [
    Column("text", "text"),
    columns.MODEL,
    columns.PARAMETERS,
    columns.flops(TEXT),
    columns.mean(TEXT),
    columns.above_pair(TEXT),
    Column("seeds", "n", "d"),
    Column("recipe", "label"),
]


def write(results_dir: Path, page: Path, counts: list[dict]) -> None:
    """Replace what stands between the marks of a page by figure, table and note.

    The table of text has its marks too, in a page that wants it.

    Raises:
        PageError: if there is no page, it has no such marks, or no row was measured.
    """
    if not page.is_file():
        raise PageError(f"{page} is not a file; it needs lines {BEGIN!r} and {END!r}")
    text = page.read_text(encoding="utf-8")
    if not 0 <= text.find(BEGIN) < text.find(END):
        raise PageError(f"{page} has no lines {BEGIN!r} and {END!r}")
    text = _between(text, BEGIN, table(results_dir, counts).text)
    if 0 <= text.find(TEXT_BEGIN) < text.rfind(END):
        text = _between(text, TEXT_BEGIN, text_table(results_dir).text)
    write_atomically(page, text)


def _between(text: str, begin: str, content: str) -> str:
    """A page with the content after a mark, up to the next end."""
    start = text.index(begin) + len(begin)
    return f"{text[:start]}\n\n{content}\n{text[text.index(END, start) :]}"
