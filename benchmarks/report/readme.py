"""The README's table: the rows of the paper, published and measured, between two marks."""

from pathlib import Path

from benchmarks.records import store
from benchmarks.records.fields import at, number
from benchmarks.report.pages import NOTES
from benchmarks.report.summary import PAPER_ORDER, Group, summarize
from benchmarks.report.tables import BLANK, Name, Number, Spread, Table, code
from benchmarks.system.files import write_atomically

BEGIN = "<!-- The table is written by `python run_bench.py report --readme README.md`. -->"
END = "<!-- End of the table. -->"
DATASETS = ("cifar10", "cifar10-jpeg")
"""Whose errors are shown: of the first that has any."""


class PageError(ValueError):
    """A page without the marks; the message is one line for the user."""


def measured(results_dir: Path) -> tuple[str, Group] | None:
    """The data set, and its recipe that has most of the paper's rows (ties: the longest, then the first by name)."""
    for dataset in DATASETS:
        groups = summarize(store.load_all(results_dir, dataset)[0])
        counts = {
            id(group): sum(row.mean is not None and row.model in PAPER_ORDER for row in group.rows)
            for group in groups
        }
        best = max(groups, key=lambda group: (counts[id(group)], *_steps(group)[-1:]), default=None)
        if best is not None and counts[id(best)]:
            return dataset, best
    return None


def _steps(group: Group) -> list[float]:
    """Of the runs behind the measured errors, each number once, in order."""
    rows = [row for row in group.rows if row.mean is not None and row.model in PAPER_ORDER]
    return sorted(
        {
            steps
            for row in rows
            for r in row.records
            if (steps := number(at(r, "recipe", "steps"))) is not None
        }
    )


def note(dataset: str, group: Group) -> str:
    """How long the measured rows were trained, and what the data set is."""
    steps = " or ".join(f"{count:,}" for count in _steps(group))
    told = f"Measured after {steps or 'an unknown number of'} steps on {code(dataset)}"
    return f"{told}: {NOTES[dataset]}" if dataset in NOTES else f"{told}."


def table(results_dir: Path, found: tuple[str, Group] | None, counts: dict[str, dict]) -> Table:
    """Published and measured errors (`found`, of `measured`) of the paper's rows, exact parameters and MACs."""
    published, rows = store.load_published(results_dir), []
    for name in PAPER_ORDER:
        listed, printed = counts[name], published[name]
        row = found[1].row(name) if found else None
        result = row.estimate if row else None
        rows.append(
            [
                Name(name),
                Number(printed["test_error"], ".2f", " %"),
                Spread(result.mean, ".2f", " %", result.deviation, result.n) if result else BLANK,
                Number(listed["params"]),
                Number(printed["params"] / 1e6, ".3f", " M"),
                Number(listed["macs_per_image"]),
                Number(listed["generator_macs"]),
            ]
        )
    where = f"{found[0]}, recipe {found[1].recipe}" if found else "not yet"
    headers = [
        "model",
        "published error",
        f"measured error ({where})",
        "parameters",
        "published parameters",
        "MACs per image",
        "generator MACs per pass",
    ]
    return Table("paper", headers, rows)


def write(results_dir: Path, page: Path, counts: dict[str, dict]) -> None:
    """Replace what stands between the marks of a page by the table and, where something was measured, its note.

    Raises:
        PageError: if the page has no such marks.
    """
    text = page.read_text()
    if not 0 <= text.find(BEGIN) < text.find(END):
        raise PageError(f"{page} has no lines {BEGIN!r} and {END!r}")
    before, after = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    found = measured(results_dir)
    parts = [
        before,
        table(results_dir, found, counts).markdown(),
        *([note(*found)] if found else []),
        after,
    ]
    write_atomically(page, "\n\n".join(parts))
