"""The README's figure and tables: the rows of the paper, measured and published; and text."""

from pathlib import Path

import pandas as pd

from benchmarks.records import store
from benchmarks.records.frame import load_published
from benchmarks.report import columns, marks
from benchmarks.report.answers import add_answer_table, answer_rows
from benchmarks.report.comparison import comparison, sections
from benchmarks.report.known_data import CIFAR10
from benchmarks.report.overview import FOREST_NOTE, PAPERS_NOTE, opening
from benchmarks.report.page import Page
from benchmarks.report.summary import Results, load_results, paper_rows, published_gaps
from benchmarks.report.tables import Column, escape
from benchmarks.system.files import write_atomically
from benchmarks.tasks import IMAGES, TEXT

BEGIN = "<!-- Figure and table are written by `python run_bench.py report --readme README.md`. -->"
END = "<!-- End of the table. -->"
TEXT_BEGIN = "<!-- The table of text is written by the same command. -->"
SHOWN = ("itself", "other")
"""On which data errors are shown (`KnownData.form`), the best form first."""


class PageError(ValueError):
    """A page that cannot be written; the message is one line for the user."""


def measured(results_dir: Path, rows: list[str]) -> tuple[Results, pd.DataFrame] | None:
    """The data set that has most of the paper's rows, then most seeds, and its comparison of them.

    CIFAR-10 itself comes before its other forms, by what it holds: no folder's name decides.
    """
    candidates = []
    for dataset in store.datasets(results_dir):
        results = load_results(results_dir, dataset)
        if results.data.published == CIFAR10.published:
            found = comparison(results)
            found = found[found.model.isin(rows) & (found.plugin_sha256 == "")]
            found = found.drop_duplicates("model")
            size = (-SHOWN.index(results.data.form), len(found), found.n.sum())
            candidates += [(size, (results, found))] if len(found) else []
    return max(candidates, key=lambda candidate: candidate[0])[1] if candidates else None


def table(results_dir: Path, counts: list[dict]) -> Page:
    """A page with the figure, the table and its note.

    `counts`: of the paper's rows, as `list --json` has them (parameters and MACs are exact). The
    page is empty if none of these was measured.
    """
    published = load_published().dropna(subset=["registry_name"])
    published = published[published.data == CIFAR10.published]
    rows = paper_rows(published)
    found = measured(results_dir, rows)
    if found is None:
        return Page()
    results, measured_rows = found
    frame = pd.DataFrame(counts).set_index("model").loc[rows].reset_index()
    frame = frame[["model", "params", "flops_per_image"]]
    errors = published.set_index("registry_name").test_error
    frame["published_gap"] = frame.model.map(published_gaps(published))
    frame["published_error"] = frame.model.map(errors)
    names = [column.value for column in MEASURED]
    names += ["std", "difference_low", "difference_high", "across_mark", "marks"]
    measured_rows = measured_rows.assign(marks=marks.signs(measured_rows, marks.ROW))
    frame = frame.merge(measured_rows[["model", *names]], on="model", how="left")
    for column in ("across_mark", "marks"):
        frame[column] = frame[column].fillna("")
    page = Page()
    if sections(results):
        folder = f"reports/{results.dataset}"
        figure = f"[![{QUESTION}]({folder}/figures/forest.svg)]({folder}/README.md)"
        page.add(figure, f"{FOREST_NOTE} {PAPERS_NOTE}")
    page.table("paper", frame, [*COUNTED, *MEASURED, *PUBLISHED])
    page.add(" ".join([opening(results), *marks.notes(measured_rows)]))
    told = answer_rows(results)
    if told:
        add_answer_table(page, results.task, told)
        page.add(f"What weakens each answer is said in [the report]({report_of(results.dataset)}).")
    return page


def report_of(dataset: str) -> str:
    """The place of a data set's answers, from the page."""
    return f"reports/{dataset}/README.md#answers"


def text_table(results_dir: Path) -> Page:
    """A page with the table of all texts: of each model the longest recipe; empty without any."""
    rows, page = [], Page()
    for dataset in store.datasets(results_dir):
        results = load_results(results_dir, dataset)
        if results.task is TEXT:
            found = comparison(results)
            if len(found):  # else no run has ended well
                rows.append(found.assign(marks=marks.signs(found, marks.ROW)))
    if rows:
        frame = pd.concat(rows, ignore_index=True)
        frame["text"] = frame.dataset.where(frame.dataset != frame.dataset.shift(fill_value=""), "")
        page.table("text", frame, OF_TEXT)
        links = ", ".join(f"[{escape(name)}]({report_of(name)})" for name in frame.dataset.unique())
        page.add(" ".join([TEXT_NOTE, *marks.notes(frame), f"What weakens them: {links}."]))
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

    A page may have the marks of images, of text, or both. What was not measured stays as it is.

    Raises:
        PageError: if there is no page, it has no such marks, or nothing was measured.
    """
    if not page.is_file():
        raise PageError(f"{page} is not a file; it needs lines {BEGIN!r} and {END!r}")
    text = page.read_text(encoding="utf-8")
    marks = [mark for mark in (BEGIN, TEXT_BEGIN) if mark in text]
    if not marks:
        raise PageError(f"{page} has no lines {BEGIN!r} and {END!r}")
    made = {
        mark: table(results_dir, counts) if mark == BEGIN else text_table(results_dir)
        for mark in marks
    }
    if not any(part.parts for part in made.values()):
        raise PageError(
            f"{page} stays as it is: {results_dir} has no run of the paper's rows on CIFAR-10, "
            "and none of text"
        )
    for mark, part in made.items():
        before, after = _around(page, text, mark)
        if part.parts:
            text = f"{before}\n\n{part.text}\n{after}"
    write_atomically(page, text)


def _around(page: Path, text: str, mark: str) -> tuple[str, str]:
    """A page up to the end of a mark, and from the next `END` on."""
    start = text.index(mark) + len(mark)
    end = text.find(END, start)
    if end < 0 or any(other in text[start:end] for other in (BEGIN, TEXT_BEGIN)):
        raise PageError(f"{page} has no line {END!r} after {mark!r}")
    return text[:start], text[end:]
